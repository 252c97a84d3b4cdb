// What copies of mount trees hold and leave out: unbindable and locked mounts, files of mount name spaces.
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static char dir[] = "/tmp/mount_copies-XXXXXX";

static void put(const char *file, const char *text) {
    int fd = open(file, O_WRONLY | O_CREAT, 0644);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static int in_mountinfo(const char *text) {
    static char line[4096];
    FILE *info = fopen("/proc/self/mountinfo", "r");
    int found = 0;
    while (fgets(line, sizeof line, info)) found += strstr(line, text) != 0;
    fclose(info);
    return found;
}

// How many files of name spaces are mounted in the test's directory.
static int namespace_files(void) {
    static char line[4096];
    FILE *info = fopen("/proc/self/mountinfo", "r");
    int found = 0;
    while (fgets(line, sizeof line, info)) found += strstr(line, dir) && strstr(line, " - nsfs nsfs ");
    fclose(info);
    return found;
}

static void in_child(void (*run)(void)) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        run();
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

// A mount that covers a file stays on it, whatever an owner of a user name space does.
static void cover_stays(void) {
    CHECK(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
    CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0);
    put("/proc/self/setgroups", "deny");
    put("/proc/self/uid_map", "0 1000 1");
    put("/proc/self/gid_map", "0 1000 1");
    FAILS(umount("cover"), EINVAL);
    CHECK(mount(0, "cover", 0, MS_UNBINDABLE, 0) == 0 && mount("own", "own", "tmpfs", 0, 0) == 0 && mkdir("own/all", 0755) == 0);
    FAILS(mount(".", "own/all", 0, MS_BIND | MS_REC, 0), EPERM);
    FAILS(mount(".", "own/all", 0, MS_BIND, 0), EINVAL);
    FAILS(syscall(SYS_open_tree, AT_FDCWD, ".", 1 | AT_RECURSIVE), EPERM);
    CHECK(unshare(CLONE_NEWNS) == 0);
    FAILS(access("cover/secret", F_OK), ENOENT);
    CHECK(in_mountinfo("/cover ") == 1);
    // What is one's own is not locked, and left out.
    CHECK(mkdir("own/below", 0755) == 0 && mount("below", "own/below", "tmpfs", 0, 0) == 0);
    CHECK(mount(0, "own/below", 0, MS_UNBINDABLE, 0) == 0 && mkdir("own/below/in", 0755) == 0);
    CHECK(mount("own", "own/all", 0, MS_BIND | MS_REC, 0) == 0 && access("own/all/below", F_OK) == 0);
    FAILS(access("own/all/below/in", F_OK), ENOENT);
    FAILS(mount("own/below", "own/all", 0, MS_BIND, 0), EINVAL);
}

static void unbindable_stays_alone(void) {
    CHECK(mount("one", "own", "tmpfs", 0, 0) == 0 && mkdir("own/one", 0755) == 0 && mkdir("own/two", 0755) == 0);
    CHECK(mount("fixed", "own/one", "tmpfs", 0, 0) == 0 && mount(0, "own/one", 0, MS_UNBINDABLE, 0) == 0);
    CHECK(mount("shared", "own/two", "tmpfs", 0, 0) == 0 && mkdir("own/two/in", 0755) == 0);
    CHECK(mount(0, "own/two", 0, MS_SHARED, 0) == 0);
    FAILS(mount("own/one", "own/two/in", 0, MS_MOVE, 0), EINVAL);
    CHECK(mount(0, "own/two", 0, MS_PRIVATE, 0) == 0 && mount("own/one", "own/two/in", 0, MS_MOVE, 0) == 0);
    // In a new name space it is there, too.
    CHECK(unshare(CLONE_NEWNS) == 0 && in_mountinfo(" - tmpfs fixed ") == 1);
}

// A mount name space that had itself mounted, or one that has it, would never end.
static void none_contains_itself(void) {
    CHECK(unshare(CLONE_NEWNS) == 0);
    put("uts", ""), put("mnt", ""), put("child", "");
    CHECK(mount("/proc/self/ns/uts", "uts", 0, MS_BIND, 0) == 0 && namespace_files() == 1);
    FAILS(mount("/proc/self/ns/mnt", "mnt", 0, MS_BIND, 0), EINVAL);
    int mine = open("/proc/self/ns/mnt", O_RDONLY), go[2], made[2];
    CHECK(mine >= 0 && pipe(go) == 0 && pipe(made) == 0);
    char path[64], byte;
    pid_t child = fork();
    if (child == 0) {
        CHECK(unshare(CLONE_NEWNS) == 0 && write(made[1], "x", 1) == 1);
        // The parent's, by descriptor too.
        snprintf(path, sizeof path, "/proc/self/fd/%d", mine);
        FAILS(mount(path, "mnt", 0, MS_BIND, 0), EINVAL);
        CHECK(namespace_files() == 1);
        close(go[1]);
        CHECK(read(go[0], &byte, 1) == 0);
        _exit(0);
    }
    CHECK(read(made[0], &byte, 1) == 1);
    snprintf(path, sizeof path, "/proc/%d/ns/mnt", child);
    CHECK(mount(path, "child", 0, MS_BIND, 0) == 0 && namespace_files() == 2);
    close(go[0]), close(go[1]);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    // The file is left out of other name spaces; the one that it stands for can still be entered.
    int theirs = open("child", O_RDONLY);
    CHECK(theirs >= 0);
    CHECK(unshare(CLONE_NEWNS) == 0 && namespace_files() == 1);
    CHECK(setns(theirs, CLONE_NEWNS) == 0);
}

int main(void) {
    if (getuid() != 0) return 0;
    // Which name space is older, Linux tells by numbers that each processor has a stock of: on one they rise.
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(sched_getcpu(), &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(mkdtemp(dir) && chmod(dir, 0755) == 0);
    CHECK(unshare(CLONE_NEWNS) == 0 && mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) == 0);
    CHECK(mount("base", dir, "tmpfs", 0, "mode=755") == 0 && chdir(dir) == 0);
    CHECK(mkdir("cover", 0755) == 0 && mkdir("own", 0777) == 0);
    put("cover/secret", "secret");
    CHECK(mount("cover", "cover", "tmpfs", MS_RDONLY, 0) == 0);
    in_child(cover_stays);
    in_child(unbindable_stays_alone);
    in_child(none_contains_itself);
    CHECK(chdir("/") == 0 && umount2(dir, MNT_DETACH) == 0 && rmdir(dir) == 0);
    return 0;
}
