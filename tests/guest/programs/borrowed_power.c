// Power in one place is none in another: capabilities of files and maps of ids that a name space's root makes, a tracer's
// rights after it has changed, the memory of who enters a stranger's user name space (man 7 user_namespaces, man 2 ptrace).
#include "check.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>

enum { USER = 1000 };
static char dir[] = "/tmp/borrowed-XXXXXX";

static char *in_dir(const char *name) {
    static char path[64];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}
static void become_user(void) {
    CHECK(setresgid(USER, USER, USER) == 0 && setresuid(USER, USER, USER) == 0);
    CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
}
static void copy_self(const char *path, int mode) {
    int from = open("/proc/self/exe", O_RDONLY), to = open(path, O_CREAT | O_EXCL | O_WRONLY, mode);
    struct stat attr;
    CHECK(from >= 0 && to >= 0 && fstat(from, &attr) == 0);
    for (off_t at = 0; at < attr.st_size;) CHECK(sendfile(to, from, &at, attr.st_size - at) > 0);
    CHECK(fchmod(to, mode) == 0);
    close(from);
    close(to);
}
static long put(pid_t pid, const char *file, const char *text) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    int fd = open(path, O_WRONLY);
    CHECK(fd >= 0);
    long written = write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    errno = error;
    return written;
}
static void map_user(void) {
    CHECK(unshare(CLONE_NEWUSER) == 0);
    CHECK(put(getpid(), "setgroups", "deny") > 0 && put(getpid(), "uid_map", "0 1000 1") > 0 && put(getpid(), "gid_map", "0 1000 1") > 0);
}
static void ends_well(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, __WALL) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
static void wait_for(int fd) {
    char byte;
    CHECK(read(fd, &byte, 1) == 1);
}
static void tell(int fd) { CHECK(write(fd, "", 1) == 1); }

// Capabilities that a name space's root gives a file count in its name space only.
static void file_capabilities(void) {
    unsigned char revision2[20] = {1, 0, 0, 2, 1 << CAP_SETUID}, seen[64];
    char *path = in_dir("capable");
    CHECK(chmod(dir, 0777) == 0);
    pid_t user = fork();
    if (user == 0) {
        become_user();
        copy_self(path, 0755);
        pid_t root_inside = fork();
        if (root_inside == 0) {
            map_user();
            CHECK(setxattr(path, "security.capability", revision2, sizeof revision2, 0) == 0);
            CHECK(getxattr(path, "security.capability", seen, sizeof seen) == 20 && memcmp(seen, revision2, 20) == 0);
            FAILS(setxattr(path, "security.capability", "any", 3, 0), EINVAL);
            _exit(0);
        }
        ends_well(root_inside);
        execl(path, path, "is-no-root", (char *)0);
        _exit(99);
    }
    ends_well(user);
    CHECK(getxattr(path, "security.capability", seen, sizeof seen) == 24 && seen[3] == 3 && seen[20] == (USER & 255) && seen[21] == USER >> 8);
    CHECK(setxattr(path, "security.capability", revision2, sizeof revision2, 0) == 0);
    CHECK(getxattr(path, "security.capability", seen, sizeof seen) == 20);
    CHECK(unlink(path) == 0);
}

// A range of ids may not reach over those that the name space above does not have.
static void holes_of_maps(void) {
    int ready[2], go[2];
    CHECK(pipe(ready) == 0 && pipe(go) == 0);
    pid_t outer = fork();
    if (outer == 0) {
        become_user();
        CHECK(unshare(CLONE_NEWUSER) == 0);
        tell(ready[1]);
        wait_for(go[0]);
        CHECK(setresgid(0, 0, 0) == 0 && setresuid(0, 0, 0) == 0);
        pid_t inner = fork();
        if (inner == 0) {
            CHECK(prctl(PR_SET_DUMPABLE, 1) == 0 && unshare(CLONE_NEWUSER) == 0);
            tell(ready[1]);
            wait_for(go[0]);
            _exit(0);
        }
        wait_for(ready[0]);
        FAILS(put(inner, "uid_map", "0 0 99001"), EPERM);
        FAILS(put(inner, "gid_map", "0 0 99001"), EPERM);
        CHECK(put(inner, "uid_map", "0 99000 2") > 0);
        tell(go[1]);
        ends_well(inner);
        _exit(0);
    }
    wait_for(ready[0]);
    const char *map = "0 1000 1\n99000 100000 1000\n";
    CHECK(put(outer, "uid_map", map) > 0 && put(outer, "gid_map", map) > 0);
    tell(go[1]);
    ends_well(outer);
}

