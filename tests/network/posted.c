// Servers whose reads and writes the sandbox may carry out later than they return, and a client that must not notice.
//   posted serve        serves on ports 9100 and up, one process for each way of serving
//   posted ask ADDRESS  asks all of them; exits with 0 if every byte came as it should
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(what) do { if (!(what)) { fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #what, errno); exit(1); } } while (0)
enum { ECHO_LEVEL, ECHO_EDGE, SIGNALS, TWO_WRITERS, OTHER_NUMBER, DUPLICATE, LAST_WORDS, FORK, COMPUTE, COMPUTE_FIRST, ERRORS, OTHER_CALLS, POLL, SELECT, WAYS };
enum { PORT = 9100, MOST = 6000, WARM = 300, LONG_NS = 2000000000 };

static int listen_at(int port) {
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    CHECK(bind(listener, (void *)&at, sizeof at) == 0 && listen(listener, 64) == 0);
    return listener;
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

// ---- the servers ----

static _Atomic int turn, handed = -1;
static _Atomic int ring;

// Writes a line of its own behind each of the other thread's.
static void *second_writer(void *way) {
    char line[32];
    for (int count = 0;; count++) {
        while (turn != 2 * count + 1) sched_yield();
        int size = sprintf(line, "B%07d", count), fd = handed;
        if ((intptr_t)way == OTHER_NUMBER) {
            // Another connection takes the number; what was written to this one went to the right place.
            int other = dup(fd), null = open("/dev/null", O_RDWR);
            CHECK(dup2(null, fd) == fd && write(other, line, size) == size && dup2(other, fd) == fd);
            close(other);
            close(null);
        } else if ((intptr_t)way == DUPLICATE) {
            int other = dup(fd);
            CHECK(write(other, line, size) == size);
            close(other);
        } else {
            CHECK(write(fd, line, size) == size);
        }
        turn = 2 * count + 2;
    }
    return NULL;
}

static void on_alarm(int signal) {
    ring++;
    getppid();
}

static void spin(int64_t ns) {
    for (int64_t end = now() + ns; now() < end;) {}
}

static void write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t done = write(fd, data, size);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0 && errno == EAGAIN) {
            struct pollfd wait = {fd, POLLOUT};
            poll(&wait, 1, -1);
            continue;
        }
        CHECK(done > 0);
        data += done;
        size -= done;
    }
}

// Computes for some milliseconds before it looks at what came behind the quick questions, and for long when it has answered.
static const int pauses_ms[] = {1, 20, 21, 60};
enum { PAUSES = sizeof pauses_ms / sizeof *pauses_ms };

static int serve_one(int way, int fd, int *count);

static int compute_first(int way, int fd, int *count) {
    static int asked, pause;
    if (++asked % (WARM + 1) != 0) return serve_one(way, fd, count);
    spin(pauses_ms[pause++ % PAUSES] * 1000000ll);
    int lives = serve_one(way, fd, count);
    spin(LONG_NS);
    return lives;
}

// Writes between the openings and closings of files, whose numbers must be free and whose ends must come at once.
static void closed_files(int fd, const char *data, ssize_t size) {
    char name[64], target[64], byte;
    struct stat status;
    int file = open("/proc/self/stat", O_RDONLY), again, dir;
    CHECK(file >= 0 && fstat(file, &status) == 0 && read(file, &byte, 1) == 1);
    CHECK(close(file) == 0 && close(file) < 0 && errno == EBADF);
    CHECK((again = open("/proc/self/stat", O_RDONLY)) == file && close(again) == 0);
    CHECK(fcntl(file, F_GETFD) < 0 && errno == EBADF);
    write_all(fd, data, size);
    CHECK((file = open("/proc/self/status", O_RDONLY)) == again);
    sprintf(name, "/proc/self/fd/%d", file);
    CHECK(close(file) == 0 && write(file, "x", 1) < 0 && errno == EBADF);
    CHECK(readlink(name, target, sizeof target) < 0 && errno == ENOENT);
    static unsigned rounds;
    if (rounds++ % 64 != 0) return;
    // A second number, and a lock, which another process takes over.
    CHECK((file = open("/proc/self/exe", O_RDONLY)) >= 0 && (again = dup(file)) >= 0 && close(file) == 0);
    CHECK(flock(again, LOCK_EX) == 0);
    pid_t child = fork();
    if (child == 0) _exit(close(again) == 0 && (dir = open("/proc/self/exe", O_RDONLY)) >= 0 && flock(dir, LOCK_EX) == 0 ? 0 : 1);
    CHECK(close(again) == 0);
    int how;
    CHECK(waitpid(child, &how, 0) == child && how == 0);
}

