// Signals: order of delivery, real-time queueing, masks, restart, alternate stack, siginfo, sigwait, nested handlers.
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>

static volatile int order[64], count;
static volatile siginfo_t last;
static void note(int signal, siginfo_t *info, void *context) {
    order[count++] = info->si_code == SI_QUEUE ? info->si_value.sival_int : signal;
    last = *info;
}
static void empty(int signal) {}
static char alt[65536];
static volatile int on_alt;
static void check_stack(int signal) {
    char here;
    on_alt = &here >= alt && &here < alt + sizeof alt;
    stack_t now;
    CHECK(sigaltstack(0, &now) == 0 && (now.ss_flags & SS_ONSTACK));
    stack_t other = {.ss_sp = alt, .ss_size = sizeof alt};
    FAILS(sigaltstack(&other, 0), EPERM);
}
static volatile sig_atomic_t depth, deepest;
static void nest(int signal) {
    if (++depth > deepest) deepest = depth;
    if (depth < 3) raise(signal);
    depth--;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
    for (int signal = 1; signal < 65; signal++) {
        if (signal != SIGKILL && signal != SIGSTOP && signal != SIGCHLD && signal != 32 && signal != 33) CHECK(sigaction(signal, &action, 0) == 0);
    }
    FAILS(sigaction(SIGKILL, &action, 0), EINVAL);
    FAILS(sigaction(65, &action, 0), EINVAL);

    // Blocked signals: standard ones merge and come in order of number, real-time ones queue, lowest number first.
    sigset_t all, old;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &old);
    union sigval value;
    for (int i = 0; i < 3; i++) {
        value.sival_int = 100 + i;
        CHECK(sigqueue(getpid(), SIGRTMIN + 5, value) == 0);
        value.sival_int = 200 + i;
        CHECK(sigqueue(getpid(), SIGRTMIN + 2, value) == 0);
        CHECK(kill(getpid(), SIGUSR2) == 0 && kill(getpid(), SIGUSR1) == 0);
    }
    sigset_t pending;
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1) && sigismember(&pending, SIGRTMIN + 2) && !sigismember(&pending, SIGHUP));
    sigprocmask(SIG_SETMASK, &old, 0);
    // Frames are stacked from the lowest number on, so the highest runs first; a signal is blocked in its own handler.
    int want[] = {100, 101, 102, 200, 201, 202, SIGUSR2, SIGUSR1};
    CHECK(count == 8);
    for (int i = 0; i < 8; i++) CHECK(order[i] == want[i]);

    // siginfo of kill and tgkill.
    count = 0;
    CHECK(kill(getpid(), SIGHUP) == 0 && count == 1 && last.si_code == SI_USER && last.si_pid == getpid() && last.si_uid == getuid());
    CHECK(syscall(SYS_tgkill, getpid(), gettid(), SIGHUP) == 0 && last.si_code == SI_TKILL);
    FAILS(kill(getpid(), 65), EINVAL);
    FAILS(kill(0x3ffffff, 0), ESRCH);
    CHECK(kill(getpid(), 0) == 0);

    // The alternate stack.
    stack_t stack = {.ss_sp = alt, .ss_size = sizeof alt};
    CHECK(sigaltstack(&stack, 0) == 0);
    struct sigaction on_stack = {.sa_handler = check_stack, .sa_flags = SA_ONSTACK};
    CHECK(sigaction(SIGUSR1, &on_stack, 0) == 0 && raise(SIGUSR1) == 0 && on_alt);
    stack.ss_size = 100;
    FAILS(sigaltstack(&stack, 0), ENOMEM);
    stack.ss_flags = SS_DISABLE;
    CHECK(sigaltstack(&stack, 0) == 0);

    // SA_NODEFER nests, otherwise not; SA_RESETHAND once.
    struct sigaction nesting = {.sa_handler = nest, .sa_flags = SA_NODEFER};
    CHECK(sigaction(SIGUSR2, &nesting, 0) == 0 && raise(SIGUSR2) == 0 && deepest == 3);
    struct sigaction once = {.sa_handler = empty, .sa_flags = SA_RESETHAND}, now;
    CHECK(sigaction(SIGUSR2, &once, 0) == 0 && raise(SIGUSR2) == 0);
    CHECK(sigaction(SIGUSR2, 0, &now) == 0 && now.sa_handler == SIG_DFL);

    // Restarting.
    int fds[2];
    CHECK(pipe(fds) == 0);
    struct sigaction plain = {.sa_handler = empty}, restart = {.sa_handler = empty, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &plain, 0);
    ualarm(10000, 0);
    char byte;
    FAILS(read(fds[0], &byte, 1), EINTR);
    sigaction(SIGALRM, &restart, 0);
    pid_t child = fork();
    if (child == 0) {
        usleep(60000);
        write(fds[1], "x", 1);
        _exit(0);
    }
    ualarm(10000, 10000);
    CHECK(read(fds[0], &byte, 1) == 1);
    ualarm(0, 0);
    CHECK(waitpid(child, 0, 0) == child);
    ualarm(10000, 0);
    FAILS(pause(), EINTR);
    struct timespec nap = {0, 50000000}, left = {0, 0};
    ualarm(10000, 0);
    FAILS(nanosleep(&nap, &left), EINTR);
    CHECK(left.tv_nsec > 0 && left.tv_nsec < 50000000);

    // sigsuspend and sigtimedwait.
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    sigaction(SIGUSR1, &action, 0);
    sigprocmask(SIG_BLOCK, &usr1, 0);
    count = 0;
    raise(SIGUSR1);
    CHECK(count == 0);
    sigset_t none;
    sigemptyset(&none);
    FAILS(sigsuspend(&none), EINTR);
    CHECK(count == 1);
    raise(SIGUSR1);
    siginfo_t info;
    CHECK(sigwaitinfo(&usr1, &info) == SIGUSR1 && info.si_pid == getpid());
    struct timespec soon = {0, 1000000};
    FAILS(sigtimedwait(&usr1, &info, &soon), EAGAIN);
    // A signal whose default is death may be waited for.
    signal(SIGUSR1, SIG_DFL);
    child = fork();
    if (child == 0) {
        usleep(20000);
        kill(getppid(), SIGUSR1);
        _exit(0);
    }
    CHECK(sigwaitinfo(&usr1, &info) == SIGUSR1 && info.si_pid == child);
    CHECK(waitpid(child, 0, 0) == child);
    return 0;
}
