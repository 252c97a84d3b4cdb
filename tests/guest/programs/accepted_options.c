// also: host network
// What an accepted socket has of its listener's options, and what a stream does not tell of packets.
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

static int set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value);
}

static int get(int fd, int name) {
    int value = -99;
    socklen_t len = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &len) == 0 ? value : -1000 - errno;
}

static int control_of(int fd) {
    char data[8], control[256];
    struct iovec iov = {data, sizeof data};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK(recvmsg(fd, &msg, 0) == 1);
    return msg.msg_controllen;
}

static void stream(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    struct linger linger = {1, 3};
    struct timeval patience = {7, 0};
    CHECK(set(listener, SOL_SOCKET, SO_KEEPALIVE, 1) == 0 && set(listener, SOL_SOCKET, SO_RCVBUF, 50000) == 0);
    CHECK(setsockopt(listener, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    CHECK(setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    CHECK(bind(listener, (void *)&at, sizeof at) == 0 && listen(listener, 4) == 0);
    CHECK(getsockname(listener, (void *)&at, &len) == 0 && connect(client, (void *)&at, sizeof at) == 0);
    int server = accept(listener, NULL, NULL);
    CHECK(server >= 0);
    for (int again = 0; again < 2; again++) {
        struct linger told = {0};
        struct timeval left = {0};
        socklen_t size = sizeof told;
        CHECK(get(server, SO_KEEPALIVE) == 1 && get(server, SO_RCVBUF) == 100000);
        CHECK(getsockopt(server, SOL_SOCKET, SO_LINGER, &told, &size) == 0 && told.l_onoff == 1 && told.l_linger == 3);
        size = sizeof left;
        CHECK(getsockopt(server, SOL_SOCKET, SO_RCVTIMEO, &left, &size) == 0 && left.tv_sec == 7);
        // Another option leaves these as they are.
        CHECK(set(server, SOL_SOCKET, SO_OOBINLINE, 1) == 0);
    }
    CHECK(get(client, SO_KEEPALIVE) == 0);

    CHECK(set(server, SOL_IP, IP_RECVTTL, 1) == 0 && set(server, SOL_SOCKET, SO_RXQ_OVFL, 1) == 0);
    CHECK(send(client, "x", 1, 0) == 1 && control_of(server) == 0);
    char byte = 1;
    FAILS(setsockopt(server, SOL_TCP, TCP_NODELAY, &byte, 1), EINVAL);
    CHECK(setsockopt(server, SOL_IP, IP_TTL, &byte, 1) == 0);
}

static void drops_are_told_when_there_were_any(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(bind(fd, (void *)&at, sizeof at) == 0 && getsockname(fd, (void *)&at, &len) == 0);
    CHECK(set(fd, SOL_SOCKET, SO_RXQ_OVFL, 1) == 0 && sendto(fd, "x", 1, 0, (void *)&at, sizeof at) == 1);
    CHECK(control_of(fd) == 0);
}

static void unix_sockets(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int size = offsetof(struct sockaddr_un, sun_path) +
               snprintf(at.sun_path + 1, sizeof at.sun_path - 1, "accepted-%d", getpid()) + 1;
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(listener, (void *)&at, size) == 0 && listen(listener, 4) == 0);
    CHECK(set(listener, SOL_SOCKET, SO_PASSCRED, 1) == 0 && set(listener, SOL_SOCKET, SO_KEEPALIVE, 1) == 0);
    CHECK(connect(client, (void *)&at, size) == 0);
    int server = accept(listener, NULL, NULL);
    CHECK(server >= 0 && get(server, SO_PASSCRED) == 1 && get(server, SO_KEEPALIVE) == 0);
    CHECK(send(client, "x", 1, 0) == 1 && control_of(server) == CMSG_SPACE(sizeof(struct ucred)));
}

int main(void) {
    stream();
    drops_are_told_when_there_were_any();
    unix_sockets();
    return 0;
}
