// also: static
// Signal actions asked for and set so often that it is done without the kernel's help: what is told stays exact, for the
// caller, for children and for threads that share the actions.
#include "check.h"
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

// As the kernel has it.
struct action { uint64_t handler, flags, restorer, mask; };

#define RESTORER_FLAG 0x04000000
#define SOMEWHERE 0x1234000
static const struct action unset, plain = {0, RESTORER_FLAG, SOMEWHERE, 0};

static long act(long signal, const void *new, void *old) {
    return syscall(SYS_rt_sigaction, signal, new, old, 8);
}

static int is(long signal, const struct action *wanted) {
    struct action now;
    memset(&now, 0x55, sizeof now);
    return act(signal, NULL, &now) == 0 && memcmp(&now, wanted, sizeof now) == 0;
}

// Makes the place where calls are made one that is used often.
static void warm(void) {
    struct action now;
    for (int i = 0; i < 200; i++) CHECK(act(SIGUSR1, NULL, &now) == 0);
}

// In one call: what it was is exact.
static void set_and_asked(long signal) {
    struct action old;
    memset(&old, 0x55, sizeof old);
    CHECK(act(signal, &plain, &old) == 0 && memcmp(&old, &unset, sizeof old) == 0);
    memset(&old, 0x55, sizeof old);
    CHECK(act(signal, &plain, &old) == 0 && memcmp(&old, &plain, sizeof old) == 0);
    CHECK(is(signal, &plain));
    struct action both = plain;
    CHECK(act(signal, &both, &both) == 0 && memcmp(&both, &plain, sizeof both) == 0);
}

static void every_signal(void) {
    for (int signal = 1; signal <= 64; signal++) {
        if (signal == SIGKILL || signal == SIGSTOP) {
            CHECK(is(signal, &unset));
            CHECK(act(signal, &plain, NULL) == -1 && errno == EINVAL);
            continue;
        }
        CHECK(is(signal, &unset));
        CHECK(act(signal, &plain, NULL) == 0);
        CHECK(is(signal, &plain));
        CHECK(act(signal, &plain, NULL) == 0);
        CHECK(is(signal, &plain));
        struct action old;
        CHECK(act(signal, &unset, &old) == 0 && memcmp(&old, &plain, sizeof old) == 0);
        CHECK(is(signal, &unset));
        CHECK(act(signal, &plain, NULL) == 0);
        CHECK(act(signal, &unset, NULL) == 0);
        CHECK(is(signal, &unset));
        set_and_asked(signal);
        CHECK(act(signal, &unset, NULL) == 0);
    }
}

static void other_values(void) {
    const struct action others[] = {
        {1, 0, 0, 0},
        {0, 0, 0, 0},
        {0, RESTORER_FLAG, SOMEWHERE + 8, 0},
        {0, RESTORER_FLAG | SA_NODEFER, SOMEWHERE, 0},
        {0, RESTORER_FLAG, SOMEWHERE, 1 << 3},
        {0, 0, SOMEWHERE, 0},
        {SOMEWHERE, RESTORER_FLAG, SOMEWHERE, 0},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        CHECK(act(SIGUSR2, &plain, NULL) == 0);
        CHECK(act(SIGUSR2, &others[i], NULL) == 0);
        CHECK(is(SIGUSR2, &others[i]));
        CHECK(act(SIGUSR2, &unset, NULL) == 0);
        CHECK(act(SIGUSR2, &others[i], NULL) == 0);
        CHECK(is(SIGUSR2, &others[i]));
    }
    CHECK(act(SIGUSR2, &unset, NULL) == 0);
}

