// Calls and commands that only tell or keep something: ustat, sysfs, kcmp, file hints, the auxiliary vector, reboot's
// refusals, process_mrelease, the release for programs that fear a version above 2.6, extents, what a socket speaks.
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>

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
static void old_release(void) {
    struct utsname name;
    int old = personality(UNAME26);
    CHECK(old != -1 && uname(&name) == 0 && !strncmp(name.release, "2.6.", 4) && atoi(name.release + 4) >= 60);
    CHECK(personality(old) == UNAME26 && uname(&name) == 0 && strncmp(name.release, "2.6.", 4));
}
// A program that wants a 32-bit processor is told of one.
static void old_machine(void) {
    struct utsname name;
    int old = personality(PER_LINUX32);
    CHECK(old != -1 && uname(&name) == 0 && !strcmp(name.machine, "i686"));
    CHECK(personality(old) == PER_LINUX32 && uname(&name) == 0 && !strcmp(name.machine, "x86_64"));
}
static void extents(void) {
    // Only file systems on disks know; a pipe has none at all.
    struct fiemap map = {.fm_length = 4096};
    int ends[2];
    CHECK(pipe(ends) == 0);
    FAILS(ioctl(ends[0], FS_IOC_FIEMAP, &map), EOPNOTSUPP);
    FAILS(ioctl(open("/proc/self/stat", O_RDONLY), FS_IOC_FIEMAP, &map), EOPNOTSUPP);
}
static void speaks(int socket, const char *protocol) {
    char value[32] = "", names[64];
    CHECK(socket >= 0 && fgetxattr(socket, "system.sockprotoname", value, sizeof value) == (ssize_t)strlen(protocol) + 1);
    CHECK(!strcmp(value, protocol));
    CHECK(flistxattr(socket, names, sizeof names) > 0 && !strcmp(names, "system.sockprotoname"));
    FAILS(fsetxattr(socket, "system.sockprotoname", "x", 1, 0), EOPNOTSUPP);
    FAILS(fgetxattr(socket, "system.other", value, sizeof value), EOPNOTSUPP);
    FAILS(fgetxattr(socket, "user.x", value, sizeof value), ENODATA);
    FAILS(fsetxattr(socket, "user.x", "x", 1, 0), EPERM);
    close(socket);
}
static void protocols(void) {
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0);
    speaks(pair[0], "UNIX");
    speaks(socket(AF_INET, SOCK_STREAM, 0), "TCP");
    speaks(socket(AF_INET6, SOCK_DGRAM, 0), "UDPv6");
    speaks(socket(AF_NETLINK, SOCK_RAW, 0), "NETLINK");
    CHECK(pipe(pair) == 0);
    FAILS(fgetxattr(pair[0], "system.sockprotoname", NULL, 0), EOPNOTSUPP);
    FAILS(fgetxattr(pair[0], "user.x", NULL, 0), ENODATA);
}
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
    old_release();
    old_machine();
    extents();
    protocols();
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
