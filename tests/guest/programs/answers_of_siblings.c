// also: static
// Threads that call all the time see at once what another thread or process has changed for them: a filter on all threads,
// a signal of the process that nobody else comes for, another parent, another limit. A filter of one call leaves the others.
#include "check.h"
#include "seccomp_filter.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static atomic_int is_filtered, is_calling;

static void *calling(void *arg) {
    (void)arg;
    for (;;) {
        int before = atomic_load(&is_filtered);
        long pid = syscall(SYS_getpid);
        if (before) {
            CHECK(pid == -1 && errno == EXDEV);
            return NULL;
        }
        atomic_fetch_add(&is_calling, 1);
    }
}

static void filter_on_all_threads(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, calling, NULL) == 0);
    while (atomic_load(&is_calling) < 200) usleep(100);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(install(SYS_getpid, SECCOMP_RET_ERRNO | EXDEV, SECCOMP_FILTER_FLAG_TSYNC) == 0);
    atomic_store(&is_filtered, 1);
    CHECK(pthread_join(thread, NULL) == 0);
    exit(0);
}

static volatile sig_atomic_t handled_by;

static void handler(int signal) {
    (void)signal;
    handled_by = gettid();
}

// The first thread, which would take the signal, waits for a vfork child; this one unblocks it by a call that the sandbox
// answers without its kernel where nothing is pending.
static void *unblocking(void *arg) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    for (int i = 0; i < 300; i++) {
        CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
        CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    }
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    usleep(20000);
    CHECK(kill(getpid(), SIGUSR1) == 0);
    CHECK(handled_by == 0);
    CHECK(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    CHECK(handled_by == gettid());
    atomic_store((atomic_int *)arg, 1);
    return NULL;
}

static void signal_behind_a_thread_that_waits(void) {
    atomic_int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(signal(SIGUSR1, handler) != SIG_ERR);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, unblocking, shared) == 0);
    pid_t child = vfork();
    if (child == 0) {
        for (int i = 0; i < 500 && !atomic_load(shared); i++) usleep(10000);
        _exit(0);
    }
    CHECK(atomic_load(shared) == 1);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(waitpid(child, NULL, 0) == child);
    exit(0);
}

// A child whose parent has ended has another, as soon as somebody could know.
static void another_parent(void) {
    int ends[2], ready[2];
    CHECK(pipe(ends) == 0 && pipe(ready) == 0);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
    pid_t self = getpid(), parent = fork();
    if (parent == 0) {
        pid_t own = getpid();
        if (fork() == 0) {
            close(ends[1]);
            for (int i = 0; i < 200; i++) CHECK(syscall(SYS_getppid) == own);
            CHECK(write(ready[1], "r", 1) == 1);
            while (syscall(SYS_getppid) == own) continue;
            CHECK(syscall(SYS_getppid) == self);
            _exit(0);
        }
        char byte;
        CHECK(read(ready[0], &byte, 1) == 1);
        _exit(0);
    }
    int status;
    CHECK(waitpid(parent, &status, 0) == parent && status == 0);
    CHECK(wait(&status) > 0 && status == 0);
    exit(0);
}

// A limit that somebody else changes, over and over.
static void another_limit(void) {
    atomic_ulong *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct rlimit limit;
    CHECK(prlimit(0, RLIMIT_NOFILE, NULL, &limit) == 0);
    atomic_store(shared, limit.rlim_cur);
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
            rlim_t at_least = atomic_load(shared);
            CHECK(prlimit(0, RLIMIT_NOFILE, NULL, &limit) == 0 && limit.rlim_cur <= at_least);
            CHECK(syscall(SYS_getrlimit, RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur <= at_least);
            if (at_least == 100) _exit(0);
        }
    }
    for (rlim_t next = 200; next >= 100; next--) {
        struct rlimit lower = {next, limit.rlim_max}, old;
        CHECK(prlimit(child, RLIMIT_NOFILE, &lower, NULL) == 0);
        atomic_store(shared, next);
        CHECK(prlimit(child, RLIMIT_NOFILE, NULL, &old) == 0 && old.rlim_cur == next);
        usleep(200);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    FAILS(prlimit(0, RLIMIT_NOFILE, NULL, (void *)8), EFAULT);
    FAILS(prlimit(0, 16, NULL, &limit), EINVAL);
    FAILS(syscall(SYS_getrlimit, 16, &limit), EINVAL);
    for (int i = 0; i < 100; i++) {
        struct rlimit cores = {i, 0};
        CHECK(prlimit(0, RLIMIT_CORE, NULL, &limit) == 0);
        cores.rlim_max = limit.rlim_max;
        if (cores.rlim_cur <= cores.rlim_max) {
            CHECK(setrlimit(RLIMIT_CORE, &cores) == 0);
            CHECK(prlimit(0, RLIMIT_CORE, NULL, &limit) == 0 && limit.rlim_cur == (rlim_t)i);
        }
        CHECK(prlimit(getpid(), RLIMIT_CORE, NULL, &cores) == 0 && cores.rlim_cur == limit.rlim_cur);
    }
    exit(0);
}

