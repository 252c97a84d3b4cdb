// An event has few ways through instances that watch instances: more are EINVAL (path_limits of Linux), by whichever
// watch they come to be.
#include "check.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

static int watch(int epoll, int fd) {
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

// How many watches of `fd`, by numbers of their own, `epoll` takes, up to `max`.
static int watches(int epoll, int fd, int max) {
    for (int count = 0; count < max; count++) {
        int copy = dup(fd);
        CHECK(copy >= 0);
        if (watch(epoll, copy) != 0) {
            CHECK(errno == EINVAL);
            close(copy);
            return count;
        }
    }
    return max;
}

static int readable(int fd) {
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0);
}

int main(void) {
    struct rlimit limit = {4096, 4096};
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int leaf = eventfd(0, EFD_NONBLOCK);
    unsigned long long one = 1;

    // Without an instance between, as many as there are numbers; with one between, 500 ways.
    int wide = epoll_create1(0), above = epoll_create1(0);
    CHECK(watches(wide, leaf, 600) == 600);
    FAILS(watch(above, wide), EINVAL);
    FAILS(epoll_ctl(above, EPOLL_CTL_DEL, wide, NULL), ENOENT);
    CHECK(write(leaf, &one, 8) == 8);
    CHECK(readable(wide) == 1 && readable(above) == 0);
    close(wide);
    close(above);
    closefrom(leaf + 1);

    // The same where the file comes last.
    wide = epoll_create1(0);
    above = epoll_create1(0);
    CHECK(watch(above, wide) == 0);
    CHECK(watches(wide, leaf, 600) == 500);
    CHECK(readable(above) == 1);
    closefrom(leaf + 1);

    // Four between: 10. What is removed counts no more.
    int chain[5];
    for (int i = 0; i < 5; i++) {
        chain[i] = epoll_create1(0);
        CHECK(i == 0 || watch(chain[i], chain[i - 1]) == 0);
    }
    CHECK(watches(chain[0], leaf, 20) == 10);
    CHECK(readable(chain[4]) == 1 && read(leaf, &one, 8) == 8 && readable(chain[4]) == 0);
    CHECK(write(leaf, &one, 8) == 8 && readable(chain[4]) == 1);
    CHECK(epoll_ctl(chain[4], EPOLL_CTL_DEL, chain[3], NULL) == 0);
    CHECK(watches(chain[0], leaf, 100) == 40);
    FAILS(watch(chain[4], chain[3]), EINVAL);
    int sixth = epoll_create1(0);
    FAILS(watch(sixth, sixth), EINVAL);
    FAILS(watch(chain[0], chain[3]), ELOOP);
    return 0;
}
