// Unix sockets: streams, datagrams, packets, names, abstract names, descriptors and credentials in messages.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static int send_fd(int socket, int *fds, int count, const char *text) {
    char control[CMSG_SPACE(16 * sizeof(int))] = {0};
    struct iovec iov = {(void *)text, strlen(text)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    return sendmsg(socket, &message, 0);
}

static char data[64], control[256];
static struct msghdr received;
static struct iovec iov = {data, sizeof data};
static int receive(int socket, int flags, int control_len) {
    received = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = control_len};
    return recvmsg(socket, &received, flags);
}

// Who wants credentials has a name, given when it connects or sends, that can be answered to.
static void named_for_credentials(int type) {
    struct sockaddr_un name = {AF_UNIX}, peer;
    socklen_t len = sizeof(sa_family_t), peer_len = sizeof peer;
    int on = 1, server = socket(AF_UNIX, type, 0), client = socket(AF_UNIX, type, 0), plain = socket(AF_UNIX, type, 0);
    CHECK(bind(server, (void *)&name, len) == 0);
    len = sizeof name;
    CHECK(getsockname(server, (void *)&name, &len) == 0 && len == sizeof(sa_family_t) + 6);
    CHECK(type == SOCK_DGRAM || listen(server, 2) == 0);
    CHECK(setsockopt(client, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    if (type == SOCK_DGRAM)
        CHECK(sendto(client, "x", 1, 0, (void *)&name, len) == 1);
    else
        CHECK(connect(client, (void *)&name, len) == 0);
    CHECK(getsockname(client, (void *)&peer, &peer_len) == 0 && peer_len == sizeof(sa_family_t) + 6 && peer.sun_path[0] == 0);
    peer_len = sizeof peer;
    CHECK(connect(plain, (void *)&name, len) == 0);
    CHECK(getsockname(plain, (void *)&peer, &peer_len) == 0 && peer_len == sizeof(sa_family_t));
    close(server), close(client), close(plain);
}

int main(void) {
    named_for_credentials(SOCK_STREAM);
    named_for_credentials(SOCK_SEQPACKET);
    named_for_credentials(SOCK_DGRAM);
    int pair[2], status;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    int none[2];
    FAILS(socketpair(AF_INET, SOCK_STREAM, 0, none), EOPNOTSUPP);

    // Descriptors: a message with them is a boundary; MSG_CMSG_CLOEXEC; what does not fit is closed.
    int fds[3];
    pipe(fds);
    CHECK(send_fd(pair[0], fds, 2, "fds") == 3 && send(pair[0], "plain", 5, 0) == 5);
    CHECK(receive(pair[1], MSG_CMSG_CLOEXEC, sizeof control) == 3 && received.msg_flags == MSG_CMSG_CLOEXEC);
    struct cmsghdr *header = CMSG_FIRSTHDR(&received);
    CHECK(header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(8));
    int got[2];
    memcpy(got, CMSG_DATA(header), 8);
    CHECK(fcntl(got[0], F_GETFD) == FD_CLOEXEC && write(got[1], "z", 1) == 1 && read(fds[0], data, 1) == 1);
    CHECK(receive(pair[1], 0, sizeof control) == 5 && received.msg_controllen == 0);
    CHECK(send_fd(pair[0], fds, 2, "cut") == 3);
    CHECK(receive(pair[1], 0, CMSG_LEN(4)) == 3 && (received.msg_flags & MSG_CTRUNC));
    int bad = 999;
    FAILS(send_fd(pair[0], &bad, 1, "x"), EBADF);

    // Credentials.
    int on = 1;
    CHECK(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    pid_t child = fork();
    if (child == 0) _exit(send(pair[0], "cred", 4, 0) == 4 ? 0 : 1);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(receive(pair[1], 0, sizeof control) == 4);
    header = CMSG_FIRSTHDR(&received);
    struct ucred cred;
    CHECK(header && header->cmsg_type == SCM_CREDENTIALS);
    memcpy(&cred, CMSG_DATA(header), sizeof cred);
    CHECK(cred.pid == child && cred.uid == getuid() && cred.gid == getgid());
    socklen_t len = sizeof cred;
    CHECK(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && cred.pid == getpid());

    // A stream's end.
    CHECK(shutdown(pair[0], SHUT_WR) == 0);
    signal(SIGPIPE, SIG_IGN);
    FAILS(send(pair[0], "x", 1, 0), EPIPE);
    CHECK(recv(pair[1], data, 1, 0) == 0 && send(pair[1], "y", 1, 0) == 1 && recv(pair[0], data, 1, MSG_PEEK) == 1);
    CHECK(recv(pair[0], data, 9, 0) == 1);
    close(pair[1]);
    CHECK(recv(pair[0], data, 1, 0) == 0);

    // Packets keep their bounds, and say so when cut.
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    CHECK(send(pair[0], "one", 3, 0) == 3 && send(pair[0], "second", 6, 0) == 6);
    CHECK(recv(pair[1], data, 64, 0) == 3);
    iov.iov_len = 2;
    CHECK(receive(pair[1], MSG_TRUNC, 0) == 6 && (received.msg_flags & MSG_TRUNC));
    iov.iov_len = sizeof data;
    close(pair[0]);
    CHECK(recv(pair[1], data, 64, 0) == 0);

    // Names.
    struct sockaddr_un address = {.sun_family = AF_UNIX}, other;
    sprintf(address.sun_path, "/tmp/sock-%d", getpid());
    int listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    FAILS(connect(client, (void *)&address, sizeof address), ENOENT);
    CHECK(bind(listener, (void *)&address, sizeof address) == 0);
    FAILS(connect(client, (void *)&address, sizeof address), ECONNREFUSED);
    FAILS(bind(client, (void *)&address, sizeof address), EADDRINUSE);
    struct stat st;
    CHECK(stat(address.sun_path, &st) == 0 && S_ISSOCK(st.st_mode));
    FAILS(open(address.sun_path, O_RDWR), ENXIO);
    CHECK(listen(listener, 0) == 0);
    CHECK(connect(client, (void *)&address, sizeof address) == 0);
    int second = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    FAILS(connect(second, (void *)&address, sizeof address), EAGAIN);
    len = sizeof other;
    int server = accept4(listener, (void *)&other, &len, SOCK_CLOEXEC);
    CHECK(server >= 0 && len == 2);
    FAILS(connect(client, (void *)&address, sizeof address), EISCONN);
    len = sizeof other;
    CHECK(getpeername(client, (void *)&other, &len) == 0 && strcmp(other.sun_path, address.sun_path) == 0);
    CHECK(len == offsetof(struct sockaddr_un, sun_path) + strlen(address.sun_path) + 1);
    CHECK(unlink(address.sun_path) == 0);

    // Datagrams and abstract names.
    int a = socket(AF_UNIX, SOCK_DGRAM, 0), b = socket(AF_UNIX, SOCK_DGRAM, 0);
    struct sockaddr_un name = {AF_UNIX};
    len = offsetof(struct sockaddr_un, sun_path) + 1 + sprintf(name.sun_path + 1, "abstract-%d", getpid());
    CHECK(bind(a, (void *)&name, len) == 0);
    FAILS(bind(b, (void *)&name, len), EADDRINUSE);
    CHECK(bind(b, (void *)&name, sizeof(sa_family_t)) == 0);
    CHECK(sendto(b, "dgram", 5, 0, (void *)&name, len) == 5);
    socklen_t from_len = sizeof other;
    CHECK(recvfrom(a, data, 64, 0, (void *)&other, &from_len) == 5 && from_len == 2 + 6 && other.sun_path[0] == 0);
    CHECK(connect(b, (void *)&name, len) == 0 && send(b, "", 0, 0) == 0 && recv(a, data, 64, 0) == 0);
    close(a);
    FAILS(send(b, "x", 1, 0), ECONNREFUSED);

    // Who goes with unread bytes resets its peer, which still reads what came before: of a stream first, of packets after.
    int reset[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, reset) == 0);
    CHECK(write(reset[0], "unread", 6) == 6 && write(reset[1], "last", 4) == 4 && close(reset[1]) == 0);
    FAILS(send(reset[0], "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK(recv(reset[0], data, 64, MSG_PEEK) == 4 && read(reset[0], data, 64) == 4 && memcmp(data, "last", 4) == 0);
    FAILS(read(reset[0], data, 64), ECONNRESET);
    CHECK(read(reset[0], data, 64) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, reset) == 0);
    CHECK(write(reset[0], "unread", 6) == 6 && write(reset[1], "last", 4) == 4 && close(reset[1]) == 0);
    FAILS(read(reset[0], data, 64), ECONNRESET);
    CHECK(read(reset[0], data, 64) == 4 && read(reset[0], data, 64) == 0);
    return 0;
}