static atomic_ulong seen;

// What one thread has seen, no other sees the older of afterwards.
static void *reading(void *arg) {
    (void)arg;
    struct rlimit limit = {0, 0};
    do {
        rlim_t before = atomic_load(&seen);
        CHECK(prlimit(0, RLIMIT_NOFILE, NULL, &limit) == 0 && limit.rlim_cur <= before);
        while (limit.rlim_cur < before && !atomic_compare_exchange_weak(&seen, &before, limit.rlim_cur)) continue;
    } while (limit.rlim_cur > 100);
    return NULL;
}

static void a_limit_of_threads(void) {
    struct rlimit limit;
    pid_t self = getpid();
    CHECK(prlimit(0, RLIMIT_NOFILE, NULL, &limit) == 0);
    atomic_store(&seen, limit.rlim_cur);
    pid_t changer = fork();
    if (changer == 0) {
        for (rlim_t next = 300; next >= 100; next--) {
            struct rlimit lower = {next, limit.rlim_max};
            CHECK(prlimit(self, RLIMIT_NOFILE, &lower, NULL) == 0);
            usleep(100);
        }
        _exit(0);
    }
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) CHECK(pthread_create(&threads[i], NULL, reading, NULL) == 0);
    for (int i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
    int status;
    CHECK(waitpid(changer, &status, 0) == changer && status == 0);
    exit(0);
}

// A filter of one call leaves the others what they are, made often enough to be answered without the sandbox's kernel.
static void a_filter_of_one_call(void) {
    pid_t self = getpid(), parent = getppid();
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(install(SYS_set_robust_list, SECCOMP_RET_ERRNO | EXDEV, 0) == 0);
    char head[24];
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    for (int i = 0; i < 300; i++) {
        CHECK(syscall(SYS_getpid) == self && syscall(SYS_getppid) == parent);
        FAILS(syscall(SYS_set_robust_list, head, 24L), EXDEV);
        CHECK(sigprocmask(i & 1 ? SIG_UNBLOCK : SIG_BLOCK, &set, &old) == 0);
        CHECK(sigismember(&old, SIGUSR1) == (i & 1));
        CHECK(syscall(SYS_set_tid_address, head) == self);
    }
    CHECK(install(SYS_getpid, SECCOMP_RET_ERRNO | EXDEV, 0) == 0);
    for (int i = 0; i < 300; i++) {
        FAILS(syscall(SYS_getpid), EXDEV);
        FAILS(syscall(SYS_set_robust_list, head, 24L), EXDEV);
        CHECK(syscall(SYS_getppid) == parent);
    }
    CHECK(install(SYS_rt_sigprocmask, SECCOMP_RET_ERRNO | EXDEV, 0) == 0);
    for (int i = 0; i < 300; i++) {
        FAILS(syscall(SYS_rt_sigprocmask, SIG_BLOCK, &set, NULL, 8L), EXDEV);
        CHECK(syscall(SYS_set_tid_address, head) == self);
    }
    exit(0);
}

static void apart(void (*test)(void)) {
    int status;
    pid_t child = fork();
    if (child == 0) test();
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(void) {
    for (int i = 0; i < 20; i++) {
        apart(filter_on_all_threads);
        apart(another_parent);
        apart(another_limit);
        apart(a_filter_of_one_call);
    }
    for (int i = 0; i < 5; i++) apart(a_limit_of_threads);
    for (int i = 0; i < 3; i++) apart(signal_behind_a_thread_that_waits);
    return 0;
}
