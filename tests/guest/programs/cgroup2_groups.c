// cgroup2: groups are made, entered, watched, frozen, killed and removed. In a directory of its own, below the mount's root.
#include "cgroup2.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>

static void tree(void) {
    CHECK(mkdir(in("a", ""), 0755) == 0 && mkdir(in("a/b", ""), 0700) == 0);
    FAILS(mkdir(in("a", ""), 0755), EEXIST);
    FAILS(rmdir(in("a", "")), EBUSY);
    FAILS(mkdir(in("a\nb", ""), 0755), EINVAL);
    CHECK(open(in("a", "file"), O_CREAT | O_WRONLY, 0644) == -1);
    CHECK(is("a", "cgroup.type", "domain\n") && is("a", "cgroup.procs", "") && is("a", "cgroup.threads", ""));
    CHECK(is("a", "cgroup.controllers", "") && is("a", "cgroup.subtree_control", ""));
    CHECK(is("a", "cgroup.events", "populated 0\nfrozen 0\n"));
    CHECK(is("a", "cgroup.freeze", "0\n") && is("a", "cgroup.max.depth", "max\n"));
    CHECK(has("a", "cgroup.stat", "nr_descendants 1\n") && has("a", "cgroup.stat", "nr_dying_descendants "));
    CHECK(has("a", "cpu.stat", "usage_usec 0\n"));
    struct stat st;
    CHECK(stat(in("a/b", ""), &st) == 0 && S_ISDIR(st.st_mode) && (st.st_mode & 0777) == 0700);
    CHECK(stat(in("a", "cgroup.procs"), &st) == 0 && (st.st_mode & 07777) == 0644 && S_ISREG(st.st_mode));
    CHECK(stat(in("a", "cgroup.kill"), &st) == 0 && (st.st_mode & 07777) == 0200);
    CHECK(stat(in("a", "cgroup.events"), &st) == 0 && (st.st_mode & 07777) == 0444);
    FAILS(unlink(in("a", "cgroup.procs")), EPERM);
    FAILS(rename(in("a/b", ""), in("a/c", "")), EPERM);
    // Limits of the tree.
    CHECK(put("a", "cgroup.max.descendants", "1") == 0 && is("a", "cgroup.max.descendants", "1\n"));
    FAILS(mkdir(in("a/c", ""), 0755), EAGAIN);
    CHECK(put("a", "cgroup.max.descendants", "max\n") == 0 && put("a", "cgroup.max.depth", "1") == 0);
    FAILS(mkdir(in("a/b/c", ""), 0755), EAGAIN);
    CHECK(mkdir(in("a/c", ""), 0755) == 0 && rmdir(in("a/c", "")) == 0 && put("a", "cgroup.max.depth", "max") == 0);
    FAILS(put("a", "cgroup.max.depth", "-1"), ERANGE);
    FAILS(put("a", "cgroup.max.depth", "many"), EINVAL);
    FAILS(put("a", "cgroup.subtree_control", "memory"), EINVAL);
    FAILS(put("a", "cgroup.subtree_control", "+nonsense"), EINVAL);
    FAILS(put("a", "cgroup.subtree_control", "+memory"), ENOENT);
    CHECK(put("a", "cgroup.subtree_control", "-memory") == 0);
    FAILS(put("a", "cgroup.type", "domain"), EINVAL);
    FAILS(put("a", "cgroup.events", "1"), errno == EACCES ? EACCES : EINVAL);
}

