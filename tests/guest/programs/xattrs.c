// Extended attributes and ACLs on tmpfs.
#include "check.h"
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

int main(void) {
    char path[] = "/dev/shm/xattr-XXXXXX", value[64], list[256];
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    CHECK(fsetxattr(fd, "trusted.one", "1", 1, 0) == 0);
    FAILS(fsetxattr(fd, "trusted.one", "2", 1, XATTR_CREATE), EEXIST);
    FAILS(fsetxattr(fd, "trusted.two", "2", 1, XATTR_REPLACE), ENODATA);
    CHECK(setxattr(path, "trusted.two", "", 0, XATTR_CREATE) == 0);
    CHECK(getxattr(path, "trusted.one", 0, 0) == 1 && getxattr(path, "trusted.one", value, 64) == 1 && value[0] == '1');
    CHECK(getxattr(path, "trusted.two", value, 64) == 0);
    CHECK(fsetxattr(fd, "trusted.one", "longer value", 12, XATTR_REPLACE) == 0);
    FAILS(fgetxattr(fd, "trusted.one", value, 5), ERANGE);
    FAILS(fgetxattr(fd, "trusted.none", value, 5), ENODATA);
    FAILS(fgetxattr(fd, "bad.name", value, 5), EOPNOTSUPP);
    FAILS(fsetxattr(fd, "trusted.x", "", 0, 8), EINVAL);
    int len = listxattr(path, list, sizeof list), found = 0;
    for (int at = 0; at < len; at += strlen(list + at) + 1) found += !strncmp(list + at, "trusted.", 8);
    CHECK(found == 2);
    FAILS(listxattr(path, list, 3), ERANGE);
    CHECK(removexattr(path, "trusted.two") == 0);
    FAILS(removexattr(path, "trusted.two"), ENODATA);
    // An ACL: user 1000 may read; the group class of the mode is its mask.
    struct { unsigned version; struct { unsigned short tag, perm; unsigned id; } entry[5]; } acl = {
        2, {{1, 6, -1}, {2, 4, 1000}, {4, 0, -1}, {16, 4, -1}, {32, 0, -1}}};
    CHECK(setxattr(path, "system.posix_acl_access", &acl, 4 + 5 * 8, 0) == 0);
    struct stat st;
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0777) == 0640);
    if (fork() == 0) {
        CHECK(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0);
        CHECK(open(path, O_RDONLY) >= 0);
        FAILS(open(path, O_RDWR), EACCES);
        FAILS(setxattr(path, "user.x", "", 0, 0), EACCES);
        FAILS(getxattr(path, "trusted.one", value, 64), ENODATA);
        _exit(0);
    }
    int status;
    CHECK(wait(&status) > 0 && status == 0);
    CHECK(chmod(path, 0600) == 0);
    acl.version = 1;
    FAILS(setxattr(path, "system.posix_acl_access", &acl, 4 + 5 * 8, 0), EOPNOTSUPP);
    unlink(path);
    return 0;
}
