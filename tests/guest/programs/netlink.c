// also: static
// The loopback interface by netlink, ioctl and /proc; sockets by sock_diag and /proc/net/tcp; errors of netlink.
#include "check.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/netlink_diag.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_netlink(int protocol) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    CHECK(fd >= 0);
    return fd;
}

// Sends a request and reads replies; returns the number of messages of `kind`, with the first copied to `first`.
static int ask(int fd, void *request, unsigned len, int kind, void *first, size_t size) {
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    CHECK(sendto(fd, request, len, 0, (struct sockaddr *)&kernel, sizeof kernel) == (ssize_t)len);
    char buffer[32768];
    int found = 0;
    for (;;) {
        ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        CHECK(got > 0);
        unsigned left = got;
        for (struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
            if (m->nlmsg_type == NLMSG_DONE) return found;
            if (m->nlmsg_type == NLMSG_ERROR) return ((struct nlmsgerr *)NLMSG_DATA(m))->error;
            CHECK(m->nlmsg_seq == 7);
            if (m->nlmsg_type == kind && found++ == 0) memcpy(first, m, m->nlmsg_len < size ? m->nlmsg_len : size);
        }
    }
}

static void dumps(void) {
    int fd = open_netlink(NETLINK_ROUTE);
    struct { struct nlmsghdr h; struct ifinfomsg m; } links = {
        {sizeof links, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 7, 0}, {0}};
    struct { struct nlmsghdr h; struct ifinfomsg m; char rest[4096]; } link;
    CHECK(ask(fd, &links, sizeof links, RTM_NEWLINK, &link, sizeof link) >= 1);
    CHECK(link.m.ifi_index == 1 && link.m.ifi_type == 772 && link.m.ifi_flags & IFF_LOOPBACK);
    struct { struct nlmsghdr h; struct ifaddrmsg m; } addresses = {
        {sizeof addresses, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, 7, 0}, {.ifa_family = AF_INET}};
    struct { struct nlmsghdr h; struct ifaddrmsg m; char rest[4096]; } address;
    CHECK(ask(fd, &addresses, sizeof addresses, RTM_NEWADDR, &address, sizeof address) >= 1);
    CHECK(address.m.ifa_family == AF_INET && address.m.ifa_prefixlen == 8 && address.m.ifa_scope == RT_SCOPE_HOST);
    // One message more than it knows, and a link that is not there.
    struct nlmsghdr unknown = {sizeof unknown, 0x7f0 | 2, NLM_F_REQUEST, 7, 0};
    CHECK(ask(fd, &unknown, sizeof unknown, 0, NULL, 0) == -EOPNOTSUPP);
    links.h.nlmsg_flags = NLM_F_REQUEST;
    links.m.ifi_index = 12345;
    CHECK(ask(fd, &links, sizeof links, RTM_NEWLINK, &link, sizeof link) == -ENODEV);
    struct sockaddr_nl own;
    socklen_t len = sizeof own;
    CHECK(getsockname(fd, (struct sockaddr *)&own, &len) == 0 && len == sizeof own && own.nl_pid != 0);
    int other = open_netlink(NETLINK_ROUTE);
    CHECK(bind(other, (struct sockaddr *)&own, sizeof own) == -1 && errno == EADDRINUSE);
    char byte;
    CHECK(recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    close(other);
    close(fd);
    CHECK(socket(AF_NETLINK, SOCK_STREAM, 0) == -1 && errno == ESOCKTNOSUPPORT);
    CHECK(socket(AF_NETLINK, SOCK_RAW, 99) == -1 && errno == EPROTONOSUPPORT);
}

static void names(void) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq request = {0};
    strcpy(request.ifr_name, "lo");
    CHECK(ioctl(fd, SIOCGIFINDEX, &request) == 0 && request.ifr_ifindex == 1);
    CHECK(ioctl(fd, SIOCGIFFLAGS, &request) == 0 && request.ifr_flags & IFF_LOOPBACK);
    strcpy(request.ifr_name, "nothere");
    CHECK(ioctl(fd, SIOCGIFFLAGS, &request) == -1 && errno == ENODEV);
    struct if_nameindex *list = if_nameindex();
    CHECK(list && strcmp(list[0].if_name, "lo") == 0);
    if_freenameindex(list);
    close(fd);
}

