// What root of a user name space of one's own may not do to things of others (man 7 user_namespaces, capabilities).
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static char dir[] = "/tmp/user_ns-XXXXXX";
static char path[64];

static char *in_dir(const char *name) {
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void put(const char *file, const char *text) {
    int fd = open(file, O_WRONLY);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

// In a user name space, but in the mount and all other name spaces of the parent.
static void towards_others(int segment) {
    FAILS(mount("none", in_dir("mine"), "tmpfs", 0, NULL), EPERM);
    FAILS(mount(in_dir("mine"), in_dir("mine"), NULL, MS_BIND, NULL), EPERM);
    FAILS(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), EPERM);
    FAILS(umount("/proc"), EPERM);
    FAILS(mknod(in_dir("mine/zero"), S_IFCHR | 0666, makedev(1, 5)), EPERM);
    int file = open(in_dir("mine/file"), O_CREAT | O_RDWR, 0600);
    CHECK(file >= 0);
    FAILS(fsetxattr(file, "trusted.a", "b", 1, 0), EPERM);
    FAILS(fgetxattr(file, "trusted.a", path, 1), ENODATA);
    close(file);
    FAILS(shmctl(segment, IPC_RMID, NULL), EPERM);
    FAILS(sethostname("mine", 4), EPERM);
    struct rlimit none = {0, 0};
    CHECK(setrlimit(RLIMIT_MEMLOCK, &none) == 0);
    FAILS(mlock(dir, 1), EPERM);
    int sock = socket(AF_UNIX, SOCK_STREAM, 0), size = 1 << 20, mark = 1;
    FAILS(setsockopt(sock, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size), EPERM);
    FAILS(setsockopt(sock, SOL_SOCKET, SO_MARK, &mark, sizeof mark), EPERM);
    close(sock);
}

// With a mount name space of its own: its mounts are free, those it was given are not.
static void towards_its_own(void) {
    CHECK(unshare(CLONE_NEWNS) == 0);
    CHECK(mount("none", in_dir("mine"), "tmpfs", 0, NULL) == 0);
    FAILS(mknod(in_dir("mine/zero"), S_IFCHR | 0666, makedev(1, 5)), EPERM);
    CHECK(mount(NULL, in_dir("mine"), NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
    CHECK(umount(in_dir("mine")) == 0);
    FAILS(umount(in_dir("cover")), EINVAL);
    FAILS(mount(NULL, in_dir("cover"), NULL, MS_REMOUNT | MS_RDONLY, NULL), EPERM);
    FAILS(mount(NULL, in_dir("cover"), NULL, MS_REMOUNT | MS_BIND, NULL), EPERM);
    CHECK(mount(NULL, in_dir("cover"), NULL, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_RDONLY | MS_NOATIME | MS_STRICTATIME, NULL) == -1);
    // What these show is not its own.
    FAILS(mount("none", in_dir("mine"), "proc", 0, NULL), EPERM);
    FAILS(mount("none", in_dir("mine"), "sysfs", 0, NULL), EPERM);
    FAILS(mount("none", in_dir("mine"), "cgroup2", 0, NULL), EPERM);
    FAILS(mount("none", in_dir("mine"), "mqueue", 0, NULL), EPERM);
    CHECK(unshare(CLONE_NEWIPC) == 0 && mount("none", in_dir("mine"), "mqueue", 0, NULL) == 0);
    CHECK(umount(in_dir("mine")) == 0);
    FAILS(mount(dir, in_dir("mine"), NULL, MS_BIND, NULL), EINVAL);
    CHECK(mount(dir, in_dir("mine"), NULL, MS_BIND | MS_REC, NULL) == 0);
    FAILS(umount(in_dir("mine/cover")), EINVAL);
    CHECK(umount2(in_dir("mine"), MNT_DETACH) == 0);
}

int main(void) {
    if (getuid() != 0) {
        return 0;
    }
    CHECK(mkdtemp(dir) && chmod(dir, 0755) == 0);
    CHECK(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    CHECK(mkdir(in_dir("mine"), 0700) == 0 && chown(in_dir("mine"), 1000, 1000) == 0);
    CHECK(mkdir(in_dir("cover"), 0700) == 0);
    CHECK(mount("none", in_dir("cover"), "tmpfs", MS_RDONLY | MS_NODEV, NULL) == 0);
    int segment = shmget(IPC_PRIVATE, 4096, 0666);
    CHECK(segment >= 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0);
        CHECK(prctl(PR_SET_DUMPABLE, 1) == 0 && unshare(CLONE_NEWUSER) == 0);
        put("/proc/self/uid_map", "0 1000 1");
        put("/proc/self/setgroups", "deny");
        put("/proc/self/gid_map", "0 1000 1");
        CHECK(getuid() == 0);
        towards_others(segment);
        towards_its_own();
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    shmctl(segment, IPC_RMID, NULL);
    umount(in_dir("cover"));
    rmdir(in_dir("cover"));
    unlink(in_dir("mine/file"));
    rmdir(in_dir("mine"));
    rmdir(dir);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