static void members(void) {
    int pid = sleeper(), child, status;
    FAILS(put("a", "cgroup.procs", "x"), EINVAL);
    FAILS(put("a", "cgroup.procs", "-1"), EINVAL);
    FAILS(put("a", "cgroup.procs", "4000000"), ESRCH);
    char text[16];
    sprintf(text, "%d\n", pid);
    CHECK(put_pid("a", "cgroup.procs", pid) == 0 && is("a", "cgroup.procs", text) && is("a", "cgroup.threads", text));
    CHECK(is_in(pid, "/a") && has("a", "cgroup.events", "populated 1\n") && has("a/b", "cgroup.events", "populated 0\n"));
    CHECK(rmdir(in("a/b", "")) == 0);
    FAILS(rmdir(in("a", "")), EBUSY);
    CHECK(mkdir(in("a/b", ""), 0755) == 0);
    // A child begins where its parent is, in all forms.
    if ((child = fork()) == 0) {
        CHECK(put("a/b", "cgroup.procs", "0") == 0 && is_in(getpid(), "/a/b"));
        int inner = fork();
        if (inner == 0) _exit(is_in(getpid(), "/a/b") ? 0 : 1);
        CHECK(waitpid(inner, &status, 0) == inner && status == 0);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    // What has been waited for, and zombies, are in nobody's way.
    child = sleeper();
    CHECK(put_pid("a/b", "cgroup.procs", child) == 0);
    kill(child, SIGKILL);
    siginfo_t info;
    CHECK(waitid(P_PID, child, &info, WEXITED | WNOWAIT) == 0);
    CHECK(is("a/b", "cgroup.procs", "") && has("a/b", "cgroup.events", "populated 0\n") && is_in(child, "/a/b"));
    CHECK(rmdir(in("a/b", "")) == 0 && is_in(child, "/a/b (deleted)"));
    CHECK(waitpid(child, 0, 0) == child && mkdir(in("a/b", ""), 0755) == 0);
    end(pid);
    CHECK(has("a", "cgroup.events", "populated 0\n"));
}

// The descriptor of a removed group's file is good for nothing.
static void removed(void) {
    CHECK(mkdir(in("gone", ""), 0755) == 0);
    int procs = open(in("gone", "cgroup.procs"), O_RDWR), dir = open(in("gone", ""), O_RDONLY | O_DIRECTORY);
    CHECK(procs >= 0 && dir >= 0 && rmdir(in("gone", "")) == 0);
    char buffer[8];
    FAILS(read(procs, buffer, 8), ENODEV);
    FAILS(write(procs, "0", 1), ENODEV);
    FAILS(openat(dir, "cgroup.procs", O_RDONLY), ENOENT);
    FAILS(mkdirat(dir, "x", 0755), errno == ENODEV ? ENODEV : ENOENT);
    close(procs);
    close(dir);
}

static void into(void) {
    struct clone_args args = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD};
    int fd = open(in("a/b", ""), O_PATH | O_DIRECTORY), status;
    args.cgroup = fd;
    int pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) _exit(is_in(getpid(), "/a/b") ? 0 : 1);
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
    FAILS(syscall(SYS_clone3, &args, 80), EINVAL);
    args.cgroup = 1000;
    FAILS(syscall(SYS_clone3, &args, sizeof args), EBADF);
    args.cgroup = open("/", O_PATH);
    FAILS(syscall(SYS_clone3, &args, sizeof args), EBADF);
    close(args.cgroup);
    close(fd);
}

static void notices(void) {
    int watch = inotify_init1(IN_NONBLOCK), events = open(in("a/b", "cgroup.events"), O_RDONLY), pid = sleeper();
    int wd = inotify_add_watch(watch, in("a/b", "cgroup.events"), IN_MODIFY);
    struct pollfd ready = {events, POLLPRI, 0};
    char buffer[4096];
    CHECK(wd > 0 && events >= 0);
    CHECK(poll(&ready, 1, 0) == 1 && (ready.revents & POLLPRI) && read(events, buffer, sizeof buffer) > 0);
    CHECK(poll(&ready, 1, 0) == 0);
    CHECK(read(watch, buffer, sizeof buffer) == -1 && errno == EAGAIN);
    CHECK(put_pid("a/b", "cgroup.procs", pid) == 0);
    CHECK(poll(&ready, 1, 5000) == 1 && (ready.revents & (POLLPRI | POLLERR)) == (POLLPRI | POLLERR));
    struct pollfd told = {watch, POLLIN, 0};
    CHECK(poll(&told, 1, 5000) == 1 && read(watch, buffer, sizeof buffer) > 0);
    struct inotify_event *event = (void *)buffer;
    CHECK(event->wd == wd && event->mask == IN_MODIFY);
    CHECK(pread(events, buffer, sizeof buffer, 0) > 0 && strstr(buffer, "populated 1\n"));
    CHECK(poll(&ready, 1, 0) == 0);
    end(pid);
    CHECK(poll(&ready, 1, 5000) == 1 && poll(&told, 1, 5000) == 1);
    close(watch);
    close(events);
}

