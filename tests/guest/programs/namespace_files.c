// Name spaces and processes through descriptors: each name space has one number, whichever way its file was had; what is
// left of a process that is gone.
#include "check.h"
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct stat of_path(const char *format, int pid) {
    char path[64];
    struct stat found;
    snprintf(path, sizeof path, format, pid);
    CHECK(stat(path, &found) == 0);
    return found;
}
static void same(int fd, struct stat expected) {
    struct stat found;
    CHECK(fd >= 0 && fstat(fd, &found) == 0);
    CHECK(found.st_ino == expected.st_ino && found.st_dev == expected.st_dev);
}

static void relatives(void) {
    int ready[2];
    CHECK(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(unshare(CLONE_NEWUSER | CLONE_NEWUTS | CLONE_NEWNS) == 0);
        // A file system without a limit is for everybody, too.
        CHECK(mount("none", "/tmp", "ramfs", 0, 0) == 0 && write(ready[1], "x", 1) == 1);
        pause();
    }
    char byte, path[64];
    CHECK(read(ready[0], &byte, 1) == 1);
    snprintf(path, sizeof path, "/proc/%d/ns/uts", child);
    int uts = open(path, O_RDONLY), user = ioctl(uts, NS_GET_USERNS);
    CHECK(uts >= 0);
    same(user, of_path("/proc/%d/ns/user", child));
    same(ioctl(user, NS_GET_PARENT), of_path("/proc/self/ns/user", 0));
    FAILS(ioctl(uts, NS_GET_PARENT), EINVAL);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, 0, 0) == child);
}

static void gone(void) {
    char path[64], text[256] = "";
    pid_t child = fork();
    if (child == 0) _exit(0);
    int pidfd = syscall(SYS_pidfd_open, child, 0);
    snprintf(path, sizeof path, "/proc/%d", child);
    int dir = open(path, O_RDONLY | O_DIRECTORY);
    CHECK(pidfd >= 0 && dir >= 0 && waitpid(child, 0, 0) == child);
    FAILS(syscall(SYS_pidfd_send_signal, dir, 0, 0, 0), ESRCH);
    FAILS(syscall(SYS_pidfd_send_signal, pidfd, 0, 0, 0), ESRCH);
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    int info = open(path, O_RDONLY);
    CHECK(info >= 0 && read(info, text, sizeof text - 1) > 0);
    CHECK(strstr(text, "\nPid:\t-1\n") && strstr(text, "\nNSpid:\t-1\n"));
}

// They are files of a file system of their own, bound or not.
static void bound(void) {
    struct statfs about;
    CHECK(statfs("/proc/self/ns/uts", &about) == 0 && about.f_type == NSFS_MAGIC);
    if (geteuid() != 0) return;
    pid_t child = fork();
    if (child == 0) {
        char path[] = "/tmp/bound.XXXXXX", line[1024], link[64] = "", expected[128];
        CHECK(mkstemp(path) >= 0 && unshare(CLONE_NEWNS) == 0 && mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) == 0);
        CHECK(mount("/proc/self/ns/uts", path, 0, MS_BIND, 0) == 0);
        CHECK(readlink("/proc/self/ns/uts", link, sizeof link - 1) > 0);
        snprintf(expected, sizeof expected, " %s %s ", link, path);
        FILE *mounts = fopen("/proc/self/mountinfo", "r");
        while (fgets(line, sizeof line, mounts) && !strstr(line, path)) {}
        CHECK(strstr(line, expected) && strstr(line, " - nsfs nsfs "));
        CHECK(umount(path) == 0 && unlink(path) == 0);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(void) {
    bound();
    relatives();
    gone();
}
