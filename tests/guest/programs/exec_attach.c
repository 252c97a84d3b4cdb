// Attaching to a process that executes a set-user-id program: either the tracer comes first and the program gains
// nothing, or the program has its privileges and the tracer is refused.
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { ROUNDS = 12, THREADS = 8 };

static char copy[64];
static void *sleep_on(void *arg) {
    for (;;) pause();
}

static int tracer_of_self(void) {
    char text[2048] = "";
    int fd = open("/proc/self/status", O_RDONLY), len = read(fd, text, sizeof text - 1);
    CHECK(fd >= 0 && len > 0 && close(fd) == 0);
    char *line = strstr(text, "TracerPid:");
    CHECK(line);
    return atoi(line + strlen("TracerPid:"));
}

// The set-user-id program: 0 without privileges, 10 with them and no tracer, 1 with both.
static int victim(void) {
    if (geteuid() != 0) return 0;
    for (int i = 0; i < 20; i++) {
        if (tracer_of_self() != 0) return 1;
        usleep(100);
    }
    return 10;
}

static void become_user(void) {
    CHECK(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
}

static void round_of(int number) {
    int ready[2];
    CHECK(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        for (int i = 0; i < THREADS; i++) CHECK(pthread_create(&thread, 0, sleep_on, 0) == 0);
        CHECK(write(ready[1], "x", 1) == 1);
        execl(copy, copy, "victim", (char *)0);
        _exit(99);
    }
    char byte;
    CHECK(child > 0 && read(ready[0], &byte, 1) == 1);
    for (int i = 0; i < number * 40; i++) sched_yield();
    int status, attached = 0;
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (attached) continue;
        if (ptrace(PTRACE_SEIZE, child, 0, 0) == 0) attached = 1;
        else CHECK(errno == EPERM || errno == ESRCH);
    }
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) != 1 && WEXITSTATUS(status) != 99);
    // Who was attached to before the end of execve gained nothing.
    if (attached) CHECK(WEXITSTATUS(status) == 0);
    close(ready[0]);
    close(ready[1]);
}

int main(int argc, char **argv) {
    if (argc > 1) return victim();
    if (getuid() != 0) return 0;
    sprintf(copy, "/var/tmp/exec-attach-%d", getpid());
    int in = open("/proc/self/exe", O_RDONLY), out = open(copy, O_CREAT | O_WRONLY, 0755);
    struct stat st;
    CHECK(in >= 0 && out >= 0 && fstat(in, &st) == 0);
    for (off_t left = st.st_size; left > 0;) left -= sendfile(out, in, 0, left);
    CHECK(fchmod(out, 04755) == 0 && close(out) == 0);
    pid_t tester = fork();
    if (tester == 0) {
        become_user();
        for (int i = 0; i < ROUNDS; i++) round_of(i);
        _exit(0);
    }
    int status;
    CHECK(waitpid(tester, &status, 0) == tester);
    unlink(copy);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