static void freezing(void) {
    int pipes[2];
    CHECK(pipe2(pipes, O_NONBLOCK) == 0);
    int pid = fork();
    if (pid == 0) {
        CHECK(put("a/b", "cgroup.procs", "0") == 0);
        for (;;) write(pipes[1], "x", 1), usleep(500);
    }
    char buffer[65536];
    while (read(pipes[0], buffer, 1) != 1) usleep(1000);
    FAILS(put("a", "cgroup.freeze", "2"), ERANGE);
    CHECK(put("a", "cgroup.freeze", "1") == 0 && wait_for("a", "frozen 1\n") && wait_for("a/b", "frozen 1\n"));
    CHECK(is("a", "cgroup.freeze", "1\n") && is("a/b", "cgroup.freeze", "0\n"));
    while (read(pipes[0], buffer, sizeof buffer) > 0) {}
    usleep(50000);
    CHECK(read(pipes[0], buffer, sizeof buffer) == -1);
    CHECK(put("a", "cgroup.freeze", "0") == 0 && wait_for("a", "frozen 0\n") && wait_for("a/b", "frozen 0\n"));
    while (read(pipes[0], buffer, 1) != 1) usleep(1000);
    // What is frozen can be killed, and moved out.
    CHECK(put("a/b", "cgroup.freeze", "1") == 0 && wait_for("a/b", "frozen 1\n"));
    while (read(pipes[0], buffer, sizeof buffer) > 0) {}
    CHECK(put_pid("a", "cgroup.procs", pid) == 0);
    for (int i = 0; i < 5000 && read(pipes[0], buffer, 1) != 1; i++) usleep(1000);
    CHECK(put_pid("a/b", "cgroup.procs", pid) == 0);
    end(pid);
    CHECK(put("a/b", "cgroup.freeze", "0") == 0);
    close(pipes[0]);
    close(pipes[1]);
}

// Calls that wait do not go on while their process is frozen, and begin again unnoticed.
static void frozen_calls(void) {
    int data[2], result[2], left, status;
    CHECK(pipe(data) == 0 && pipe(result) == 0);
    int pid = fork();
    if (pid == 0) {
        char text[8];
        struct timespec before, after, time = {0, 300000000};
        CHECK(put("a/b", "cgroup.procs", "0") == 0 && write(result[1], "r", 1) == 1);
        CHECK(read(data[0], text, 8) == 5 && memcmp(text, "hello", 5) == 0 && write(result[1], "s", 1) == 1);
        clock_gettime(CLOCK_MONOTONIC, &before);
        CHECK(nanosleep(&time, 0) == 0);
        clock_gettime(CLOCK_MONOTONIC, &after);
        long ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
        CHECK(ms >= 300 && ms < 10000);
        _exit(7);
    }
    char byte;
    CHECK(read(result[0], &byte, 1) == 1);
    usleep(20000);
    CHECK(put("a/b", "cgroup.freeze", "1") == 0 && wait_for("a/b", "frozen 1\n") && write(data[1], "hello", 5) == 5);
    usleep(50000);
    CHECK(ioctl(data[0], FIONREAD, &left) == 0 && left == 5);
    CHECK(put("a/b", "cgroup.freeze", "0") == 0 && read(result[0], &byte, 1) == 1 && byte == 's');
    usleep(20000);
    CHECK(put("a/b", "cgroup.freeze", "1") == 0 && wait_for("a/b", "frozen 1\n") && put("a/b", "cgroup.freeze", "0") == 0);
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    // Who is stopped stands still, too, and goes on doing so when it is continued.
    pid = sleeper();
    CHECK(put_pid("a/b", "cgroup.procs", pid) == 0 && kill(pid, SIGSTOP) == 0 && waitpid(pid, &status, WUNTRACED) == pid);
    CHECK(put("a/b", "cgroup.freeze", "1") == 0 && wait_for("a/b", "frozen 1\n") && kill(pid, SIGCONT) == 0);
    usleep(20000);
    CHECK(wait_for("a/b", "frozen 1\n"));
    // Whoever comes makes it other than frozen, until that stands still.
    int other = sleeper();
    CHECK(put_pid("a/b", "cgroup.procs", other) == 0 && wait_for("a/b", "frozen 1\n"));
    end(other);
    end(pid);
    CHECK(put("a/b", "cgroup.freeze", "0") == 0 && wait_for("a/b", "frozen 0\n"));
    for (int i = 0; i < 2; i++) close(data[i]), close(result[i]);
}

