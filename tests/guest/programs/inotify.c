// inotify: events of each kind, cookies, coalescing, watches of directories and files, overflow of names, removal.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

static int fd;
static char buffer[8192];
static int have, at;
static struct inotify_event *next(void) {
    if (at >= have) {
        have = read(fd, buffer, sizeof buffer);
        at = 0;
        if (have <= 0) return 0;
    }
    struct inotify_event *event = (void *)(buffer + at);
    at += sizeof *event + event->len;
    return event;
}
static unsigned expect(int wd, unsigned mask, const char *name) {
    struct inotify_event *event = next();
    if (!event || event->wd != wd || event->mask != mask || strcmp(event->len ? event->name : "", name)) {
        fprintf(stderr, "wanted wd %d %x %s, got ", wd, mask, name);
        if (event) fprintf(stderr, "wd %d %x %s\n", event->wd, event->mask, event->len ? event->name : "");
        CHECK(!"event");
    }
    return event->cookie;
}

int main(void) {
    char dir[] = "/tmp/inotify-XXXXXX", path[64], other[64];
    CHECK(mkdtemp(dir) && chdir(dir) == 0);
    fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    CHECK(fd >= 0);
    FAILS(inotify_init1(0x77), EINVAL);
    FAILS(inotify_add_watch(fd, ".", 0), EINVAL);
    FAILS(inotify_add_watch(fd, "none", IN_OPEN), ENOENT);
    FAILS(inotify_add_watch(0, ".", IN_OPEN), EINVAL);
    int wd = inotify_add_watch(fd, ".", IN_ALL_EVENTS);
    CHECK(wd == 1 && next() == 0 && errno == EAGAIN);
    int file = open("f", O_CREAT | O_RDWR, 0600);
    expect(wd, IN_CREATE, "f");
    expect(wd, IN_OPEN, "f");
    CHECK(write(file, "x", 1) == 1 && write(file, "y", 1) == 1);
    // Two equal events in a row are one.
    expect(wd, IN_MODIFY, "f");
    char c;
    CHECK(pread(file, &c, 1, 0) == 1);
    expect(wd, IN_ACCESS, "f");
    CHECK(fchmod(file, 0644) == 0);
    expect(wd, IN_ATTRIB, "f");
    CHECK(ftruncate(file, 0) == 0);
    expect(wd, IN_MODIFY, "f");
    close(file);
    expect(wd, IN_CLOSE_WRITE, "f");
    CHECK(rename("f", "g") == 0);
    unsigned cookie = expect(wd, IN_MOVED_FROM, "f");
    CHECK(cookie != 0 && expect(wd, IN_MOVED_TO, "g") == cookie);
    CHECK(mkdir("d", 0700) == 0);
    expect(wd, IN_CREATE | IN_ISDIR, "d");
    int wf = inotify_add_watch(fd, "g", IN_ALL_EVENTS);
    CHECK(wf == 2);
    CHECK(close(open("g", O_RDONLY)) == 0);
    expect(wd, IN_OPEN, "g");
    expect(wf, IN_OPEN, "");
    expect(wd, IN_CLOSE_NOWRITE, "g");
    expect(wf, IN_CLOSE_NOWRITE, "");
    CHECK(link("g", "h") == 0);
    expect(wf, IN_ATTRIB, "");
    expect(wd, IN_CREATE, "h");
    CHECK(unlink("h") == 0);
    expect(wf, IN_ATTRIB, "");
    expect(wd, IN_DELETE, "h");
    int pending;
    CHECK(unlink("g") == 0 && ioctl(fd, FIONREAD, &pending) == 0 && pending > 0);
    expect(wf, IN_ATTRIB, "");
    expect(wf, IN_DELETE_SELF, "");
    expect(wf, IN_IGNORED, "");
    expect(wd, IN_DELETE, "g");
    FAILS(inotify_rm_watch(fd, wf), EINVAL);
    // Changing a mask, adding to it, once only.
    CHECK(inotify_add_watch(fd, ".", IN_CREATE) == wd && inotify_add_watch(fd, ".", IN_DELETE | IN_MASK_ADD) == wd);
    CHECK(close(open("i", O_CREAT, 0600)) == 0 && unlink("i") == 0);
    expect(wd, IN_CREATE, "i");
    expect(wd, IN_DELETE, "i");
    FAILS(inotify_add_watch(fd, ".", IN_DELETE | IN_MASK_CREATE), EEXIST);
    FAILS(inotify_add_watch(fd, "/proc/self/exe", IN_ONLYDIR | IN_OPEN), ENOTDIR);
    int once = inotify_add_watch(fd, "d", IN_CREATE | IN_ONESHOT);
    CHECK(mkdir("d/a", 0700) == 0 && mkdir("d/b", 0700) == 0);
    expect(once, IN_CREATE | IN_ISDIR, "a");
    expect(once, IN_IGNORED, "");
    CHECK(inotify_rm_watch(fd, wd) == 0);
    expect(wd, IN_IGNORED, "");
    CHECK(next() == 0);
    struct pollfd poll_fd = {fd, POLLIN};
    CHECK(poll(&poll_fd, 1, 0) == 0);
    FAILS(read(fd, buffer, 4), EAGAIN);
    return chdir("/") || rmdir("/nonexistent") == 0;
}
