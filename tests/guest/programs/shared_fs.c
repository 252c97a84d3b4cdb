// CLONE_FS: what is shared; no entering of user and mount name spaces while it is; the last user may again.
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char stacks[2][65536] __attribute__((aligned(16)));
static int pipes[2][2];

static int sharer(void *arg) {
    char byte;
    CHECK(chdir("/proc") == 0 && umask(0123) == 022);
    CHECK(write(pipes[0][1], "x", 1) == 1 && read(pipes[1][0], &byte, 1) == 1);
    return 0;
}
static int stranger(void *arg) {
    char byte;
    CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0);
    CHECK(write(pipes[0][1], "x", 1) == 1);
    for (;;) pause();
}
static int open_ns(pid_t pid, const char *kind) {
    char path[64];
    sprintf(path, "/proc/%d/ns/%s", pid, kind);
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0);
    return fd;
}

int main(void) {
    int status;
    char byte;
    CHECK(pipe(pipes[0]) == 0 && pipe(pipes[1]) == 0);
    umask(022);
    pid_t other = clone(stranger, stacks[0] + sizeof stacks[0], SIGCHLD, 0);
    CHECK(other > 0 && read(pipes[0][0], &byte, 1) == 1);
    int user = open_ns(other, "user"), mounts = open_ns(other, "mnt");
    pid_t child = clone(sharer, stacks[1] + sizeof stacks[1], CLONE_FS | SIGCHLD, 0);
    CHECK(child > 0 && read(pipes[0][0], &byte, 1) == 1);
    char place[64];
    CHECK(getcwd(place, sizeof place) && !strcmp(place, "/proc") && umask(022) == 0123);
    FAILS(setns(user, CLONE_NEWUSER), EINVAL);
    if (getuid() == 0) FAILS(setns(mounts, CLONE_NEWNS), EINVAL);
    // unshare(2) takes a copy first.
    pid_t alone = fork();
    if (alone == 0) {
        FAILS(clone(sharer, stacks[0] + sizeof stacks[0], CLONE_FS | CLONE_NEWUSER | SIGCHLD, 0), EINVAL);
        CHECK(unshare(CLONE_FS) == 0 && setns(user, CLONE_NEWUSER) == 0 && setns(mounts, CLONE_NEWNS) == 0);
        _exit(0);
    }
    CHECK(waitpid(alone, &status, 0) == alone && status == 0);
    CHECK(write(pipes[1][1], "x", 1) == 1 && waitpid(child, &status, 0) == child && status == 0);
    CHECK(setns(user, CLONE_NEWUSER) == 0 && setns(mounts, CLONE_NEWNS) == 0);
    CHECK(kill(other, SIGKILL) == 0 && waitpid(other, &status, 0) == other);
    return 0;
}
