// epoll, poll, select, eventfd, timerfd, signalfd, pidfd.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

static int epoll, fds[2];
static void handler(int signal) {}

static int wait_events(struct epoll_event *events, int timeout) { return epoll_wait(epoll, events, 8, timeout); }

static void test_epoll(void) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 7}, got[8];
    epoll = epoll_create1(EPOLL_CLOEXEC);
    CHECK(epoll >= 0 && pipe(fds) == 0);
    FAILS(epoll_create1(1), EINVAL);
    FAILS(epoll_create(0), EINVAL);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event) == 0);
    FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, fds[0], &event), EEXIST);
    FAILS(epoll_ctl(epoll, EPOLL_CTL_MOD, fds[1], &event), ENOENT);
    FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &event), EINVAL);
    FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, 999, &event), EBADF);
    int file = open("/proc/self/exe", O_RDONLY);
    FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event), EPERM);
    FAILS(epoll_wait(epoll, got, 0, 0), EINVAL);
    CHECK(wait_events(got, 0) == 0);
    CHECK(write(fds[1], "ab", 2) == 2);
    for (int i = 0; i < 2; i++) CHECK(wait_events(got, -1) == 1 && got[0].events == EPOLLIN && got[0].data.u64 == 7);
    // Edge-triggered: once for each arrival.
    event.events = EPOLLIN | EPOLLET;
    CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, fds[0], &event) == 0);
    CHECK(wait_events(got, 0) == 1 && wait_events(got, 0) == 0);
    CHECK(write(fds[1], "c", 1) == 1 && wait_events(got, 100) == 1 && wait_events(got, 0) == 0);
    event.events = EPOLLIN | EPOLLONESHOT;
    CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, fds[0], &event) == 0);
    CHECK(wait_events(got, 0) == 1 && wait_events(got, 0) == 0);
    CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, fds[0], &event) == 0 && wait_events(got, 0) == 1);
    // Nested.
    int outer = epoll_create1(0);
    event.events = EPOLLIN;
    CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, fds[0], &event) == 0);
    CHECK(epoll_ctl(outer, EPOLL_CTL_ADD, epoll, &event) == 0 && epoll_wait(outer, got, 8, 0) == 1);
    FAILS(epoll_ctl(epoll, EPOLL_CTL_ADD, outer, &event), ELOOP);
    // Hang-up comes unasked; closing takes it out.
    event.events = 0;
    CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, fds[0], &event) == 0 && wait_events(got, 0) == 0);
    CHECK(close(fds[1]) == 0 && wait_events(got, 0) == 1 && got[0].events == EPOLLHUP);
    CHECK(close(fds[0]) == 0 && wait_events(got, 0) == 0);
    sigset_t none;
    sigemptyset(&none);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, 0);
    ualarm(10000, 0);
    FAILS(epoll_pwait(epoll, got, 8, -1, &none), EINTR);
}

static void test_eventfd(void) {
    int fd = eventfd(3, EFD_NONBLOCK);
    uint64_t value = 0;
    CHECK(read(fd, &value, 8) == 8 && value == 3);
    FAILS(read(fd, &value, 8), EAGAIN);
    FAILS(read(fd, &value, 4), EINVAL);
    value = UINT64_MAX - 1;
    CHECK(write(fd, &value, 8) == 8);
    value = 1;
    FAILS(write(fd, &value, 8), EAGAIN);
    value = UINT64_MAX;
    FAILS(write(fd, &value, 8), EINVAL);
    int semaphore = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
    CHECK(read(semaphore, &value, 8) == 8 && value == 1 && read(semaphore, &value, 8) == 8);
    FAILS(read(semaphore, &value, 8), EAGAIN);
    FAILS(eventfd(0, 0x77), EINVAL);
}

static void test_timerfd(void) {
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    uint64_t expirations;
    FAILS(read(fd, &expirations, 8), EAGAIN);
    struct itimerspec spec = {{0, 5000000}, {0, 5000000}}, got;
    CHECK(timerfd_settime(fd, 0, &spec, 0) == 0);
    struct pollfd poll_fd = {fd, POLLIN};
    CHECK(poll(&poll_fd, 1, 1000) == 1 && read(fd, &expirations, 8) == 8 && expirations >= 1);
    usleep(30000);
    CHECK(read(fd, &expirations, 8) == 8 && expirations >= 4);
    CHECK(timerfd_gettime(fd, &got) == 0 && got.it_interval.tv_nsec == 5000000);
    spec.it_value.tv_nsec = 0;
    CHECK(timerfd_settime(fd, 0, &spec, 0) == 0 && timerfd_gettime(fd, &got) == 0 && got.it_value.tv_nsec == 0);
    struct itimerspec absolute = {0};
    clock_gettime(CLOCK_MONOTONIC, &absolute.it_value);
    CHECK(timerfd_settime(fd, TFD_TIMER_ABSTIME, &absolute, 0) == 0 && poll(&poll_fd, 1, 1000) == 1);
    FAILS(timerfd_create(99, 0), EINVAL);
    spec.it_value.tv_nsec = 1000000000;
    FAILS(timerfd_settime(fd, 0, &spec, 0), EINVAL);
    FAILS(timerfd_settime(0, 0, &absolute, 0), EINVAL);
}

