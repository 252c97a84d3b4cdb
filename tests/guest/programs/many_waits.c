// Waits for one thing many times over, and for what never comes: they end when they must, and cost what they may.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

static double now(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static struct sockaddr_un address = {AF_UNIX};
static socklen_t address_len;

static int stream(int flags) {
    int fd = socket(AF_UNIX, SOCK_STREAM | flags, 0);
    CHECK(fd >= 0);
    return fd;
}

// A listener whose backlog has no room.
static int full_listener(void) {
    snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "many-waits-%d", getpid());
    address_len = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(address.sun_path + 1);
    int listener = stream(0), fd;
    CHECK(bind(listener, (void *)&address, address_len) == 0 && listen(listener, 0) == 0);
    do fd = stream(SOCK_NONBLOCK);
    while (connect(fd, (void *)&address, address_len) == 0);
    CHECK(errno == EAGAIN);
    close(fd);
    return listener;
}

static void full_backlog(void) {
    int listener = full_listener();
    // The time-out for sending counts, and waiting costs nothing.
    int fd = stream(0);
    struct timeval limit = {0, 200000};
    CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0);
    double start = now(CLOCK_MONOTONIC), used = now(CLOCK_THREAD_CPUTIME_ID);
    FAILS(connect(fd, (void *)&address, address_len), EAGAIN);
    CHECK(now(CLOCK_MONOTONIC) - start >= 0.19);
    CHECK(now(CLOCK_THREAD_CPUTIME_ID) - used < 0.15);
    close(fd);
    // So does a signal.
    int status;
    pid_t child = fork();
    if (child == 0) _exit(connect(stream(0), (void *)&address, address_len) == 0 ? 0 : 1);
    usleep(50000);
    CHECK(waitpid(child, &status, WNOHANG) == 0);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    // Somebody accepts: the next one in line connects.
    child = fork();
    if (child == 0) _exit(connect(stream(0), (void *)&address, address_len) == 0 ? 0 : 1);
    usleep(50000);
    CHECK(waitpid(child, &status, WNOHANG) == 0);
    CHECK(accept(listener, NULL, NULL) >= 0);
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    // The listener goes: there is nobody to wait for.
    child = fork();
    if (child == 0) {
        close(listener);
        fd = stream(0);
        _exit(connect(fd, (void *)&address, address_len) == -1 && errno == ECONNREFUSED ? 0 : 1);
    }
    usleep(50000);
    close(listener);
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

// One file a hundred thousand times, waited for in vain.
static void one_file_many_times(void) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int count = limit.rlim_max < 100000 ? limit.rlim_max : 100000;
    struct pollfd *waits = calloc(count, sizeof *waits);
    int fd = eventfd(0, 0);
    CHECK(waits && fd >= 0);
    for (int i = 0; i < count; i++) waits[i] = (struct pollfd){fd, i % 2 ? POLLIN : POLLPRI};
    double start = now(CLOCK_MONOTONIC);
    CHECK(poll(waits, count, 10) == 0);
    // Walking over all others for each would take a minute.
    CHECK(now(CLOCK_MONOTONIC) - start < 10);
    // All that asked hear of it.
    pid_t child = fork();
    if (child == 0) {
        usleep(50000);
        _exit(eventfd_write(fd, 1));
    }
    CHECK(poll(waits, count, 10000) == count / 2);
    CHECK(waits[0].revents == 0 && waits[1].revents == POLLIN && waits[count / 2 * 2 - 1].revents == POLLIN);
    CHECK(waitpid(child, NULL, 0) == child);
}

int main(void) {
    full_backlog();
    one_file_many_times();
    return 0;
}
