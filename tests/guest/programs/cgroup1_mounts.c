// cgroup: hierarchies of version 1 come with their first mount, and go with the last where they have no groups.
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char mnt[] = "/tmp/cgroup1-XXXXXX";

static int has(const char *path, const char *text) {
    char buffer[8192] = {0};
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && read(fd, buffer, sizeof buffer - 1) >= 0);
    close(fd);
    return strstr(buffer, text) != 0;
}

static int mounts(const char *options) { return mount("none", mnt, "cgroup", 0, options); }

// A hierarchy goes some time after its last mount.
static int is_gone(const char *name) {
    for (int i = 0; i < 200 && has("/proc/self/cgroup", name); i++) usleep(10000);
    return !has("/proc/self/cgroup", name);
}

int main(void) {
    char name[64], options[128], path[128];
    if (getuid() != 0 || unshare(CLONE_NEWNS) != 0) return 0;
    CHECK(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) == 0 && mkdtemp(mnt));
    sprintf(name, "name=guest-test.%d", getpid());
    sprintf(options, "none,%s", name);
    // Not everybody may.
    if (mounts(options) != 0) return rmdir(mnt);
    CHECK(has("/proc/self/cgroup", name) && umount(mnt) == 0);
    CHECK(is_gone(name));
    FAILS(mounts("none,name=a/b"), EINVAL);
    FAILS(mounts("none,name=a b"), EINVAL);
    // Groups keep it, with what was set on them.
    sprintf(path, "%s/child", mnt);
    CHECK(mounts(options) == 0 && mkdir(path, 0755) == 0 && chown(path, 1000, 1000) == 0 && umount(mnt) == 0);
    struct stat st;
    CHECK(has("/proc/self/cgroup", name) && mounts(options) == 0 && stat(path, &st) == 0 && st.st_uid == 1000);
    // A group is released some time after it was removed: until then its hierarchy outlives the last mount, and would
    // stay on the host for good.
    CHECK(rmdir(path) == 0 && umount(mnt) == 0);
    for (int tries = 0; tries < 5 && !is_gone(name); tries++) {
        CHECK(mounts(options) == 0);
        usleep(200000);
        CHECK(umount(mnt) == 0);
    }
    CHECK(is_gone(name));
    // None is made in a name space of somebody else's.
    int status, pid = fork();
    if (pid == 0) {
        CHECK(unshare(CLONE_NEWCGROUP) == 0);
        sprintf(options, "none,name=other.%d", getpid());
        FAILS(mounts(options), EPERM);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    return rmdir(mnt);
}
