// One datagram of thousands of netlink dump requests: what is answered stays within the receive buffer, and a new
// socket is served as before.
#include "check.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

static struct { struct nlmsghdr head; struct rtgenmsg body; char pad[3]; } asks[2500];

int main(void) {
    for (int i = 0; i < 2500; i++) {
        asks[i].head = (struct nlmsghdr){.nlmsg_len = NLMSG_LENGTH(1), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP, .nlmsg_seq = i};
    }
    char buffer[65536];
    for (int round = 0; round < 3; round++) {
        int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
        CHECK(fd >= 0 && send(fd, asks, sizeof asks, 0) == sizeof asks);
        long total = 0, got;
        while ((got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT)) >= 0 || errno == ENOBUFS) total += got > 0 ? got : 0;
        CHECK(errno == EAGAIN && total > 0 && total < 1 << 20);
        close(fd);
    }
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    CHECK(send(fd, asks, sizeof asks[0], 0) == sizeof asks[0]);
    CHECK(recv(fd, buffer, sizeof buffer, 0) > 0 && ((struct nlmsghdr *)buffer)->nlmsg_type == RTM_NEWLINK);
    return 0;
}
