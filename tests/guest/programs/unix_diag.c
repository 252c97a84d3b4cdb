// Unix sockets in sock_diag: state, name, peer, queue; and one asked for by its number.
#include "check.h"
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int diag;
static char reply[1 << 16];

static void ask(int flags, unsigned states, unsigned inode) {
    struct {
        struct nlmsghdr head;
        struct unix_diag_req body;
    } request = {
        {sizeof request, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | flags, 1, 0},
        {.sdiag_family = AF_UNIX, .udiag_states = states, .udiag_ino = inode,
         .udiag_show = UDIAG_SHOW_NAME | UDIAG_SHOW_PEER | UDIAG_SHOW_RQLEN, .udiag_cookie = {-1, -1}},
    };
    CHECK(send(diag, &request, sizeof request, 0) == sizeof request);
}

static void *attribute(struct nlmsghdr *head, int type) {
    char *at = (char *)NLMSG_DATA(head) + sizeof(struct unix_diag_msg), *end = (char *)head + head->nlmsg_len;
    while (at + 4 <= end) {
        struct nlattr *found = (void *)at;
        if (found->nla_type == type) return at + 4;
        at += (found->nla_len + 3) & ~3;
    }
    return 0;
}

static unsigned inode_of(int fd) {
    struct stat stat;
    CHECK(fstat(fd, &stat) == 0);
    return stat.st_ino;
}

int main(void) {
    diag = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_SOCK_DIAG);
    int pair[2], listener = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(diag >= 0 && listener >= 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && write(pair[0], "abc", 3) == 3);
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    int len = sprintf(name.sun_path + 1, "unix_diag.%d", getpid());
    CHECK(bind(listener, (void *)&name, 3 + len) == 0 && listen(listener, 7) == 0);
    // One by its number.
    ask(0, -1, inode_of(pair[1]));
    CHECK(recv(diag, reply, sizeof reply, 0) > 0);
    struct nlmsghdr *head = (void *)reply;
    CHECK(head->nlmsg_type == SOCK_DIAG_BY_FAMILY);
    struct unix_diag_msg *found = NLMSG_DATA(head);
    CHECK(found->udiag_type == SOCK_STREAM && found->udiag_state == 1 && found->udiag_ino == inode_of(pair[1]));
    unsigned long long cookie = 0;
    socklen_t cookie_len = sizeof cookie;
    CHECK(getsockopt(pair[1], SOL_SOCKET, SO_COOKIE, &cookie, &cookie_len) == 0 && cookie_len == sizeof cookie);
    CHECK(memcmp(&cookie, found->udiag_cookie, sizeof cookie) == 0);
    cookie_len = sizeof cookie - 1;
    FAILS(getsockopt(pair[1], SOL_SOCKET, SO_COOKIE, &cookie, &cookie_len), EINVAL);
    unsigned *peer = attribute(head, UNIX_DIAG_PEER);
    CHECK(peer && *peer == inode_of(pair[0]));
    struct unix_diag_rqlen *queue = attribute(head, UNIX_DIAG_RQLEN);
    CHECK(queue && queue->udiag_rqueue == 3);
    ask(0, -1, 0x7ffffff1);
    CHECK(recv(diag, reply, sizeof reply, 0) > 0 && head->nlmsg_type == NLMSG_ERROR && *(int *)NLMSG_DATA(head) == -ENOENT);
    // Those that listen, ours among them.
    ask(NLM_F_DUMP, 1 << 10, 0);
    int seen = 0, done = 0;
    while (!done) {
        int got = recv(diag, reply, sizeof reply, 0);
        CHECK(got > 0);
        for (head = (void *)reply; NLMSG_OK(head, got); head = NLMSG_NEXT(head, got)) {
            if (head->nlmsg_type == NLMSG_DONE) { done = 1; break; }
            found = NLMSG_DATA(head);
            CHECK(found->udiag_state == 10);
            if (found->udiag_ino != inode_of(listener)) continue;
            char *told = attribute(head, UNIX_DIAG_NAME);
            queue = attribute(head, UNIX_DIAG_RQLEN);
            CHECK(told && memcmp(told, name.sun_path, len + 1) == 0 && queue->udiag_rqueue == 0 && queue->udiag_wqueue == 7);
            seen++;
        }
    }
    CHECK(seen == 1);
    return 0;
}
