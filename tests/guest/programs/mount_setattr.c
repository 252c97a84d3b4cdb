// mount_setattr, open_tree and move_mount: on trees that a descriptor stands for, once; never on the kernel's own mounts.
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct attr {
    uint64_t set, clear, propagation, userns;
};
enum { RDONLY = 1, CLONE_TREE = 1, EMPTY = 0x1000, FROM_EMPTY = 4 };
static long setattr(int fd, const char *path, uint64_t set) {
    struct attr attr = {.set = set};
    return syscall(SYS_mount_setattr, fd, path, EMPTY, &attr, sizeof attr);
}

int main(void) {
    if (getuid() != 0) return 0;
    CHECK(unshare(CLONE_NEWNS) == 0 && mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) == 0);
    int memory = memfd_create("m", 0), ends[2];
    CHECK(memory >= 0 && pipe(ends) == 0);
    FAILS(setattr(memory, "", RDONLY), EINVAL);
    FAILS(setattr(ends[0], "", RDONLY), EINVAL);
    FAILS(syscall(SYS_open_tree, memory, "", CLONE_TREE | EMPTY), EINVAL);
    char path[64], dir[] = "/tmp/setattr-XXXXXX";
    sprintf(path, "/proc/self/fd/%d", memory);
    CHECK(mkdtemp(dir));
    char file[64], sub[64];
    sprintf(file, "%s/f", dir);
    sprintf(sub, "%s/sub", dir);
    CHECK(close(open(file, O_CREAT | O_WRONLY, 0600)) == 0 && mkdir(sub, 0700) == 0);
    FAILS(mount(path, file, 0, MS_BIND, 0), EINVAL);
    CHECK(write(memory, "x", 1) == 1);
    // A copy of a tree: it is changed at its root alone, and attached once.
    int tree = syscall(SYS_open_tree, AT_FDCWD, dir, CLONE_TREE);
    CHECK(tree >= 0);
    FAILS(setattr(tree, "sub", RDONLY), EINVAL);
    // Access times are kept in one way of three: NOATIME and STRICTATIME together are none.
    struct attr times = {.set = 0x30, .clear = 0x70};
    FAILS(syscall(SYS_mount_setattr, tree, "", EMPTY, &times, sizeof times), EINVAL);
    times.set = 0x10;
    CHECK(syscall(SYS_mount_setattr, tree, "", EMPTY, &times, sizeof times) == 0);
    CHECK(setattr(tree, "", RDONLY) == 0);
    CHECK(syscall(SYS_move_mount, tree, "", AT_FDCWD, sub, FROM_EMPTY) == 0);
    sprintf(file, "%s/sub/g", dir);
    FAILS(open(file, O_CREAT | O_WRONLY, 0600), EROFS);
    CHECK(umount2(sub, MNT_DETACH) == 0);
    // Taken off, it is nobody's.
    FAILS(setattr(tree, "", RDONLY), EINVAL);
    FAILS(syscall(SYS_move_mount, tree, "", AT_FDCWD, sub, FROM_EMPTY), EINVAL);
    sprintf(file, "%s/f", dir);
    CHECK(unlink(file) == 0 && rmdir(sub) == 0 && rmdir(dir) == 0);
    return 0;
}