// Answers with other calls in between: of other files, of this one, and such that take its number away for a moment.
static void other_calls(int fd, const char *data, ssize_t size) {
    static char page[4096];
    static unsigned turn;
    int waiting, zero = open("/dev/zero", O_RDONLY), half = size / 2;
    closed_files(fd, data, half);
    data += half, size -= half, half = size / 2;
    CHECK(read(zero, page, sizeof page) == sizeof page);
    write_all(fd, data, half);
    switch (turn++ % 6) {
    case 0:
        CHECK(ioctl(fd, FIONREAD, &waiting) == 0 && waiting >= 0);
        break;
    case 1:
        CHECK(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) ^ O_APPEND) == 0);
        break;
    case 2:
        waiting = dup(fd);
        CHECK(dup2(zero, fd) == fd && read(fd, page, 10) == 10 && dup2(waiting, fd) == fd && close(waiting) == 0);
        break;
    case 3:
        CHECK(poll(&(struct pollfd){fd, POLLOUT}, 1, 0) == 1);
        break;
    case 4:
        CHECK(send(fd, "", 0, MSG_OOB | MSG_DONTWAIT) <= 0);
        break;
    }
    close(zero);
    write_all(fd, data + half, size - half);
}

// Deals with what a connection has; says whether it lives on.
static int serve_one(int way, int fd, int *count) {
    static char data[2 * MOST];
    for (int looks = 0; looks < 64; looks++) {
        struct iovec parts[] = {{data, 5}, {data + 5, sizeof data - 5}};
        ssize_t size = looks & 1 ? recv(fd, data, sizeof data, MSG_DONTWAIT)
            : way == SIGNALS ? readv(fd, parts, 2) : read(fd, data, sizeof data);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0 && errno == EAGAIN) return 1;
        if (size <= 0) return 0;
        switch (way) {
        case TWO_WRITERS: case OTHER_NUMBER: case DUPLICATE:
            CHECK(size == 1 && sprintf(data, "A%07d", *count) == 8 && write(fd, data, 8) == 8);
            handed = fd;
            turn = 2 * *count + 1;
            // Without a call until the other has written.
            while (turn != 2 * *count + 2) {}
            ++*count;
            break;
        case LAST_WORDS:
            write_all(fd, data, size);
            if (data[size - 1] == 'k') kill(getpid(), SIGKILL);
            if (data[size - 1] == 'x') _exit(0);
            if (data[size - 1] == 'f') *(volatile int *)0 = 0;
            break;
        case FORK:
            write_all(fd, data, size);
            if (data[0] == 'f') {
                pid_t child = fork();
                if (child == 0) {
                    write_all(fd, "child", 5);
                    _exit(0);
                }
                waitpid(child, NULL, 0);
                write_all(fd, "parent", 6);
            }
            break;
        case COMPUTE:
            write_all(fd, data, size);
            if (data[0] == 'c') spin(LONG_NS);
            break;
        case OTHER_CALLS:
            other_calls(fd, data, size);
            break;
        case ERRORS:
            if (send(fd, data, size, MSG_NOSIGNAL) < 0) return 0;
            break;
        default:
            if (size > 100 && data[0] & 1) {
                write_all(fd, data, 7);
                CHECK(send(fd, data + 7, size - 7, MSG_NOSIGNAL) == size - 7);
            } else if (size > 2 && data[0] & 6) {
                struct iovec parts[] = {{data, 1}, {NULL, 0}, {data + 1, size - 1}};
                struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
                CHECK((data[0] & 2 ? writev(fd, parts, 3) : sendmsg(fd, &message, MSG_NOSIGNAL)) == size);
            } else {
                write_all(fd, data, size);
            }
        }
        // Whoever is told once reads to the end; others come back.
        if (way != ECHO_EDGE) return 1;
    }
    return 1;
}

