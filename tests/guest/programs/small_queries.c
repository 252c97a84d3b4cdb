// Calls and commands that only tell or keep something: ustat, sysfs, kcmp, file hints, the auxiliary vector, reboot's
// refusals, process_mrelease.
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void file_commands(void) {
    int fd = memfd_create("file", 0);
    unsigned long hint = 9;
    CHECK(fcntl(fd, F_GET_RW_HINT, &hint) == 0 && hint == 0);
    hint = 3;
    CHECK(fcntl(fd, F_SET_RW_HINT, &hint) == 0);
    hint = 0;
    CHECK(fcntl(fd, F_GET_RW_HINT, &hint) == 0 && hint == 3);
    hint = 6;
    FAILS(fcntl(fd, F_SET_RW_HINT, &hint), EINVAL);
    FAILS(fcntl(fd, F_SET_RW_HINT, 8), EFAULT);
    close(fd);
}
static void created(void) {
    const int query = 1028;
    char name[64];
    snprintf(name, sizeof name, "/tmp/created.%d", getpid());
    int fd = open(name, O_CREAT | O_RDWR, 0600);
    if (fcntl(fd, query, 0) == -1 && errno == EINVAL) goto done; // an older kernel
    CHECK(fcntl(fd, query, 0) == 1);
    int again = open(name, O_CREAT | O_RDWR, 0600);
    CHECK(fcntl(again, query, 0) == 0 && fcntl(fd, query, 0) == 1);
    close(again);
done:
    unlink(name);
    close(fd);
}
static void compared(void) {
    for (int kind = 5; kind <= 6; kind++) CHECK(syscall(SYS_kcmp, getpid(), getppid(), kind, 0, 0) == 0 || errno == EPERM);
    pid_t child = fork();
    if (child == 0) pause();
    CHECK(syscall(SYS_kcmp, getpid(), child, 5, 0, 0) == 0 && syscall(SYS_kcmp, getpid(), child, 6, 0, 0) == 0);
    CHECK(syscall(SYS_kcmp, getpid(), child, 1, 0, 0) != 0);
    kill(child, SIGKILL);
    waitpid(child, 0, 0);
}
static void released(void) {
    pid_t child = fork();
    if (child == 0) pause();
    int fd = syscall(SYS_pidfd_open, child, 0);
    CHECK(fd >= 0);
    FAILS(syscall(448, fd, 1), EINVAL);
    FAILS(syscall(448, -1, 0), EBADF);
    FAILS(syscall(448, fd, 0), EINVAL);
    kill(child, SIGKILL);
    waitid(P_PID, child, 0, WEXITED | WNOWAIT);
    FAILS(syscall(448, fd, 0), ESRCH);
    waitpid(child, 0, 0);
    FAILS(syscall(448, fd, 0), ESRCH);
    close(fd);
}

// reboot(2) ends the first process of a pid name space by a signal that says what was asked for.
static void rebooted(unsigned command, int signal) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWPID) == -1) _exit(0); // not allowed on this host
        child = fork();
        if (child == 0) {
            if (fork() == 0) {
                FAILS(syscall(SYS_reboot, 0xfee1dead, 672274793, 0x89abcdef, 0), EINVAL);
                FAILS(syscall(SYS_reboot, 0xfee1dead, 1, command, 0), EINVAL);
                syscall(SYS_reboot, 0xfee1dead, 672274793, command, 0);
            }
            for (;;) pause();
        }
        CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == signal);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(void) {
    struct stat stat;
    char buffer[4096] = {0};
    CHECK(fstat(memfd_create("file", 0), &stat) == 0);
    CHECK(syscall(SYS_ustat, stat.st_dev, buffer) == 0);
    FAILS(syscall(SYS_ustat, 0xffff, buffer), EINVAL);
    FAILS(syscall(SYS_ustat, stat.st_dev, 8), EFAULT);
    if (syscall(SYS_sysfs, 3, 0, 0) > 0) {
        long index = syscall(SYS_sysfs, 1, "tmpfs", 0);
        CHECK(index >= 0 && syscall(SYS_sysfs, 2, index, buffer) == 0 && !strcmp(buffer, "tmpfs"));
        FAILS(syscall(SYS_sysfs, 1, "no such type", 0), EINVAL);
        FAILS(syscall(SYS_sysfs, 2, 12345, buffer), EINVAL);
        FAILS(syscall(SYS_sysfs, 4, 0, 0), EINVAL);
    }
    file_commands();
    created();
    compared();
    released();
    rebooted(0x01234567, SIGHUP);
    rebooted(0x4321fedc, SIGINT);
    FAILS(prctl(0x41555856, buffer, sizeof buffer, 1, 0), EINVAL);
    long len = prctl(0x41555856, buffer, sizeof buffer, 0, 0);
    if (len > 0) CHECK(len % 16 == 0 && len <= (long)sizeof buffer && memcmp(buffer, buffer + len, 1) >= 0);
    if (geteuid() == 0) {
        // Nobody reboots by mistake.
        long result = syscall(SYS_reboot, 0, 0, 0, 0);
        CHECK(result == -1 && (errno == EINVAL || errno == EPERM));
    }
    return 0;
}
