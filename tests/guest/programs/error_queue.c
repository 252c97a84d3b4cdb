// also: host network
// IP_RECVERR: a refused datagram comes back through the error queue, with what was sent and who refused it.
#include "check.h"
#include <arpa/inet.h>
#include <linux/errqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

int main(void) {
    // A port that nobody has: one that was ours a moment ago.
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int gone = socket(AF_INET, SOCK_DGRAM, 0), fd = socket(AF_INET, SOCK_DGRAM, 0), on = 1;
    CHECK(bind(gone, (void *)&at, sizeof at) == 0 && getsockname(gone, (void *)&at, &len) == 0 && close(gone) == 0);
    CHECK(setsockopt(fd, SOL_IP, IP_RECVERR, &on, sizeof on) == 0);
    char data[64], control[256];
    struct iovec iov = {data, sizeof data};
    struct sockaddr_in from;
    struct msghdr msg = {&from, sizeof from, &iov, 1, control, sizeof control, 0};
    FAILS(recvmsg(fd, &msg, MSG_ERRQUEUE), EAGAIN);
    CHECK(sendto(fd, "lost letter", 11, 0, (void *)&at, sizeof at) == 11);
    struct pollfd wait = {fd, 0};
    CHECK(poll(&wait, 1, 5000) == 1 && (wait.revents & POLLERR));
    CHECK(recvmsg(fd, &msg, MSG_ERRQUEUE) == 11 && memcmp(data, "lost letter", 11) == 0);
    CHECK((msg.msg_flags & MSG_ERRQUEUE) && from.sin_port == at.sin_port && from.sin_addr.s_addr == at.sin_addr.s_addr);
    struct cmsghdr *told = CMSG_FIRSTHDR(&msg);
    while (told && !(told->cmsg_level == SOL_IP && told->cmsg_type == IP_RECVERR)) told = CMSG_NXTHDR(&msg, told);
    CHECK(told);
    struct sock_extended_err *error = (void *)CMSG_DATA(told);
    CHECK(error->ee_errno == ECONNREFUSED && error->ee_origin == SO_EE_ORIGIN_ICMP && error->ee_type == 3 && error->ee_code == 3);
    struct sockaddr_in *offender = (void *)SO_EE_OFFENDER(error);
    CHECK(offender->sin_family == AF_INET && offender->sin_addr.s_addr == htonl(INADDR_LOOPBACK));
    CHECK(recvmsg(fd, &msg, MSG_ERRQUEUE) == -1 && errno == EAGAIN);
    return 0;
}