static void serve(int way) {
    int listener = listen_at(PORT + way), epoll = epoll_create1(0), counts[1024] = {0};
    fcntl(listener, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {EPOLLIN, {.fd = listener}}, events[32];
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) == 0);
    if (way == TWO_WRITERS || way == OTHER_NUMBER || way == DUPLICATE) {
        pthread_t thread;
        pthread_create(&thread, NULL, second_writer, (void *)(intptr_t)way);
    }
    if (way == SIGNALS) {
        struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
        struct itimerval often = {{0, 700}, {0, 700}};
        sigaction(SIGALRM, &action, NULL);
        setitimer(ITIMER_REAL, &often, NULL);
    }
    for (;;) {
        int ready = epoll_wait(epoll, events, 32, -1);
        if (ready < 0) continue;
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int flag = way == ECHO_EDGE ? EPOLLET : 0, on = 1;
                if ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) < 0) continue;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                event = (struct epoll_event){EPOLLIN | EPOLLRDHUP | flag, {.fd = fd}};
                CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
                if (way != TWO_WRITERS && way != OTHER_NUMBER && way != DUPLICATE) counts[fd] = 0;
            } else if (!(way == COMPUTE_FIRST ? compute_first : serve_one)(way, fd, &counts[0])) {
                close(fd);
            }
        }
    }
}

// The same by poll(2) and select(2).
static void serve_polled(int way) {
    int listener = listen_at(PORT + way), count = 1, on = 1, none = 0;
    struct pollfd fds[32] = {{listener, POLLIN}};
    for (;;) {
        fd_set set;
        FD_ZERO(&set);
        for (int i = 0; i < count; i++) FD_SET(fds[i].fd, &set);
        if (way == POLL ? poll(fds, count, -1) < 0 : select(64, &set, NULL, NULL, NULL) < 0) continue;
        for (int i = count - 1; i >= 0; i--) {
            if (way == POLL ? !fds[i].revents : !FD_ISSET(fds[i].fd, &set)) continue;
            if (i > 0) {
                if (serve_one(way, fds[i].fd, &none)) continue;
                close(fds[i].fd);
                fds[i] = fds[--count];
            } else if (count < 32) {
                int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                CHECK(fd >= 0 && fd < 64);
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                fds[count++] = (struct pollfd){fd, POLLIN};
            }
        }
    }
}

// ---- the client ----

static const char *address;

static int begin(int way) {
    int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(PORT + way), .sin_addr.s_addr = inet_addr(address)};
    struct timeval patience = {20};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    CHECK(connect(fd, (void *)&to, sizeof to) == 0);
    return fd;
}

static void expect(int fd, const char *data, size_t size) {
    static char got[2 * MOST];
    for (size_t done = 0; done < size;) {
        ssize_t count = recv(fd, got, size - done, 0);
        CHECK(count > 0 && memcmp(got, data + done, count) == 0);
        done += count;
    }
}

static void ask(int fd, const char *data, size_t size) {
    CHECK(send(fd, data, size, 0) == (ssize_t)size);
    expect(fd, data, size);
}

// Makes the server quick enough that its calls are carried out ahead.
static void warm(int fd) {
    for (int i = 0; i < WARM; i++) ask(fd, "warm", 4);
}

