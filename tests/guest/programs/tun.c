// Interfaces whose other end is a program: what it reads and writes, errors, who may have one, and what becomes of it.
#include "check.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#ifndef EBADFD
#define EBADFD 77
#endif

static int open_tun(void) {
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    // A host may have none, or keep it from its containers.
    if (fd < 0) _exit(0);
    return fd;
}

static int attach(int fd, const char *name, int flags) {
    struct ifreq request = {.ifr_flags = flags};
    strcpy(request.ifr_name, name);
    return ioctl(fd, TUNSETIFF, &request);
}

static void configure(const char *name, const char *ip) {
    struct ifreq request = {0};
    struct sockaddr_in *address = (void *)&request.ifr_addr;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    strcpy(request.ifr_name, name);
    address->sin_family = AF_INET;
    inet_pton(AF_INET, ip, &address->sin_addr);
    CHECK(ioctl(fd, SIOCSIFADDR, &request) == 0);
    inet_pton(AF_INET, "255.255.255.0", &address->sin_addr);
    CHECK(ioctl(fd, SIOCSIFNETMASK, &request) == 0);
    CHECK(ioctl(fd, SIOCGIFFLAGS, &request) == 0);
    request.ifr_flags |= IFF_UP;
    CHECK(ioctl(fd, SIOCSIFFLAGS, &request) == 0);
    close(fd);
}

static unsigned flags_of(const char *name) {
    struct ifreq request = {0};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    strcpy(request.ifr_name, name);
    int result = ioctl(fd, SIOCGIFFLAGS, &request);
    close(fd);
    return result == 0 ? (unsigned short)request.ifr_flags : 0;
}

static unsigned short sum(const unsigned char *data, int len) {
    unsigned total = 0;
    for (int i = 0; i < len; i += 2) total += data[i] << 8 | data[i + 1];
    while (total >> 16) total = (total & 0xffff) + (total >> 16);
    return ~total;
}

// The next packet that is no multicast (which the host sends by itself), with `before` bytes of headers.
static int next(int fd, unsigned char *packet, int size, int before) {
    for (;;) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
        CHECK(poll(&poll_fd, 1, 5000) == 1 && poll_fd.revents & POLLIN);
        int len = read(fd, packet, size);
        CHECK(len > before);
        unsigned char *ip = packet + before;
        if (ip[0] >> 4 == 4 && ip[9] == 17 && ip[16] == 10) return len;
    }
}

// Makes an answer of a UDP packet: its ends change places.
static void answer(unsigned char *ip) {
    unsigned char from[4], port[2];
    memcpy(from, ip + 12, 4), memcpy(ip + 12, ip + 16, 4), memcpy(ip + 16, from, 4);
    memcpy(port, ip + 20, 2), memcpy(ip + 20, ip + 22, 2), memcpy(ip + 22, port, 2);
    memset(ip + 26, 0, 2);
    memset(ip + 10, 0, 2);
    unsigned short header = htons(sum(ip, 20));
    memcpy(ip + 10, &header, 2);
}

static void packets(int flags, int before) {
    unsigned char packet[4096];
    int tun = open_tun();
    CHECK(attach(tun, "tunny%d", IFF_TUN | flags) == 0);
    struct ifreq name;
    CHECK(ioctl(tun, TUNGETIFF, &name) == 0 && strcmp(name.ifr_name, "tunny0") == 0);
    // IFF_NOFILTER has the bit of IFF_NO_PI.
    CHECK((name.ifr_flags & (IFF_TUN | IFF_NO_PI | IFF_VNET_HDR)) == (IFF_TUN | IFF_NO_PI | flags));
    errno = 0;
    CHECK(write(tun, memset(packet, 0x45, 64), 64) == -1 && (errno == EIO || errno == EINVAL));
    configure("tunny0", "10.9.8.1");
    CHECK((flags_of("tunny0") & (IFF_UP | IFF_RUNNING | IFF_POINTOPOINT | IFF_NOARP | IFF_BROADCAST)) ==
          (IFF_UP | IFF_RUNNING | IFF_POINTOPOINT | IFF_NOARP));
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7)};
    inet_pton(AF_INET, "10.9.8.2", &to.sin_addr);
    CHECK(connect(udp, (void *)&to, sizeof to) == 0);
    CHECK(send(udp, "hello", 5, 0) == 5);
    int len = next(tun, packet, sizeof packet, before);
    CHECK(len == before + 33 && memcmp(packet + before + 28, "hello", 5) == 0);
    if (!(flags & IFF_NO_PI)) CHECK(memcmp(packet, "\0\0\x08\0", 4) == 0);
    answer(packet + before);
    memset(packet + before - (flags & IFF_VNET_HDR ? 10 : 0), 0, flags & IFF_VNET_HDR ? 10 : 0);
    CHECK(write(tun, packet, len) == len);
    char got[16];
    CHECK(recv(udp, got, sizeof got, 0) == 5 && memcmp(got, "hello", 5) == 0);
    // A short buffer gets the beginning, the rest is lost.
    CHECK(send(udp, "hello", 5, 0) == 5);
    len = next(tun, packet, before + 24, before);
    CHECK(len == before + 24 && (flags & IFF_NO_PI || packet[0] & TUN_PKT_STRIP));
    if (flags & IFF_NO_PI) FAILS(write(tun, packet, before), EINVAL);
    packet[before] = 0x15;
    if (flags & IFF_NO_PI) FAILS(write(tun, packet, len), EINVAL);
    while (read(tun, packet, sizeof packet) > 0) {}
    CHECK(errno == EAGAIN);
    close(udp);
    close(tun);
    CHECK(if_nametoindex("tunny0") == 0);
}

