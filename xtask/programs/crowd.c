// One operation done by many at once: each does it again and again until the time is up.
#include "ops.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { MOST = 64, BATCH = 8 };

// Shared by threads and processes alike.
struct meeting {
    atomic_int arrived, is_open;
    atomic_long done;
    double end, spent[MOST];
};

static struct meeting *meeting;
static const struct op *wanted;

static void make_meeting(const struct op *op) {
    meeting = mmap(NULL, sizeof *meeting, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (meeting == MAP_FAILED) give_up("mmap");
    wanted = op;
}

static void take_part(int number) {
    atomic_fetch_add(&meeting->arrived, 1);
    while (!atomic_load(&meeting->is_open)) usleep(100);
    double start = now(), end = start;
    long done = 0;
    for (; end < meeting->end; end = now(), done += BATCH) wanted->run(BATCH);
    meeting->spent[number] = end - start;
    atomic_fetch_add(&meeting->done, done);
}

static void open_meeting(int count, double limit) {
    while (atomic_load(&meeting->arrived) < count) usleep(100);
    meeting->end = now() + limit;
    atomic_store(&meeting->is_open, 1);
}

static double result(int count) {
    double spent = 0;
    for (int number = 0; number < count; number++) spent += meeting->spent[number];
    return spent / atomic_load(&meeting->done);
}

static void *thread(void *number) {
    take_part((long)number);
    return NULL;
}

double measure_threads(const struct op *op, int count, double limit) {
    pthread_t threads[MOST];
    make_meeting(op);
    for (long number = 0; number < count; number++)
        if (pthread_create(&threads[number], NULL, thread, (void *)number) != 0) give_up("pthread_create");
    open_meeting(count, limit);
    for (int number = 0; number < count; number++) pthread_join(threads[number], NULL);
    return result(count);
}

double measure_processes(const struct op *op, int count, double limit) {
    make_meeting(op);
    for (int number = 0; number < count; number++) {
        if (check(fork(), "fork") != 0) continue;
        // Each its own file, area, pipe.
        if (op->setup) op->setup();
        take_part(number);
        _exit(0);
    }
    open_meeting(count, limit);
    while (wait(NULL) > 0) {}
    return result(count);
}
