// Who is at the other end of a unix socket: SO_PEERCRED and SCM_CREDENTIALS hold for the reader's user and pid name
// spaces, and nobody claims ids of others (man 7 unix).
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { NOBODY = 65534 };

static void put(const char *file, const char *text) {
    int fd = open(file, O_WRONLY);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

// An own user name space, in which user and group 1000 are 0.
static void be_root_of_own(void) {
    CHECK(setgid(1000) == 0 && setuid(1000) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
    CHECK(unshare(CLONE_NEWUSER) == 0);
    put("/proc/self/setgroups", "deny");
    put("/proc/self/uid_map", "0 1000 1");
    put("/proc/self/gid_map", "0 1000 1");
    CHECK(getuid() == 0);
}

static int claim(int socket, pid_t pid, uid_t uid, gid_t gid) {
    struct ucred creds = {pid, uid, gid};
    char control[CMSG_SPACE(sizeof creds)] = {0};
    struct iovec iov = {"c", 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_CREDENTIALS;
    header->cmsg_len = CMSG_LEN(sizeof creds);
    memcpy(CMSG_DATA(header), &creds, sizeof creds);
    return sendmsg(socket, &message, 0);
}

static struct ucred sender(int socket) {
    char data[1], control[256];
    struct iovec iov = {data, 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK(recvmsg(socket, &message, MSG_DONTWAIT) == 1);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    CHECK(header && header->cmsg_type == SCM_CREDENTIALS);
    struct ucred creds;
    memcpy(&creds, CMSG_DATA(header), sizeof creds);
    return creds;
}

static int is(struct ucred creds, pid_t pid, uid_t uid, gid_t gid) {
    if (creds.pid == pid && creds.uid == uid && creds.gid == gid) return 1;
    fprintf(stderr, "pid %d uid %d gid %d\n", creds.pid, creds.uid, creds.gid);
    return 0;
}

static void passed(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

// The groups of who connected, and how many there are where they do not fit.
static void groups(void) {
    gid_t own[64], told[64];
    int pair[2], count = getgroups(64, own);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    socklen_t len = sizeof told;
    CHECK(getsockopt(pair[0], SOL_SOCKET, SO_PEERGROUPS, told, &len) == 0);
    CHECK(len == count * sizeof(gid_t) && memcmp(own, told, len) == 0);
    if (count > 0) {
        len = 1;
        FAILS(getsockopt(pair[0], SOL_SOCKET, SO_PEERGROUPS, told, &len), ERANGE);
        CHECK(len == count * sizeof(gid_t));
    }
    CHECK(close(pair[0]) == 0 && close(pair[1]) == 0);
}

static void pair_of(int type, int *pair) {
    int on = 1;
    CHECK(socketpair(AF_UNIX, type, 0, pair) == 0);
    for (int i = 0; i < 2; i++) CHECK(setsockopt(pair[i], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
}

// What root of an own name space says is what it is outside.
static void from_user_ns(int type) {
    int pair[2];
    pair_of(type, pair);
    CHECK(send(pair[0], "r", 1, 0) == 1);
    pid_t child = fork();
    if (child == 0) {
        be_root_of_own();
        FAILS(claim(pair[1], getpid(), 1000, 1000), EINVAL);
        FAILS(claim(pair[1], getpid(), 0, 1000), EINVAL);
        FAILS(claim(pair[1], 1, 1, 0), EINVAL);
        FAILS(claim(pair[1], getppid(), 0, 0), EPERM);
        CHECK(claim(pair[1], getpid(), 0, 0) == 1);
        CHECK(send(pair[1], "y", 1, 0) == 1);
        CHECK(is(sender(pair[1]), getppid(), NOBODY, NOBODY));
        _exit(0);
    }
    passed(child);
    CHECK(is(sender(pair[0]), child, 1000, 1000));
    CHECK(is(sender(pair[0]), child, 1000, 1000));
    close(pair[0]);
    close(pair[1]);
}

// A process is told by the reader's number for it, or none.
static void from_pid_ns(void) {
    int pair[2];
    pair_of(SOCK_SEQPACKET, pair);
    CHECK(send(pair[0], "p", 1, 0) == 1);
    pid_t child = fork();
    if (child == 0) {
        CHECK(unshare(CLONE_NEWPID) == 0);
        pid_t first = fork();
        if (first == 0) {
            CHECK(getpid() == 1);
            CHECK(is(sender(pair[1]), 0, 0, 0));
            FAILS(claim(pair[1], 77, 0, 0), ESRCH);
            CHECK(claim(pair[1], 1, 0, 0) == 1);
            struct ucred peer;
            socklen_t len = sizeof peer;
            CHECK(getsockopt(pair[1], SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && is(peer, 0, 0, 0));
            int own[2];
            CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, own) == 0);
            CHECK(getsockopt(own[0], SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && is(peer, 1, 0, 0));
            CHECK(write(pair[1], &own[0], 1) == 1);
            _exit(0);
        }
        passed(first);
        struct ucred told = sender(pair[0]), sent = sender(pair[0]);
        CHECK(is(told, first, 0, 0) && is(sent, first, 0, 0));
        _exit(0);
    }
    passed(child);
    close(pair[0]);
    close(pair[1]);
}

// SO_PEERCRED: effective ids, seen from the reader's user name space. Messages: real ids.
static void of_peers(void) {
    int pair[2], lone = socket(AF_UNIX, SOCK_STREAM, 0);
    struct ucred peer;
    socklen_t len = sizeof peer;
    CHECK(getsockopt(lone, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && is(peer, 0, -1, -1));
    CHECK(setresgid(3, 4, 0) == 0 && setresuid(1, 2, 0) == 0);
    pair_of(SOCK_STREAM, pair);
    CHECK(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 && is(peer, getpid(), 2, 4));
    CHECK(send(pair[0], "e", 1, 0) == 1 && is(sender(pair[1]), getpid(), 1, 3));
    CHECK(setresuid(0, 0, 0) == 0 && setresgid(0, 0, 0) == 0);
    pid_t child = fork();
    if (child == 0) {
        be_root_of_own();
        CHECK(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0);
        CHECK(is(peer, getppid(), NOBODY, NOBODY));
        _exit(0);
    }
    passed(child);
    CHECK(claim(pair[0], child, 5, 6) == -1 && errno == ESRCH);
    CHECK(claim(pair[0], getpid(), 5, 6) == 1 && is(sender(pair[1]), getpid(), 5, 6));
}

int main(void) {
    groups();
    if (getuid() != 0) {
        return 0;
    }
    from_user_ns(SOCK_DGRAM);
    from_user_ns(SOCK_SEQPACKET);
    from_user_ns(SOCK_STREAM);
    from_pid_ns();
    of_peers();
    return 0;
}
