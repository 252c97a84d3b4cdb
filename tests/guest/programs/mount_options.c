// What /proc/mounts and statfs(2) tell of a tmpfs and of the root: limits that were given, an identity, and use.
#include "check.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>

static char line[4096];

// The options of the last mount at `place`, as /proc/mounts has them.
static const char *options_of(const char *place) {
    static char found[4096];
    FILE *mounts = fopen("/proc/mounts", "r");
    CHECK(mounts != NULL);
    while (fgets(line, sizeof line, mounts)) {
        char where[4096], options[4096];
        CHECK(sscanf(line, "%*s %4095s %*s %4095s", where, options) == 2);
        if (strcmp(where, place) == 0) strcpy(found, options);
    }
    fclose(mounts);
    return found;
}

int main(void) {
    if (unshare(CLONE_NEWNS) != 0) return 0;
    CHECK(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) == 0);
    char place[] = "/tmp/mount_options.XXXXXX";
    CHECK(mkdtemp(place) != NULL);

    CHECK(mount("none", place, "tmpfs", 0, NULL) == 0);
    CHECK(strstr(options_of(place), "size=") == NULL && strstr(options_of(place), "nr_inodes=") == NULL);
    CHECK(mount("none", place, "tmpfs", MS_REMOUNT, "size=2M,nr_inodes=77") == 0);
    CHECK(strstr(options_of(place), "size=2048k,nr_inodes=77") != NULL);
    struct statfs stat;
    CHECK(statfs(place, &stat) == 0);
    CHECK(stat.f_blocks * stat.f_bsize == 2 << 20 && stat.f_files == 77);
    CHECK(stat.f_fsid.__val[0] != 0 || stat.f_fsid.__val[1] != 0);
    CHECK(umount(place) == 0);

    CHECK(mount("none", place, "tmpfs", 0, "size=64k,mode=750") == 0);
    CHECK(strstr(options_of(place), "size=64k,mode=750") != NULL);
    CHECK(umount(place) == 0 && rmdir(place) == 0);

    CHECK(statfs("/", &stat) == 0);
    CHECK(stat.f_bfree < stat.f_blocks && stat.f_bavail <= stat.f_bfree);
    return 0;
}
