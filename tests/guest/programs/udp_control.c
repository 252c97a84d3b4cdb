// Control messages of UDP over IPv6: hop limit and traffic class there and back, wrong sizes, other levels.
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

// Sends one byte with the control message (level, type, the first `len` bytes of `value`).
static int send_with(int fd, struct sockaddr_in6 *to, int level, int type, int value, int len) {
    char control[CMSG_SPACE(8)] = {0}, byte = 'x';
    struct iovec part = {&byte, 1};
    struct msghdr message = {to, sizeof *to, &part, 1, control, CMSG_SPACE(len)};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){CMSG_LEN(len), level, type};
    memcpy(CMSG_DATA(head), &value, len < 4 ? len : 4);
    return sendmsg(fd, &message, 0);
}

// Receives one byte; the value of the control message that came with it.
static int receive(int fd, int type) {
    char control[128], byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {0, 0, &part, 1, control, sizeof control};
    CHECK(recvmsg(fd, &message, 0) == 1);
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head))
        if (head->cmsg_level == IPPROTO_IPV6 && head->cmsg_type == type) return *(int *)CMSG_DATA(head);
    return -1;
}

int main(void) {
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    socklen_t len = sizeof at;
    int server = socket(AF_INET6, SOCK_DGRAM, 0), client = socket(AF_INET6, SOCK_DGRAM, 0), on = 1;
    if (server < 0 || bind(server, (void *)&at, sizeof at) != 0) return 0; // A host without IPv6 cannot judge.
    CHECK(getsockname(server, (void *)&at, &len) == 0);
    CHECK(setsockopt(server, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, &on, sizeof on) == 0);
    CHECK(setsockopt(server, IPPROTO_IPV6, IPV6_RECVTCLASS, &on, sizeof on) == 0);
    CHECK(send_with(client, &at, IPPROTO_IPV6, IPV6_HOPLIMIT, 2, 4) == 1 && receive(server, IPV6_HOPLIMIT) == 2);
    CHECK(send_with(client, &at, IPPROTO_IPV6, IPV6_HOPLIMIT, -1, 4) == 1 && receive(server, IPV6_HOPLIMIT) == 64);
    CHECK(send_with(client, &at, IPPROTO_IPV6, IPV6_TCLASS, 8, 4) == 1 && receive(server, IPV6_TCLASS) == 8);
    FAILS(send_with(client, &at, IPPROTO_IPV6, IPV6_HOPLIMIT, 256, 4), EINVAL);
    FAILS(send_with(client, &at, IPPROTO_IPV6, IPV6_TCLASS, 1, 5), EINVAL);
    FAILS(send_with(client, &at, IPPROTO_IPV6, 250, 1, 4), EINVAL);
    // Of another level, or of unix sockets only: passed over.
    CHECK(send_with(client, &at, IPPROTO_TCP, 1, 1, 4) == 1 && receive(server, IPV6_TCLASS) == 0);
    CHECK(send_with(client, &at, SOL_SOCKET, SCM_RIGHTS, 0, 4) == 1 && receive(server, IPV6_TCLASS) == 0);
    return 0;
}
