// Calls that a supervisor answers: results that look like restarts, the end of who asks, growing arguments; what a tracer
// is told of filters.
#include "check.h"
#include "seccomp_filter.h"
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MAGIC 0x1234

static int listen_to(int number) {
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    int listener = install(number, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    CHECK(listener >= 0);
    return listener;
}
static struct seccomp_notif receive(int listener) {
    struct seccomp_notif request = {0};
    CHECK(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) == 0);
    return request;
}
static void answer(int listener, __u64 id, int error, __s64 value) {
    struct seccomp_notif_resp response = {.id = id, .error = error, .val = value};
    CHECK(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response) == 0);
}
static void ends_well(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// ERESTARTSYS as an answer, without a signal, is a number as any other.
static void looks_like_restart(void) {
    int listener = listen_to(SYS_getppid);
    pid_t child = fork();
    if (child == 0) {
        FAILS(syscall(SYS_getppid), 512);
        CHECK(syscall(SYS_getppid) == MAGIC);
        _exit(0);
    }
    answer(listener, receive(listener).id, -512, 0);
    answer(listener, receive(listener).id, 0, MAGIC);
    ends_well(child);
}

static void argument_grows(void) {
    int listener = listen_to(SYS_getppid);
    pid_t child = fork();
    if (child == 0) {
        long fd = syscall(SYS_getppid);
        CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
        _exit(0);
    }
    struct { struct seccomp_notif_addfd known; __u64 unknown; } large = {
        .known = {.id = receive(listener).id, .srcfd = 0, .newfd_flags = O_CLOEXEC}, .unknown = 1};
    FAILS(ioctl(listener, _IOW('!', 3, __u64), &large), EINVAL);
    FAILS(ioctl(listener, _IOW('!', 3, large), &large), E2BIG);
    FAILS(ioctl(listener, _IO('!', 99), 0), EINVAL);
    large.unknown = 0;
    int fd = ioctl(listener, _IOW('!', 3, large), &large);
    CHECK(fd > listener);
    answer(listener, large.known.id, 0, fd);
    ends_well(child);
}

// When the last who has the filter is gone, the listener says so.
static void nobody_asks(void) {
    int pair[2];
    CHECK(pipe(pair) == 0);
    pid_t child = fork();
    if (child == 0) {
        int listener = listen_to(SYS_getppid);
        CHECK(dup2(listener, 50) == 50 && write(pair[1], "x", 1) == 1);
        pause();
    }
    char byte;
    CHECK(read(pair[0], &byte, 1) == 1);
    int pidfd = syscall(SYS_pidfd_open, child, 0), listener = syscall(SYS_pidfd_getfd, pidfd, 50, 0);
    CHECK(listener >= 0);
    struct pollfd poll_fd = {.fd = listener, .events = POLLIN};
    CHECK(poll(&poll_fd, 1, 0) == 0);
    kill(child, SIGKILL);
    CHECK(waitpid(child, 0, 0) == child);
    CHECK(poll(&poll_fd, 1, 10000) == 1 && poll_fd.revents == POLLHUP);
}

static void metadata(void) {
    int pair[2];
    CHECK(pipe(pair) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        CHECK(install(SYS_getppid, SECCOMP_RET_ERRNO, SECCOMP_FILTER_FLAG_LOG) == 0);
        CHECK(install(SYS_getppid, SECCOMP_RET_ERRNO, 0) == 0 && write(pair[1], "x", 1) == 1);
        pause();
    }
    char byte;
    struct { __u64 filter_off, flags; } told = {0, 9};
    const int get_metadata = 0x420d;
    CHECK(read(pair[0], &byte, 1) == 1 && ptrace(PTRACE_ATTACH, child, 0, 0) == 0 && waitpid(child, 0, 0) == child);
    long size = ptrace(get_metadata, child, sizeof told, &told);
    // A kernel without checkpoint and restore cannot tell.
    if (size == -1 && errno == EIO) exit(0);
    CHECK(size == sizeof told && told.flags == SECCOMP_FILTER_FLAG_LOG);
    told.filter_off = 1;
    CHECK(ptrace(get_metadata, child, sizeof told, &told) == sizeof told && told.flags == 0);
    told.filter_off = 2;
    FAILS(ptrace(get_metadata, child, sizeof told, &told), ENOENT);
    FAILS(ptrace(get_metadata, child, 7, &told), EINVAL);
    kill(child, SIGKILL);
}

int main(void) {
    void (*const bodies[])(void) = {looks_like_restart, argument_grows, nobody_asks, metadata};
    for (unsigned i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        pid_t child = fork();
        if (child == 0) {
            bodies[i]();
            exit(0);
        }
        ends_well(child);
    }
}
