// What a tracer is told at stops, and signals that come while the tracee stands at one.
#include "check.h"
#include <signal.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

static int stop_of(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, __WALL) == child && WIFSTOPPED(status));
    return status >> 8;
}
static void told(pid_t child, int code, unsigned long expected) {
    siginfo_t info;
    unsigned long message = 99;
    CHECK(ptrace(PTRACE_GETSIGINFO, child, 0, &info) == 0 && info.si_signo == SIGTRAP && info.si_code == code);
    CHECK(info.si_pid == child && info.si_uid == getuid());
    CHECK(ptrace(PTRACE_GETEVENTMSG, child, 0, &message) == 0 && message == expected);
}

// A signal that a tracer lets go on with at the end of a call is the kernel's.
static void injected(void) {
    pid_t child = fork();
    if (child == 0) {
        CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
        raise(SIGSTOP);
        for (;;) getppid();
    }
    CHECK(stop_of(child) == SIGSTOP);
    CHECK(ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0);
    for (int i = 0; i < 2; i++)
        CHECK(ptrace(PTRACE_SYSCALL, child, 0, 0) == 0 && stop_of(child) == (SIGTRAP | 0x80));
    CHECK(ptrace(PTRACE_SYSCALL, child, 0, SIGUSR1) == 0 && stop_of(child) == SIGUSR1);
    siginfo_t info;
    CHECK(ptrace(PTRACE_GETSIGINFO, child, 0, &info) == 0 && info.si_code == SI_KERNEL && info.si_pid == 0);
    kill(child, SIGKILL);
    CHECK(waitpid(child, NULL, 0) == child);
}

int main(void) {
    injected();
    pid_t child = fork();
    if (child == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        syscall(SYS_getppid);
        struct timespec long_time = {600, 0};
        nanosleep(&long_time, 0);
        _exit(1);
    }
    CHECK(stop_of(child) == SIGSTOP);
    CHECK(ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0);
    long number = -1;
    for (int is_entry = 1; !is_entry || number != SYS_getppid; is_entry = !is_entry) {
        CHECK(ptrace(PTRACE_SYSCALL, child, 0, 0) == 0 && stop_of(child) == (SIGTRAP | 0x80));
        // PTRACE_EVENTMSG_SYSCALL_ENTRY and _EXIT.
        if (is_entry) number = ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, regs.orig_rax), 0);
        told(child, SIGTRAP | 0x80, is_entry ? 1 : 2);
        if (!is_entry && number == SYS_getppid) break;
    }
    do {
        CHECK(ptrace(PTRACE_SYSCALL, child, 0, 0) == 0 && stop_of(child) == (SIGTRAP | 0x80));
        number = ptrace(PTRACE_PEEKUSER, child, offsetof(struct user, regs.orig_rax), 0);
    } while (number != SYS_nanosleep && number != SYS_clock_nanosleep);
    // It stands at the entry of a long sleep: a signal that comes now ends it.
    CHECK(kill(child, SIGSTOP) == 0 && ptrace(PTRACE_CONT, child, 0, 0) == 0 && stop_of(child) == SIGSTOP);
    CHECK(kill(child, SIGUSR1) == 0 && ptrace(PTRACE_CONT, child, 0, 0) == 0 && stop_of(child) == SIGUSR1);
    CHECK(ptrace(PTRACE_KILL, child, 0, 0) == 0);
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}
