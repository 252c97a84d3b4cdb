// RLIMIT_MEMLOCK counts for every way to lock memory, whichever thread comes first; what is locked is brought in.
#include "check.h"
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define PAGE 4096ul
#define RW (PROT_READ | PROT_WRITE)
static void *map(size_t pages, int flags) { return mmap(0, pages * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0); }
static int present(void *at, size_t pages) {
    unsigned char in[64];
    CHECK(mincore(at, pages * PAGE, in) == 0);
    int count = 0;
    for (size_t i = 0; i < pages; i++) count += in[i] & 1;
    return count;
}

static pthread_barrier_t barrier;
static char *areas[2];
static int locked[2];
static void *lock_part(void *which) {
    int own = (uintptr_t)which;
    for (int round = 0; round < 400; round++) {
        pthread_barrier_wait(&barrier);
        if (round & 1) {
            char *at = map(40, MAP_LOCKED);
            CHECK(at != MAP_FAILED || errno == EAGAIN);
            locked[own] = at != MAP_FAILED;
            pthread_barrier_wait(&barrier);
            if (locked[own]) munmap(at, 40 * PAGE);
        } else {
            locked[own] = mlock(areas[own], 40 * PAGE) == 0;
            CHECK(locked[own] || errno == ENOMEM);
            pthread_barrier_wait(&barrier);
            munlock(areas[own], 40 * PAGE);
        }
        CHECK(locked[0] + locked[1] == 1);
    }
    return 0;
}

int main(void) {
    // Room for 64 pages, and no capability to lock more.
    struct rlimit limit = {64 * PAGE, 64 * PAGE};
    CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    if (geteuid() == 0) CHECK(setresuid(65534, 65534, 65534) == 0);
    char *plain = map(80, 0);

    CHECK(mlockall(MCL_FUTURE) == 0);
    FAILS(map(65, 0), EAGAIN);
    char *future = map(16, 0);
    CHECK(future != MAP_FAILED && present(future, 16) == 16);
    char *end = sbrk(0);
    FAILS(sbrk(60 * PAGE), ENOMEM);
    CHECK(sbrk(0) == end && sbrk(4 * PAGE) == end && brk(end) == 0);
    FAILS(mremap(future, 16 * PAGE, 65 * PAGE, MREMAP_MAYMOVE), EAGAIN);
    future = mremap(future, 16 * PAGE, 40 * PAGE, MREMAP_MAYMOVE);
    CHECK(future != MAP_FAILED && present(future, 40) == 40);
    // What would be replaced counts.
    FAILS(mmap(future, 40 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EAGAIN);
    FAILS(mlock(plain, 30 * PAGE), ENOMEM);
    CHECK(mlock(plain, 20 * PAGE) == 0 && mlock(plain, 20 * PAGE) == 0);
    FAILS(mlockall(MCL_CURRENT), ENOMEM);
    CHECK(munlockall() == 0 && munmap(future, 40 * PAGE) == 0);
    FAILS(map(65, MAP_LOCKED), EAGAIN);
    FAILS(syscall(SYS_mlock2, plain, 65 * PAGE, 1), ENOMEM);

    pthread_t threads[2];
    pthread_barrier_init(&barrier, 0, 2);
    for (uintptr_t i = 0; i < 2; i++) {
        areas[i] = map(80, 0);
        CHECK(pthread_create(&threads[i], 0, lock_part, (void *)i) == 0);
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], 0);

    limit = (struct rlimit){0, 0};
    CHECK(setrlimit(RLIMIT_MEMLOCK, &limit) == 0);
    FAILS(mlock(plain, PAGE), EPERM);
    FAILS(map(1, MAP_LOCKED), EPERM);
    FAILS(mlockall(MCL_FUTURE), EPERM);
    return 0;
}