// Who cannot set capabilities of files cannot do so by a name space whose root is the same.
static void root_without_setfcap(void) {
    pid_t child = fork();
    if (child == 0) {
        struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
        struct __user_cap_data_struct caps[2];
        CHECK(syscall(SYS_capget, &header, caps) == 0);
        caps[0].effective &= ~(1u << CAP_SETFCAP);
        CHECK(syscall(SYS_capset, &header, caps) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
        CHECK(unshare(CLONE_NEWUSER) == 0);
        FAILS(put(getpid(), "uid_map", "0 0 1"), EPERM);
        CHECK(put(getpid(), "uid_map", "0 1 1") == -1);
        _exit(0);
    }
    ends_well(child);
}

// A tracer that has become more since gives its tracee nothing.
static void grown_tracer(void) {
    char *path = in_dir("set-user-id");
    copy_self(path, 04755);
    pid_t tracer = fork();
    if (tracer == 0) {
        int go[2];
        CHECK(pipe(go) == 0);
        become_user();
        pid_t victim = fork();
        if (victim == 0) {
            CHECK(prctl(PR_SET_DUMPABLE, 1) == 0);
            wait_for(go[0]);
            execl(path, path, "is-user", (char *)0);
            _exit(99);
        }
        CHECK(ptrace(PTRACE_SEIZE, victim, 0, 0) == 0);
        char fd[16], pid[16];
        snprintf(fd, sizeof fd, "%d", go[1]);
        snprintf(pid, sizeof pid, "%d", victim);
        execl(path, path, "trace", fd, pid, (char *)0);
        _exit(99);
    }
    ends_well(tracer);
    CHECK(unlink(path) == 0);
}

// A program that its user may not read stays unread, whatever the user's own name space says.
static void unreadable_program(void) {
    char *path = in_dir("unreadable");
    copy_self(path, 0711);
    pid_t user = fork();
    if (user == 0) {
        int ready[2];
        CHECK(pipe(ready) == 0);
        become_user();
        map_user();
        pid_t reader = fork();
        if (reader == 0) {
            char fd[16];
            snprintf(fd, sizeof fd, "%d", ready[1]);
            execl(path, path, "stay", fd, (char *)0);
            _exit(99);
        }
        wait_for(ready[0]);
        FAILS(ptrace(PTRACE_SEIZE, reader, 0, 0), EPERM);
        CHECK(kill(reader, SIGKILL) == 0 && waitpid(reader, NULL, 0) == reader);
        _exit(0);
    }
    ends_well(user);
    CHECK(unlink(path) == 0);
}

// Who enters a stranger's name space is not the stranger's with all that it had before.
static void entering_a_strangers(void) {
    int ready[2], entered[2];
    CHECK(pipe(ready) == 0 && pipe(entered) == 0);
    pid_t stranger = fork(), guest;
    if (stranger == 0) {
        become_user();
        map_user();
        tell(ready[1]);
        CHECK(read(entered[0], &guest, sizeof guest) == sizeof guest);
        FAILS(ptrace(PTRACE_SEIZE, guest, 0, 0), EPERM);
        _exit(0);
    }
    wait_for(ready[0]);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/user", stranger);
    guest = fork();
    if (guest == 0) {
        CHECK(setns(open(path, O_RDONLY), 0) == 0);
        pid_t own = getpid();
        CHECK(write(entered[1], &own, sizeof own) == sizeof own);
        for (;;) pause();
    }
    ends_well(stranger);
    CHECK(kill(guest, SIGKILL) == 0 && waitpid(guest, NULL, 0) == guest);
}

int main(int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "";
    if (!strcmp(mode, "is-no-root")) return setuid(0) == 0;
    if (!strcmp(mode, "is-user")) return geteuid() != USER;
    if (!strcmp(mode, "stay")) {
        tell(atoi(argv[2]));
        for (;;) pause();
    }
    if (!strcmp(mode, "trace")) {
        CHECK(geteuid() == 0);
        tell(atoi(argv[2]));
        ends_well(atoi(argv[3]));
        return 0;
    }
    if (getuid() != 0) return 0;
    CHECK(mkdtemp(dir) && chmod(dir, 0755) == 0);
    grown_tracer();
    unreadable_program();
    entering_a_strangers();
    holes_of_maps();
    root_without_setfcap();
    file_capabilities();
    CHECK(rmdir(dir) == 0);
    return 0;
}
