// Who may send to whom on unix sockets, what shutdown(2) of one without a peer does, where a read from a stream ends.
#include "check.h"
#include <poll.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

struct name {
    struct sockaddr_un address;
    socklen_t len;
};

static int bound(struct name *name) {
    int socket_ = socket(AF_UNIX, SOCK_DGRAM, 0);
    *name = (struct name){{.sun_family = AF_UNIX}, sizeof name->address};
    CHECK(bind(socket_, (void *)&name->address, sizeof(sa_family_t)) == 0);
    CHECK(getsockname(socket_, (void *)&name->address, &name->len) == 0);
    return socket_;
}

static int to(int from, struct name *name) {
    return sendto(from, "x", 1, 0, (void *)&name->address, name->len);
}

static int link_to(int from, struct name *name) {
    return connect(from, (void *)&name->address, name->len);
}

// A datagram socket with a peer takes nothing from others.
static void strangers(void) {
    struct name name, peer_name, other_name;
    int socket_ = bound(&name), peer = bound(&peer_name), other = bound(&other_name);
    char buffer[8];
    struct sockaddr nobody = {AF_UNSPEC, {0}};
    CHECK(to(other, &name) == 1 && recv(socket_, buffer, 8, 0) == 1);
    CHECK(link_to(other, &name) == 0 && link_to(socket_, &peer_name) == 0);
    FAILS(to(other, &name), EPERM);
    // Who connected before has lost the right.
    FAILS(send(other, "x", 1, 0), EPERM);
    FAILS(write(other, "x", 1), EPERM);
    FAILS(link_to(other, &name), EPERM);
    FAILS(recv(socket_, buffer, 8, MSG_DONTWAIT), EAGAIN);
    CHECK(to(peer, &name) == 1 && recv(socket_, buffer, 8, 0) == 1);
    CHECK(link_to(peer, &name) == 0 && send(peer, "x", 1, 0) == 1 && recv(socket_, buffer, 8, 0) == 1);
    CHECK(send(socket_, "x", 1, 0) == 1 && recv(peer, buffer, 8, 0) == 1);
    CHECK(connect(socket_, &nobody, sizeof nobody) == 0);
    CHECK(to(other, &name) == 1 && recv(socket_, buffer, 8, 0) == 1);
    // To oneself.
    CHECK(link_to(socket_, &name) == 0 && send(socket_, "x", 1, 0) == 1 && recv(socket_, buffer, 8, 0) == 1);
    FAILS(to(other, &name), EPERM);
    // That a peer is gone is told once.
    CHECK(connect(peer, &nobody, sizeof nobody) == 0 && link_to(other, &peer_name) == 0 && close(peer) == 0);
    FAILS(send(other, "x", 1, 0), ECONNREFUSED);
    FAILS(send(other, "x", 1, 0), ENOTCONN);
    close(socket_), close(other);
}

// Without a peer it is done, and changes little.
static void shut_alone(int type, int read_error) {
    int socket_ = socket(AF_UNIX, type, 0);
    char byte;
    struct pollfd poll_ = {.fd = socket_, .events = POLLIN | POLLOUT | POLLRDHUP};
    CHECK(shutdown(socket_, SHUT_WR) == 0);
    FAILS(send(socket_, "x", 1, MSG_NOSIGNAL), ENOTCONN);
    CHECK(shutdown(socket_, SHUT_RDWR) == 0);
    FAILS(recv(socket_, &byte, 1, 0), read_error);
    CHECK(poll(&poll_, 1, 0) == 1 && (poll_.revents & (POLLIN | POLLHUP | POLLRDHUP)) == (POLLIN | POLLHUP | POLLRDHUP));
    close(socket_);
}

static int with_control(int socket, const char *text, int level, int type, int value) {
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {(void *)text, strlen(text)};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = level;
    header->cmsg_type = type;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &value, sizeof value);
    return sendmsg(socket, &message, 0);
}

// Reads once: the text, and how many descriptors came along.
static int read_once(int socket, int flags, const char *text) {
    char buffer[16], control[256];
    struct iovec iov = {buffer, sizeof buffer};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    int len = recvmsg(socket, &message, flags | MSG_DONTWAIT), count = 0;
    CHECK(len == (int)strlen(text) && memcmp(buffer, text, len) == 0);
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            int fd;
            memcpy(&fd, CMSG_DATA(header), sizeof fd);
            CHECK(close(fd) == 0);
            count++;
        }
    return count;
}

// A read ends behind descriptors, not before them.
static void ends_of_reads(void) {
    int pair[2], on = 1;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    for (int i = 0; i < 2; i++) {
        CHECK(write(pair[0], "a", 1) == 1 && write(pair[0], "b", 1) == 1);
        CHECK(with_control(pair[0], "cd", SOL_SOCKET, SCM_RIGHTS, 0) == 2);
        CHECK(with_control(pair[0], "e", SOL_SOCKET, SCM_RIGHTS, 0) == 1);
        CHECK(write(pair[0], "f", 1) == 1);
        CHECK(read_once(pair[1], MSG_PEEK, "abcd") == 1);
        CHECK(read_once(pair[1], 0, "abcd") == 1 && read_once(pair[1], 0, "e") == 1 && read_once(pair[1], 0, "f") == 0);
        // Credentials of the same sender are no end.
        CHECK(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    }
    // What is meant for other layers is passed over; what is not known of this one is not.
    CHECK(with_control(pair[0], "g", IPPROTO_IP, IP_TTL, 1) == 1 && read_once(pair[1], 0, "g") == 0);
    FAILS(with_control(pair[0], "h", SOL_SOCKET, 99, 1), EINVAL);
    close(pair[0]), close(pair[1]);
}

int main(void) {
    strangers();
    shut_alone(SOCK_STREAM, EINVAL);
    shut_alone(SOCK_SEQPACKET, ENOTCONN);
    ends_of_reads();
    return 0;
}
