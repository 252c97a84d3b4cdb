// A thread that another one's exec ends in the middle of a call does not stop at the end of that call.
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

static int go[2];

static void *other(void *name) {
    char byte;
    CHECK(read(go[0], &byte, 1) == 1);
    execl(name, name, "again", NULL);
    _exit(1);
}

static void trace(pid_t child) {
    int status, is_in_pause = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
    CHECK(ptrace(PTRACE_SETOPTIONS, child, 0, options) == 0 && ptrace(PTRACE_SYSCALL, child, 0, 0) == 0);
    for (;;) {
        pid_t found = waitpid(-1, &status, __WALL);
        CHECK(found > 0);
        if (!WIFSTOPPED(status)) continue;
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8)) {
            unsigned long former = child;
            CHECK(found == child && is_in_pause == 1);
            CHECK(ptrace(PTRACE_GETEVENTMSG, child, 0, &former) == 0 && former != (unsigned long)child);
            break;
        }
        if (found == child && WSTOPSIG(status) == (SIGTRAP | 0x80)) {
            struct user_regs_struct regs;
            CHECK(ptrace(PTRACE_GETREGS, child, 0, &regs) == 0);
            // Once at its begin; the end must not be seen.
            if (regs.orig_rax == SYS_pause && is_in_pause++ == 0) CHECK(write(go[1], "x", 1) == 1);
        }
        CHECK(ptrace(PTRACE_SYSCALL, found, 0, 0) == 0);
    }
    CHECK(ptrace(PTRACE_DETACH, child, 0, 0) == 0);
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

int main(int argc, char **argv) {
    if (argc > 1) return 42;
    CHECK(pipe(go) == 0);
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
        raise(SIGSTOP);
        CHECK(pthread_create(&thread, NULL, other, "/proc/self/exe") == 0);
        syscall(SYS_pause);
        _exit(1);
    }
    trace(child);
    return 0;
}
