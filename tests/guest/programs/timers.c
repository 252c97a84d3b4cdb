// Clocks and timers: clock_nanosleep, itimers, POSIX timers with overruns, alarm, CPU clocks, getres.
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>

static long ns_since(struct timespec *from, clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (now.tv_sec - from->tv_sec) * 1000000000L + now.tv_nsec - from->tv_nsec;
}
static volatile int ticks;
static void tick(int signal) { ticks++; }

int main(void) {
    struct timespec start, nap = {0, 20000000};
    clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME};
    for (int i = 0; i < 3; i++) {
        clock_gettime(clocks[i], &start);
        CHECK(clock_nanosleep(clocks[i], 0, &nap, 0) == 0 && ns_since(&start, clocks[i]) >= 20000000);
        struct timespec at = start;
        CHECK(clock_nanosleep(clocks[i], TIMER_ABSTIME, &at, 0) == 0);
    }
    nap.tv_nsec = 1000000000;
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &nap, 0) == EINVAL);
    struct timespec last, now;
    clock_gettime(CLOCK_MONOTONIC, &last);
    for (int i = 0; i < 100000; i++) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        CHECK(now.tv_sec > last.tv_sec || (now.tv_sec == last.tv_sec && now.tv_nsec >= last.tv_nsec));
        last = now;
    }
    FAILS(clock_gettime(999, &now), EINVAL);
    CHECK(clock_getres(CLOCK_MONOTONIC, &now) == 0 && now.tv_nsec == 1);

    // Processor time moves when we compute, not when we sleep.
    struct timespec cpu;
    int tries = 10;
    do {
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
        usleep(50000);
    } while (ns_since(&cpu, CLOCK_PROCESS_CPUTIME_ID) >= 30000000 && --tries);
    CHECK(tries);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    while (ns_since(&cpu, CLOCK_THREAD_CPUTIME_ID) < 20000000);

    signal(SIGALRM, tick);
    signal(SIGVTALRM, tick);
    signal(SIGPROF, tick);
    signal(SIGRTMIN, tick);
    struct itimerval every = {{0, 10000}, {0, 10000}}, off = {0}, left;
    CHECK(setitimer(ITIMER_REAL, &every, 0) == 0);
    while (ticks < 3) pause();
    CHECK(getitimer(ITIMER_REAL, &left) == 0 && left.it_interval.tv_usec == 10000 && setitimer(ITIMER_REAL, &off, 0) == 0);
    ticks = 0;
    CHECK(setitimer(ITIMER_VIRTUAL, &every, 0) == 0);
    while (ticks < 2);
    CHECK(setitimer(ITIMER_VIRTUAL, &off, 0) == 0);
    ticks = 0;
    CHECK(setitimer(ITIMER_PROF, &every, 0) == 0);
    while (ticks < 2);
    CHECK(setitimer(ITIMER_PROF, &off, 0) == 0);
    FAILS(setitimer(9, &every, 0), EINVAL);
    CHECK(alarm(100) == 0 && alarm(0) == 100);

    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 9};
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, 0);
    struct itimerspec spec = {{0, 1000000}, {0, 1000000}}, got;
    CHECK(timer_settime(timer, 0, &spec, 0) == 0);
    usleep(30000);
    siginfo_t info;
    CHECK(sigwaitinfo(&set, &info) == SIGRTMIN && info.si_code == SI_TIMER && info.si_value.sival_int == 9 && info.si_overrun >= 10);
    CHECK(timer_gettime(timer, &got) == 0 && got.it_interval.tv_nsec == 1000000 && timer_delete(timer) == 0);
    FAILS(timer_gettime(timer, &got), EINVAL);
    return 0;
}
