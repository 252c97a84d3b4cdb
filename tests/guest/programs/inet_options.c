// Options of internet sockets: what they take, what they tell, which errors they give.
#include "check.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static int set(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value);
}

static int get(int fd, int level, int name) {
    int value = -99;
    socklen_t len = sizeof value;
    return getsockopt(fd, level, name, &value, &len) == 0 ? value : -1000 - errno;
}

static void service_types(int tcp, int udp, int tcp6, int udp6) {
    CHECK(set(udp, SOL_IP, IP_TOS, 0x17) == 0 && get(udp, SOL_IP, IP_TOS) == 0x17);
    CHECK(set(udp, SOL_IP, IP_TOS, -1) == 0 && get(udp, SOL_IP, IP_TOS) == 255);
    // The lowest bits are congestion control's on a stream.
    CHECK(set(tcp, SOL_IP, IP_TOS, 0x17) == 0 && get(tcp, SOL_IP, IP_TOS) == 0x14);
    CHECK(set(udp6, SOL_IPV6, IPV6_TCLASS, 7) == 0 && get(udp6, SOL_IPV6, IPV6_TCLASS) == 7);
    CHECK(set(tcp6, SOL_IPV6, IPV6_TCLASS, 7) == 0 && get(tcp6, SOL_IPV6, IPV6_TCLASS) == 4);
    FAILS(set(udp6, SOL_IPV6, IPV6_TCLASS, 256), EINVAL);
}

static void multicast(int tcp, int udp, int tcp6, int udp6) {
    struct ip_mreq group = {{inet_addr("239.1.2.3")}, {htonl(INADDR_LOOPBACK)}};
    FAILS(setsockopt(tcp, SOL_IP, IP_ADD_MEMBERSHIP, &group, sizeof group), EPROTO);
    FAILS(set(tcp, SOL_IP, IP_MULTICAST_TTL, 1), EINVAL);
    FAILS(set(tcp6, SOL_IPV6, IPV6_MULTICAST_HOPS, 1), ENOPROTOOPT);
    FAILS(setsockopt(udp, SOL_IP, IP_ADD_MEMBERSHIP, &group, 7), EINVAL);
    CHECK(setsockopt(udp, SOL_IP, IP_ADD_MEMBERSHIP, &group, sizeof group) == 0);
    FAILS(setsockopt(udp, SOL_IP, IP_ADD_MEMBERSHIP, &group, sizeof group), EADDRINUSE);
    CHECK(setsockopt(udp, SOL_IP, IP_DROP_MEMBERSHIP, &group, sizeof group) == 0);
    FAILS(setsockopt(udp, SOL_IP, IP_DROP_MEMBERSHIP, &group, sizeof group), EADDRNOTAVAIL);
    struct ip_mreq_source one = {group.imr_multiaddr, group.imr_interface, {inet_addr("10.9.8.7")}};
    CHECK(setsockopt(udp, SOL_IP, IP_ADD_SOURCE_MEMBERSHIP, &one, sizeof one) == 0);
    FAILS(setsockopt(udp, SOL_IP, IP_ADD_SOURCE_MEMBERSHIP, &one, sizeof one), EADDRNOTAVAIL);
    FAILS(setsockopt(udp, SOL_IP, IP_BLOCK_SOURCE, &one, sizeof one), EINVAL);
    CHECK(setsockopt(udp, SOL_IP, IP_DROP_SOURCE_MEMBERSHIP, &one, sizeof one) == 0);
    FAILS(setsockopt(udp, SOL_IP, IP_DROP_MEMBERSHIP, &group, sizeof group), EADDRNOTAVAIL);
    struct in_addr nobody = {inet_addr("192.0.2.77")};
    FAILS(setsockopt(udp, SOL_IP, IP_MULTICAST_IF, &nobody, sizeof nobody), EADDRNOTAVAIL);
    CHECK(setsockopt(udp, SOL_IP, IP_MULTICAST_IF, &group.imr_interface, sizeof(struct in_addr)) == 0);
    FAILS(set(udp, SOL_IP, IP_MULTICAST_ALL, 2), EINVAL);
    FAILS(set(udp6, SOL_IPV6, IPV6_MULTICAST_IF, 9999), ENODEV);
    int lo = if_nametoindex("lo");
    CHECK(set(udp6, SOL_IPV6, IPV6_MULTICAST_IF, lo) == 0 && get(udp6, SOL_IPV6, IPV6_MULTICAST_IF) == lo);
    struct group_req any = {.gr_interface = lo};
    struct sockaddr_in *ip = (void *)&any.gr_group;
    *ip = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = group.imr_multiaddr};
    CHECK(setsockopt(udp, SOL_IP, MCAST_JOIN_GROUP, &any, sizeof any) == 0);
    CHECK(setsockopt(udp, SOL_IP, MCAST_LEAVE_GROUP, &any, sizeof any) == 0);
}

