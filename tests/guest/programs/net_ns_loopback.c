// The loopback interface of a new network name space: down and without addresses, which come with it going up, unless
// somebody gave it some before (network_namespaces(7), Linux's inetdev_event).
#define _GNU_SOURCE
#include "check.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static int reach(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(fd >= 0);
    int result = connect(fd, (struct sockaddr *)&to, sizeof to) == 0 ? 0 : errno;
    close(fd);
    return result;
}

static int address(struct ifreq *request) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    int result = ioctl(fd, SIOCGIFADDR, request) == 0 ? 0 : errno;
    close(fd);
    return result;
}

static void set_up(int up) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = up ? IFF_UP : 0};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(ioctl(fd, SIOCSIFFLAGS, &request) == 0);
    close(fd);
}

// The error of a netlink request; of a link, its IFLA_OPERSTATE.
static int ask(void *request, unsigned len) {
    int fd = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    char reply[8192];
    CHECK(send(fd, request, len, 0) == (ssize_t)len);
    CHECK(recv(fd, reply, sizeof reply, 0) > 0);
    close(fd);
    struct nlmsghdr *message = (void *)reply;
    if (message->nlmsg_type == NLMSG_ERROR) return ((struct nlmsgerr *)NLMSG_DATA(message))->error;
    CHECK(message->nlmsg_type == RTM_NEWLINK);
    struct ifinfomsg *link = NLMSG_DATA(message);
    int left = IFLA_PAYLOAD(message);
    for (struct rtattr *attr = IFLA_RTA(link); RTA_OK(attr, left); attr = RTA_NEXT(attr, left))
        if (attr->rta_type == IFLA_OPERSTATE) return *(unsigned char *)RTA_DATA(attr);
    return -1;
}

static int oper_state(void) {
    struct { struct nlmsghdr h; struct ifinfomsg m; } request = {
        {sizeof request, RTM_GETLINK, NLM_F_REQUEST, 1, 0}, {.ifi_index = 1}};
    return ask(&request, sizeof request);
}

static int add_loopback_address(void) {
    struct { struct nlmsghdr h; struct ifaddrmsg m; struct rtattr a; struct in_addr ip; struct rtattr l; struct in_addr local; }
    request = {
        {sizeof request, RTM_NEWADDR, NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK, 1, 0},
        {AF_INET, 8, IFA_F_PERMANENT, RT_SCOPE_HOST, 1},
        {8, IFA_ADDRESS}, {htonl(INADDR_LOOPBACK)}, {8, IFA_LOCAL}, {htonl(INADDR_LOOPBACK)}};
    return ask(&request, sizeof request);
}

int main(void) {
    if (geteuid() != 0) return 0;
    enum { DOWN = 2, UNKNOWN = 0 };
    struct ifreq lo = {.ifr_name = "lo"};
    CHECK(unshare(CLONE_NEWNET) == 0);
    CHECK(address(&lo) == EADDRNOTAVAIL && oper_state() == DOWN && reach() == ENETUNREACH);
    set_up(1);
    CHECK(address(&lo) == 0 && oper_state() == UNKNOWN && reach() == 0);
    CHECK(((struct sockaddr_in *)&lo.ifr_addr)->sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    CHECK(add_loopback_address() == -EEXIST);
    set_up(0);
    CHECK(address(&lo) == 0 && oper_state() == DOWN);
    // The address first, as bubblewrap does it.
    CHECK(unshare(CLONE_NEWNET) == 0);
    CHECK(add_loopback_address() == 0 && address(&lo) == 0);
    set_up(1);
    CHECK(reach() == 0 && add_loopback_address() == -EEXIST);
    return 0;
}
