// also: static
// A signalfd is about the signals of whoever reads, polls or waits on it, whoever made it.
#include "check.h"
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int fd;

static int is_readable(int timeout) {
    struct pollfd target = {fd, POLLIN, 0};
    int count = poll(&target, 1, timeout);
    CHECK(count >= 0);
    return count;
}

static int next_signal(void) {
    struct signalfd_siginfo info;
    CHECK(read(fd, &info, sizeof info) == sizeof info);
    return info.ssi_signo;
}

// Ends the child by its result, and checks it.
static void in_child(void (*act)(void)) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        act();
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static void own_signals(void) {
    CHECK(is_readable(0) == 0);
    raise(SIGUSR2);
    CHECK(is_readable(0) == 1);
    CHECK(next_signal() == SIGUSR2);
    CHECK(is_readable(0) == 0);
}

static void wakes(void) {
    // The child's own signal ends its wait on the descriptor that it inherited.
    pid_t self = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        usleep(30000);
        kill(self, SIGUSR1);
        usleep(30000);
        kill(self, SIGUSR2);
        _exit(0);
    }
    CHECK(next_signal() == SIGUSR1);
    CHECK(is_readable(5000) == 1);
    CHECK(next_signal() == SIGUSR2);
    CHECK(waitpid(pid, NULL, 0) == pid);
}

static void watches(void) {
    struct epoll_event event = {.events = EPOLLIN};
    int set = epoll_create1(0);
    CHECK(set >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
    CHECK(epoll_wait(set, &event, 1, 0) == 0);
    pid_t self = getpid(), pid = fork();
    if (pid == 0) {
        usleep(30000);
        kill(self, SIGUSR1);
        _exit(0);
    }
    CHECK(epoll_wait(set, &event, 1, 5000) == 1);
    CHECK(next_signal() == SIGUSR1);
    CHECK(waitpid(pid, NULL, 0) == pid);
}

static void *another_thread(void *unused) {
    (void)unused;
    CHECK(is_readable(0) == 0);
    return NULL;
}

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    fd = signalfd(-1, &set, 0);
    CHECK(fd >= 0);
    raise(SIGUSR1);
    CHECK(is_readable(0) == 1);
    // Pending signals are not inherited.
    in_child(own_signals);
    in_child(wakes);
    in_child(watches);
    CHECK(next_signal() == SIGUSR1);
    // One thread's signals are not another's.
    CHECK(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, another_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(next_signal() == SIGUSR1);
    return 0;
}