static void diag(void) {
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    CHECK(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 5) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&at, &len) == 0);
    struct stat st;
    CHECK(fstat(listener, &st) == 0);
    struct { struct nlmsghdr h; struct inet_diag_req_v2 r; } request = {
        {sizeof request, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 7, 0},
        {.sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = 1 << 10}};
    int fd = open_netlink(NETLINK_SOCK_DIAG);
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    CHECK(sendto(fd, &request, sizeof request, 0, (struct sockaddr *)&kernel, sizeof kernel) == sizeof request);
    char buffer[32768];
    int found = 0, done = 0;
    while (!done) {
        ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        CHECK(got > 0);
        unsigned left = got;
        for (struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
            done |= m->nlmsg_type == NLMSG_DONE;
            struct inet_diag_msg *d = NLMSG_DATA(m);
            if (!done && d->id.idiag_sport == at.sin_port) found += d->idiag_inode == st.st_ino && d->idiag_state == 10;
        }
    }
    CHECK(found == 1);
    close(fd);
    char line[512], wanted[64];
    snprintf(wanted, sizeof wanted, "0100007F:%04X 00000000:0000 0A", ntohs(at.sin_port));
    FILE *table = fopen("/proc/net/tcp", "r");
    found = 0;
    while (fgets(line, sizeof line, table)) {
        unsigned long inode = 0;
        if (strstr(line, wanted)) {
            CHECK(sscanf(line, "%*s %*s %*s %*s %*s %*s %*s %*s %*s %lu", &inode) == 1 && inode == st.st_ino);
            found++;
        }
    }
    CHECK(found == 1);
    fclose(table);
    close(listener);
}

// A filter decides about replies, too.
static void filtered(void) {
    int fd = open_netlink(NETLINK_ROUTE);
    struct { struct nlmsghdr header; struct rtgenmsg family; } request = {
        {.nlmsg_len = sizeof request, .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP, .nlmsg_seq = 7},
        {AF_UNSPEC}};
    struct sock_filter none = BPF_STMT(BPF_RET | BPF_K, 0), header = BPF_STMT(BPF_RET | BPF_K, sizeof(struct nlmsghdr));
    struct sock_fprog program = {1, &none};
    char buffer[32768];
    CHECK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
    CHECK(send(fd, &request, sizeof request, 0) == sizeof request);
    FAILS(recv(fd, buffer, sizeof buffer, MSG_DONTWAIT), EAGAIN);
    close(fd);
    fd = open_netlink(NETLINK_ROUTE);
    program.filter = &header;
    CHECK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0);
    CHECK(send(fd, &request, sizeof request, 0) == sizeof request);
    CHECK(recv(fd, buffer, sizeof buffer, 0) == sizeof(struct nlmsghdr));
    CHECK(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &program, sizeof program) == 0);
    FAILS(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &program, sizeof program), ENOENT);
    close(fd);
}

