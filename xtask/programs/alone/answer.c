// answer serve udp|tcp: gives back what comes to port 9000.
// answer ADDRESS udp|tcp MILLISECONDS: asks that for so long, one question at a time; prints answers per second.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static char bytes[2048];

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void serve_datagrams(int fd) {
    for (;;) {
        struct sockaddr_in from;
        socklen_t len = sizeof from;
        ssize_t got = recvfrom(fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, &len);
        if (got >= 0) sendto(fd, bytes, got, 0, (struct sockaddr *)&from, len);
    }
}

static void serve_streams(int fd) {
    if (listen(fd, 8)) exit(1);
    for (;;) {
        int one = 1, peer = accept(fd, NULL, NULL);
        setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        for (ssize_t got; (got = read(peer, bytes, sizeof bytes)) > 0;)
            if (write(peer, bytes, got) != got) break;
        close(peer);
    }
}

int main(int argc, char **argv) {
    int is_tcp = argc > 2 && strcmp(argv[2], "tcp") == 0, one = 1;
    int fd = socket(AF_INET, is_tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(9000)};
    if (argc > 2 && strcmp(argv[1], "serve") == 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, (struct sockaddr *)&at, sizeof at)) return 1;
        is_tcp ? serve_streams(fd) : serve_datagrams(fd);
    }
    if (argc < 4 || inet_pton(AF_INET, argv[1], &at.sin_addr) != 1) return 1;
    if (is_tcp) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    // A datagram that is lost is asked for again.
    struct timeval patience = {.tv_usec = 200000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&at, sizeof at)) return 1;
    double start = seconds(), time = atof(argv[3]) / 1e3;
    long answers = 0;
    while (seconds() < start + time) {
        if (send(fd, bytes, 64, 0) != 64) continue;
        answers += recv(fd, bytes, sizeof bytes, 0) > 0;
    }
    printf("%.0f answers per second\n", answers / (seconds() - start));
}
