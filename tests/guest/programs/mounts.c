// Mounts in a mount name space: tmpfs, bind, read-only, move, lazy, propagation, pivot_root, mountinfo; IPC and UTS name spaces.
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>

static int make(const char *path) { return close(open(path, O_CREAT | O_WRONLY, 0644)); }
static int in_mountinfo(const char *text) {
    static char line[4096];
    FILE *info = fopen("/proc/self/mountinfo", "r");
    int found = 0;
    while (fgets(line, sizeof line, info)) found |= strstr(line, text) != 0;
    fclose(info);
    return found;
}

int main(void) {
    if (getuid() != 0) return 0;
    CHECK(unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) == 0);
    CHECK(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) == 0);
    CHECK(sethostname("inside", 6) == 0);
    struct utsname names;
    CHECK(uname(&names) == 0 && strcmp(names.nodename, "inside") == 0);
    CHECK(shmget(0x1234567, 4096, IPC_CREAT | IPC_EXCL | 0600) >= 0);

    char base[] = "/tmp/mnt-XXXXXX";
    CHECK(mkdtemp(base) && chdir(base) == 0 && mkdir("a", 0755) == 0 && mkdir("b", 0755) == 0 && mkdir("c", 0755) == 0);
    CHECK(mount("one", "a", "tmpfs", MS_NOSUID, "size=1m,mode=711") == 0);
    struct stat st;
    struct statfs fs;
    CHECK(stat("a", &st) == 0 && (st.st_mode & 0777) == 0711 && statfs("a", &fs) == 0 && fs.f_type == 0x01021994 && fs.f_blocks * fs.f_bsize == 1 << 20);
    CHECK(fs.f_flags & ST_NOSUID);
    CHECK(make("a/f") == 0 && mkdir("a/sub", 0755) == 0 && mount("two", "a/sub", "tmpfs", 0, 0) == 0 && make("a/sub/g") == 0);
    // Bind without and with what is below.
    CHECK(mount("a", "b", 0, MS_BIND, 0) == 0 && access("b/f", F_OK) == 0 && access("b/sub/g", F_OK) == -1);
    CHECK(mount("a", "c", 0, MS_BIND | MS_REC, 0) == 0 && access("c/sub/g", F_OK) == 0);
    CHECK(mount(0, "b", 0, MS_BIND | MS_REMOUNT | MS_RDONLY, 0) == 0);
    FAILS(open("b/f", O_WRONLY), EROFS);
    CHECK(access("b/f", W_OK) == -1 && errno == EROFS && open("a/f", O_WRONLY) >= 0);
    FAILS(umount("a"), EBUSY);
    FAILS(rmdir("b"), EBUSY);
    FAILS(umount("/proc/self"), EINVAL);
    FAILS(mount("x", "a", "nosuchfs", 0, 0), ENODEV);
    FAILS(mount("x", "a/none", "tmpfs", 0, 0), ENOENT);
    FAILS(mount("x", "a/f", "tmpfs", 0, 0), ENOTDIR);
    CHECK(in_mountinfo("/a/sub rw") && in_mountinfo(" - tmpfs one ") && in_mountinfo("size=1024k"));
    CHECK(umount2("c", MNT_DETACH) == 0 && access("c/f", F_OK) == -1);
    CHECK(mount("a", "c", 0, MS_MOVE, 0) == 0 && access("a/f", F_OK) == -1 && access("c/sub/g", F_OK) == 0);
    // A full tmpfs.
    int fd = open("c/big", O_CREAT | O_RDWR, 0600);
    static char chunk[2 << 20];
    ssize_t written = write(fd, chunk, sizeof chunk);
    CHECK(written > 0 && written <= 1 << 20);
    FAILS(write(fd, chunk, 4096), ENOSPC);
    close(fd);
    // Shared mounts tell each other.
    CHECK(mount(0, "c", 0, MS_SHARED, 0) == 0 && mkdir("d", 0755) == 0 && mount("c", "d", 0, MS_BIND, 0) == 0);
    CHECK(mkdir("c/new", 0755) == 0 && mount("three", "c/new", "tmpfs", 0, 0) == 0 && make("c/new/seen") == 0 && access("d/new/seen", F_OK) == 0);
    CHECK(in_mountinfo("shared:"));
    CHECK(umount("d/new") == 0 && access("c/new/seen", F_OK) == -1);

    // A new root.
    pid_t child = fork();
    if (child == 0) {
        CHECK(unshare(CLONE_NEWNS) == 0 && mount("root", "b", "tmpfs", 0, 0) == 0 && chdir("b") == 0 && mkdir("old", 0755) == 0 && make("here") == 0);
        FAILS(syscall(SYS_pivot_root, "old", "old"), EINVAL);
        CHECK(mount(0, ".", 0, MS_PRIVATE, 0) == 0);
        CHECK(syscall(SYS_pivot_root, ".", "old") == 0 && chdir("/") == 0 && access("/here", F_OK) == 0 && access("/old/tmp", F_OK) == 0);
        CHECK(umount2("/old", MNT_DETACH) == 0 && access("/old/tmp", F_OK) == -1);
        FAILS(chdir("../../tmp"), ENOENT);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    // A root that lies below the new one would end up above itself.
    child = fork();
    if (child == 0) {
        CHECK(unshare(CLONE_NEWNS) == 0 && mount("root", "b", "tmpfs", 0, 0) == 0 && mount(0, "b", 0, MS_PRIVATE, 0) == 0);
        CHECK(chdir("b") == 0 && mkdir("old", 0755) == 0 && mkdir("below", 0755) == 0);
        CHECK(mount("below", "below", "tmpfs", 0, 0) == 0 && mount(0, "below", 0, MS_PRIVATE, 0) == 0 && chroot("below") == 0);
        FAILS(syscall(SYS_pivot_root, ".", "old"), EINVAL);
        char place[4096];
        CHECK(syscall(SYS_getcwd, place, sizeof place) > 0);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);

    // Nothing stays in the directory, which outlives the name space.
    const char *places[] = {"a", "b", "c", "d"};
    CHECK(chdir(base) == 0);
    for (int i = 0; i < 4; i++)
        while (umount2(places[i], MNT_DETACH) == 0) {}
    CHECK(chdir("/") == 0);
    char command[64];
    sprintf(command, "rm -r %s", base);
    CHECK(system(command) == 0);
    return 0;
}