// Netlink sockets are shown by sock_diag once they have a port.
static void shown(void) {
    int diag = open_netlink(NETLINK_SOCK_DIAG), other = open_netlink(NETLINK_GENERIC);
    struct sockaddr_nl own = {.nl_family = AF_NETLINK};
    socklen_t len = sizeof own;
    for (int round = 0; round < 2; round++) {
        struct { struct nlmsghdr header; struct netlink_diag_req request; } request = {
            {.nlmsg_len = sizeof request, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP},
            {.sdiag_family = AF_NETLINK, .sdiag_protocol = NETLINK_GENERIC, .ndiag_show = NDIAG_SHOW_GROUPS}};
        char buffer[32768];
        int found = 0, is_done = 0;
        CHECK(send(diag, &request, sizeof request, 0) == sizeof request);
        while (!is_done) {
            int left = recv(diag, buffer, sizeof buffer, 0);
            CHECK(left > 0);
            for (struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, left); m = NLMSG_NEXT(m, left)) {
                // Not every kernel has it.
                if (m->nlmsg_type == NLMSG_ERROR) return;
                is_done |= m->nlmsg_type == NLMSG_DONE;
                struct netlink_diag_msg *about = NLMSG_DATA(m);
                struct stat stat;
                CHECK(fstat(other, &stat) == 0);
                found += !is_done && about->ndiag_ino == stat.st_ino && about->ndiag_portid == own.nl_pid && about->ndiag_state == 7;
            }
        }
        CHECK(found == round);
        own.nl_pid = 0;
        CHECK(round || (bind(other, (void *)&own, sizeof own) == 0 && getsockname(other, (void *)&own, &len) == 0));
    }
    close(diag), close(other);
}

// The route to an address tells what it would be, and for whom.
static void asked_route(void) {
    struct {
        struct nlmsghdr header;
        struct rtmsg route;
        struct rtattr to;
        struct in_addr address;
    } request = {
        {sizeof request, RTM_GETROUTE, NLM_F_REQUEST, 1, 0},
        {.rtm_family = AF_INET, .rtm_dst_len = 32, .rtm_flags = RTM_F_LOOKUP_TABLE},
        {RTA_LENGTH(4), RTA_DST},
        {htonl(INADDR_LOOPBACK)},
    };
    char reply[512] = {0};
    int fd = open_netlink(NETLINK_ROUTE);
    CHECK(send(fd, &request, sizeof request, 0) == sizeof request);
    ssize_t got = recv(fd, reply, sizeof reply, 0);
    struct nlmsghdr *header = (void *)reply;
    CHECK(got > (ssize_t)NLMSG_SPACE(sizeof(struct rtmsg)) && header->nlmsg_type == RTM_NEWROUTE);
    struct rtmsg *route = NLMSG_DATA(header);
    CHECK(route->rtm_type == RTN_LOCAL && (route->rtm_flags & RTM_F_CLONED) && (route->rtm_flags & 0x80000000));
    int length = RTM_PAYLOAD(header), told = 0;
    for (struct rtattr *at = RTM_RTA(route); RTA_OK(at, length); at = RTA_NEXT(at, length)) {
        if (at->rta_type == RTA_UID) told |= *(uid_t *)RTA_DATA(at) == geteuid() ? 1 : 4;
        if (at->rta_type == RTA_CACHEINFO && RTA_PAYLOAD(at) == sizeof(struct rta_cacheinfo)) told |= 2;
    }
    CHECK(told == 3);
    close(fd);
}

// The loopback link has a queueing discipline: none.
static void disciplines(void) {
    struct {
        struct nlmsghdr header;
        struct tcmsg message;
    } request = {
        {sizeof request, RTM_GETQDISC, NLM_F_REQUEST | NLM_F_DUMP, 7, 0},
        {.tcm_family = AF_UNSPEC, .tcm_ifindex = 1},
    };
    char first[512] = {0};
    int fd = open_netlink(NETLINK_ROUTE);
    CHECK(ask(fd, &request, sizeof request, RTM_NEWQDISC, first, sizeof first) >= 1);
    struct tcmsg *message = NLMSG_DATA((struct nlmsghdr *)first);
    struct rtattr *kind = (void *)((char *)message + NLMSG_ALIGN(sizeof *message));
    CHECK(message->tcm_ifindex == 1 && message->tcm_parent == TC_H_ROOT);
    CHECK(kind->rta_type == TCA_KIND && !strcmp(RTA_DATA(kind), "noqueue"));
    close(fd);
}

int main(void) {
    asked_route();
    disciplines();
    shown();
    filtered();
    dumps();
    names();
    diag();
    return 0;
}
