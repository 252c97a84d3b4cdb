// also: static
// Event loops over connections between processes of one sandbox. The sandbox may carry out their reads, writes and
// epoll_ctl(2) later than these return; nobody may notice.
#include "check.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

// ROUNDS is enough for call sites to be rewritten, and for calls to be posted.
enum { CLIENTS = 8, ROUNDS = 120, LONG_NS = 2000000000 };

// What both processes see without a call.
static struct { _Atomic unsigned heard, stop; } *shared;
static struct sockaddr_in at;
static int listener, fds[CLIENTS], loop;
static unsigned asked;

// A question or an answer. The rest is of bytes that mean something wherever they are left behind.
struct message { unsigned word; unsigned char rest[60]; };

static void put(int fd, unsigned word) {
    struct message message = {word, {0}};
    memset(message.rest, 0xff, sizeof message.rest);
    CHECK(send(fd, &message, sizeof message, 0) == sizeof message);
}

static unsigned get(int fd, int flags) {
    struct message message = {0, {0}};
    CHECK(recv(fd, &message, sizeof message, flags) == sizeof message && message.rest[59] == 0xff);
    return message.word;
}

static int64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000ll + time.tv_nsec;
}

// Waits without a call until `value` is reached.
static void watch(_Atomic unsigned *value, unsigned wanted) {
    int64_t end = now() + LONG_NS;
    while (*value != wanted) CHECK(now() < end);
}

static int change(int epoll, int operation, int fd, unsigned events, uint64_t data) {
    struct epoll_event event = {events, {.u64 = data}};
    return epoll_ctl(epoll, operation, fd, &event);
}

// Answers each word with its complement, and says what the last one was.
static void serve(void) {
    struct epoll_event events[CLIENTS];
    int epoll = epoll_create1(0), open = 0;
    CHECK(change(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, listener) == 0);
    do {
        int count = epoll_wait(epoll, events, CLIENTS, -1);
        CHECK(count > 0);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.u64;
            struct message message;
            if (fd == listener) {
                fd = accept(listener, 0, 0);
                CHECK(fd >= 0 && change(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, fd) == 0);
                open++;
                continue;
            }
            ssize_t size = read(fd, &message, sizeof message);
            if (size <= 0) {
                CHECK(close(fd) == 0);
                open--;
                continue;
            }
            CHECK(size == sizeof message);
            shared->heard = message.word;
            message.word = ~message.word;
            CHECK(write(fd, &message, sizeof message) == sizeof message);
        }
    } while (open > 0);
    _exit(0);
}

static pid_t begin(void) {
    socklen_t len = sizeof at;
    int on = 1;
    at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (void *)&at, sizeof at) == 0 && listen(listener, 64) == 0 && getsockname(listener, (void *)&at, &len) == 0);
    pid_t server = fork();
    CHECK(server >= 0);
    if (server == 0) serve();
    loop = epoll_create1(0);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(connect(fds[i], (void *)&at, sizeof at) == 0);
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        CHECK(change(loop, EPOLL_CTL_ADD, fds[i], EPOLLOUT, i) == 0);
    }
    return server;
}

static void end(pid_t server) {
    int status;
    for (int i = 0; i < CLIENTS; i++) close(fds[i]);
    close(loop);
    close(listener);
    CHECK(waitpid(server, &status, 0) == server && status == 0);
}

// What one may do to a watch beside what the loop does, and what comes of it.
static void odd(int fd, int is_watched) {
    int twice = is_watched ? EPOLL_CTL_ADD : EPOLL_CTL_DEL;
    FAILS(change(loop, twice, fd, EPOLLIN, 1), is_watched ? EEXIST : ENOENT);
    if (!is_watched) FAILS(change(loop, EPOLL_CTL_MOD, fd, EPOLLIN, 1), ENOENT);
    FAILS(change(loop, 17, fd, EPOLLIN, 1), EINVAL);
    FAILS(change(loop, EPOLL_CTL_MOD, 900, EPOLLIN, 1), EBADF);
    FAILS(change(901, EPOLL_CTL_MOD, fd, EPOLLIN, 1), EBADF);
    FAILS(change(fd, EPOLL_CTL_MOD, loop, EPOLLIN, 1), EINVAL);
    FAILS(epoll_ctl(loop, EPOLL_CTL_MOD, fd, (void *)8), EFAULT);
    if (is_watched) FAILS(change(loop, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLEXCLUSIVE, 1), EINVAL);
}

