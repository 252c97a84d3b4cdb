// also: host network
// SO_RCVTIMEO and SO_SNDTIMEO hold for every call that waits for a socket, and make signals end it, SA_RESTART or not.
#include "check.h"
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#define SOON 40
#define LATE 30000

static char bytes[1 << 18];

static void time_out(int socket, int ms) {
    struct timeval time = {ms / 1000, ms % 1000 * 1000};
    CHECK(setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time) == 0);
    CHECK(setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof time) == 0);
}

static void on_signal(int signal) {
    (void)signal;
}

// A signal comes again and again, so that one comes while the call waits.
static void signals(int ms) {
    struct itimerval again = {{0, ms * 1000}, {0, ms * 1000}};
    CHECK(setitimer(ITIMER_REAL, &again, NULL) == 0);
}

// Each way of receiving from a socket that has nothing.
static void nothing_comes(int socket, int error) {
    char buffer[8];
    struct iovec iov = {buffer, sizeof buffer};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    struct mmsghdr messages = {message, 0};
    FAILS(recv(socket, buffer, sizeof buffer, 0), error);
    FAILS(recvmsg(socket, &message, 0), error);
    FAILS(recvmmsg(socket, &messages, 1, 0, NULL), error);
    FAILS(read(socket, buffer, sizeof buffer), error);
    FAILS(readv(socket, &iov, 1), error);
    FAILS(preadv2(socket, &iov, 1, -1, 0), error);
}

// Each way of sending to a socket that has no room.
static void no_room(int socket, int error) {
    struct iovec iov = {bytes, 4096};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    FAILS(send(socket, bytes, 4096, 0), error);
    FAILS(sendmsg(socket, &message, 0), error);
    FAILS(write(socket, bytes, 4096), error);
    FAILS(writev(socket, &iov, 1), error);
}

// What is on its way makes room when it has come: full is what stays full. Small pieces would make a host's TCP put them
// together later on, which makes room as well.
static void fill(int socket, int smallest) {
    for (int sent = 1; sent; usleep(400000)) {
        sent = 0;
        for (int size = sizeof bytes / 4; size >= smallest; size /= 16)
            while (send(socket, bytes, size, MSG_DONTWAIT) > 0) sent = 1;
        CHECK(errno == EAGAIN);
    }
}

// It can be filled with messages of `smallest` bytes, or not at all.
static void waits(int socket, int smallest) {
    time_out(socket, SOON);
    nothing_comes(socket, EAGAIN);
    if (smallest) {
        fill(socket, smallest);
        no_room(socket, EAGAIN);
    }
    time_out(socket, LATE);
    signals(20);
    nothing_comes(socket, EINTR);
    if (smallest) no_room(socket, EINTR);
    signals(0);
}

// Into a pipe, out of one, out of a file.
static void moved_between_files(int socket) {
    int ends[2], file = open("/proc/self/exe", O_RDONLY);
    CHECK(file >= 0 && pipe(ends) == 0);
    time_out(socket, SOON);
    FAILS(splice(socket, NULL, ends[1], NULL, 4096, 0), EAGAIN);
    CHECK(write(ends[1], bytes, 4096) == 4096);
    FAILS(splice(ends[0], NULL, socket, NULL, 4096, 0), EAGAIN);
    FAILS(sendfile(socket, file, NULL, 4096), EAGAIN);
    close(ends[0]), close(ends[1]), close(file);
}

