// Whose rights over a network count: those towards the owner of the socket's network, and for netlink the opener's, too.
#include "check.h"
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/socket.h>

struct request {
    struct nlmsghdr head;
    struct ifinfomsg link;
    struct rtattr attribute;
    unsigned mtu;
};

static const struct request set_mtu = {
    {sizeof set_mtu, RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0}, {.ifi_index = 1}, {8, IFLA_MTU}, 30000};

static int outcome(int fd) {
    struct { struct nlmsghdr head; struct nlmsgerr error; char rest[256]; } answer;
    CHECK(recv(fd, &answer, sizeof answer, 0) > 0 && answer.head.nlmsg_type == NLMSG_ERROR);
    return answer.error.error;
}

// A file that somebody unprivileged opened, and that a privileged program writes to without knowing what it is.
static void opened_by_another(void) {
    CHECK(seteuid(1000) == 0);
    int theirs = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    CHECK(theirs >= 0 && seteuid(0) == 0);
    int ours = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    CHECK(ours >= 0);
    CHECK(write(theirs, &set_mtu, sizeof set_mtu) == sizeof set_mtu && outcome(theirs) == -EPERM);
    CHECK(write(ours, &set_mtu, sizeof set_mtu) == sizeof set_mtu && outcome(ours) == 0);
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    CHECK(connect(theirs, (void *)&kernel, sizeof kernel) == 0);
    CHECK(send(theirs, &set_mtu, sizeof set_mtu, 0) == sizeof set_mtu && outcome(theirs) == -EPERM);
    // Who names the receiver knows what this is.
    CHECK(sendto(theirs, &set_mtu, sizeof set_mtu, 0, (void *)&kernel, sizeof kernel) == sizeof set_mtu);
    CHECK(outcome(theirs) == 0);
    CHECK(seteuid(1000) == 0);
    CHECK(write(ours, &set_mtu, sizeof set_mtu) == sizeof set_mtu && outcome(ours) == -EPERM);
    CHECK(seteuid(0) == 0);
    close(theirs), close(ours);
}

static void may_nothing(int stream, int datagram) {
    struct sockaddr_in low = {AF_INET, htons(80)};
    int one = 1, high = 7;
    FAILS(bind(stream, (void *)&low, sizeof low), EACCES);
    FAILS(bind(datagram, (void *)&low, sizeof low), EACCES);
    FAILS(setsockopt(stream, SOL_SOCKET, SO_MARK, &one, sizeof one), EPERM);
    FAILS(setsockopt(stream, SOL_SOCKET, SO_PRIORITY, &high, sizeof high), EPERM);
    FAILS(setsockopt(stream, IPPROTO_IP, IP_TRANSPARENT, &one, sizeof one), EPERM);
    CHECK(setsockopt(stream, SOL_SOCKET, SO_PRIORITY, &one, sizeof one) == 0);
    CHECK(setsockopt(stream, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) == 0);
    FAILS(setsockopt(stream, SOL_SOCKET, SO_BINDTODEVICE, "", 0), EPERM);
}

// Sockets of a network that one has left.
static void of_another_network(void) {
    int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    int before = socket(AF_INET, SOCK_STREAM, 0), datagram = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(netlink >= 0 && before >= 0 && datagram >= 0);
    CHECK(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0);
    may_nothing(before, datagram);
    CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0);
    int stream = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in low = {AF_INET, htons(80)};
    int mark = 1;
    CHECK(bind(stream, (void *)&low, sizeof low) == 0);
    CHECK(setsockopt(stream, SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0);
    FAILS(bind(before, (void *)&low, sizeof low), EACCES);
    FAILS(bind(datagram, (void *)&low, sizeof low), EACCES);
    FAILS(setsockopt(before, SOL_SOCKET, SO_MARK, &mark, sizeof mark), EPERM);
    FAILS(setsockopt(before, IPPROTO_IP, IP_TRANSPARENT, &mark, sizeof mark), EPERM);
    FAILS(setsockopt(before, SOL_SOCKET, SO_BINDTODEVICE, "", 0), EPERM);
    CHECK(write(netlink, &set_mtu, sizeof set_mtu) == sizeof set_mtu && outcome(netlink) == -EPERM);
}

int main(void) {
    if (getuid() != 0) return 0;
    CHECK(unshare(CLONE_NEWNET) == 0);
    opened_by_another();
    of_another_network();
    return 0;
}