static void killing(void) {
    int one = sleeper(), two = sleeper(), status;
    CHECK(put_pid("a", "cgroup.procs", one) == 0 && put_pid("a/b", "cgroup.procs", two) == 0);
    FAILS(put("a", "cgroup.kill", "2"), ERANGE);
    FAILS(put("a", "cgroup.kill", "x"), EINVAL);
    CHECK(put("a", "cgroup.kill", "1") == 0);
    CHECK(waitpid(one, &status, 0) == one && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK(waitpid(two, &status, 0) == two && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static volatile int thread_id, thread_ends;
static void *thread(void *unused) {
    thread_id = gettid();
    while (!thread_ends) usleep(1000);
    return unused;
}

static void threads(void) {
    CHECK(mkdir(in("t", ""), 0755) == 0 && mkdir(in("t/x", ""), 0755) == 0 && mkdir(in("t/y", ""), 0755) == 0);
    CHECK(put("t/x", "cgroup.type", "threaded") == 0);
    CHECK(is("t/x", "cgroup.type", "threaded\n") && is("t", "cgroup.type", "domain threaded\n"));
    CHECK(is("t/y", "cgroup.type", "domain invalid\n"));
    FAILS(put("t/y", "cgroup.procs", "0"), EOPNOTSUPP);
    int pid = fork(), status;
    if (pid == 0) {
        pthread_t id;
        CHECK(pthread_create(&id, 0, thread, 0) == 0);
        while (!thread_id) usleep(1000);
        FAILS(put_pid("t/x", "cgroup.threads", thread_id), EOPNOTSUPP);
        CHECK(put("t", "cgroup.procs", "0") == 0 && put_pid("t/x", "cgroup.threads", thread_id) == 0);
        char line[32], own[32];
        sprintf(line, "%d\n", thread_id);
        sprintf(own, "%d\n", getpid());
        CHECK(is("t/x", "cgroup.threads", line) && is("t", "cgroup.threads", own) && is("t", "cgroup.procs", own));
        int fd = open(in("t/x", "cgroup.procs"), O_RDONLY);
        FAILS(read(fd, line, 8), EOPNOTSUPP);
        CHECK(is_in(getpid(), "/t") && is_in(thread_id, "/t/x"));
        FAILS(put("t/x", "cgroup.kill", "1"), EOPNOTSUPP);
        CHECK(put("t/x", "cgroup.procs", "0") == 0 && is_in(getpid(), "/t/x"));
        thread_ends = 1;
        CHECK(pthread_join(id, 0) == 0);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(rmdir(in("t/x", "")) == 0 && rmdir(in("t/y", "")) == 0 && rmdir(in("t", "")) == 0);
}

// A directory that is somebody else's: what they may do in it.
static void delegation(void) {
    CHECK(mkdir(in("u", ""), 0755) == 0);
    CHECK(chown(in("u", ""), 1000, 1000) == 0 && chown(in("u", "cgroup.procs"), 1000, 1000) == 0);
    struct stat st;
    CHECK(stat(in("u", "cgroup.procs"), &st) == 0 && st.st_uid == 1000);
    int status, other = sleeper(), pid = fork();
    if (pid == 0) {
        CHECK(put("u", "cgroup.procs", "0") == 0);
        CHECK(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0);
        CHECK(mkdir(in("u/own", ""), 0755) == 0 && stat(in("u/own", "cgroup.procs"), &st) == 0 && st.st_uid == 1000);
        CHECK(put("u/own", "cgroup.procs", "0") == 0 && is_in(getpid(), "/u/own"));
        // Not out of it, and nobody in from elsewhere: where the ways part is not theirs.
        FAILS(put("a", "cgroup.procs", "0"), EACCES);
        FAILS(put_pid("u", "cgroup.procs", other), EACCES);
        FAILS(mkdir(in("v", ""), 0755), EACCES);
        FAILS(put("u", "cgroup.freeze", "1"), EACCES);
        CHECK(put("u", "cgroup.procs", "0") == 0 && rmdir(in("u/own", "")) == 0);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    end(other);
    char value[8];
    CHECK(setxattr(in("u", ""), "user.delegate", "1", 1, 0) == 0 && getxattr(in("u", ""), "user.delegate", value, 8) == 1);
    CHECK(setxattr(in("u", ""), "trusted.delegate", "12", 2, XATTR_CREATE) == 0);
    FAILS(setxattr(in("u", ""), "trusted.delegate", "1", 1, XATTR_CREATE), EEXIST);
    CHECK(setxattr(in("u", "cgroup.procs"), "user.x", "123", 3, 0) == 0 && removexattr(in("u", ""), "user.delegate") == 0);
    FAILS(getxattr(in("u", ""), "user.delegate", value, 8), ENODATA);
    CHECK(rmdir(in("u", "")) == 0);
}

static void name_space(void) {
    int status, pid = fork();
    if (pid == 0) {
        CHECK(put("a/b", "cgroup.procs", "0") == 0 && unshare(CLONE_NEWCGROUP | CLONE_NEWNS) == 0);
        CHECK(strstr(get_path("/proc/self/cgroup"), "0::/\n"));
        char path[32];
        sprintf(path, "/proc/%d/cgroup", getppid());
        CHECK(strstr(get_path(path), "0::/.."));
        // The mount from before is above the root; a new one begins there.
        char dir[] = "/tmp/cgroup2-XXXXXX", file[64], own[16];
        CHECK(mkdtemp(dir) && mount("none", dir, "cgroup2", 0, 0) == 0);
        sprintf(file, "%s/cgroup.procs", dir);
        sprintf(own, "%d\n", getpid());
        CHECK(strcmp(get_path(file), own) == 0);
        char line[4096];
        int old = 0, new = 0;
        FILE *info = fopen("/proc/self/mountinfo", "r");
        while (fgets(line, sizeof line, info)) {
            if (!strstr(line, " - cgroup2 ")) continue;
            if (strstr(line, mnt)) old = strstr(line, " /.. ") || strstr(line, " /../") != 0;
            if (strstr(line, dir)) new = strstr(line, " / ") != 0;
        }
        fclose(info);
        CHECK(old && new);
        CHECK(umount(dir) == 0 && rmdir(dir) == 0);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static void processor_time(void) {
    CHECK(mkdir(in("c", ""), 0755) == 0);
    int status, pid = fork();
    if (pid == 0) {
        CHECK(put("c", "cgroup.procs", "0") == 0);
        struct timespec time;
        do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
        while (time.tv_sec == 0 && time.tv_nsec < 30000000);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    long usage = 0;
    CHECK(sscanf(get("c", "cpu.stat"), "usage_usec %ld", &usage) == 1 && usage >= 20000 && usage < 10000000);
    CHECK(rmdir(in("c", "")) == 0);
}

int main(void) {
    needs_linux(6, 8);
    if (!begin()) return 0;
    tree();
    members();
    removed();
    into();
    notices();
    freezing();
    frozen_calls();
    killing();
    threads();
    delegation();
    name_space();
    processor_time();
    CHECK(rmdir(in("a/b", "")) == 0 && rmdir(in("a", "")) == 0);
    return finish();
}
