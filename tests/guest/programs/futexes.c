// Futexes: wait, wake, bitset, requeue, wake_op, robust lists, priority inheritance, waitv, time-outs.
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static long futex(uint32_t *word, int op, uint32_t value, void *timeout, uint32_t *word2, uint32_t value3) {
    return syscall(SYS_futex, word, op, value, timeout, word2, value3);
}
static uint32_t a, b, woken;
static void *wait_on_a(void *bits) {
    uint32_t mask = (uintptr_t)bits;
    CHECK(futex(&a, FUTEX_WAIT_BITSET_PRIVATE, 0, 0, 0, mask) == 0);
    __atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
    return 0;
}
static void handler(int signal) {}

static void *lock_and_unlock(void *word) {
    CHECK(futex(word, FUTEX_LOCK_PI, 0, 0, 0, 0) == 0);
    CHECK(futex(word, FUTEX_UNLOCK_PI, 0, 0, 0, 0) == 0);
    return 0;
}

int main(void) {
    struct timespec soon = {0, 10000000};
    FAILS(futex(&a, FUTEX_WAIT, 1, 0, 0, 0), EAGAIN);
    FAILS(futex(&a, FUTEX_WAIT, 0, &soon, 0, 0), ETIMEDOUT);
    FAILS(futex((void *)1, FUTEX_WAIT, 0, 0, 0, 0), EINVAL);
    FAILS(futex((void *)16, FUTEX_WAIT, 0, 0, 0, 0), EFAULT);
    FAILS(futex(&a, FUTEX_WAIT_BITSET, 0, 0, 0, 0), EINVAL);
    FAILS(futex(&a, 99, 0, 0, 0, 0), ENOSYS);
    soon.tv_nsec = 1000000000;
    FAILS(futex(&a, FUTEX_WAIT, 0, &soon, 0, 0), EINVAL);
    CHECK(futex(&a, FUTEX_WAKE, 1, 0, 0, 0) == 0);
    struct timespec past = {1, 0};
    FAILS(futex(&a, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME, 0, &past, 0, ~0u), ETIMEDOUT);

    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, wait_on_a, (void *)(uintptr_t)(1u << i));
    while (futex(&a, FUTEX_WAKE_BITSET_PRIVATE, 9, 0, 0, 4) == 0) usleep(1000);
    pthread_join(threads[2], 0);
    // All moved to b, whenever they get there; then one woken and one moved back.
    for (int moved = 0; moved < 3; usleep(1000)) moved += futex(&a, FUTEX_CMP_REQUEUE_PRIVATE, 0, (void *)10, &b, 0);
    CHECK(futex(&a, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0) == 0);
    CHECK(futex(&b, FUTEX_CMP_REQUEUE_PRIVATE, 1, (void *)1, &a, 0) == 2);
    CHECK(futex(&a, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0) == 1 && futex(&b, FUTEX_WAKE_PRIVATE, 10, 0, 0, 0) == 1);
    for (int i = 0; i < 4; i++) if (i != 2) pthread_join(threads[i], 0);
    CHECK(woken == 4);
    FAILS(futex(&a, FUTEX_CMP_REQUEUE, 1, (void *)1, &b, 5), EAGAIN);
    CHECK(futex(&a, FUTEX_WAKE_OP, 1, (void *)1, &b, FUTEX_OP(FUTEX_OP_ADD, 7, FUTEX_OP_CMP_EQ, 0)) == 0 && b == 7);

    // Between processes, interrupted by a signal.
    uint32_t *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(futex(shared, FUTEX_WAIT, 0, 0, 0, 0) == 0);
        _exit(0);
    }
    while (futex(shared, FUTEX_WAKE, 1, 0, 0, 0) == 0) usleep(1000);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGALRM, &action, 0);
    ualarm(10000, 10000);
    FAILS(futex(shared, FUTEX_WAIT, 0, 0, 0, 0), EINTR);
    ualarm(0, 0);

    // Robust, priority inheritance.
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    for (int protocol = 0; protocol < 2; protocol++) {
        pthread_mutexattr_setprotocol(&attr, protocol ? PTHREAD_PRIO_INHERIT : PTHREAD_PRIO_NONE);
        pthread_mutex_t *mutex = (void *)(shared + 64 + 64 * protocol);
        pthread_mutex_init(mutex, &attr);
        child = fork();
        if (child == 0) {
            pthread_mutex_lock(mutex);
            __atomic_store_n(shared + 32, 1, __ATOMIC_SEQ_CST);
            usleep(30000);
            raise(SIGKILL);
        }
        while (!__atomic_exchange_n(shared + 32, 0, __ATOMIC_SEQ_CST)) usleep(1000);
        CHECK(pthread_mutex_lock(mutex) == EOWNERDEAD);
        CHECK(pthread_mutex_consistent(mutex) == 0 && pthread_mutex_unlock(mutex) == 0 && pthread_mutex_lock(mutex) == 0);
        CHECK(waitpid(child, 0, 0) == child);
    }
    uint32_t pi = 0;
    CHECK(futex(&pi, FUTEX_LOCK_PI, 0, 0, 0, 0) == 0 && pi == gettid());
    FAILS(futex(&pi, FUTEX_LOCK_PI, 0, 0, 0, 0), EDEADLK);
    CHECK(futex(&pi, FUTEX_UNLOCK_PI, 0, 0, 0, 0) == 0 && pi == 0);
    FAILS(futex(&pi, FUTEX_UNLOCK_PI, 0, 0, 0, 0), EPERM);

    // Who waits for such a lock is neither woken nor moved as a plain waiter.
    static uint32_t held, plain;
    CHECK(futex(&held, FUTEX_LOCK_PI, 0, 0, 0, 0) == 0);
    pthread_t waiter;
    CHECK(pthread_create(&waiter, 0, lock_and_unlock, &held) == 0);
    while (!(__atomic_load_n(&held, __ATOMIC_SEQ_CST) & FUTEX_WAITERS)) usleep(1000);
    usleep(20000);
    const int set_0_if_equal_0 = FUTEX_OP(FUTEX_OP_SET, 0, FUTEX_OP_CMP_EQ, 0);
    FAILS(futex(&held, FUTEX_WAKE, 1, 0, 0, 0), EINVAL);
    FAILS(futex(&held, FUTEX_WAKE_OP, 1, (void *)1, &plain, set_0_if_equal_0), EINVAL);
    FAILS(futex(&plain, FUTEX_WAKE_OP, 1, (void *)1, &held, FUTEX_OP(FUTEX_OP_OR, 0, FUTEX_OP_CMP_NE, 0)), EINVAL);
    FAILS(futex(&held, FUTEX_REQUEUE, 0, (void *)1, &plain, 0), EINVAL);
    CHECK(futex(&held, FUTEX_UNLOCK_PI, 0, 0, 0, 0) == 0 && pthread_join(waiter, 0) == 0 && held == 0);

    // waitv.
    struct futex_waitv { uint64_t val, uaddr; uint32_t flags, reserved; } waiters[2] = {{0, (uintptr_t)&pi, 2 | 128}, {1, (uintptr_t)&a, 2 | 128}};
    FAILS(syscall(449, waiters, 2, 0, 0, 0), EAGAIN);
    FAILS(syscall(449, waiters, 0, 0, 0, 0), EINVAL);
    waiters[1].val = 0;
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += 10000000;
    if (at.tv_nsec >= 1000000000) at.tv_nsec -= 1000000000, at.tv_sec++;
    FAILS(syscall(449, waiters, 2, 0, &at, CLOCK_MONOTONIC), ETIMEDOUT);
    return 0;
}
