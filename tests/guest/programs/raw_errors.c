// runsc: --net-raw
// Errors of what a raw socket sent: through its error queue (IP_RECVERR), with the segment that met the error.
#include "check.h"
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/socket.h>

int main(void) {
    // A port that nobody has: one that was ours a moment ago.
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int gone = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    CHECK(bind(gone, (void *)&at, sizeof at) == 0 && getsockname(gone, (void *)&at, &len) == 0 && close(gone) == 0);
    int fd = socket(AF_INET, SOCK_RAW, IPPROTO_UDP);
    CHECK(fd >= 0 && setsockopt(fd, SOL_IP, IP_RECVERR, &on, sizeof on) == 0);
    struct { struct udphdr head; char text[5]; } letter = {{.source = htons(9), .dest = at.sin_port, .len = htons(13)}, "lost"};
    CHECK(sendto(fd, &letter, 13, 0, (void *)&at, sizeof at) == 13);
    struct pollfd wait = {fd, 0};
    CHECK(poll(&wait, 1, 5000) == 1 && (wait.revents & POLLERR));
    char data[64], control[256];
    struct iovec iov = {data, sizeof data};
    struct sockaddr_in from;
    struct msghdr msg = {&from, sizeof from, &iov, 1, control, sizeof control, 0};
    CHECK(recvmsg(fd, &msg, MSG_ERRQUEUE) == 13 && memcmp(data, &letter, 13) == 0);
    CHECK((msg.msg_flags & MSG_ERRQUEUE) && from.sin_addr.s_addr == at.sin_addr.s_addr);
    struct cmsghdr *told = CMSG_FIRSTHDR(&msg);
    while (told && !(told->cmsg_level == SOL_IP && told->cmsg_type == IP_RECVERR)) told = CMSG_NXTHDR(&msg, told);
    CHECK(told);
    struct sock_extended_err *error = (void *)CMSG_DATA(told);
    CHECK(error->ee_errno == ECONNREFUSED && error->ee_origin == SO_EE_ORIGIN_ICMP && error->ee_type == 3 && error->ee_code == 3);
    CHECK(recvmsg(fd, &msg, MSG_ERRQUEUE) == -1 && errno == EAGAIN);
    return 0;
}
