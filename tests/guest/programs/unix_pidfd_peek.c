// SO_PEERPIDFD and SO_PASSPIDFD: descriptors of the process at the other end. SO_PEEK_OFF: where a peek begins.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#define SO_PEERPIDFD 77
#endif
#define SCM_PIDFD_ 4

// The process that a descriptor stands for.
static int process_of(int pidfd) {
    char path[64], line[128];
    int pid = -2;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    FILE *info = fopen(path, "r");
    CHECK(info);
    while (fgets(line, sizeof line, info)) sscanf(line, "Pid: %d", &pid);
    fclose(info);
    return pid;
}

static void peer(void) {
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa_family_t);
    int server = socket(AF_UNIX, SOCK_STREAM, 0), status;
    CHECK(bind(server, (void *)&name, len) == 0 && listen(server, 1) == 0);
    len = sizeof name;
    CHECK(getsockname(server, (void *)&name, &len) == 0);
    int child = fork();
    if (child == 0) {
        int client = socket(AF_UNIX, SOCK_STREAM, 0);
        CHECK(connect(client, (void *)&name, len) == 0);
        pause();
    }
    int accepted = accept(server, NULL, NULL), pidfd = -1;
    len = sizeof pidfd;
    CHECK(getsockopt(accepted, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0 && len == sizeof pidfd);
    CHECK(process_of(pidfd) == child && fcntl(pidfd, F_GETFD) == FD_CLOEXEC);
    CHECK(syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0);
    struct pollfd ends = {.fd = pidfd, .events = POLLIN};
    CHECK(poll(&ends, 1, 5000) == 1);
    CHECK(waitpid(child, &status, 0) == child && WTERMSIG(status) == SIGKILL);
    // Nobody is told of.
    int alone = socket(AF_UNIX, SOCK_STREAM, 0);
    FAILS(getsockopt(alone, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len), ENODATA);
    // A number that cannot be stored is not used.
    int next = dup(0), pair[2];
    close(next);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(pair[0] == next);
    next = dup(0), close(next);
    FAILS(getsockopt(pair[0], SOL_SOCKET, SO_PEERPIDFD, NULL, &len), EFAULT);
    CHECK(dup(0) == next);
    close(next), close(pair[0]), close(pair[1]), close(accepted), close(server), close(alone), close(pidfd);
}

// What comes with a message, in its order.
static void passed(int type) {
    int pair[2], on = 1, got = 0, status;
    socklen_t len = sizeof got;
    char byte, control[256], cut[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {&byte, 1};
    CHECK(socketpair(AF_UNIX, type, 0, pair) == 0);
    CHECK(setsockopt(pair[0], SOL_SOCKET, SO_PASSPIDFD, &on, sizeof on) == 0);
    CHECK(getsockopt(pair[0], SOL_SOCKET, SO_PASSPIDFD, &got, &len) == 0 && got == 1);
    CHECK(getsockopt(pair[1], SOL_SOCKET, SO_PASSPIDFD, &got, &len) == 0 && got == 0);
    CHECK(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
    int child = fork();
    if (child == 0) {
        CHECK(write(pair[1], "x", 1) == 1);
        pause();
    }
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK(recvmsg(pair[0], &message, 0) == 1 && !(message.msg_flags & MSG_CTRUNC));
    struct cmsghdr *creds = CMSG_FIRSTHDR(&message), *pidfd = CMSG_NXTHDR(&message, creds);
    CHECK(creds && creds->cmsg_level == SOL_SOCKET && creds->cmsg_type == SCM_CREDENTIALS);
    CHECK(pidfd && pidfd->cmsg_level == SOL_SOCKET && pidfd->cmsg_type == SCM_PIDFD_ && pidfd->cmsg_len == CMSG_LEN(sizeof(int)));
    memcpy(&got, CMSG_DATA(pidfd), sizeof got);
    CHECK(process_of(got) == child && fcntl(got, F_GETFD) == FD_CLOEXEC && close(got) == 0);
    kill(child, SIGKILL);
    CHECK(waitpid(child, &status, 0) == child);
    // Without room it is not made.
    int next = dup(0);
    close(next);
    on = 0;
    CHECK(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0 && write(pair[1], "y", 1) == 1);
    message = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1, .msg_control = cut, .msg_controllen = CMSG_LEN(sizeof(int)) - 1};
    CHECK(recvmsg(pair[0], &message, 0) == 1 && message.msg_flags & MSG_CTRUNC);
    CHECK(dup(0) == next && close(next) == 0);
    close(pair[0]), close(pair[1]);
}

static int offset_of(int socket) {
    int offset = -2;
    socklen_t len = sizeof offset;
    CHECK(getsockopt(socket, SOL_SOCKET, SO_PEEK_OFF, &offset, &len) == 0);
    return offset;
}

static int peeks(int socket, int room, const char *text) {
    char buffer[16];
    int len = recv(socket, buffer, room, MSG_PEEK | MSG_DONTWAIT);
    return len == (int)strlen(text) && memcmp(buffer, text, len) == 0;
}

static void peek_stream(void) {
    int pair[2], offset = 2;
    char buffer[16];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(offset_of(pair[1]) == -1);
    CHECK(write(pair[0], "123", 3) == 3 && write(pair[0], "45", 2) == 2);
    CHECK(setsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) == 0);
    CHECK(peeks(pair[1], 1, "3") && offset_of(pair[1]) == 3);
    CHECK(peeks(pair[1], 1, "4") && offset_of(pair[1]) == 4);
    CHECK(peeks(pair[1], 16, "5") && offset_of(pair[1]) == 5);
    FAILS(recv(pair[1], buffer, 1, MSG_PEEK | MSG_DONTWAIT), EAGAIN);
    CHECK(recv(pair[1], buffer, 2, 0) == 2 && offset_of(pair[1]) == 3);
    CHECK(write(pair[0], "6", 1) == 1 && peeks(pair[1], 16, "6"));
    CHECK(recv(pair[1], buffer, 16, 0) == 4 && offset_of(pair[1]) == 0);
    CHECK(write(pair[0], "789", 3) == 3);
    offset = -1;
    CHECK(setsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) == 0);
    CHECK(peeks(pair[1], 1, "7") && peeks(pair[1], 2, "78") && offset_of(pair[1]) == -1);
    close(pair[0]), close(pair[1]);
}

static void peek_messages(int type) {
    int pair[2], offset = 0;
    char buffer[16];
    CHECK(socketpair(AF_UNIX, type, 0, pair) == 0);
    CHECK(write(pair[0], "123", 3) == 3 && write(pair[0], "45", 2) == 2);
    CHECK(setsockopt(pair[1], SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) == 0);
    CHECK(peeks(pair[1], 2, "12") && peeks(pair[1], 16, "3") && peeks(pair[1], 16, "45"));
    FAILS(recv(pair[1], buffer, 1, MSG_PEEK | MSG_DONTWAIT), EAGAIN);
    CHECK(offset_of(pair[1]) == 5);
    CHECK(recv(pair[1], buffer, 1, 0) == 1 && offset_of(pair[1]) == 2);
    CHECK(recv(pair[1], buffer, 16, 0) == 2 && buffer[0] == '4' && offset_of(pair[1]) == 0);
    close(pair[0]), close(pair[1]);
}

int main(void) {
    needs_linux(6, 5);
    peer();
    passed(SOCK_STREAM);
    passed(SOCK_DGRAM);
    passed(SOCK_SEQPACKET);
    peek_stream();
    peek_messages(SOCK_DGRAM);
    peek_messages(SOCK_SEQPACKET);
    return 0;
}
