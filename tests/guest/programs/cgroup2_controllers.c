// cgroup2: controllers are given on to groups, and pids.max holds. For where a group other than the root is at the top, and
// has the controllers: in a container on a host with version 2 alone, and in the sandbox.
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char mnt[] = "/tmp/cgroup2-XXXXXX";

static const char *in(const char *file) {
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, 256, "%s/%s", mnt, file);
    return path;
}

static int put(const char *file, const char *text) {
    int fd = open(in(file), O_WRONLY);
    if (fd < 0) return -1;
    int result = write(fd, text, strlen(text)) < 0 ? -1 : 0, error = errno;
    close(fd);
    errno = error;
    return result;
}

static char *get(const char *file) {
    static char buffers[4][4096];
    static int next;
    char *buffer = buffers[next++ % 4];
    memset(buffer, 0, 4096);
    int fd = open(in(file), O_RDONLY);
    if (fd < 0 || read(fd, buffer, 4095) < 0) strcpy(buffer, "(error)");
    close(fd);
    return buffer;
}

static int is(const char *file, const char *text) { return strcmp(get(file), text) == 0; }

static void limits_of_tasks(void) {
    CHECK(put("g/s/pids.max", "3\n") == 0 && is("g/s/pids.max", "3\n") && is("g/s/pids.current", "0\n"));
    FAILS(put("g/s/pids.max", "-1"), EINVAL);
    FAILS(put("g/s/pids.max", "x"), EINVAL);
    int watch = inotify_init1(IN_NONBLOCK), pid = fork(), status;
    CHECK(inotify_add_watch(watch, in("g/s/pids.events"), IN_MODIFY) > 0);
    if (pid == 0) {
        CHECK(put("g/s/cgroup.procs", "0") == 0 && is("g/s/pids.current", "1\n"));
        int one = fork();
        if (one == 0) pause();
        int two = fork();
        if (two == 0) pause();
        CHECK(one > 0 && two > 0 && is("g/s/pids.current", "3\n") && is("g/pids.current", "3\n"));
        FAILS(fork(), EAGAIN);
        CHECK(is("g/s/pids.events", "max 1\n") && is("g/s/pids.peak", "3\n"));
        CHECK(put("g/s/pids.max", "max") == 0 && is("g/s/pids.max", "max\n"));
        // A limit above holds as well.
        CHECK(put("g/pids.max", "3") == 0);
        FAILS(fork(), EAGAIN);
        CHECK(put("g/pids.max", "max") == 0);
        kill(one, SIGKILL);
        kill(two, SIGKILL);
        CHECK(waitpid(one, 0, 0) == one && waitpid(two, 0, 0) == two && is("g/s/pids.current", "1\n"));
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    char buffer[4096];
    CHECK(read(watch, buffer, sizeof buffer) > 0 && is("g/s/pids.current", "0\n"));
    close(watch);
}

static void values(void) {
    CHECK(is("g/memory.max", "max\n") && put("g/memory.max", "64M") == 0 && is("g/memory.max", "67108864\n"));
    FAILS(put("g/memory.max", "much"), EINVAL);
    CHECK(put("g/memory.max", "max") == 0 && is("g/memory.low", "0\n") && is("g/memory.swap.max", "max\n"));
    CHECK(is("g/memory.current", "0\n") && strstr(get("g/memory.events"), "oom_kill 0\n"));
    CHECK(is("g/cpu.max", "max 100000\n") && put("g/cpu.max", "50000") == 0 && is("g/cpu.max", "50000 100000\n"));
    CHECK(put("g/cpu.max", "max 20000") == 0 && is("g/cpu.max", "max 20000\n"));
    FAILS(put("g/cpu.max", "1"), EINVAL);
    CHECK(is("g/cpu.weight", "100\n") && put("g/cpu.weight", "200") == 0 && is("g/cpu.weight", "200\n"));
    FAILS(put("g/cpu.weight", "0"), ERANGE);
    CHECK(strstr(get("g/cpu.stat"), "nr_throttled 0\n"));
}

// Who has ended counts until somebody has waited for it.
static void zombies(void) {
    int pid = fork(), status;
    if (pid == 0) {
        CHECK(put("g/s/cgroup.procs", "0") == 0 && put("g/s/pids.max", "2") == 0);
        int one = fork();
        if (one == 0) _exit(0);
        siginfo_t info;
        CHECK(waitid(P_PID, one, &info, WEXITED | WNOWAIT) == 0 && is("g/s/pids.current", "2\n"));
        FAILS(fork(), EAGAIN);
        CHECK(waitpid(one, 0, 0) == one && is("g/s/pids.current", "1\n"));
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0 && is("g/s/pids.current", "0\n"));
    CHECK(put("g/s/pids.max", "max") == 0);
}

// Memory that several processes share is counted once.
static void shared_memory(void) {
    enum { SIZE = 16 << 20 };
    int pid = fork(), status;
    if (pid == 0) {
        char *memory = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CHECK(put("m/cgroup.procs", "0") == 0);
        memset(memory, 1, SIZE);
        int children[8];
        for (int i = 0; i < 8; i++) {
            if ((children[i] = fork()) == 0) {
                for (;;) pause();
            }
        }
        usleep(200000);
        long bytes = atol(get("m/memory.current"));
        CHECK(bytes >= SIZE && bytes < 3 * SIZE);
        for (int i = 0; i < 8; i++) {
            kill(children[i], SIGKILL);
            CHECK(waitpid(children[i], 0, 0) == children[i]);
        }
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

int main(void) {
    needs_linux(6, 8);
    if (getuid() != 0 || unshare(CLONE_NEWNS) != 0) return 0;
    CHECK(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) == 0 && mkdtemp(mnt));
    if (mount("none", mnt, "cgroup2", 0, "nsdelegate,memory_recursiveprot") != 0) return rmdir(mnt);
    if (access(in("cgroup.type"), F_OK) != 0 || !strstr(get("cgroup.controllers"), "cpu io memory pids\n")) {
        return umount(mnt) || rmdir(mnt);
    }
    CHECK(access(in("memory.max"), R_OK) == 0 && access(in("pids.max"), R_OK) == 0);
    // What the name space's owner has set stays.
    FAILS(put("memory.max", "1G"), EPERM);
    FAILS(put("cgroup.freeze", "0"), EPERM);
    CHECK(mkdir(in("g"), 0755) == 0 && is("g/cgroup.controllers", "") && access(in("g/pids.max"), F_OK) == -1);
    CHECK(access(in("g/cpu.stat"), R_OK) == 0);
    // Not beside processes.
    FAILS(put("cgroup.subtree_control", "+memory"), EBUSY);
    CHECK(mkdir(in("init"), 0755) == 0 && put("init/cgroup.procs", "0") == 0);
    if (!is("cgroup.procs", "")) return 0;
    CHECK(put("cgroup.subtree_control", "+cpu +memory +pids\n") == 0);
    CHECK(is("cgroup.subtree_control", "cpu memory pids\n") && is("g/cgroup.controllers", "cpu memory pids\n"));
    FAILS(put("cgroup.procs", "0"), EBUSY);
    CHECK(access(in("g/pids.max"), F_OK) == 0 && access(in("g/io.max"), F_OK) == -1);
    FAILS(put("g/cgroup.subtree_control", "+io"), ENOENT);
    CHECK(put("g/cgroup.subtree_control", "+pids") == 0 && mkdir(in("g/s"), 0755) == 0);
    FAILS(put("cgroup.subtree_control", "-pids"), EBUSY);
    // Taken by version 2, a controller is not version 1's.
    FAILS(mount("none", "/tmp", "cgroup", 0, "pids"), EBUSY);
    limits_of_tasks();
    zombies();
    CHECK(mkdir(in("m"), 0755) == 0);
    shared_memory();
    CHECK(rmdir(in("m")) == 0);
    values();
    int taken = open(in("g/s/pids.max"), O_RDWR);
    CHECK(taken >= 0 && put("g/s/pids.max", "7") == 0 && put("g/cgroup.subtree_control", "-pids") == 0);
    char byte;
    FAILS(read(taken, &byte, 1), ENODEV);
    FAILS(write(taken, "1", 1), ENODEV);
    close(taken);
    CHECK(access(in("g/s/pids.max"), F_OK) == -1);
    CHECK(put("g/cgroup.subtree_control", "+pids") == 0 && is("g/s/pids.max", "max\n"));
    CHECK(rmdir(in("g/s")) == 0 && rmdir(in("g")) == 0 && put("cgroup.subtree_control", "-cpu -memory -pids") == 0);
    CHECK(put("cgroup.procs", "0") == 0 && rmdir(in("init")) == 0);
    return umount(mnt) || rmdir(mnt);
}
