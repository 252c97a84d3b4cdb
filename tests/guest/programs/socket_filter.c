// Classic BPF on UDP sockets: what the filter refuses is not received, what it cuts is short, bad programs are refused.
#include "check.h"
#include <arpa/inet.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <sys/socket.h>

static int attach(int fd, struct sock_filter *code, int len) {
    struct sock_fprog program = {len, code};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

int main(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int in = socket(AF_INET, SOCK_DGRAM, 0), out = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(bind(in, (void *)&at, sizeof at) == 0 && getsockname(in, (void *)&at, &len) == 0);
    CHECK(connect(out, (void *)&at, sizeof at) == 0);
    // The data begins behind the UDP header: only what begins with 'y' passes, and four bytes of it.
    struct sock_filter first[] = {
        {BPF_LD | BPF_B | BPF_ABS, 0, 0, 8},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 'y'},
        {BPF_RET | BPF_K, 0, 0, 12},
        {BPF_RET | BPF_K, 0, 0, 0},
    };
    CHECK(attach(in, first, 4) == 0);
    CHECK(send(out, "no", 2, 0) == 2 && send(out, "yes, yes", 8, 0) == 8 && send(out, "y", 1, 0) == 1);
    char data[16];
    CHECK(recv(in, data, sizeof data, MSG_DONTWAIT) == 4 && memcmp(data, "yes,", 4) == 0);
    CHECK(recv(in, data, sizeof data, MSG_DONTWAIT) == 1);
    FAILS(recv(in, data, sizeof data, MSG_DONTWAIT), EAGAIN);
    // The ports are in the header; the length of the packet is known.
    struct sock_filter ports[] = {
        {BPF_LD | BPF_H | BPF_ABS, 0, 0, 2},
        {BPF_JMP | BPF_JEQ | BPF_K, 0, 3, ntohs(at.sin_port)},
        {BPF_LD | BPF_W | BPF_LEN, 0, 0, 0},
        {BPF_JMP | BPF_JGT | BPF_K, 0, 1, 10},
        {BPF_RET | BPF_K, 0, 0, 0xffffffff},
        {BPF_RET | BPF_K, 0, 0, 0},
    };
    CHECK(attach(in, ports, 6) == 0);
    CHECK(send(out, "ab", 2, 0) == 2 && send(out, "abc", 3, 0) == 3);
    CHECK(recv(in, data, sizeof data, MSG_DONTWAIT) == 3);
    FAILS(recv(in, data, sizeof data, MSG_DONTWAIT), EAGAIN);
    // It can be read again; its length is told in instructions.
    struct sock_filter read[8];
    len = 0;
    CHECK(getsockopt(in, SOL_SOCKET, SO_GET_FILTER, NULL, &len) == 0 && len == 6);
    len = 5;
    FAILS(getsockopt(in, SOL_SOCKET, SO_GET_FILTER, read, &len), EINVAL);
    len = 8;
    CHECK(getsockopt(in, SOL_SOCKET, SO_GET_FILTER, read, &len) == 0 && len == 6 && memcmp(read, ports, sizeof ports) == 0);
    struct sock_filter loops[] = {{BPF_JMP | BPF_JA, 0, 0, 7}, {BPF_RET | BPF_K, 0, 0, 1}};
    struct sock_filter open[] = {{BPF_LD | BPF_IMM, 0, 0, 7}};
    FAILS(attach(in, loops, 2), EINVAL);
    FAILS(attach(in, open, 1), EINVAL);
    FAILS(attach(in, open, 0), EINVAL);
    FAILS(attach(in, (void *)8, 2), EFAULT);
    CHECK(setsockopt(in, SOL_SOCKET, SO_DETACH_FILTER, &len, sizeof len) == 0);
    CHECK(send(out, "no", 2, 0) == 2 && recv(in, data, sizeof data, 0) == 2);
    CHECK(getsockopt(in, SOL_SOCKET, SO_GET_FILTER, read, &len) == 0 && len == 0);
    return 0;
}
