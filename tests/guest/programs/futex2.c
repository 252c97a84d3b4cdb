// futex_wait(2), futex_wake(2), futex_requeue(2), and what FUTEX_REQUEUE returns.
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

#define PRIVATE_U32 (2 | 128)

static uint32_t a, b, sleepers;
static long wait_on(uint32_t *word, uint64_t value, uint64_t mask, unsigned flags, struct timespec *until, int clock) {
    return syscall(455, word, value, mask, flags, until, clock);
}
static long wake(uint32_t *word, uint64_t mask, int count, unsigned flags) {
    return syscall(454, word, mask, count, flags);
}
static void *sleep_on_a(void *mask) {
    __atomic_add_fetch(&sleepers, 1, __ATOMIC_SEQ_CST);
    CHECK(wait_on(&a, 0, (uintptr_t)mask, PRIVATE_U32, 0, 0) == 0);
    return 0;
}
// Wakes one sleeper of `word`, whenever it gets there.
static void wake_one(uint32_t *word, uint64_t mask) {
    while (wake(word, mask, 1, PRIVATE_U32) == 0) usleep(1000);
}
static void *sleep_forever(void *word) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, 0, 0, 0);
    return 0;
}
static long requeue(int operation, int wake, long move) {
    return syscall(SYS_futex, &a, operation | FUTEX_PRIVATE_FLAG, wake, move, &b, 0);
}

int main(void) {
    struct waitv { uint64_t val, uaddr; uint32_t flags, reserved; } words[2] = {{0, (uintptr_t)&a, PRIVATE_U32}, {0, (uintptr_t)&b, PRIVATE_U32}};
    pthread_t threads[3];

    // FUTEX_REQUEUE counts those moved too.
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], 0, sleep_forever, &a);
    long moved = 0;
    while (moved < 3) moved += requeue(FUTEX_REQUEUE, 0, 3), usleep(1000);
    CHECK(moved == 3);
    CHECK(syscall(SYS_futex, &b, FUTEX_WAKE_PRIVATE, 9, 0, 0, 0) == 3);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], 0);

    needs_linux(6, 7);
    struct timespec past = {1, 0};
    FAILS(wait_on(&a, 1, 1, PRIVATE_U32, 0, 0), EAGAIN);
    FAILS(wait_on(&a, 0, 1, PRIVATE_U32, &past, CLOCK_REALTIME), ETIMEDOUT);
    FAILS(wait_on(&a, 0, 1, PRIVATE_U32, &past, CLOCK_MONOTONIC), ETIMEDOUT);
    FAILS(wait_on(&a, 0, 1, PRIVATE_U32, &past, CLOCK_BOOTTIME), EINVAL);
    FAILS(wait_on(&a, 0, 0, PRIVATE_U32, &past, 0), EINVAL);
    FAILS(wait_on(&a, 1ull << 32, 1, PRIVATE_U32, &past, 0), EINVAL);
    FAILS(wait_on(&a, 0, 1ull << 32, PRIVATE_U32, &past, 0), EINVAL);
    FAILS(wait_on(&a, 0, 1, 3, &past, 0), EINVAL);
    FAILS(wait_on((void *)16, 0, 1, PRIVATE_U32, &past, 0), EFAULT);
    FAILS(wake(&a, 0, 1, PRIVATE_U32), EINVAL);
    FAILS(wake((void *)1, 1, 1, PRIVATE_U32), EINVAL);
    FAILS(wake(&a, 1, 1, 0x10), EINVAL);
    CHECK(wake(&a, 1, 0, PRIVATE_U32) == 0 && wake(&a, ~0u, 1, PRIVATE_U32) == 0);

    // By mask.
    pthread_create(&threads[0], 0, sleep_on_a, (void *)1);
    pthread_create(&threads[1], 0, sleep_on_a, (void *)2);
    wake_one(&a, 2);
    pthread_join(threads[1], 0);
    CHECK(wake(&a, 4, 9, PRIVATE_U32) == 0);
    wake_one(&a, 1);
    pthread_join(threads[0], 0);

    // Moved from one word to the other.
    FAILS(syscall(456, words, 1, 1, 1), EINVAL);
    FAILS(syscall(456, 0, 0, 1, 1), EINVAL);
    FAILS(syscall(456, words, 0, -1, 1), EINVAL);
    words[0].val = 5;
    FAILS(syscall(456, words, 0, 1, 1), EAGAIN);
    words[0].val = 0;
    pthread_create(&threads[0], 0, sleep_on_a, (void *)1);
    while (syscall(456, words, 0, 0, 1) == 0) usleep(1000);
    CHECK(wake(&a, ~0u, 9, PRIVATE_U32) == 0 && wake(&b, ~0u, 9, PRIVATE_U32) == 1);
    pthread_join(threads[0], 0);
    return 0;
}