static void bad_arguments(void) {
    struct action now;
    char *end = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(end != MAP_FAILED && munmap(end + 4096, 4096) == 0);
    CHECK(act(0, NULL, &now) == -1 && errno == EINVAL);
    CHECK(act(65, NULL, &now) == -1 && errno == EINVAL);
    CHECK(act(-1, NULL, &now) == -1 && errno == EINVAL);
    CHECK(act(SIGUSR1, NULL, NULL) == 0);
    CHECK(syscall(SYS_rt_sigaction, SIGUSR1, NULL, &now, 4) == -1 && errno == EINVAL);
    CHECK(act(SIGUSR1, NULL, (void *)8) == -1 && errno == EFAULT);
    CHECK(act(SIGUSR1, (void *)8, NULL) == -1 && errno == EFAULT);
    CHECK(act(SIGUSR1, NULL, end + 4096 - 16) == -1 && errno == EFAULT);
    CHECK(act(SIGUSR1, end + 4096 - 16, NULL) == -1 && errno == EFAULT);
    CHECK(act(SIGUSR1, NULL, (void *)-64L) == -1 && errno == EFAULT);
    // Memory that has not been touched, and that which may not be written.
    char *fresh = mmap(NULL, 1 << 28, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(fresh != MAP_FAILED && act(SIGUSR1, NULL, fresh + (100 << 20) - 16) == 0);
    CHECK(mprotect(fresh, 4096, PROT_READ) == 0);
    CHECK(act(SIGUSR1, NULL, fresh) == -1 && errno == EFAULT);
    CHECK(act(SIGUSR1, fresh, NULL) == 0 && is(SIGUSR1, &unset));
    // The result cannot be stored, but the action is set.
    CHECK(act(SIGUSR1, &plain, (void *)8) == -1 && errno == EFAULT && is(SIGUSR1, &plain));
    CHECK(act(SIGUSR1, &unset, fresh) == -1 && errno == EFAULT && is(SIGUSR1, &unset));
    munmap(fresh, 1 << 28);
    munmap(end, 4096);
}

static void pending_ones_are_forgotten(void) {
    sigset_t chld, now;
    sigemptyset(&chld);
    sigaddset(&chld, SIGCHLD);
    sigprocmask(SIG_BLOCK, &chld, NULL);
    CHECK(act(SIGCHLD, &plain, NULL) == 0);
    kill(getpid(), SIGCHLD);
    CHECK(sigpending(&now) == 0 && sigismember(&now, SIGCHLD) == 1);
    CHECK(act(SIGCHLD, &plain, NULL) == 0);
    CHECK(sigpending(&now) == 0 && sigismember(&now, SIGCHLD) == 0);
    CHECK(act(SIGCHLD, &unset, NULL) == 0);
    sigprocmask(SIG_UNBLOCK, &chld, NULL);
}

static void children_have_copies(void) {
    CHECK(act(SIGUSR1, &plain, NULL) == 0 && act(SIGUSR2, &plain, NULL) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(is(SIGUSR1, &plain) && is(SIGUSR2, &plain) && is(SIGALRM, &unset));
        CHECK(act(SIGUSR1, &unset, NULL) == 0 && act(SIGALRM, &plain, NULL) == 0);
        CHECK(is(SIGUSR1, &unset) && is(SIGALRM, &plain));
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(is(SIGUSR1, &plain) && is(SIGALRM, &unset));
    child = vfork();
    if (child == 0) {
        act(SIGALRM, &plain, NULL);
        act(SIGUSR1, &unset, NULL);
        _exit(is(SIGALRM, &plain) && is(SIGUSR1, &unset) ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(is(SIGUSR1, &plain) && is(SIGALRM, &unset));
    CHECK(act(SIGUSR1, &unset, NULL) == 0 && act(SIGUSR2, &unset, NULL) == 0);
}

static void *other_thread(void *unused) {
    (void)unused;
    CHECK(is(SIGUSR1, &plain));
    CHECK(act(SIGUSR1, &unset, NULL) == 0 && act(SIGALRM, &plain, NULL) == 0);
    return NULL;
}

static int sharing_child(void *unused) {
    (void)unused;
    return is(SIGALRM, &plain) && act(SIGALRM, &unset, NULL) == 0 ? 0 : 1;
}

static void those_who_share_see_changes(void) {
    for (int i = 0; i < 20; i++) {
        CHECK(act(SIGUSR1, &plain, NULL) == 0 && is(SIGALRM, &unset));
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, other_thread, NULL) == 0);
        pthread_join(thread, NULL);
        CHECK(is(SIGUSR1, &unset) && is(SIGALRM, &plain));
        static char stack[64 << 10] __attribute__((aligned(16)));
        int status;
        pid_t child = clone(sharing_child, stack + sizeof stack, CLONE_VM | CLONE_SIGHAND | SIGCHLD, NULL);
        CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
        CHECK(is(SIGALRM, &unset));
    }
}

// A signal that interrupts the caller in the middle changes nothing of what it gets.
static volatile sig_atomic_t taken;
static void on_alarm(int signal) {
    (void)signal;
    taken++;
}

static void interrupted(void) {
    struct sigaction handler = {.sa_handler = on_alarm};
    struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    CHECK(sigaction(SIGALRM, &handler, NULL) == 0);
    setitimer(ITIMER_REAL, &often, NULL);
    while (taken < 100) {
        CHECK(is(SIGUSR1, &unset));
        CHECK(act(SIGUSR1, &plain, NULL) == 0);
        CHECK(is(SIGUSR1, &plain));
        CHECK(act(SIGUSR1, &unset, NULL) == 0);
        set_and_asked(SIGUSR2);
        CHECK(act(SIGUSR2, &unset, NULL) == 0);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    handler.sa_handler = SIG_DFL;
    CHECK(sigaction(SIGALRM, &handler, NULL) == 0);
    CHECK(act(SIGALRM, &unset, NULL) == 0);
}

static void spawned(void) {
    char *argv[] = {"true", NULL};
    for (int i = 0; i < 10; i++) {
        pid_t child;
        int status;
        CHECK(posix_spawn(&child, "/bin/true", NULL, NULL, argv, environ) == 0);
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
}

int main(void) {
    // Whoever started us may have had some ignored.
    for (int signal = 1; signal <= 64; signal++) act(signal, &unset, NULL);
    warm();
    every_signal();
    other_values();
    bad_arguments();
    pending_ones_are_forgotten();
    children_have_copies();
    interrupted();
    spawned();
    every_signal();
    those_who_share_see_changes();
    warm();
    return 0;
}