// Asks on connection `i`, and waits for the answer from then on.
static void ask(int i, unsigned word) {
    put(fds[i], word);
    CHECK(change(loop, EPOLL_CTL_DEL, fds[i], 0, 0) == 0);
    CHECK(change(loop, EPOLL_CTL_ADD, fds[i], EPOLLIN, i | 64) == 0);
}

// Takes an answer, and waits for room from then on.
static void take(int i, unsigned word) {
    CHECK(get(fds[i], 0) == ~word);
    CHECK(change(loop, EPOLL_CTL_MOD, fds[i], EPOLLIN | EPOLLOUT, i | 128) == 0);
    CHECK(change(loop, EPOLL_CTL_DEL, fds[i], 0, 0) == 0);
    CHECK(change(loop, EPOLL_CTL_ADD, fds[i], EPOLLOUT, i) == 0);
}

// Every client asks `rounds` times, as event loops of such programs do. `extra` is called for each question.
static void run(int rounds, void (*extra)(int i, unsigned word)) {
    struct epoll_event events[CLIENTS];
    unsigned words[CLIENTS];
    int done[CLIENTS] = {0}, left = CLIENTS * rounds;
    while (left > 0) {
        int count = epoll_wait(loop, events, CLIENTS, 5000);
        CHECK(count > 0);
        for (int n = 0; n < count; n++) {
            int i = events[n].data.u64 & 63;
            if (events[n].events & EPOLLOUT && events[n].data.u64 == (uint64_t)i) {
                if (done[i] == rounds) continue;
                ask(i, words[i] = ++asked);
                if (extra) extra(i, words[i]);
            } else {
                CHECK(events[n].data.u64 == (uint64_t)(i | 64) && events[n].events == EPOLLIN);
                take(i, words[i]);
                if (++done[i] == rounds) CHECK(change(loop, EPOLL_CTL_MOD, fds[i], 0, i) == 0);
                left--;
            }
        }
    }
    for (int i = 0; i < CLIENTS; i++) CHECK(change(loop, EPOLL_CTL_MOD, fds[i], EPOLLOUT, i) == 0);
}

static void try_odd(int i, unsigned word) {
    if (word % 7 == 0) odd(fds[i], 1);
    if (word % 11 == 0) {
        CHECK(change(loop, EPOLL_CTL_DEL, fds[i], 0, 0) == 0);
        odd(fds[i], 0);
        CHECK(change(loop, EPOLL_CTL_ADD, fds[i], EPOLLIN, i | 64) == 0);
    }
}

// The other process hears of what was sent though this one makes no further call.
static void compute(int i, unsigned word) {
    if (word % 97 == 0) watch(&shared->heard, word);
}

// ---- another thread uses the instance and the connections ----

static _Atomic unsigned turn;
static _Atomic int handed;
static int other_way, copy_of_loop;

// Looks at its turn without waiting for anything: what the first thread has done by then must be seen.
static void *look(void *unused) {
    for (unsigned count = 1;; count++) {
        struct epoll_event events[CLIENTS];
        while (turn != 2 * count - 1) {
            if (shared->stop) return NULL;
            sched_yield();
        }
        int i = handed, found = 0;
        struct pollfd whole = {loop, POLLIN, 0};
        if (other_way == 0) {
            int total = epoll_wait(loop, events, CLIENTS, 0);
            for (int n = 0; n < total; n++) found |= events[n].data.u64 == (uint64_t)(i | 256);
            CHECK(found);
        } else if (other_way == 1) {
            CHECK(poll(&whole, 1, 0) == 1);
        } else if (other_way == 2) {
            int total = epoll_wait(copy_of_loop, events, CLIENTS, 0);
            for (int n = 0; n < total; n++) found |= events[n].data.u64 == (uint64_t)(i | 256);
            CHECK(found);
        } else {
            FAILS(change(loop, EPOLL_CTL_ADD, fds[i], EPOLLIN, 0), EEXIST);
        }
        turn = 2 * count;
    }
}

static void hand(int i, unsigned word) {
    if (word % 20) return;
    static unsigned count;
    CHECK(change(loop, EPOLL_CTL_MOD, fds[i], EPOLLOUT, i | 256) == 0);
    handed = i;
    turn = 2 * ++count - 1;
    watch(&turn, 2 * count);
    CHECK(change(loop, EPOLL_CTL_MOD, fds[i], EPOLLIN, i | 64) == 0);
}

// ---- both ends in one process: what was sent is there, whoever looks ----

static int ends[2];

