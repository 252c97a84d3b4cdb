// ops MILLISECONDS [NAME...]: measures operations, each in a process of its own, and prints "name nanoseconds" for
// each, or "name - why" for one that did not work.
#include "ops.h"
#include <sys/wait.h>
#include <time.h>

enum { MOST_SAMPLES = 64 };

static const struct op *const families[] = {calls, files, channels, memory, processes};
static const char *current;

void give_up(const char *what) {
    printf("%s - %s: %s\n", current, what, strerror(errno));
    fflush(stdout);
    _exit(1);
}

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1e9 + at.tv_nsec;
}

static double timed(const struct op *op, long times) {
    double start = now();
    op->run(times);
    return now() - start;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The median of samples that together take about the time given.
static double measure(const struct op *op, double limit) {
    double samples[MOST_SAMPLES], spent = timed(op, 1);
    long times = 1;
    int count = 0;
    while (spent < limit / MOST_SAMPLES && times < 1L << 30) {
        times *= 2;
        spent = timed(op, times);
    }
    for (double start = now(); count < 3 || (count < MOST_SAMPLES && now() - start < limit); count++)
        samples[count] = timed(op, times) / times;
    qsort(samples, count, sizeof *samples, by_value);
    return samples[count / 2] / (op->unit ? op->unit : 1);
}

static void report(const struct op *op, double limit) {
    fflush(stdout);
    pid_t child = fork();
    if (child != 0) {
        int status = 0;
        waitpid(child, &status, 0);
        if (WIFSIGNALED(status)) printf("%s - signal %d\n", op->name, WTERMSIG(status));
        return;
    }
    current = op->name;
    alarm(20);
    if (op->setup) op->setup();
    printf("%s %.1f\n", op->name, measure(op, limit));
    if (op->teardown) op->teardown();
    fflush(stdout);
    _exit(0);
}

static int is_wanted(const char *name, char **names) {
    for (char **wanted = names; *wanted; wanted++)
        if (strcmp(*wanted, name) == 0) return 1;
    return *names == NULL;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    double limit = atof(argv[1]) * 1e6;
    for (size_t family = 0; family < sizeof families / sizeof *families; family++)
        for (const struct op *op = families[family]; op->name; op++)
            if (is_wanted(op->name, argv + 2)) report(op, limit);
    return 0;
}