static int listener(struct sockaddr_in *name, int backlog) {
    socklen_t len = sizeof *name;
    int socket_ = socket(AF_INET, SOCK_STREAM, 0);
    *name = (struct sockaddr_in){AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
    CHECK(bind(socket_, (void *)name, len) == 0 && listen(socket_, backlog) == 0);
    CHECK(getsockname(socket_, (void *)name, &len) == 0);
    return socket_;
}

static void tcp(void) {
    struct sockaddr_in name;
    int server = listener(&name, 1), client = socket(AF_INET, SOCK_STREAM, 0), size = 16384;
    CHECK(setsockopt(client, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
    CHECK(setsockopt(server, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) == 0);
    CHECK(connect(client, (void *)&name, sizeof name) == 0);
    int accepted = accept(server, NULL, NULL);
    CHECK(accepted >= 0);
    time_out(server, SOON);
    FAILS(accept(server, NULL, NULL), EAGAIN);
    time_out(server, LATE);
    signals(20);
    FAILS(accept(server, NULL, NULL), EINTR);
    signals(0);
    waits(client, sizeof bytes / 4);
    moved_between_files(client);
    // Those of a listener are its connections', too.
    CHECK(close(client) == 0 && close(accepted) == 0);
    time_out(server, SOON);
    client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(client, (void *)&name, sizeof name) == 0);
    accepted = accept(server, NULL, NULL);
    nothing_comes(accepted, EAGAIN);
    close(server), close(client), close(accepted);
}

// Connections that wait: the listener takes no more.
static void tcp_connect(void) {
    struct sockaddr_in name;
    int server = listener(&name, 0), first = socket(AF_INET, SOCK_STREAM, 0), second = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(first, (void *)&name, sizeof name) == 0);
    time_out(second, SOON);
    FAILS(connect(second, (void *)&name, sizeof name), EINPROGRESS);
    FAILS(connect(second, (void *)&name, sizeof name), EALREADY);
    time_out(second, LATE);
    signals(20);
    FAILS(connect(second, (void *)&name, sizeof name), EINTR);
    signals(0);
    close(server), close(first), close(second);
}

static void unix_connect(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa_family_t);
    int server = socket(AF_UNIX, SOCK_STREAM, 0), first = socket(AF_UNIX, SOCK_STREAM, 0), second = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(server, (void *)&name, len) == 0 && listen(server, 0) == 0);
    len = sizeof name;
    CHECK(getsockname(server, (void *)&name, &len) == 0);
    time_out(server, SOON);
    FAILS(accept(server, NULL, NULL), EAGAIN);
    time_out(server, LATE);
    signals(20);
    FAILS(accept(server, NULL, NULL), EINTR);
    signals(0);
    CHECK(connect(first, (void *)&name, len) == 0);
    time_out(second, SOON);
    FAILS(connect(second, (void *)&name, len), EAGAIN);
    time_out(second, LATE);
    signals(20);
    FAILS(connect(second, (void *)&name, len), EINTR);
    signals(0);
    close(server), close(first), close(second);
}

// Without a time-out a call goes on after a handler with SA_RESTART.
static void goes_on(void) {
    int pair[2], status;
    char byte;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    int child = fork();
    if (child == 0) {
        usleep(150000);
        _exit(write(pair[1], "x", 1) != 1);
    }
    signals(20);
    CHECK(read(pair[0], &byte, 1) == 1 && byte == 'x');
    signals(0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

// Who writes to another's full socket goes on when that one reads.
static void room_elsewhere(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa_family_t);
    int reader = socket(AF_UNIX, SOCK_DGRAM, 0), writer = socket(AF_UNIX, SOCK_DGRAM, 0), status;
    CHECK(bind(reader, (void *)&name, len) == 0);
    len = sizeof name;
    CHECK(getsockname(reader, (void *)&name, &len) == 0 && connect(writer, (void *)&name, len) == 0);
    while (send(writer, bytes, 1024, MSG_DONTWAIT) > 0)
        ;
    time_out(writer, SOON);
    FAILS(write(writer, bytes, 1024), EAGAIN);
    time_out(writer, LATE);
    int child = fork();
    if (child == 0) {
        usleep(50000);
        while (recv(reader, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
            ;
        _exit(0);
    }
    CHECK(write(writer, bytes, 1024) == 1024);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    for (int i = 0; i < 3; i++) {
        int pair[2];
        CHECK(socketpair(AF_UNIX, types[i], 0, pair) == 0);
        waits(pair[0], 1);
        if (types[i] == SOCK_STREAM) moved_between_files(pair[0]);
        close(pair[0]), close(pair[1]);
    }
    struct sockaddr_in name = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}};
    int udp = socket(AF_INET, SOCK_DGRAM, 0), netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    CHECK(udp >= 0 && netlink >= 0 && bind(udp, (void *)&name, sizeof name) == 0);
    waits(udp, 0);
    waits(netlink, 0);
    tcp();
    tcp_connect();
    unix_connect();
    goes_on();
    room_elsewhere();
    return 0;
}
