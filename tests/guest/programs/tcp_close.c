// also: host network
// How a TCP connection over loopback ends: what a close resets and what it leaves alone, and what is still read.
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

static int client, server;

static void connect_pair(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (void *)&at, sizeof at) == 0 && listen(listener, 5) == 0 && getsockname(listener, (void *)&at, &len) == 0);
    client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(client, (void *)&at, sizeof at) == 0);
    server = accept(listener, 0, 0);
    close(listener);
}

static int events(int fd) {
    struct pollfd all = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    CHECK(poll(&all, 1, 0) >= 0);
    return all.revents;
}

static int taken_error(int fd) {
    int error;
    socklen_t len = sizeof error;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0);
    return error;
}

// Both sides have said that they send no more: a close with data unread tells the other side nothing new.
static void closed_after_both_ends(void) {
    char buffer[8];
    connect_pair();
    CHECK(write(client, "put", 3) == 3 && write(server, "get", 3) == 3);
    CHECK(shutdown(client, SHUT_WR) == 0 && shutdown(server, SHUT_WR) == 0);
    close(server);
    CHECK(events(client) == (POLLIN | POLLOUT | POLLRDHUP | POLLHUP));
    CHECK(read(client, buffer, 8) == 3 && read(client, buffer, 8) == 0 && taken_error(client) == 0);
    close(client);
}

// One of them had not: it is reset, and reads what had come before.
static void closed_before_both_ends(void) {
    char buffer[8];
    connect_pair();
    CHECK(write(client, "put", 3) == 3 && write(server, "get", 3) == 3 && shutdown(server, SHUT_WR) == 0);
    close(server);
    CHECK(events(client) == (POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR));
    CHECK(read(client, buffer, 8) == 3 && read(client, buffer, 8) == 0 && taken_error(client) == EPIPE);
    close(client);
}

// Data for a socket that was shut in both directions resets the connection on both sides.
static void data_after_both_were_shut(void) {
    char buffer[8];
    connect_pair();
    CHECK(write(client, "put", 3) == 3 && shutdown(server, SHUT_RD) == 0);
    CHECK(write(client, "put", 3) == 3 && shutdown(server, SHUT_WR) == 0);
    CHECK(events(client) == (POLLIN | POLLOUT | POLLRDHUP));
    CHECK(write(client, "put", 3) == 3);
    CHECK(events(client) == (POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR));
    CHECK(events(server) == (POLLIN | POLLOUT | POLLRDHUP | POLLHUP | POLLERR));
    CHECK(read(server, buffer, 8) == 6);
    FAILS(read(server, buffer, 8), ECONNRESET);
    CHECK(read(server, buffer, 8) == 0);
    FAILS(write(client, "put", 3), EPIPE);
    FAILS(shutdown(client, SHUT_WR), ENOTCONN);
    close(client);
    close(server);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    closed_after_both_ends();
    closed_before_both_ends();
    data_after_both_were_shut();
    return 0;
}
