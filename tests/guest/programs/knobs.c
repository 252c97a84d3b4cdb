// What /proc/sys changes is heeded, and what is not heeded cannot be changed. On a host it does nothing: there the
// settings are not this test's to change.
#include "check.h"
#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

static long number(const char *path) {
    char text[32] = "";
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    return atol(text);
}

static void set(const char *path, long value) {
    char text[32];
    int fd = open(path, O_WRONLY), len = sprintf(text, "%ld\n", value);
    CHECK(fd >= 0 && write(fd, text, len) == len);
    close(fd);
    CHECK(number(path) == value);
}

static void watches(void) {
    const char *max = "/proc/sys/fs/inotify/max_user_watches", *all = "/proc/sys/fs/inotify/max_user_instances";
    long old = number(max), instances = number(all);
    int fd = inotify_init();
    CHECK(fd >= 0);
    set(max, 1);
    CHECK(inotify_add_watch(fd, "/tmp", IN_CREATE) > 0);
    FAILS(inotify_add_watch(fd, "/", IN_CREATE), ENOSPC);
    set(max, old);
    CHECK(inotify_add_watch(fd, "/", IN_CREATE) > 0);
    set(all, 1);
    FAILS(inotify_init(), EMFILE);
    set(all, instances);
    close(fd);
}

static void mappings(void) {
    const char *max = "/proc/sys/vm/max_map_count";
    long old = number(max);
    enum { MANY = 1000 };
    set(max, 500);
    char *at = mmap(NULL, MANY * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    int page = 1, failure = 0;
    // Each page that differs from its neighbours is a mapping of its own.
    for (; page < MANY && !failure; page += 2) failure = mprotect(at + page * 4096, 4096, PROT_NONE);
    CHECK(failure == -1 && errno == ENOMEM && page < 500);
    set(max, old);
    for (; page < MANY; page += 2) CHECK(mprotect(at + page * 4096, 4096, PROT_NONE) == 0);
    CHECK(munmap(at, MANY * 4096) == 0);
}

// Runs `test` as somebody without privilege; says how it ended.
static int as_nobody(int (*test)(void)) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        CHECK(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
        _exit(test());
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int open_owned(void) {
    int fd = open("owned", O_CREAT | O_RDWR, 0600);
    return fd < 0 ? errno : 0;
}
static int follow(void) { return open("link", O_RDONLY) < 0 ? errno : 0; }
static int hard_link(void) { return link("owned", "another") < 0 ? errno : 0; }
static int read_log(void) {
    char text[100];
    return klogctl(3, text, sizeof text) < 0 ? errno : 0;
}

static void protections(void) {
    char name[] = "/tmp/knobs-XXXXXX";
    CHECK(mkdtemp(name) && chdir(name) == 0 && chmod(".", 01777) == 0 && chown(".", 1, 1) == 0);
    umask(0);
    int fd = open("owned", O_CREAT | O_RDWR, 0666);
    CHECK(fd >= 0 && fchown(fd, 2, 2) == 0 && symlink("owned", "link") == 0);
    CHECK(as_nobody(open_owned) == EACCES && as_nobody(follow) == EACCES);
    set("/proc/sys/fs/protected_regular", 0);
    set("/proc/sys/fs/protected_symlinks", 0);
    CHECK(as_nobody(open_owned) == 0 && as_nobody(follow) == 0);
    // A directory that a group may write to is guarded by 2 alone.
    CHECK(chmod(".", 01775) == 0 && chown(".", 1, 65534) == 0);
    set("/proc/sys/fs/protected_regular", 1);
    CHECK(as_nobody(open_owned) == 0);
    set("/proc/sys/fs/protected_regular", 2);
    CHECK(as_nobody(open_owned) == EACCES);
    set("/proc/sys/fs/protected_regular", 1);
    set("/proc/sys/fs/protected_symlinks", 1);
    CHECK(fchmod(fd, 0644) == 0 && as_nobody(hard_link) == EPERM);
    set("/proc/sys/fs/protected_hardlinks", 0);
    CHECK(as_nobody(hard_link) == 0);
    set("/proc/sys/fs/protected_hardlinks", 1);
    CHECK(as_nobody(read_log) == 0);
    set("/proc/sys/kernel/dmesg_restrict", 1);
    CHECK(as_nobody(read_log) == EPERM);
    set("/proc/sys/kernel/dmesg_restrict", 0);
    CHECK(unlink("owned") == 0 && unlink("another") == 0 && unlink("link") == 0 && chdir("/") == 0 && rmdir(name) == 0);
}

int main(void) {
    static char log[1 << 16];
    int length = klogctl(3, log, sizeof log - 1);
    log[length > 0 ? length : 0] = 0;
    if (!strstr(log, "rampart")) return 0;
    watches();
    mappings();
    protections();
    FAILS(open("/proc/sys/fs/mount-max", O_WRONLY), EACCES);
    CHECK(number("/proc/sys/fs/mount-max") == 100000);
    return 0;
}
