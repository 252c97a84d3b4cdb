// A clone that fails leaves the caller the only user of its descriptors: execve keeps the table and its record locks.
#include "check.h"
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>

// Whether another process finds the file locked.
static int is_locked(const char *path) {
    pid_t child = fork();
    if (child == 0) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        int fd = open(path, O_RDWR);
        CHECK(fd >= 0 && fcntl(fd, F_GETLK, &lock) == 0);
        _exit(lock.l_type == F_UNLCK ? 0 : 42);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status) == 42;
}

int main(int argc, char **argv) {
    if (argc > 1) {
        CHECK(is_locked(argv[1]));
        return unlink(argv[1]);
    }
    char path[] = "/tmp/failed-clone-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    // A number that is taken, which needs a privilege to ask for, and an address where no descriptor can go.
    pid_t taken = getpid();
    struct clone_args args = {.flags = CLONE_FILES | CLONE_FS, .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&taken, .set_tid_size = 1};
    if (getuid() == 0) FAILS(syscall(SYS_clone3, &args, sizeof args), EEXIST);
    args = (struct clone_args){.flags = CLONE_FILES | CLONE_FS | CLONE_PIDFD, .exit_signal = SIGCHLD, .pidfd = 8};
    FAILS(syscall(SYS_clone3, &args, sizeof args), EFAULT);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    CHECK(fcntl(fd, F_SETLK, &lock) == 0 && is_locked(path));
    execl("/proc/self/exe", "failed_clone", path, (char *)0);
    return 1;
}
