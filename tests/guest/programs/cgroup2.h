// A directory in version 2's hierarchy of control groups for a test, and its files.
#pragma once
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char mnt[] = "/tmp/cgroup2-XXXXXX", top[64];

static inline const char *in(const char *group, const char *file) {
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, 256, "%s%s%s%s%s", top, *group ? "/" : "", group, *file ? "/" : "", file);
    return path;
}

static inline int put(const char *group, const char *file, const char *text) {
    int fd = open(in(group, file), O_WRONLY);
    if (fd < 0) return -1;
    int result = write(fd, text, strlen(text)) < 0 ? -1 : 0, error = errno;
    close(fd);
    errno = error;
    return result;
}

static inline int put_pid(const char *group, const char *file, int pid) {
    char text[16];
    sprintf(text, "%d\n", pid);
    return put(group, file, text);
}

static inline char *get_path(const char *path) {
    static char buffers[4][4096];
    static int next;
    char *buffer = buffers[next++ % 4];
    memset(buffer, 0, 4096);
    int fd = open(path, O_RDONLY);
    if (fd < 0) return strcpy(buffer, "(no file)");
    int length = read(fd, buffer, 4095), error = errno;
    close(fd);
    errno = error;
    return length < 0 ? strcpy(buffer, "(error)") : buffer;
}

static inline char *get(const char *group, const char *file) { return get_path(in(group, file)); }

static inline int is(const char *group, const char *file, const char *text) { return strcmp(get(group, file), text) == 0; }
static inline int has(const char *group, const char *file, const char *text) { return strstr(get(group, file), text) != 0; }

// The last part of this process's path in the unified hierarchy.
static inline int is_in(int pid, const char *end) {
    char path[64], *line;
    sprintf(path, "/proc/%d/cgroup", pid);
    line = strstr(get_path(path), "0::");
    if (!line) return 0;
    line[strcspn(line, "\n")] = 0;
    size_t length = strlen(line), wanted = strlen(end);
    return length >= wanted && strcmp(line + length - wanted, end) == 0;
}

static inline int sleeper(void) {
    int pid = fork();
    if (pid == 0) {
        for (;;) pause();
    }
    return pid;
}

static inline void end(int pid) {
    kill(pid, SIGKILL);
    CHECK(waitpid(pid, 0, 0) == pid);
}

static inline int wait_for(const char *group, const char *text) {
    for (int i = 0; i < 5000 && !has(group, "cgroup.events", text); i++) usleep(1000);
    return has(group, "cgroup.events", text);
}

// Whether there is one.
static inline int begin(void) {
    if (getuid() != 0 || unshare(CLONE_NEWNS) != 0) return 0;
    CHECK(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) == 0);
    CHECK(mkdtemp(mnt));
    // Some hosts cannot.
    if (mount("none", mnt, "cgroup2", 0, 0) != 0) return rmdir(mnt), 0;
    chmod(mnt, 0755);
    sprintf(top, "%s/guest-test-%d", mnt, getpid());
    if (mkdir(top, 0755) != 0) return umount(mnt), rmdir(mnt), 0;
    return 1;
}

static inline int finish(void) {
    CHECK(rmdir(top) == 0);
    return umount(mnt) || rmdir(mnt);
}
