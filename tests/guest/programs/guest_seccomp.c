// Filters that a guest installs: errno, trap, kill, trace without tracer, inheritance, strict mode, errors.
#include "check.h"
#include "seccomp_filter.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

#ifndef SYS_SECCOMP
#define SYS_SECCOMP 1
#endif

static volatile int trapped;
static void on_sys(int signal, siginfo_t *info, void *context) {
    ucontext_t *user = context;
    trapped = info->si_syscall == SYS_getppid && info->si_code == SYS_SECCOMP && info->si_arch == AUDIT_ARCH_X86_64 && info->si_errno == 7;
    user->uc_mcontext.gregs[REG_RAX] = 4242;
}
static void *in_thread(void *unused) {
    CHECK(syscall(SYS_getppid) == -1 && errno == 99);
    return 0;
}
static int run(void (*body)(void)) {
    pid_t child = fork();
    if (child == 0) {
        body();
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}
static void with_errno(void) {
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && install(SYS_getppid, SECCOMP_RET_ERRNO | 99, 0) == 0);
    in_thread(0);
    pthread_t thread;
    pthread_create(&thread, 0, in_thread, 0);
    pthread_join(thread, 0);
    int status = 0;
    if (fork() == 0) {
        in_thread(0);
        _exit(0);
    }
    CHECK(wait(&status) > 0 && status == 0 && prctl(PR_GET_SECCOMP) == 2);
    // The strictest of several decides.
    CHECK(install(SYS_getppid, SECCOMP_RET_ERRNO | 5, 0) == 0);
    FAILS(syscall(SYS_getppid), 5);
    CHECK(install(SYS_getppid, SECCOMP_RET_ALLOW, 0) == 0);
    FAILS(syscall(SYS_getppid), 5);
}
static void with_trap(void) {
    struct sigaction action = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &action, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    CHECK(install(SYS_getppid, SECCOMP_RET_TRAP | 7, 0) == 0 && syscall(SYS_getppid) == 4242 && trapped);
}
static void with_kill(void) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    install(SYS_getppid, SECCOMP_RET_KILL_PROCESS, 0);
    syscall(SYS_getppid);
}
static void with_trace(void) {
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    CHECK(install(SYS_getppid, SECCOMP_RET_TRACE, 0) == 0);
    FAILS(syscall(SYS_getppid), ENOSYS);
}
static void strict(void) {
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
    write(1, "", 0);
    syscall(SYS_getppid);
}
static void errors(void) {
    FAILS(install(1, SECCOMP_RET_ALLOW, 0x8000), EINVAL);
    struct sock_filter code = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 3);
    struct sock_fprog program = {1, &code};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    FAILS(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), EINVAL);
    program.len = 0;
    FAILS(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), EINVAL);
    program.len = 4;
    program.filter = (void *)16;
    FAILS(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), EFAULT);
    unsigned action = SECCOMP_RET_TRAP;
    CHECK(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0);
    action = 0x12340000;
    FAILS(syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action), EOPNOTSUPP);
    if (getuid() == 0) {
        CHECK(setresuid(1000, 1000, 1000) == 0);
    }
}

int main(void) {
    CHECK(run(with_errno) == 0);
    CHECK(run(with_trap) == 0);
    int status = run(with_kill);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    CHECK(run(with_trace) == 0);
    status = run(strict);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK(run(errors) == 0);
    return 0;
}
