// clone and clone3: shared memory, files, settls, tids, pidfd, parent, name spaces of pids and users, errors.
#include "check.h"
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static char stack[65536] __attribute__((aligned(16)));
static volatile int shared;
static int opened;
static int set_shared(void *arg) {
    shared = 7;
    opened = open("/dev/null", O_RDONLY);
    return 3;
}
static long clone3(struct clone_args *args) { return syscall(SYS_clone3, args, sizeof *args); }

int main(void) {
    int status;
    pid_t child = clone(set_shared, stack + sizeof stack, CLONE_VM | SIGCHLD, 0);
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 3 && shared == 7 && fcntl(opened, F_GETFD) == -1);
    shared = 0;
    child = clone(set_shared, stack + sizeof stack, CLONE_FILES | SIGCHLD, 0);
    CHECK(waitpid(child, &status, 0) == child && shared == 0);
    child = clone(set_shared, stack + sizeof stack, CLONE_VM | CLONE_FILES | SIGCHLD, 0);
    CHECK(waitpid(child, &status, 0) == child && fcntl(opened, F_GETFD) == 0);
    FAILS(clone(set_shared, stack + sizeof stack, CLONE_SIGHAND | SIGCHLD, 0), EINVAL);
    FAILS(clone(set_shared, stack + sizeof stack, CLONE_THREAD | SIGCHLD, 0), EINVAL);
    FAILS(clone(set_shared, stack + sizeof stack, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0), EINVAL);

    int pidfd = -1;
    pid_t parent_tid = 0;
    struct clone_args args = {.flags = CLONE_PIDFD | CLONE_PARENT_SETTID, .exit_signal = SIGCHLD, .pidfd = (uintptr_t)&pidfd, .parent_tid = (uintptr_t)&parent_tid};
    child = clone3(&args);
    if (child == 0) _exit(9);
    CHECK(child > 0 && parent_tid == child && fcntl(pidfd, F_GETFD) == FD_CLOEXEC);
    struct pollfd poll_fd = {pidfd, POLLIN};
    CHECK(poll(&poll_fd, 1, 5000) == 1);
    siginfo_t info;
    CHECK(waitid(P_PIDFD, pidfd, &info, WEXITED) == 0 && info.si_status == 9);
    args = (struct clone_args){.flags = 1ull << 60};
    FAILS(clone3(&args), EINVAL);
    args = (struct clone_args){.exit_signal = 100};
    FAILS(clone3(&args), EINVAL);
    FAILS(syscall(SYS_clone3, &args, 8), EINVAL);
    // What we do not know must be zero, which is seen before what cannot be read.
    char *edge = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) + 4096;
    memset(edge - 4096, 1, 4096);
    CHECK(mprotect(edge, 4096, PROT_NONE) == 0);
    FAILS(syscall(SYS_clone3, edge - sizeof args - 8, sizeof args + 64), E2BIG);
    memset(edge - 8, 0, 8);
    FAILS(syscall(SYS_clone3, edge - sizeof args - 8, sizeof args + 64), EFAULT);

    // A new pid name space: the child is number 1 there; its end ends everything in it.
    if (getuid() == 0) {
        int fds[2];
        pipe(fds);
        args = (struct clone_args){.flags = CLONE_NEWPID, .exit_signal = SIGCHLD};
        child = clone3(&args);
        if (child == 0) {
            CHECK(getpid() == 1 && getppid() == 0);
            if (fork() == 0) {
                for (;;) pause();
            }
            // Without a handler the first process cannot be killed from inside.
            kill(1, SIGTERM);
            raise(SIGKILL);
            _exit(4);
        }
        CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 4);
        close(fds[1]);
        char byte;
        CHECK(read(fds[0], &byte, 1) == 0);
    }
    // A new user name space: all capabilities there, ids by map.
    child = fork();
    if (child == 0) {
        uid_t outer = getuid();
        CHECK(unshare(CLONE_NEWUSER) == 0 && getuid() == 65534);
        char map[32];
        int fd = open("/proc/self/uid_map", O_WRONLY), len = sprintf(map, "0 %d 1\n", outer);
        CHECK(fd >= 0 && write(fd, map, len) == len && getuid() == 0);
        fd = open("/proc/self/uid_map", O_WRONLY);
        FAILS(write(fd, map, len), EPERM);
        CHECK(unshare(CLONE_NEWUTS) == 0 && sethostname("x", 1) == 0);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    return 0;
}
