// Names: rename flags, O_TMPFILE, link, unlink while open, getdents positions, statx, openat2, *at errors.
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

static int make(int dir, const char *name, const char *text) {
    int fd = openat(dir, name, O_CREAT | O_RDWR | O_EXCL, 0644);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == strlen(text));
    return close(fd);
}
static int holds(int dir, const char *name, const char *text) {
    char buffer[64] = {0};
    int fd = openat(dir, name, O_RDONLY);
    if (fd < 0) return 0;
    read(fd, buffer, 63);
    close(fd);
    return strcmp(buffer, text) == 0;
}

// The type that a listing of the directory shows for a name, with the number of its inode; -1 without the name.
static int type_of(int dir, const char *name) {
    DIR *list = fdopendir(dup(dir));
    CHECK(list);
    rewinddir(list);
    int type = -1;
    for (struct dirent *entry; (entry = readdir(list));) {
        if (strcmp(entry->d_name, name)) continue;
        struct stat info;
        CHECK(type == -1 && fstatat(dir, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && info.st_ino == entry->d_ino);
        type = entry->d_type;
    }
    closedir(list);
    return type;
}

// Listings from positions that nobody was ever told, in directories of every kind: more, nothing, or an error.
static void odd_positions(void) {
    const char *dirs[] = {"/proc/self/fd", "/proc/self/fdinfo", "/proc/self/task", "/proc/self/ns", "/proc", "/proc/sys/kernel", "/sys", "/dev", "/tmp"};
    const long places[] = {0x7ffffffe, 0x7fffffff, 0x80000000, 0x80000001, 0x80000002, 0xffffffff, 0x100000001, 0x7fffffffffffffff};
    for (unsigned i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        int fd = open(dirs[i], O_RDONLY | O_DIRECTORY);
        CHECK(fd >= 0);
        for (unsigned j = 0; j < sizeof places / sizeof *places; j++) {
            char entries[1024];
            if (lseek(fd, places[j], SEEK_SET) < 0) continue;
            (void)!syscall(SYS_getdents64, fd, entries, sizeof entries);
        }
        close(fd);
    }
}

// A tmpfs lists its newest name first, and what is made meanwhile not at all.
static void newest_first(void) {
    char path[] = "/dev/shm/names-XXXXXX", shown[16] = "";
    struct statfs kind;
    CHECK(mkdtemp(path) && statfs(path, &kind) == 0);
    int dir = open(path, O_RDONLY | O_DIRECTORY);
    for (const char *name = "byaz"; *name; name++) make(dir, (char[]){*name, 0}, "");
    CHECK(unlinkat(dir, "y", 0) == 0);
    DIR *list = opendir(path);
    for (struct dirent *entry; (entry = readdir(list));) {
        if (entry->d_name[0] == '.') continue;
        strcat(shown, entry->d_name);
        if (!shown[1]) make(dir, "new", "");
    }
    closedir(list);
    for (const char *name = "baz"; *name; name++) unlinkat(dir, (char[]){*name, 0}, 0);
    CHECK(unlinkat(dir, "new", 0) == 0 && rmdir(path) == 0);
    if (kind.f_type == TMPFS_MAGIC) CHECK(!strcmp(shown, "zab"));
    close(dir);
}

int main(void) {
    newest_first();
    char path[] = "/tmp/names-XXXXXX";
    CHECK(mkdtemp(path));
    int dir = open(path, O_RDONLY | O_DIRECTORY);
    make(dir, "a", "A");
    make(dir, "b", "B");
    CHECK(mkdirat(dir, "d", 0755) == 0 && mkdirat(dir, "d/e", 0755) == 0);
    FAILS(renameat2(dir, "a", dir, "b", RENAME_NOREPLACE), EEXIST);
    CHECK(renameat2(dir, "a", dir, "b", RENAME_EXCHANGE) == 0 && holds(dir, "a", "B") && holds(dir, "b", "A"));
    FAILS(renameat2(dir, "a", dir, "c", RENAME_EXCHANGE), ENOENT);
    FAILS(renameat2(dir, "a", dir, "b", RENAME_EXCHANGE | RENAME_NOREPLACE), EINVAL);
    CHECK(renameat2(dir, "a", dir, "d", RENAME_EXCHANGE) == 0 && holds(dir, "d", "B"));
    CHECK(renameat2(dir, "a", dir, "d", RENAME_EXCHANGE) == 0);
    FAILS(renameat(dir, "d", dir, "d/e/f"), EINVAL);
    FAILS(renameat(dir, "a", dir, "d"), EISDIR);
    FAILS(renameat(dir, "d", dir, "a"), ENOTDIR);
    CHECK(mkdirat(dir, "x", 0755) == 0);
    FAILS(renameat(dir, "x", dir, "d"), ENOTEMPTY);
    CHECK(renameat(dir, "x", dir, "d/e") == 0);
    FAILS(unlinkat(dir, "d", AT_REMOVEDIR), ENOTEMPTY);
    FAILS(unlinkat(dir, "d", 0), EISDIR);
    FAILS(unlinkat(dir, "a", AT_REMOVEDIR), ENOTDIR);

    // Hard links, open files without a name.
    CHECK(linkat(dir, "a", dir, "a2", 0) == 0);
    struct stat st;
    CHECK(fstatat(dir, "a2", &st, 0) == 0 && st.st_nlink == 2);
    FAILS(linkat(dir, "d", dir, "d2", 0), EPERM);
    FAILS(linkat(dir, "a", dir, "b", 0), EEXIST);
    CHECK(renameat(dir, "a", dir, "a2") == 0 && holds(dir, "a", "B"));
    int fd = openat(dir, "b", O_RDWR);
    CHECK(unlinkat(dir, "b", 0) == 0 && fstat(fd, &st) == 0 && st.st_nlink == 0 && pwrite(fd, "yes", 3, 0) == 3);
    FAILS(openat(dir, "b", O_RDWR), ENOENT);

    // O_TMPFILE, given a name through /proc.
    int unnamed = openat(dir, ".", O_TMPFILE | O_RDWR, 0600);
    CHECK(unnamed >= 0 && write(unnamed, "tmp", 3) == 3 && fstat(unnamed, &st) == 0 && st.st_nlink == 0);
    char proc[64];
    sprintf(proc, "/proc/self/fd/%d", unnamed);
    char link[PATH_MAX] = "", expected[32];
    CHECK(readlink(proc, link, sizeof link - 1) > 0);
    sprintf(expected, "/#%lu (deleted)", (unsigned long)st.st_ino);
    CHECK(link[0] == '/' && strstr(link, expected));
    CHECK(linkat(AT_FDCWD, proc, dir, "named", AT_SYMLINK_FOLLOW) == 0 && holds(dir, "named", "tmp"));
    // Once it has had a name, it loses it for good.
    CHECK(unlinkat(dir, "named", 0) == 0);
    FAILS(linkat(AT_FDCWD, proc, dir, "named", AT_SYMLINK_FOLLOW), ENOENT);
    int excl = openat(dir, ".", O_TMPFILE | O_RDWR | O_EXCL, 0600);
    sprintf(proc, "/proc/self/fd/%d", excl);
    FAILS(linkat(AT_FDCWD, proc, dir, "never", AT_SYMLINK_FOLLOW), ENOENT);
    FAILS(openat(dir, ".", O_TMPFILE | O_RDONLY, 0600), EINVAL);

    // Listing: everything once, and again from a position.
    for (int i = 0; i < 300; i++) {
        char name[32];
        sprintf(name, "d/file-with-a-long-name-%d", i);
        make(dir, name, "");
    }
    int d = openat(dir, "d", O_RDONLY | O_DIRECTORY);
    char entries[1024];
    int count = 0, bytes;
    while ((bytes = syscall(SYS_getdents64, d, entries, sizeof entries)) > 0)
        for (int at = 0; at < bytes; at += *(unsigned short *)(entries + at + 16)) count++;
    CHECK(bytes == 0 && count == 303);
    CHECK(lseek(d, 0, SEEK_SET) == 0);
    FAILS(syscall(SYS_getdents64, d, entries, 10), EINVAL);
    FAILS(syscall(SYS_getdents64, fd, entries, sizeof entries), ENOTDIR);
    DIR *listing = fdopendir(d);
    for (int i = 0; i < 100; i++) CHECK(readdir(listing));
    long position = telldir(listing);
    char next[256];
    strcpy(next, readdir(listing)->d_name);
    for (int i = 0; i < 50; i++) readdir(listing);
    seekdir(listing, position);
    CHECK(strcmp(readdir(listing)->d_name, next) == 0);

    // statx.
    struct statx sx;
    CHECK(statx(dir, "a", AT_SYMLINK_NOFOLLOW, STATX_ALL, &sx) == 0 && (sx.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
    CHECK(sx.stx_size == 1 && S_ISREG(sx.stx_mode) && fstatat(dir, "a", &st, 0) == 0 && st.st_ino == sx.stx_ino);
    CHECK(makedev(sx.stx_dev_major, sx.stx_dev_minor) == st.st_dev && statx(dir, "", AT_EMPTY_PATH, STATX_MODE, &sx) == 0 && S_ISDIR(sx.stx_mode));
    FAILS(statx(dir, "", 0, STATX_MODE, &sx), ENOENT);
    FAILS(statx(dir, "a", 0x10000000, 0, &sx), EINVAL);

    // openat2.
    CHECK(symlinkat("../..", dir, "up") == 0 && symlinkat("a", dir, "in") == 0);
    struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_BENEATH};
    CHECK(syscall(SYS_openat2, dir, "in", &how, sizeof how) >= 0);
    FAILS(syscall(SYS_openat2, dir, "up", &how, sizeof how), EXDEV);
    FAILS(syscall(SYS_openat2, dir, "/etc", &how, sizeof how), EXDEV);
    how.resolve = RESOLVE_NO_SYMLINKS;
    FAILS(syscall(SYS_openat2, dir, "in", &how, sizeof how), ELOOP);
    how.resolve = RESOLVE_IN_ROOT;
    CHECK(syscall(SYS_openat2, dir, "/a", &how, sizeof how) >= 0);
    how.resolve = RESOLVE_NO_MAGICLINKS;
    FAILS(syscall(SYS_openat2, dir, "/proc/self/exe", &how, sizeof how), ELOOP);
    how.resolve = 0x1000;
    FAILS(syscall(SYS_openat2, dir, "a", &how, sizeof how), EINVAL);
    how.resolve = 0;
    FAILS(syscall(SYS_openat2, dir, "a", &how, 8), EINVAL);
    how.mode = 0600;
    FAILS(syscall(SYS_openat2, dir, "a", &how, sizeof how), EINVAL);

    // Loops, length, trailing slashes.
    CHECK(symlinkat("loop", dir, "loop") == 0);
    FAILS(openat(dir, "loop", O_RDONLY), ELOOP);
    FAILS(openat(dir, "a/", O_RDONLY), ENOTDIR);
    FAILS(openat(dir, "a/b", O_RDONLY), ENOTDIR);
    FAILS(openat(fd, "a", O_RDONLY), ENOTDIR);
    FAILS(openat(dir, "", O_RDONLY), ENOENT);
    char long_name[300];
    memset(long_name, 'n', 299);
    long_name[299] = 0;
    FAILS(openat(dir, long_name, O_RDONLY), ENAMETOOLONG);
    FAILS(openat(dir, "in", O_RDONLY | O_NOFOLLOW), ELOOP);
    FAILS(openat(dir, "a", O_RDONLY | O_DIRECTORY), ENOTDIR);
    FAILS(openat(dir, "d", O_WRONLY), EISDIR);
    // A listing shows what a name stands for now.
    CHECK(mkdirat(dir, "listed", 0700) == 0);
    int listed = openat(dir, "listed", O_RDONLY | O_DIRECTORY);
    CHECK(listed >= 0 && make(listed, "name", "text") == 0 && symlinkat("target", listed, "link") == 0);
    CHECK(type_of(listed, "name") == DT_REG && type_of(listed, "link") == DT_LNK);
    CHECK(renameat(listed, "link", listed, "name") == 0);
    CHECK(type_of(listed, "name") == DT_LNK && type_of(listed, "link") == -1);
    CHECK(unlinkat(listed, "name", 0) == 0 && mkdirat(listed, "name", 0700) == 0);
    CHECK(type_of(listed, "name") == DT_DIR);

    odd_positions();

    char command[300];
    sprintf(command, "rm -rf %s", path);
    return system(command) != 0;
}
