// Pipes, sockets and events: within one thread, between threads, between processes.
#include "ops.h"
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>

enum { CHUNK = 1 << 16 };

static int ours[2], theirs[2], waiter;
static char buffer[CHUNK];

static void make_pipe(void) { check(pipe(ours), "pipe"); }

static void op_pipe(long times) {
    while (times--) {
        CALL3(write, ours[1], buffer, 1);
        CALL3(read, ours[0], buffer, 1);
    }
}

static void make_eventfd(void) { ours[0] = check(eventfd(0, 0), "eventfd"); }

static void op_eventfd(long times) {
    unsigned long value = 1;
    while (times--) {
        CALL3(write, ours[0], &value, sizeof value);
        CALL3(read, ours[0], &value, sizeof value);
    }
}

static void make_ready(void) {
    struct epoll_event wanted = {.events = EPOLLIN};
    ours[0] = check(eventfd(1, 0), "eventfd");
    waiter = check(epoll_create1(0), "epoll_create1");
    check(epoll_ctl(waiter, EPOLL_CTL_ADD, ours[0], &wanted), "epoll_ctl");
}

static void op_epoll(long times) {
    struct epoll_event events[4];
    while (times--) CALL(epoll_wait, waiter, events, 4, 0);
}

// One byte there and back, to whoever echoes.
static void op_ping(long times) {
    while (times--) {
        check(write(ours[1], buffer, 1), "write");
        check(read(ours[0], buffer, 1), "read");
    }
}

static void echo(void) {
    char byte;
    while (read(theirs[0], &byte, 1) == 1) check(write(theirs[1], &byte, 1), "echo");
}

static void *echo_thread(void *unused) {
    echo();
    return unused;
}

static void start_thread(void *(*body)(void *)) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, NULL) != 0) give_up("pthread_create");
}

static void make_process_pair(void) {
    int there[2], back[2];
    check(pipe(there), "pipe");
    check(pipe(back), "pipe");
    ours[0] = back[0], ours[1] = there[1], theirs[0] = there[0], theirs[1] = back[1];
    if (check(fork(), "fork") == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        echo();
        _exit(0);
    }
}

static void stay_on(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

// Two processes that cannot share a core: what waking the other one takes, there and back.
static void make_distant_pair(void) {
    int there[2], back[2];
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) give_up("one core");
    check(pipe(there), "pipe");
    check(pipe(back), "pipe");
    ours[0] = back[0], ours[1] = there[1], theirs[0] = there[0], theirs[1] = back[1];
    pid_t child = check(fork(), "fork");
    stay_on(child == 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        echo();
        _exit(0);
    }
}

static void make_unix_pair(void) {
    int pair[2];
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
    ours[0] = ours[1] = pair[0], theirs[0] = theirs[1] = pair[1];
    start_thread(echo_thread);
}

static void connect_tcp(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof to;
    int on = 1, listener = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    check(bind(listener, (struct sockaddr *)&to, sizeof to), "bind");
    check(listen(listener, 1), "listen");
    check(getsockname(listener, (struct sockaddr *)&to, &length), "getsockname");
    int one = check(socket(AF_INET, SOCK_STREAM, 0), "socket");
    check(connect(one, (struct sockaddr *)&to, sizeof to), "connect");
    int other = check(accept(listener, NULL, NULL), "accept");
    setsockopt(one, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(other, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ours[0] = ours[1] = one, theirs[0] = theirs[1] = other;
}

static void make_tcp_pair(void) {
    connect_tcp();
    start_thread(echo_thread);
}

static void *drain_thread(void *unused) {
    static char sink[CHUNK];
    while (read(theirs[0], sink, sizeof sink) > 0) {}
    return unused;
}

static void make_tcp_stream(void) {
    connect_tcp();
    start_thread(drain_thread);
}

static void op_stream(long times) { while (times--) check(write(ours[1], buffer, CHUNK), "write"); }

static void op_unix_message(long times) {
    while (times--) {
        CALL3(write, ours[1], buffer, 1);
        CALL3(read, theirs[0], buffer, 1);
    }
}

static void make_unix_own(void) {
    int pair[2];
    check(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), "socketpair");
    ours[1] = pair[0], theirs[0] = pair[1];
}

const struct op channels[] = {
    {"pipe-write-read", make_pipe, op_pipe, PROCESSES},
    {"unix-write-read", make_unix_own, op_unix_message, PROCESSES},
    {"eventfd-write-read", make_eventfd, op_eventfd, PROCESSES},
    {"epoll-ready", make_ready, op_epoll, BOTH},
    {"ping-pipe-processes", make_process_pair, op_ping, PROCESSES},
    {"ping-other-core", make_distant_pair, op_ping},
    {"ping-unix-threads", make_unix_pair, op_ping, PROCESSES},
    {"ping-tcp-threads", make_tcp_pair, op_ping},
    {"tcp-stream-64k", make_tcp_stream, op_stream},
    {NULL},
};
