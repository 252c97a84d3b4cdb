// Extended attributes and ACLs on tmpfs; the ids of ACLs in user name spaces.
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#define ACL "system.posix_acl_access"

static void put(const char *file, const char *text) {
    int fd = open(file, O_WRONLY);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

struct acl { unsigned version; struct { unsigned short tag, perm; unsigned id; } entry[6]; };

// Runs in a user name space with these users.
static void with_users(const char *map, void (*run)(int fd), int fd) {
    int ready[2], go[2], status;
    char byte, path[64];
    CHECK(pipe(ready) == 0 && pipe(go) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(unshare(CLONE_NEWUSER) == 0 && write(ready[1], "x", 1) == 1 && read(go[0], &byte, 1) == 1);
        run(fd);
        _exit(0);
    }
    CHECK(read(ready[0], &byte, 1) == 1);
    snprintf(path, sizeof path, "/proc/%d/uid_map", child);
    put(path, map);
    CHECK(write(go[1], "x", 1) == 1 && wait(&status) == child && status == 0);
    close(ready[0]), close(ready[1]), close(go[0]), close(go[1]);
}

static void set_and_see(int fd) {
    struct acl seen, acl = {2, {{1, 6, -1}, {2, 4, 7}, {2, 2, 5}, {4, 0, -1}, {16, 6, 99}, {32, 0, -1}}};
    CHECK(fsetxattr(fd, ACL, &acl, sizeof acl, 0) == 0);
    CHECK(fgetxattr(fd, ACL, &seen, sizeof seen) == sizeof seen);
    CHECK(seen.entry[1].id == 7 && seen.entry[2].id == 5 && seen.entry[4].id == -1);
    acl.entry[1].id = 8;
    FAILS(fsetxattr(fd, ACL, &acl, sizeof acl, 0), EINVAL);
}

static void see_some(int fd) {
    struct acl seen;
    CHECK(fgetxattr(fd, ACL, &seen, sizeof seen) == sizeof seen && seen.entry[1].id == -1 && seen.entry[2].id == 3);
}

// Ids are those of the name space in which an ACL is set or seen.
static void in_user_ns(void) {
    char path[] = "/dev/shm/xattr-XXXXXX";
    struct acl seen;
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    with_users("0 0 1\n5 1005 3\n", set_and_see, fd);
    CHECK(fgetxattr(fd, ACL, &seen, sizeof seen) == sizeof seen);
    CHECK(seen.entry[1].id == 1007 && seen.entry[2].id == 1005);
    with_users("0 0 1\n3 1005 1\n", see_some, fd);
    CHECK(setresuid(1007, 1007, 0) == 0 && open(path, O_RDONLY) >= 0);
    FAILS(open(path, O_WRONLY), EACCES);
    CHECK(setresuid(0, 0, 0) == 0 && unlink(path) == 0);
}

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
    in_user_ns();
    return 0;
}