static void taps(void) {
    unsigned char frame[2048];
    int tap = open_tun();
    CHECK(attach(tap, "", IFF_TAP | IFF_NO_PI) == 0);
    CHECK((flags_of("tap0") & (IFF_BROADCAST | IFF_NOARP)) == IFF_BROADCAST);
    configure("tap0", "10.9.7.1");
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(7)};
    inet_pton(AF_INET, "10.9.7.2", &to.sin_addr);
    CHECK(sendto(udp, "x", 1, 0, (void *)&to, sizeof to) == 1);
    // Who has that address?
    for (;;) {
        struct pollfd poll_fd = {.fd = tap, .events = POLLIN};
        CHECK(poll(&poll_fd, 1, 5000) == 1);
        int len = read(tap, frame, sizeof frame);
        CHECK(len >= 14);
        if (frame[12] == 8 && frame[13] == 6 && memcmp(frame + 38, "\x0a\x09\x07\x02", 4) == 0) break;
    }
    FAILS(write(tap, frame, 13), EINVAL);
    close(udp);
    close(tap);
}

static void those_that_stay(void) {
    int one = open_tun(), two = open_tun();
    char byte[64];
    FAILS(read(one, byte, sizeof byte), EBADFD);
    FAILS(ioctl(one, TUNSETPERSIST, 1), EBADFD);
    struct pollfd poll_fd = {.fd = one, .events = POLLIN};
    CHECK(poll(&poll_fd, 1, 0) == 1 && poll_fd.revents & POLLERR);
    FAILS(attach(one, "lo", IFF_TUN), EINVAL);
    FAILS(attach(one, "stay0", 0), EINVAL);
    unsigned features = 0;
    CHECK(ioctl(one, TUNGETFEATURES, &features) == 0);
    CHECK((features & (IFF_TUN | IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)) == (IFF_TUN | IFF_TAP | IFF_NO_PI | IFF_VNET_HDR));
    CHECK(attach(one, "stay0", IFF_TUN | IFF_NO_PI) == 0);
    FAILS(attach(one, "stay1", IFF_TUN | IFF_NO_PI), EEXIST);
    FAILS(attach(two, "stay0", IFF_TUN | IFF_NO_PI), EBUSY);
    FAILS(attach(two, "stay0", IFF_TAP | IFF_NO_PI), EINVAL);
    CHECK(ioctl(one, TUNSETPERSIST, 1) == 0);
    close(one);
    CHECK(if_nametoindex("stay0") != 0);
    FAILS(attach(two, "stay0", IFF_TUN | IFF_NO_PI | IFF_TUN_EXCL), EBUSY);
    CHECK(attach(two, "stay0", IFF_TUN | IFF_NO_PI) == 0);
    CHECK(ioctl(two, TUNSETPERSIST, 0) == 0);
    close(two);
    CHECK(if_nametoindex("stay0") == 0);
    // Segments as they are need the checksum left open, too.
    one = open_tun();
    CHECK(attach(one, "seg0", IFF_TUN | IFF_NO_PI | IFF_VNET_HDR) == 0);
    FAILS(ioctl(one, TUNSETOFFLOAD, TUN_F_TSO4), EINVAL);
    CHECK(ioctl(one, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) == 0);
    int size = 0;
    CHECK(ioctl(one, TUNGETVNETHDRSZ, &size) == 0 && size == 10);
    size = 9;
    FAILS(ioctl(one, TUNSETVNETHDRSZ, &size), EINVAL);
    size = 12;
    CHECK(ioctl(one, TUNSETVNETHDRSZ, &size) == 0);
    close(one);
}

// Who an interface is given to is named by the ids of the one who gives it.
static void given_by_name(void) {
    int fd = open_tun();
    CHECK(attach(fd, "given", IFF_TUN) == 0);
    FAILS(ioctl(fd, TUNSETOWNER, -1), EINVAL);
    FAILS(ioctl(fd, TUNSETGROUP, -1), EINVAL);
    CHECK(ioctl(fd, TUNSETOWNER, 1000) == 0 && ioctl(fd, TUNSETGROUP, 1000) == 0);
    // Nobody has an id in a user name space without maps.
    CHECK(unshare(CLONE_NEWUSER) == 0);
    FAILS(ioctl(fd, TUNSETOWNER, 1000), EINVAL);
    FAILS(ioctl(fd, TUNSETGROUP, 0), EINVAL);
    close(fd);
}

int main(void) {
    close(open_tun());
    if (unshare(CLONE_NEWNET) != 0) return 0;
    packets(IFF_NO_PI, 0);
    packets(0, 4);
    packets(IFF_NO_PI | IFF_VNET_HDR, 10);
    taps();
    those_that_stay();
    given_by_name();
    return 0;
}
