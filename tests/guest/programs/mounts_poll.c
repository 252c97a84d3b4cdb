// poll(2) and epoll(7) tell of changes of the mounts that /proc/self/mountinfo and /proc/self/mounts show, once each.
#define _GNU_SOURCE
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <unistd.h>

static int poll_now(int fd) {
    struct pollfd entry = {.fd = fd, .events = POLLPRI};
    CHECK(poll(&entry, 1, 0) >= 0);
    return entry.revents;
}

static void *mount_later(void *unused) {
    (void)unused;
    usleep(50000);
    CHECK(mount("later", "/tmp", "tmpfs", 0, 0) == 0);
    return 0;
}

int main(void) {
    if (getuid() != 0) return 0;
    CHECK(unshare(CLONE_NEWNS) == 0 && mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) == 0);
    int info = open("/proc/self/mountinfo", O_RDONLY), mounts = open("/proc/self/mounts", O_RDONLY);
    int set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLPRI};
    CHECK(info >= 0 && mounts >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, info, &event) == 0);
    CHECK(epoll_wait(set, &event, 1, 0) == 0 && poll_now(mounts) == 0);

    CHECK(mount("now", "/tmp", "tmpfs", 0, 0) == 0);
    CHECK(epoll_wait(set, &event, 1, 0) == 1 && event.events == (EPOLLPRI | EPOLLERR));
    CHECK(epoll_wait(set, &event, 1, 0) == 0);
    CHECK(poll_now(mounts) == (POLLPRI | POLLERR) && poll_now(mounts) == 0);
    int late = open("/proc/self/mountinfo", O_RDONLY);
    CHECK(poll_now(late) == 0);

    // While somebody waits.
    pthread_t thread;
    CHECK(pthread_create(&thread, 0, mount_later, 0) == 0);
    struct pollfd entry = {.fd = mounts, .events = POLLPRI};
    CHECK(poll(&entry, 1, 10000) == 1 && entry.revents == (POLLPRI | POLLERR));
    CHECK(pthread_join(thread, 0) == 0);
    CHECK(epoll_wait(set, &event, 1, 10000) == 1);
    CHECK(umount("/tmp") == 0 && umount("/tmp") == 0);
    CHECK(epoll_wait(set, &event, 1, 10000) == 1 && poll_now(late) == (POLLPRI | POLLERR));

    // Others can be waited for by poll(2) alone.
    FAILS(epoll_ctl(set, EPOLL_CTL_ADD, open("/proc/self/status", O_RDONLY), &event), EPERM);
    return 0;
}
