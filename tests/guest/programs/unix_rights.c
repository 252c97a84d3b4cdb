// SCM_RIGHTS: descriptors a message, files in flight per user, sockets nested in sockets, cycles of them, and what
// empty datagrams cost.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

static int send_fds(int to, const int *fds, int count) {
    char control[CMSG_SPACE(sizeof(int) * 300)] = {0};
    struct iovec iov = {"x", 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof(int) * count)};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * count);
    return sendmsg(to, &msg, MSG_DONTWAIT);
}

static int send_fd(int to, int fd) { return send_fds(to, &fd, 1); }

static int receive_fd(int from, int flags) {
    char control[CMSG_SPACE(sizeof(int))], byte;
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK(recvmsg(from, &msg, flags) == 1);
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
    CHECK(cmsg && cmsg->cmsg_type == SCM_RIGHTS && cmsg->cmsg_len == CMSG_LEN(sizeof(int)));
    int fd;
    memcpy(&fd, CMSG_DATA(cmsg), sizeof fd);
    return fd;
}

static void pair(int *ends) { CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0); }

// Whether all writers of the pipe are gone. Closing any socket lets the kernel look for unreachable ones.
static int is_closed_soon(int reader) {
    for (int i = 0; i < 500; i++) {
        struct pollfd wait = {reader, POLLIN};
        if (poll(&wait, 1, 10) == 1 && (wait.revents & POLLHUP)) return 1;
        close(socket(AF_UNIX, SOCK_STREAM, 0));
    }
    return 0;
}

static void limits_of_a_message(void) {
    int ends[2], many[254];
    pair(ends);
    for (int i = 0; i < 254; i++) many[i] = 0;
    FAILS(send_fds(ends[0], many, 254), EINVAL);
    CHECK(send_fds(ends[0], many, 253) == 1);
    close(ends[0]), close(ends[1]);
}

// A socket in the inbox of a socket in the inbox of a socket …: closing the outermost closes them all.
static void deep_nesting(void) {
    int pipe_ends[2], inner[2];
    CHECK(pipe(pipe_ends) == 0);
    pair(inner);
    CHECK(send_fd(inner[0], pipe_ends[1]) == 1);
    close(pipe_ends[1]), close(inner[0]);
    int held = inner[1];
    for (int i = 0; i < 20000; i++) {
        int ends[2];
        pair(ends);
        CHECK(send_fd(ends[0], held) == 1);
        close(ends[0]), close(held);
        held = ends[1];
    }
    close(held);
    CHECK(is_closed_soon(pipe_ends[0]));
    close(pipe_ends[0]);
}

// Each end lies in the other's inbox, with a pipe that shows when they go. One peek or one receipt keeps them.
static void cycles(void) {
    int pipe_ends[2], ends[2], outside[2];
    CHECK(pipe(pipe_ends) == 0);
    pair(ends), pair(outside);
    CHECK(send_fd(ends[0], pipe_ends[1]) == 1 && send_fd(ends[0], ends[0]) == 1 && send_fd(ends[1], ends[1]) == 1);
    CHECK(send_fd(outside[0], ends[1]) == 1);
    close(pipe_ends[1]), close(ends[0]), close(ends[1]);
    for (int i = 0; i < 50; i++) close(socket(AF_UNIX, SOCK_STREAM, 0));
    usleep(20000);
    struct pollfd wait = {pipe_ends[0], POLLIN};
    CHECK(poll(&wait, 1, 0) == 0);
    // Still reachable through `outside`: all there when it is received.
    int back = receive_fd(outside[1], MSG_PEEK);
    close(receive_fd(outside[1], 0));
    int writer = receive_fd(back, MSG_PEEK);
    CHECK(write(writer, "y", 1) == 1);
    char byte;
    CHECK(read(pipe_ends[0], &byte, 1) == 1 && byte == 'y');
    close(writer), close(back), close(outside[0]), close(outside[1]);
    CHECK(is_closed_soon(pipe_ends[0]));
    close(pipe_ends[0]);
}

// A listener in the inbox of a connection that it has not accepted.
static void cycle_through_a_backlog(void) {
    int pipe_ends[2], listener = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(pipe(pipe_ends) == 0);
    struct sockaddr name;
    socklen_t len = sizeof(sa_family_t);
    memset(&name, 0, sizeof name);
    name.sa_family = AF_UNIX;
    char address[128];
    CHECK(bind(listener, &name, len) == 0 && listen(listener, 1) == 0);
    len = sizeof address;
    CHECK(getsockname(listener, (struct sockaddr *)address, &len) == 0);
    CHECK(connect(client, (struct sockaddr *)address, len) == 0);
    CHECK(send_fd(client, listener) == 1 && send_fd(client, pipe_ends[1]) == 1);
    close(pipe_ends[1]), close(client), close(listener);
    CHECK(is_closed_soon(pipe_ends[0]));
    close(pipe_ends[0]);
}

static void empty_datagrams(void) {
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
    int sent = 0;
    while (sent < 1000000 && send(ends[0], "", 0, MSG_DONTWAIT) == 0) sent++;
    CHECK(sent < 1000000 && errno == EAGAIN);
    CHECK(recv(ends[1], &sent, 1, 0) == 0);
    close(ends[0]), close(ends[1]);
}

static void in_flight_per_user(void) {
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {100, 100};
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0 && setgid(54321) == 0 && setuid(54321) == 0);
        int fds[50] = {0}, refused = 0;
        for (int i = 0; i < 20 && !refused; i++) {
            int ends[2];
            pair(ends);
            refused = send_fds(ends[0], fds, 50) == -1;
        }
        CHECK(refused && errno == ETOOMANYREFS);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(void) {
    limits_of_a_message();
    deep_nesting();
    cycles();
    cycle_through_a_backlog();
    empty_datagrams();
    if (getuid() == 0) in_flight_per_user();
    return 0;
}