static void test_signalfd(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, 0);
    int fd = signalfd(-1, &set, SFD_NONBLOCK);
    struct signalfd_siginfo info[3];
    FAILS(read(fd, info, sizeof info), EAGAIN);
    union sigval value = {.sival_int = 5};
    sigqueue(getpid(), SIGRTMIN, value);
    kill(getpid(), SIGUSR1);
    CHECK(read(fd, info, sizeof info) == 2 * sizeof info[0]);
    CHECK(info[0].ssi_signo == SIGUSR1 && info[0].ssi_pid == getpid() && info[1].ssi_signo == SIGRTMIN && info[1].ssi_int == 5);
    FAILS(read(fd, info, 10), EINVAL);
    FAILS(signalfd(0, &set, 0), EINVAL);
}

static void test_poll_select(void) {
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    struct pollfd poll_fds[] = {{pair[0], POLLIN | POLLOUT}, {-1, POLLIN, 77}, {999, POLLIN}};
    CHECK(poll(poll_fds, 3, 0) == 2 && poll_fds[0].revents == POLLOUT && poll_fds[1].revents == 0 && poll_fds[2].revents == POLLNVAL);
    CHECK(shutdown(pair[1], SHUT_WR) == 0);
    poll_fds[0].events = POLLIN | POLLRDHUP;
    CHECK(poll(poll_fds, 1, 0) == 1 && poll_fds[0].revents == (POLLIN | POLLRDHUP));
    CHECK(close(pair[1]) == 0 && poll(poll_fds, 1, 0) == 1 && (poll_fds[0].revents & POLLHUP));
    fd_set read_set, write_set;
    FD_ZERO(&read_set);
    FD_ZERO(&write_set);
    FD_SET(pair[0], &read_set);
    FD_SET(pair[0], &write_set);
    struct timeval tv = {0, 20000};
    CHECK(select(pair[0] + 1, &read_set, &write_set, 0, &tv) == 2 && FD_ISSET(pair[0], &read_set));
    FD_ZERO(&read_set);
    FD_SET(60, &read_set);
    FAILS(select(61, &read_set, 0, 0, &tv), EBADF);
    FAILS(select(-1, 0, 0, 0, &tv), EINVAL);
    tv.tv_usec = 20000;
    CHECK(select(0, 0, 0, 0, &tv) == 0 && tv.tv_usec == 0);
    struct timespec ts = {0, 10000000};
    CHECK(ppoll(0, 0, &ts, 0) == 0);
}

static void test_pidfd(void) {
    pid_t child = fork();
    if (child == 0) for (;;) pause();
    int fd = syscall(SYS_pidfd_open, child, 0);
    CHECK(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
    struct pollfd poll_fd = {fd, POLLIN};
    CHECK(poll(&poll_fd, 1, 0) == 0);
    int stdio = syscall(SYS_pidfd_getfd, fd, 2, 0);
    CHECK(stdio >= 0);
    CHECK(syscall(SYS_pidfd_send_signal, fd, SIGKILL, 0, 0) == 0 && poll(&poll_fd, 1, 5000) == 1);
    siginfo_t info;
    CHECK(waitid(P_PIDFD, fd, &info, WEXITED) == 0 && info.si_pid == child && info.si_status == SIGKILL);
    FAILS(syscall(SYS_pidfd_send_signal, fd, 0, 0, 0), ESRCH);
    int directory = open("/proc/self", O_RDONLY | O_DIRECTORY);
    CHECK(syscall(SYS_pidfd_send_signal, directory, 0, 0, 0) == 0);
    FAILS(syscall(SYS_pidfd_send_signal, 0, 0, 0, 0), EBADF);
    FAILS(syscall(SYS_pidfd_open, child, 0), ESRCH);
    FAILS(syscall(SYS_pidfd_open, -1, 0), EINVAL);
}

// A flag that means nothing is refused, whichever bit it is.
static void test_flags(void) {
    for (int bit = 0; bit < 32; bit++) {
        int flag = (int)(1u << bit);
        if (flag == O_CLOEXEC) continue;
        FAILS(epoll_create1(flag), EINVAL);
        if (flag == O_NONBLOCK) continue;
        FAILS(syscall(SYS_timerfd_create, CLOCK_MONOTONIC, flag), EINVAL);
        if (flag != EFD_SEMAPHORE) FAILS(syscall(SYS_eventfd2, 0, flag), EINVAL);
    }
}

int main(void) {
    test_flags();
    test_epoll();
    test_eventfd();
    test_timerfd();
    test_signalfd();
    test_poll_select();
    test_pidfd();
    return 0;
}