static void *echoes(void *way) {
    enum { CONNECTIONS = 6 };
    int rounds = (intptr_t)way >= OTHER_CALLS ? 100 : 500;
    char data[CONNECTIONS][MOST];
    int fds[CONNECTIONS], sizes[CONNECTIONS];
    unsigned seed = (intptr_t)way * 77 + 5;
    for (int i = 0; i < CONNECTIONS; i++) fds[i] = begin((intptr_t)way);
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < CONNECTIONS; i++) {
            sizes[i] = 1 + rand_r(&seed) % (rand_r(&seed) % 8 ? 200 : MOST - 1);
            for (int at = 0; at < sizes[i]; at++) data[i][at] = rand_r(&seed);
            CHECK(send(fds[i], data[i], sizes[i], 0) == sizes[i]);
        }
        for (int i = 0; i < CONNECTIONS; i++) {
            char got[MOST];
            CHECK(recv(fds[i], got, sizes[i], MSG_WAITALL) == sizes[i] && memcmp(got, data[i], sizes[i]) == 0);
        }
    }
    for (int i = 0; i < CONNECTIONS; i++) close(fds[i]);
    return NULL;
}

static void two_writers(int way) {
    int fd = begin(way);
    for (int i = 0; i < 200; i++) {
        char lines[32];
        sprintf(lines, "A%07dB%07d", i, i);
        CHECK(send(fd, "g", 1, 0) == 1);
        expect(fd, lines, 16);
    }
    close(fd);
}

static void last_words(char how) {
    int fd = begin(LAST_WORDS);
    char last[] = "the last words ?", byte;
    warm(fd);
    last[sizeof last - 2] = how;
    ask(fd, last, sizeof last - 1);
    CHECK(recv(fd, &byte, 1, 0) <= 0);
    close(fd);
}

static void forks(void) {
    int fd = begin(FORK);
    for (int i = 0; i < 5; i++) {
        warm(fd);
        CHECK(send(fd, "fork", 4, 0) == 4);
        expect(fd, "forkchildparent", 15);
    }
    close(fd);
}

static void computes(void) {
    int fd = begin(COMPUTE);
    for (int i = 0; i < 3; i++) {
        warm(fd);
        int64_t start = now();
        ask(fd, "compute", 7);
        CHECK(now() - start < LONG_NS / 4 * 3);
    }
    close(fd);
}

static void computes_first(void) {
    int fd = begin(COMPUTE_FIRST);
    for (int i = 0; i < PAUSES; i++) {
        warm(fd);
        int64_t start = now();
        ask(fd, "late", 4);
        CHECK(now() - start < LONG_NS / 4 * 3 + pauses_ms[i] * 1000000ll);
    }
    close(fd);
}

static void errors(void) {
    int steady = begin(ERRORS);
    for (int i = 0; i < 200; i++) {
        struct linger none = {1, 0};
        int fd = begin(ERRORS);
        for (int round = 0; round < 8; round++) ask(fd, "before", 6);
        CHECK(send(fd, "unheard", 7, 0) == 7);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        close(fd);
        ask(steady, "still there", 11);
    }
    close(steady);
}

int main(int count, char **args) {
    signal(SIGPIPE, SIG_IGN);
    if (count == 2) {
        for (int way = 0; way < WAYS; way++) {
            if (fork() != 0) continue;
            // What kills a server is followed by the next.
            while (way == LAST_WORDS && fork() != 0) wait(NULL);
            (way < POLL ? serve : serve_polled)(way);
        }
        for (;;) pause();
    }
    address = args[2];
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, echoes, (void *)(intptr_t)(ECHO_LEVEL + i));
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    for (int way = OTHER_CALLS; way <= SELECT; way++) echoes((void *)(intptr_t)way);
    for (int way = TWO_WRITERS; way <= DUPLICATE; way++) two_writers(way);
    for (const char *how = "kxf"; *how; how++) {
        last_words(*how);
        usleep(300000);
    }
    forks();
    computes();
    computes_first();
    errors();
    return 0;
}
