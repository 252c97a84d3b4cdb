// cgroup2: the files that tell of limits, where it can be mounted.
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/vfs.h>

static int holds(const char *path, const char *text) {
    char buffer[4096] = {0};
    int fd = open(path, O_RDONLY);
    if (fd < 0) return 0;
    read(fd, buffer, sizeof buffer - 1);
    close(fd);
    return strstr(buffer, text) != 0;
}

int main(void) {
    if (getuid() != 0 || unshare(CLONE_NEWNS) != 0) return 0;
    CHECK(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) == 0);
    char dir[] = "/tmp/cgroup-XXXXXX", path[128], pid[32];
    CHECK(mkdtemp(dir));
    if (mount("cgroup", dir, "cgroup2", 0, 0) != 0) {
        // Some hosts cannot.
        return rmdir(dir);
    }
    struct statfs fs;
    CHECK(statfs(dir, &fs) == 0 && fs.f_type == 0x63677270);
    sprintf(path, "%s/cgroup.controllers", dir);
    CHECK(access(path, R_OK) == 0);
    sprintf(path, "%s/cgroup.procs", dir);
    CHECK(access(path, R_OK) == 0 && holds("/proc/filesystems", "cgroup2"));
    sprintf(path, "%s/cgroup.type", dir);
    // Only groups below the root have a type: a container's own is such a group.
    if (access(path, R_OK) == 0) {
        CHECK(holds(path, "domain"));
        sprintf(path, "%s/cgroup.procs", dir);
        sprintf(pid, "%d\n", getpid());
        CHECK(holds(path, pid));
        const char *files[] = {"memory.max", "memory.current", "cpu.max", "cpu.stat", "pids.max", "pids.current", "memory.stat"};
        for (int i = 0; i < 7; i++) {
            sprintf(path, "%s/%s", dir, files[i]);
            CHECK(holds(path, "\n"));
        }
    }
    CHECK(umount(dir) == 0);
    return rmdir(dir);
}
