// also: static
// Clocks read by calls, not through the vDSO: the same clocks, without the vDSO's pages too; what cannot be written, and
// filters that want to see the calls.
#include "check.h"
#include "seccomp_filter.h"
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#define ROUNDS 2000

static int64_t ns(struct timespec t) { return t.tv_sec * 1000000000LL + t.tv_nsec; }

static int64_t called(int clock) {
    struct timespec t = {-1, -1};
    CHECK(syscall(SYS_clock_gettime, clock, &t) == 0);
    CHECK(t.tv_nsec >= 0 && t.tv_nsec < 1000000000);
    return ns(t);
}

static int64_t by_vdso(int clock) {
    struct timespec t;
    CHECK(clock_gettime(clock, &t) == 0);
    return ns(t);
}

static void in_order(int clock) {
    int64_t last = 0;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t first = by_vdso(clock), second = called(clock), third = by_vdso(clock);
        CHECK(last <= first && first <= second && second <= third);
        last = third;
    }
}

static void times_of_day(void) {
    for (int i = 0; i < ROUNDS; i++) {
        struct timeval day = {-1, -1};
        int64_t before = by_vdso(CLOCK_REALTIME) / 1000;
        CHECK(syscall(SYS_gettimeofday, &day, NULL) == 0);
        int64_t after = by_vdso(CLOCK_REALTIME) / 1000;
        CHECK(day.tv_usec >= 0 && day.tv_usec < 1000000);
        int64_t us = day.tv_sec * 1000000LL + day.tv_usec;
        CHECK(before <= us && us <= after);
        // The host's own looks at a coarser clock.
        time_t stored = 0, now = syscall(SYS_time, &stored);
        CHECK(stored == now && now + 1 >= after / 1000000 && now <= by_vdso(CLOCK_REALTIME) / 1000000000);
        CHECK(syscall(SYS_time, NULL) >= now);
        struct timezone zone = {-1, -1};
        CHECK(syscall(SYS_gettimeofday, &day, &zone) == 0);
        CHECK(syscall(SYS_gettimeofday, NULL, NULL) == 0);
    }
}

static void errors(void) {
    char *end = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(end != MAP_FAILED && munmap(end + 4096, 4096) == 0);
    char *constant = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 100; i++) {
        FAILS(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, NULL), EFAULT);
        FAILS(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, constant), EFAULT);
        FAILS(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, end + 4096 - 8), EFAULT);
        FAILS(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, -8L), EFAULT);
        FAILS(syscall(SYS_clock_gettime, 99, end), EINVAL);
        FAILS(syscall(SYS_gettimeofday, constant, NULL), EFAULT);
        FAILS(syscall(SYS_time, constant), EFAULT);
        CHECK(syscall(SYS_clock_gettime, CLOCK_THREAD_CPUTIME_ID, end) == 0);
    }
    // Untouched memory, and memory that a fork shares.
    for (int i = 0; i < 50; i++) {
        struct timespec *fresh = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, fresh) == 0 && ns(*fresh) > 0);
        munmap(fresh, 4096);
    }
    struct timespec *shared = (void *)end;
    CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, shared) == 0);
    int64_t before = ns(*shared);
    pid_t child = fork();
    if (child == 0) {
        CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, shared) == 0 && ns(*shared) > before);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(ns(*shared) == before);
}

static void *unblocked(void *arg) {
    (void)arg;
    int64_t last = 0;
    for (int i = 0; i < 20 * ROUNDS; i++) {
        int64_t now = called(CLOCK_MONOTONIC);
        CHECK(now >= last);
        last = now;
    }
    return NULL;
}

static void nothing(int signal) { (void)signal; }

// Signals arrive while clocks are read.
static void interrupted(void) {
    CHECK(signal(SIGUSR1, nothing) != SIG_ERR);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, unblocked, NULL) == 0);
    for (int i = 0; i < 500; i++) pthread_kill(thread, SIGUSR1);
    CHECK(pthread_join(thread, NULL) == 0);
}

static void filtered(void) {
    pid_t child = fork();
    if (child == 0) {
        struct timespec t;
        CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        CHECK(install(SYS_clock_gettime, SECCOMP_RET_ERRNO | EXDEV, 0) == 0);
        for (int i = 0; i < 100; i++) FAILS(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t), EXDEV);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

// A tracer sees each call.
static void traced(void) {
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 100; i++) called(CLOCK_MONOTONIC);
        CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
        raise(SIGSTOP);
        for (int i = 0; i < 50; i++) called(CLOCK_MONOTONIC);
        _exit(0);
    }
    int status, stops = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
    CHECK(ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD) == 0);
    while (ptrace(PTRACE_SYSCALL, child, 0, 0) == 0 && waitpid(child, &status, 0) == child && WIFSTOPPED(status))
        if (WSTOPSIG(status) == (SIGTRAP | 0x80)) stops++;
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0 && stops >= 100);
}

// Without the page that the vDSO reads.
static void without_vdso(void) {
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned long from, to;
    while (fgets(line, sizeof line, maps))
        if (strstr(line, "[vvar") && sscanf(line, "%lx-%lx", &from, &to) == 2) CHECK(munmap((void *)from, to - from) == 0);
    fclose(maps);
    int64_t before = called(CLOCK_MONOTONIC);
    for (int i = 0; i < 100; i++) {
        CHECK(called(CLOCK_MONOTONIC) >= before);
        CHECK(syscall(SYS_time, NULL) > 0);
    }
}

int main(void) {
    int clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME};
    for (int i = 0; i < 6; i++) in_order(clocks[i]);
    times_of_day();
    errors();
    interrupted();
    filtered();
    traced();
    pid_t child = fork();
    if (child == 0) {
        without_vdso();
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    return 0;
}
