// also: static
// The signal mask changed so often that the sandbox lets the thread do that by itself: no signal is lost or comes too
// early, the old masks are right, others see the mask, children inherit it. Also what a thread says of its own end.
#include "check.h"
#include <asm/prctl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

static atomic_int handled, is_blocked, is_early;
static atomic_bool is_done;
static pthread_t first;

static void on_signal(int signal) {
    (void)signal;
    if (is_blocked) is_early = 1;
    handled++;
}

static int mask(int how, const sigset_t *set, sigset_t *old) { return syscall(SYS_rt_sigprocmask, how, set, old, 8); }

static sigset_t only(int signal) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    return set;
}

static void wait_for(int count) {
    for (int i = 0; handled < count; i++) {
        CHECK(i < 10000);
        poll(NULL, 0, 1);
    }
}

// Enough that call sites are rewritten where they are.
static void change_under_interrupts(void) {
    struct itimerval often = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    sigset_t alarm = only(SIGALRM), old;
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    for (int i = 0; i < 300000 || handled < 300; i++) {
        CHECK(mask(SIG_BLOCK, &alarm, &old) == 0 && !sigismember(&old, SIGALRM));
        is_blocked = 1;
        CHECK(mask(SIG_BLOCK, NULL, &old) == 0 && sigismember(&old, SIGALRM));
        is_blocked = 0;
        CHECK(mask(i & 1 ? SIG_UNBLOCK : SIG_SETMASK, i & 1 ? &alarm : &(sigset_t){{0}}, &old) == 0);
        CHECK(sigismember(&old, SIGALRM) && !sigismember(&old, SIGKILL) && !sigismember(&old, SIGSTOP));
    }
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(!is_early);
}

static void check_arguments(void) {
    sigset_t set = only(SIGUSR1), old;
    char *edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(edge != MAP_FAILED && munmap(edge + 4096, 4096) == 0);
    for (int i = 0; i < 100; i++) {
        FAILS(mask(3, &set, NULL), EINVAL);
        FAILS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 4), EINVAL);
        FAILS(mask(SIG_BLOCK, (void *)(edge + 4092), NULL), EFAULT);
        FAILS(mask(SIG_BLOCK, NULL, (void *)(edge + 4092)), EFAULT);
        FAILS(mask(SIG_BLOCK, (void *)-8L, NULL), EFAULT);
        CHECK(mask(3, NULL, &old) == 0 && !sigismember(&old, SIGUSR1));
        // Both in one place.
        sigset_t both = set;
        CHECK(mask(SIG_BLOCK, &both, &both) == 0 && !sigismember(&both, SIGUSR1));
        CHECK(mask(SIG_SETMASK, &both, &both) == 0 && sigismember(&both, SIGUSR1));
    }
    sigset_t all;
    memset(&all, 0xff, sizeof all);
    CHECK(mask(SIG_SETMASK, &all, &old) == 0 && mask(SIG_SETMASK, &old, &all) == 0);
    CHECK(!sigismember(&all, SIGKILL) && !sigismember(&all, SIGSTOP) && sigismember(&all, SIGTERM));
}

static void take_at_once(void) {
    sigset_t set = only(SIGUSR1);
    for (int i = 0; i < 2000; i++) {
        handled = 0;
        CHECK(mask(SIG_BLOCK, &set, NULL) == 0);
        is_blocked = 1;
        kill(getpid(), SIGUSR1);
        CHECK(handled == 0);
        is_blocked = 0;
        CHECK(mask(SIG_UNBLOCK, &set, NULL) == 0 && handled == 1);
    }
}

static void *change(void *times_apart) {
    sigset_t set = only(SIGUSR1);
    for (long i = 0; !is_done; i++) {
        CHECK(mask(SIG_BLOCK, &set, NULL) == 0);
        for (volatile long wait = 0; wait < (i * 7 % 50) * (long)times_apart; wait++) {}
        CHECK(mask(SIG_UNBLOCK, &set, NULL) == 0);
    }
    return NULL;
}

// To a thread that never makes a call by which the kernel would hear of the change, and to either of two.
static void send_to_changers(void) {
    sigset_t set = only(SIGUSR1);
    pthread_t one, two;
    is_done = false;
    CHECK(mask(SIG_BLOCK, &set, NULL) == 0);
    CHECK(pthread_create(&one, NULL, change, (void *)0) == 0 && pthread_create(&two, NULL, change, (void *)200) == 0);
    for (int i = 0; i < 600; i++) {
        handled = 0;
        if (i % 3 == 0)
            pthread_kill(one, SIGUSR1);
        else if (i % 3 == 1)
            pthread_kill(two, SIGUSR1);
        else
            kill(getpid(), SIGUSR1);
        wait_for(1);
    }
    is_done = true;
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    CHECK(mask(SIG_UNBLOCK, &set, NULL) == 0);
}