static void levels_and_lengths(int tcp, int udp, int udp6) {
    char byte = 1;
    FAILS(set(udp, SOL_TCP, TCP_NODELAY, 1), ENOPROTOOPT);
    FAILS(set(tcp, 263, 1, 1), ENOPROTOOPT);
    FAILS(set(udp, SOL_IP, IP_HDRINCL, 1), ENOPROTOOPT);
    FAILS(setsockopt(tcp, SOL_SOCKET, SO_KEEPALIVE, &byte, 1), EINVAL);
    FAILS(setsockopt(udp6, SOL_IPV6, IPV6_RECVPKTINFO, &byte, 1), EINVAL);
    CHECK(setsockopt(udp, SOL_IP, IP_TTL, &byte, 1) == 0 && get(udp, SOL_IP, IP_TTL) == 1);
    FAILS(set(tcp, SOL_SOCKET, SO_SNDLOWAT, 2), ENOPROTOOPT);
    FAILS(set(tcp, SOL_SOCKET, SO_ZEROCOPY, 2), EINVAL);
    FAILS(set(tcp, SOL_SOCKET, SO_DETACH_FILTER, 0), ENOENT);
    CHECK(get(udp, SOL_IP, IP_MTU) == -1000 - ENOTCONN && get(udp6, SOL_IPV6, IPV6_MTU) == -1000 - ENOTCONN);
    FAILS(set(udp, SOL_IP, IP_UNICAST_IF, htonl(9999)), EADDRNOTAVAIL);
    int lo = htonl(if_nametoindex("lo"));
    CHECK(set(udp, SOL_IP, IP_UNICAST_IF, lo) == 0 && get(udp, SOL_IP, IP_UNICAST_IF) == lo);
    CHECK(set(udp, SOL_IP, IP_UNICAST_IF, 0) == 0);
}

static void original_destination(int udp) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    CHECK(bind(udp, (void *)&at, sizeof at) == 0 && getsockname(udp, (void *)&at, &len) == 0);
    CHECK(set(udp, SOL_IP, IP_RECVORIGDSTADDR, 1) == 0);
    int from = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(connect(from, (void *)&at, sizeof at) == 0 && send(from, "x", 1, 0) == 1);
    CHECK(get(from, SOL_IP, IP_MTU) > 1000);
    char data[8], control[128];
    struct iovec iov = {data, sizeof data};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK(recvmsg(udp, &msg, 0) == 1);
    struct cmsghdr *told = CMSG_FIRSTHDR(&msg);
    CHECK(told && told->cmsg_level == SOL_IP && told->cmsg_type == IP_ORIGDSTADDR);
    struct sockaddr_in *to = (void *)CMSG_DATA(told);
    CHECK(to->sin_family == AF_INET && to->sin_port == at.sin_port && to->sin_addr.s_addr == at.sin_addr.s_addr);
}

// Nobody is known at the other end.
static void peers(int tcp, int udp) {
    struct ucred peer = {1, 1, 1};
    socklen_t len = sizeof peer;
    gid_t group;
    CHECK(getsockopt(tcp, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && len == sizeof peer);
    CHECK(peer.pid == 0 && peer.uid == (uid_t)-1 && peer.gid == (gid_t)-1);
    CHECK(getsockopt(udp, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0);
    FAILS(getsockopt(tcp, SOL_SOCKET, SO_PEERGROUPS, &group, &len), ENODATA);
}

// TCP_MAXSEG: what was asked for before there is a connection, and what a segment carries since.
static void segment_size(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at, size = sizeof(int);
    int mss = 0, listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (void *)&at, sizeof at) == 0 && listen(listener, 1) == 0 && getsockname(listener, (void *)&at, &len) == 0);
    CHECK(getsockopt(listener, IPPROTO_TCP, TCP_MAXSEG, &mss, &size) == 0 && mss == 536);
    CHECK(connect(client, (void *)&at, sizeof at) == 0);
    CHECK(getsockopt(client, IPPROTO_TCP, TCP_MAXSEG, &mss, &size) == 0 && mss > 8000 && mss < 65536);
    close(client);
    client = socket(AF_INET, SOCK_STREAM, 0);
    mss = 1000;
    CHECK(setsockopt(client, IPPROTO_TCP, TCP_MAXSEG, &mss, size) == 0);
    CHECK(getsockopt(client, IPPROTO_TCP, TCP_MAXSEG, &mss, &size) == 0 && mss == 1000);
    CHECK(connect(client, (void *)&at, sizeof at) == 0);
    CHECK(getsockopt(client, IPPROTO_TCP, TCP_MAXSEG, &mss, &size) == 0 && mss == 1000 - 12);
    close(client);
    close(listener);
}

int main(void) {
    segment_size();
    int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
    int tcp6 = socket(AF_INET6, SOCK_STREAM, 0), udp6 = socket(AF_INET6, SOCK_DGRAM, 0);
    CHECK(tcp >= 0 && udp >= 0 && tcp6 >= 0 && udp6 >= 0);
    service_types(tcp, udp, tcp6, udp6);
    multicast(tcp, udp, tcp6, udp6);
    levels_and_lengths(tcp, udp, udp6);
    original_destination(udp);
    peers(tcp, udp);
    return 0;
}