static void *receive(void *unused) {
    for (unsigned count = 1; count <= ROUNDS; count++) {
        while (turn != 2 * count - 1) sched_yield();
        CHECK(get(ends[1], MSG_DONTWAIT) == count);
        put(ends[1], ~count);
        turn = 2 * count;
    }
    return NULL;
}

static void one_process(void) {
    socklen_t len = sizeof at;
    pthread_t thread;
    struct epoll_event event;
    int door = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
    at.sin_port = 0;
    CHECK(bind(door, (void *)&at, sizeof at) == 0 && listen(door, 1) == 0 && getsockname(door, (void *)&at, &len) == 0);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(ends[0], (void *)&at, sizeof at) == 0 && (ends[1] = accept(door, 0, 0)) >= 0);
    CHECK(change(epoll, EPOLL_CTL_ADD, ends[0], EPOLLOUT, 0) == 0);
    turn = 0;
    CHECK(pthread_create(&thread, 0, receive, 0) == 0);
    for (unsigned count = 1; count <= ROUNDS; count++) {
        CHECK(epoll_wait(epoll, &event, 1, 5000) == 1 && event.events == EPOLLOUT);
        put(ends[0], count);
        turn = 2 * count - 1;
        watch(&turn, 2 * count);
        CHECK(get(ends[0], MSG_DONTWAIT) == ~count);
    }
    CHECK(pthread_join(thread, 0) == 0);
    close(ends[0]), close(ends[1]), close(door), close(epoll);
}

// ---- one-shot and edge-triggered watches ----

static void shots(unsigned flags) {
    struct epoll_event events[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) CHECK(change(loop, EPOLL_CTL_MOD, fds[i], EPOLLIN | flags, i) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        unsigned words[CLIENTS];
        for (int i = 0; i < CLIENTS; i++) {
            words[i] = ++asked;
            put(fds[i], words[i]);
        }
        for (int left = CLIENTS; left > 0;) {
            int count = epoll_wait(loop, events, CLIENTS, 5000);
            CHECK(count > 0);
            for (int n = 0; n < count; n++, left--) {
                int i = events[n].data.u64;
                CHECK(get(fds[i], 0) == ~words[i]);
                CHECK(change(loop, EPOLL_CTL_MOD, fds[i], EPOLLIN | flags, i) == 0);
            }
        }
        CHECK(epoll_wait(loop, events, CLIENTS, 0) == 0);
    }
    for (int i = 0; i < CLIENTS; i++) CHECK(change(loop, EPOLL_CTL_MOD, fds[i], EPOLLOUT, i) == 0);
}

// ---- the last words of a process that ends, and of one that is killed ----

static void last_words(void) {
    for (int how = 0; how < 3; how++) {
        for (int round = 0; round < 8; round++) {
            pid_t server = begin(), client = fork();
            if (client == 0) {
                run(ROUNDS / 4, NULL);
                struct epoll_event events[CLIENTS];
                CHECK(epoll_wait(loop, events, CLIENTS, 5000) > 0);
                ask(events[0].data.u64, 0xfeed + round);
                if (how == 0) _exit(0);
                if (how == 1) execl("/bin/true", "true", NULL);
                // Right before it is killed by somebody who has heard it.
                for (;;) {}
            }
            int status;
            if (how == 2) {
                for (int64_t end = now() + 10 * (int64_t)LONG_NS; shared->heard != 0xfeed + round;) {
                    CHECK(now() < end);
                    usleep(1000);
                }
                kill(client, SIGKILL);
            }
            CHECK(waitpid(client, &status, 0) == client && (how == 2 || status == 0));
            for (int64_t end = now() + LONG_NS; shared->heard != 0xfeed + round;) {
                CHECK(now() < end);
                usleep(1000);
            }
            end(server);
        }
    }
}

int main(void) {
    pthread_t thread;
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    signal(SIGPIPE, SIG_IGN);
    pid_t server = begin();
    run(ROUNDS, NULL);
    run(ROUNDS, try_odd);
    run(ROUNDS, compute);
    shots(EPOLLONESHOT);
    shots(EPOLLET);
    CHECK((copy_of_loop = dup(loop)) >= 0);
    CHECK(pthread_create(&thread, 0, look, 0) == 0);
    for (other_way = 0; other_way < 4; other_way++) run(ROUNDS, hand);
    close(copy_of_loop);
    run(ROUNDS, hand);
    shared->stop = 1;
    CHECK(pthread_join(thread, 0) == 0);
    end(server);
    one_process();
    last_words();
    return 0;
}
