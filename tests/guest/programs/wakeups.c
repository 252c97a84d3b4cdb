// Waits that must end, and nets of waits that must not take for ever.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL
#endif

static int thread_fd = -1;

static void *short_life(void *ready) {
    thread_fd = syscall(SYS_pidfd_open, gettid(), PIDFD_THREAD);
    pthread_barrier_wait(ready);
    usleep(100000);
    return NULL;
}

// Kernels before 6.9 do not know PIDFD_THREAD.
static void end_of_a_thread(void) {
    pthread_t thread;
    pthread_barrier_t ready;
    pthread_barrier_init(&ready, NULL, 2);
    CHECK(pthread_create(&thread, NULL, short_life, &ready) == 0);
    pthread_barrier_wait(&ready);
    if (thread_fd >= 0) {
        struct pollfd wait = {.fd = thread_fd, .events = POLLIN};
        CHECK(poll(&wait, 1, 10000) == 1);
        close(thread_fd);
    }
    CHECK(pthread_join(thread, NULL) == 0);
}

static int fifo_reader;

static void *drain(void *unused) {
    static char buffer[1 << 16];
    usleep(100000);
    CHECK(read(fifo_reader, buffer, sizeof buffer) > 0);
    return NULL;
}

// One descriptor for both directions waits for room.
static void both_ends_of_a_fifo(void) {
    char name[] = "/tmp/wakeups-XXXXXX";
    CHECK(mkdtemp(name));
    char path[64];
    snprintf(path, sizeof path, "%s/fifo", name);
    CHECK(mkfifo(path, 0600) == 0);
    int both = open(path, O_RDWR | O_NONBLOCK);
    fifo_reader = open(path, O_RDONLY);
    CHECK(both >= 0 && fifo_reader >= 0);
    static char buffer[1 << 16];
    while (write(both, buffer, sizeof buffer) > 0) {
    }
    struct pollfd wait = {.fd = both, .events = POLLOUT};
    CHECK(poll(&wait, 1, 0) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, drain, NULL) == 0);
    CHECK(poll(&wait, 1, 10000) == 1);
    CHECK(pthread_join(thread, NULL) == 0);
    close(both);
    close(fifo_reader);
    CHECK(unlink(path) == 0 && rmdir(name) == 0);
}

// Layers of instances, each of one layer watching all of the next: few, but very many ways through.
static void net_of_epolls(void) {
    enum { LAYERS = 4, WIDTH = 40 };
    static int layer[LAYERS][WIDTH];
    for (int i = 0; i < LAYERS; i++) {
        for (int j = 0; j < WIDTH; j++) {
            CHECK((layer[i][j] = epoll_create1(0)) >= 0);
        }
    }
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    for (int i = LAYERS - 2; i >= 0; i--) {
        for (int j = 0; j < WIDTH; j++) {
            for (int k = 0; k < WIDTH; k++) {
                struct epoll_event event = {.events = EPOLLIN};
                epoll_ctl(layer[i][j], EPOLL_CTL_ADD, layer[i + 1][k], &event);
            }
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &after);
    CHECK(after.tv_sec - before.tv_sec < 30);
    for (int i = 0; i < LAYERS; i++) {
        for (int j = 0; j < WIDTH; j++) {
            close(layer[i][j]);
        }
    }
}

// Let go and caught again at once: the second stop comes, and /proc tells who traces.
static void traced_twice(void) {
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
            pause();
        }
    }
    int status;
    for (int i = 0; i < 50; i++) {
        CHECK(ptrace(PTRACE_ATTACH, child, 0, 0) == 0);
        CHECK(waitpid(child, &status, __WALL) == child && WIFSTOPPED(status));
        char path[64], line[128];
        snprintf(path, sizeof path, "/proc/%d/status", child);
        FILE *file = fopen(path, "r");
        int tracer = -1;
        while (fgets(line, sizeof line, file)) {
            sscanf(line, "TracerPid: %d", &tracer);
        }
        fclose(file);
        CHECK(tracer == getpid());
        CHECK(ptrace(PTRACE_DETACH, child, 0, 0) == 0);
    }
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
}

// Descriptors whose numbers cannot be told are not left behind.
static void descriptors_to_nowhere(void) {
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
    char byte = 'x', control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(header), &ends[0], sizeof(int));
    CHECK(sendmsg(ends[0], &message, 0) == 1);
    int free_fd = dup(0);
    close(free_fd);
    message.msg_control = (void *)8;
    recvmsg(ends[1], &message, 0);
    int again = dup(0);
    CHECK(again == free_fd);
    close(again);
    close(ends[0]);
    close(ends[1]);
}

int main(void) {
    end_of_a_thread();
    both_ends_of_a_fifo();
    net_of_epolls();
    traced_twice();
    descriptors_to_nowhere();
    return 0;
}
