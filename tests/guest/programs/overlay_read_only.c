// An overlay whose upper layer cannot be written to is refused, whether the mount or the file system is read-only.
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

int main(void) {
    // Without the right to mount there is nothing to see.
    if (unshare(CLONE_NEWNS) != 0 || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) != 0) return 0;
    char top[] = "/tmp/overlay-XXXXXX", layers[300];
    CHECK(mkdtemp(top) && chdir(top) == 0 && mkdir("fs", 0700) == 0 && mkdir("seen", 0700) == 0);
    CHECK(mount("fs", "fs", "tmpfs", 0, 0) == 0);
    for (const char **name = (const char *[]){"fs/low", "fs/up", "fs/work", 0}; *name; name++) CHECK(mkdir(*name, 0700) == 0);
    CHECK(close(creat("fs/low/a", 0600)) == 0 && close(creat("fs/up/b", 0600)) == 0);
    sprintf(layers, "lowerdir=%s/fs/low,upperdir=%s/fs/up,workdir=%s/fs/work", top, top, top);
    // Some hosts have no overlay.
    if (mount("seen", "seen", "overlay", 0, layers) == 0) {
        CHECK(close(creat("seen/c", 0600)) == 0 && access("fs/up/c", F_OK) == 0 && umount("seen") == 0);
        CHECK(mount("fs", "fs", 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0) == 0);
        FAILS(mount("seen", "seen", "overlay", 0, layers), EINVAL);
        CHECK(mount("fs", "fs", 0, MS_REMOUNT | MS_BIND, 0) == 0 && mount("fs", "fs", 0, MS_REMOUNT | MS_RDONLY, 0) == 0);
        FAILS(mount("seen", "seen", "overlay", 0, layers), EINVAL);
    }
    CHECK(chdir("/") == 0);
    return 0;
}