static atomic_int stage;

static void *look_at_first(void *unused) {
    char path[64], line[256];
    while (stage != 1) {}
    snprintf(path, sizeof path, "/proc/self/task/%d/status", getpid());
    FILE *file = fopen(path, "r");
    unsigned long long blocked = 0;
    while (fgets(line, sizeof line, file)) sscanf(line, "SigBlk: %llx", &blocked);
    fclose(file);
    CHECK(blocked >> (SIGUSR2 - 1) & 1);
    CHECK(pthread_kill(first, SIGUSR2) == 0);
    stage = 2;
    return unused;
}

// The signal is ignored, and kept all the same: its receiver has just blocked it, and made no other call since.
static void keep_ignored(void) {
    sigset_t set = only(SIGUSR2);
    struct timespec limit = {10, 0};
    signal(SIGUSR2, SIG_IGN);
    for (int i = 0; i < 50; i++) {
        pthread_t other;
        stage = 0;
        CHECK(pthread_create(&other, NULL, look_at_first, NULL) == 0);
        CHECK(mask(SIG_BLOCK, &set, NULL) == 0);
        stage = 1;
        while (stage != 2) {}
        CHECK(sigtimedwait(&set, NULL, &limit) == SIGUSR2);
        CHECK(mask(SIG_UNBLOCK, &set, NULL) == 0);
        pthread_join(other, NULL);
    }
}

static void inherit(void) {
    sigset_t set = only(SIGUSR1), old;
    for (int i = 0; i < 30; i++) {
        CHECK(mask(i & 1 ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL) == 0);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            CHECK(mask(SIG_BLOCK, NULL, &old) == 0);
            _exit(sigismember(&old, SIGUSR1));
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == (i & 1) << 8);
    }
    CHECK(mask(SIG_UNBLOCK, &set, NULL) == 0);
}

static pthread_mutex_t robust;

static void *die_with_lock(void *unused) {
    CHECK(pthread_mutex_lock(&robust) == 0);
    return unused;
}

static void end_threads(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    for (int i = 0; i < 200; i++) {
        pthread_t thread;
        CHECK(pthread_mutex_init(&robust, &attributes) == 0);
        CHECK(pthread_create(&thread, NULL, die_with_lock, NULL) == 0 && pthread_join(thread, NULL) == 0);
        CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD);
        CHECK(pthread_mutex_consistent(&robust) == 0 && pthread_mutex_unlock(&robust) == 0);
        pthread_mutex_destroy(&robust);
    }
    // What is at that place is cleared when the child ends.
    int *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(word != MAP_FAILED);
    *word = 7;
    void *head = NULL;
    size_t len = 0;
    for (int i = 0; i < 50; i++) {
        long new_head[3] = {i};
        CHECK(syscall(SYS_get_robust_list, 0, &head, &len) == 0 && len == 24);
        CHECK(syscall(SYS_set_robust_list, new_head, 24) == 0);
        void *now = NULL;
        CHECK(syscall(SYS_get_robust_list, 0, &now, &len) == 0 && now == new_head);
        CHECK(syscall(SYS_set_robust_list, head, 24) == 0);
        FAILS(syscall(SYS_set_robust_list, head, 23), EINVAL);
        CHECK(syscall(SYS_set_tid_address, word) == gettid());
        FAILS(syscall(SYS_arch_prctl, ARCH_SET_FS, 1L << 62), EPERM);
        unsigned long base = 0, same = 0;
        CHECK(syscall(SYS_arch_prctl, ARCH_GET_FS, &base) == 0 && base != 0);
        CHECK(syscall(SYS_arch_prctl, ARCH_SET_FS, base) == 0);
        CHECK(syscall(SYS_arch_prctl, ARCH_GET_FS, &same) == 0 && same == base);
    }
}

int main(void) {
    first = pthread_self();
    struct sigaction action = {.sa_handler = on_signal};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0 && sigaction(SIGUSR1, &action, NULL) == 0);
    check_arguments();
    change_under_interrupts();
    take_at_once();
    send_to_changers();
    keep_ignored();
    inherit();
    end_threads();
    return 0;
}
