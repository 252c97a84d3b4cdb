// also: host network
// TCP over loopback: a non-blocking connect is in progress first, then done or refused; again; blocking; half-close.
#include "check.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/uio.h>

int main(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), error;
    CHECK(bind(listener, (void *)&at, sizeof at) == 0 && listen(listener, 5) == 0 && getsockname(listener, (void *)&at, &len) == 0);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    FAILS(connect(client, (void *)&at, sizeof at), EINPROGRESS);
    struct pollfd wait = {client, POLLOUT};
    CHECK(poll(&wait, 1, 5000) == 1 && wait.revents == POLLOUT);
    len = sizeof error;
    CHECK(getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0);
    CHECK(connect(client, (void *)&at, sizeof at) == 0);
    FAILS(connect(client, (void *)&at, sizeof at), EISCONN);
    int server = accept(listener, 0, 0);
    char buffer[8];
    FAILS(read(client, buffer, 8), EAGAIN);
    CHECK(write(server, "hi", 2) == 2 && shutdown(server, SHUT_WR) == 0);
    wait.events = POLLIN | POLLRDHUP;
    CHECK(poll(&wait, 1, 5000) == 1 && read(client, buffer, 8) == 2 && read(client, buffer, 8) == 0);
    CHECK(write(client, "yo", 2) == 2 && read(server, buffer, 8) == 2);
    close(client);
    CHECK(read(server, buffer, 8) == 0);
    close(server);
    // Blocking.
    client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(client, (void *)&at, sizeof at) == 0);
    FAILS(connect(client, (void *)&at, sizeof at), EISCONN);
    // What is written to a closed peer is lost, and soon answered by a reset.
    server = accept(listener, 0, 0);
    close(client);
    close(server);
    client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(client, (void *)&at, sizeof at) == 0);
    server = accept(listener, 0, 0);
    close(server);
    static char much[1 << 20];
    struct iovec parts[64];
    for (int i = 0; i < 64; i++) parts[i] = (struct iovec){much, sizeof much};
    CHECK(writev(client, parts, 64) < sizeof much * 64);
    signal(SIGPIPE, SIG_IGN);
    FAILS(writev(client, parts, 64), EPIPE);
    close(client);
    close(listener);
    // Refused, both ways.
    client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    FAILS(connect(client, (void *)&at, sizeof at), EINPROGRESS);
    wait.fd = client;
    wait.events = POLLOUT;
    CHECK(poll(&wait, 1, 5000) == 1 && (wait.revents & POLLERR));
    len = sizeof error;
    CHECK(getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == ECONNREFUSED);
    client = socket(AF_INET, SOCK_STREAM, 0);
    FAILS(connect(client, (void *)&at, sizeof at), ECONNREFUSED);
    return 0;
}
