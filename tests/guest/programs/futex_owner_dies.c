// What the end of a thread does to futexes: locks with priority inheritance go to who waits, or are refused, whatever the
// moment; whoever else waits is woken once. And a wake-up that meets a time-out is not lost.
#include "check.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static long futex(uint32_t *word, int op, uint32_t value, void *timeout, uint32_t *word2, uint32_t value3) {
    return syscall(SYS_futex, word, op, value, timeout, word2, value3);
}
static uint32_t get(uint32_t *word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
static void set(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_SEQ_CST); }

static long lock_within(uint32_t *word, int seconds) {
    struct timespec due;
    clock_gettime(CLOCK_REALTIME, &due);
    due.tv_sec += seconds;
    return futex(word, FUTEX_LOCK_PI, 0, &due, 0, 0);
}
static void is_mine_of_a_dead_owner(uint32_t *word) {
    CHECK((get(word) & FUTEX_TID_MASK) == (uint32_t)gettid() && (get(word) & FUTEX_OWNER_DIED));
}

enum { WORD, READY, SECOND = 16 };
static uint32_t *shared;

static void *take_after_the_dead(void *word) {
    CHECK(lock_within(word, 20) == 0);
    is_mine_of_a_dead_owner(word);
    CHECK(futex(word, FUTEX_UNLOCK_PI, 0, 0, 0, 0) == 0);
    return 0;
}
static void *take_after_another(void *word) {
    CHECK(lock_within(word, 20) == 0);
    CHECK((get(word) & FUTEX_TID_MASK) == (uint32_t)gettid());
    CHECK(futex(word, FUTEX_UNLOCK_PI, 0, 0, 0, 0) == 0);
    return 0;
}
static void *own_and_end(void *word) {
    CHECK(futex(word, FUTEX_LOCK_PI, 0, 0, 0, 0) == 0);
    set(&shared[READY], 1);
    while (!(get(word) & FUTEX_WAITERS)) usleep(1000);
    usleep(20000);
    return 0;
}

// The owner ends in the middle of others' calls: they get the lock or are told that nobody can hand it on.
static void race_with_the_end(void) {
    for (int round = 0; round < 100; round++) {
        set(&shared[WORD], 0), set(&shared[READY], 0);
        pid_t child = fork();
        if (child == 0) {
            // Much to give back makes for a long end.
            for (int i = 0; i < 200; i++) open("/dev/null", O_RDONLY);
            CHECK(futex(&shared[WORD], FUTEX_LOCK_PI, 0, 0, 0, 0) == 0);
            set(&shared[READY], 1);
            syscall(SYS_exit_group, 0);
        }
        while (!get(&shared[READY])) sched_yield();
        if (round % 4) usleep(round * 20);
        if (lock_within(&shared[WORD], 20) == 0) {
            is_mine_of_a_dead_owner(&shared[WORD]);
            CHECK(futex(&shared[WORD], FUTEX_UNLOCK_PI, 0, 0, 0, 0) == 0);
        } else {
            CHECK(errno == ESRCH);
        }
        CHECK(waitpid(child, 0, 0) == child);
    }
}

// Another process ends that has no robust list, having unmapped the word or not; two wait.
static void owner_is_another_process(int unmaps) {
    set(&shared[WORD], 0), set(&shared[READY], 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(futex(&shared[WORD], FUTEX_LOCK_PI, 0, 0, 0, 0) == 0);
        set(&shared[READY], 1);
        while (!(get(&shared[WORD]) & FUTEX_WAITERS)) usleep(1000);
        usleep(20000);
        if (unmaps) munmap(shared, 4096);
        syscall(SYS_exit_group, 0);
    }
    while (!get(&shared[READY])) usleep(1000);
    pthread_t first, second;
    pthread_create(&first, 0, unmaps ? take_after_the_dead : take_after_another, &shared[WORD]);
    if (!unmaps) pthread_create(&second, 0, take_after_another, &shared[WORD]);
    CHECK(pthread_join(first, 0) == 0 && (unmaps || pthread_join(second, 0) == 0));
    CHECK(waitpid(child, 0, 0) == child);
}

