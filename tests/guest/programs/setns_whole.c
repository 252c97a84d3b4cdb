// setns(2) with a pidfd and several kinds enters all of them or none.
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static ino_t identity(const char *kind) {
    char path[64];
    struct stat stat_;
    snprintf(path, sizeof path, "/proc/self/ns/%s", kind);
    CHECK(stat(path, &stat_) == 0);
    return stat_.st_ino;
}

static int idle(void *unused) {
    (void)unused;
    pause();
    return 0;
}

static char stack[65536] __attribute__((aligned(16)));

int main(void) {
    int ready[2];
    CHECK(pipe(ready) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        char result = unshare(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNS) == 0;
        if (write(ready[1], &result, 1) != 1) _exit(1);
        pause();
    }
    char may;
    CHECK(read(ready[0], &may, 1) == 1);
    int fd = syscall(SYS_pidfd_open, pid, 0);
    CHECK(fd >= 0);
    // The descriptor is looked at before the kinds.
    FAILS(setns(-1, -1), EBADF);
    FAILS(setns(fd, 0), EINVAL);
    FAILS(setns(fd, 0x10), EINVAL);
    int uts_file = open("/proc/self/ns/uts", O_RDONLY);
    FAILS(setns(uts_file, CLONE_NEWUTS | CLONE_NEWIPC), EINVAL);
    if (may) {
        ino_t uts = identity("uts"), ipc = identity("ipc"), mnt = identity("mnt");
        // Its user name space is the present one, or would be entered with a root directory that is shared: that fails
        // after the others have been looked at, or before.
        FAILS(setns(fd, CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER), EINVAL);
        CHECK(identity("uts") == uts && identity("ipc") == ipc);
        // Pid name spaces are looked at after those; one above the caller's own cannot be entered.
        pid_t inner = fork();
        if (inner == 0) {
            CHECK(unshare(CLONE_NEWPID) == 0);
            pid_t first = fork();
            if (first == 0) {
                FAILS(setns(fd, CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWPID), EINVAL);
                CHECK(identity("uts") == uts && identity("mnt") == mnt);
                _exit(0);
            }
            int status;
            CHECK(waitpid(first, &status, 0) == first);
            _exit(WEXITSTATUS(status));
        }
        int status;
        CHECK(waitpid(inner, &status, 0) == inner && status == 0);
        // Alone, a mount name space is not for who shares a root directory; along with others it gets one of its own.
        pid_t sharer = clone(idle, stack + sizeof stack, CLONE_FS | SIGCHLD, NULL);
        CHECK(sharer > 0);
        FAILS(setns(fd, CLONE_NEWNS), EINVAL);
        CHECK(kill(sharer, SIGKILL) == 0 && waitpid(sharer, NULL, 0) == sharer);
        CHECK(setns(fd, CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNS) == 0);
        CHECK(identity("uts") != uts && identity("ipc") != ipc && identity("mnt") != mnt);
    }
    CHECK(kill(pid, SIGKILL) == 0);
    CHECK(waitpid(pid, NULL, 0) == pid);
    FAILS(setns(fd, CLONE_NEWUTS), ESRCH);
    return 0;
}