// Who waits and a word that says another owner do not agree.
static void spoiled_word(void) {
    static uint32_t word;
    CHECK(futex(&word, FUTEX_LOCK_PI, 0, 0, 0, 0) == 0);
    pthread_t thread;
    pthread_create(&thread, 0, take_after_another, &word);
    while (!(get(&word) & FUTEX_WAITERS)) usleep(1000);
    usleep(20000);
    uint32_t right = get(&word);
    set(&word, 12345678 | FUTEX_WAITERS);
    FAILS(lock_within(&word, 20), EINVAL);
    FAILS(futex(&word, FUTEX_TRYLOCK_PI, 0, 0, 0, 0), EINVAL);
    set(&word, right);
    CHECK(futex(&word, FUTEX_UNLOCK_PI, 0, 0, 0, 0) == 0 && pthread_join(thread, 0) == 0);
    FAILS((set(&word, 12345678), lock_within(&word, 20)), ESRCH);
}

static uint32_t woken;
static void *wait_for_the_end(void *word) {
    CHECK(futex(word, FUTEX_WAIT, get(word), 0, 0, 0) == 0);
    __atomic_add_fetch(&woken, 1, __ATOMIC_SEQ_CST);
    return 0;
}
static uint32_t go;
static void *end_with_clear_tid(void *word) {
    while (!get(&go)) usleep(1000);
    syscall(SYS_set_tid_address, word);
    return 0;
}
static struct { struct robust_list_head head; struct robust_list entry; } list;
static void *end_with_robust_list(void *word) {
    list.entry.next = &list.head.list;
    list.head = (struct robust_list_head){{&list.entry}, (char *)word - (char *)&list.entry, 0};
    CHECK(syscall(SYS_set_robust_list, &list.head, sizeof list.head) == 0);
    set(word, gettid() | FUTEX_WAITERS);
    while (!get(&go)) usleep(1000);
    return 0;
}

// Of two who wait one is woken.
static void wakes_one(uint32_t *word, void *(*end)(void *)) {
    pthread_t ending, waiting[2];
    pthread_attr_t detached;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    set(&go, 0), set(&woken, 0), set(word, end == end_with_clear_tid);
    CHECK(pthread_create(&ending, &detached, end, word) == 0);
    while (!get(word)) usleep(1000);
    for (int i = 0; i < 2; i++) pthread_create(&waiting[i], 0, wait_for_the_end, word);
    while (futex(word, FUTEX_CMP_REQUEUE, 0, (void *)10, word, get(word)) != 2) usleep(1000);
    set(&go, 1);
    while (!get(&woken)) usleep(1000);
    usleep(20000);
    CHECK(get(&woken) == 1 && futex(word, FUTEX_WAKE, 10, 0, 0, 0) == 1);
    for (int i = 0; i < 2; i++) pthread_join(waiting[i], 0);
}

static uint32_t sleepers, done, heard;
static void *wait_briefly(void *unused) {
    for (int i = 0; i < 5000; i++) {
        struct timespec briefly = {0, 1000 + i * 7 % 50000};
        if (futex(&sleepers, FUTEX_WAIT_PRIVATE, 0, &briefly, 0, 0) == 0) heard++;
        else CHECK(errno == ETIMEDOUT);
    }
    set(&done, 1);
    return 0;
}
static void no_wake_is_lost(void) {
    pthread_t thread;
    pthread_create(&thread, 0, wait_briefly, 0);
    uint32_t told = 0;
    while (!get(&done)) told += futex(&sleepers, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
    CHECK(pthread_join(thread, 0) == 0 && heard == told);
}

int main(void) {
    shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    race_with_the_end();
    owner_is_another_process(0);
    owner_is_another_process(1);
    static uint32_t own;
    pthread_t owner;
    set(&shared[READY], 0);
    pthread_create(&owner, 0, own_and_end, &own);
    while (!get(&shared[READY])) usleep(1000);
    take_after_the_dead(&own);
    CHECK(pthread_join(owner, 0) == 0);
    spoiled_word();
    static uint32_t word;
    wakes_one(&word, end_with_clear_tid);
    wakes_one(&shared[SECOND], end_with_clear_tid);
    wakes_one(&word, end_with_robust_list);
    wakes_one(&shared[SECOND], end_with_robust_list);
    no_wake_is_lost();
    return 0;
}
