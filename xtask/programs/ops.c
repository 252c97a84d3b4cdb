// ops MILLISECONDS [-t COUNT | -p COUNT] [NAME...]: measures operations, each in a process of its own, and prints
// "name nanoseconds" for each, or "name - why" for one that did not work. With -t or -p, COUNT threads or processes do
// it at once, and the name gets the suffix *COUNTt or *COUNTp.
#include "ops.h"
#include <sys/wait.h>
#include <time.h>

enum { MOST_SAMPLES = 64 };

static const struct op *const families[] = {calls, files, trees, channels, memory, processes};
static char current[64];
static enum crowd crowd;
static int crowd_size;

void give_up(const char *what) {
    printf("%s - %s: %s\n", current, what, strerror(errno));
    fflush(stdout);
    _exit(1);
}

double now(void) {
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
static double measure_alone(const struct op *op, double limit) {
    double samples[MOST_SAMPLES], spent = limit;
    long times = 1;
    // The first time is cold, and another may be interrupted: neither says how often the operation fits.
    for (int i = 0; i < 4 && spent >= limit / MOST_SAMPLES; i++) spent = timed(op, 1);
    int count = 0;
    while (spent < limit / MOST_SAMPLES && times < 1L << 30) {
        times *= 2;
        spent = timed(op, times);
    }
    for (double start = now(); count < 3 || (count < MOST_SAMPLES && now() - start < limit); count++)
        samples[count] = timed(op, times) / times;
    qsort(samples, count, sizeof *samples, by_value);
    return samples[count / 2];
}

static double measure(const struct op *op, double limit) {
    if (crowd == THREADS) return measure_threads(op, crowd_size, limit);
    if (crowd == PROCESSES) return measure_processes(op, crowd_size, limit);
    return measure_alone(op, limit);
}

static void report(const struct op *op, double limit) {
    fflush(stdout);
    const char *suffix = crowd == THREADS ? "t" : "p";
    snprintf(current, sizeof current, crowd ? "%s*%d%s" : "%s", op->name, crowd_size, suffix);
    pid_t child = fork();
    if (child != 0) {
        int status = 0;
        waitpid(child, &status, 0);
        if (WIFSIGNALED(status)) printf("%s - signal %d\n", current, WTERMSIG(status));
        return;
    }
    alarm(20);
    // Processes of a crowd set themselves up.
    if (op->setup && crowd != PROCESSES) op->setup();
    printf("%s %.1f\n", current, measure(op, limit));
    fflush(stdout);
    _exit(0);
}

static int is_wanted(const struct op *op, char **names) {
    if ((op->crowd & crowd) != crowd) return 0;
    for (char **wanted = names; *wanted; wanted++)
        if (strcmp(*wanted, op->name) == 0) return 1;
    return *names == NULL;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    double limit = atof(argv[1]) * 1e6;
    char **names = argv + 2;
    if (argc > 3 && (strcmp(argv[2], "-t") == 0 || strcmp(argv[2], "-p") == 0)) {
        crowd = argv[2][1] == 't' ? THREADS : PROCESSES;
        crowd_size = atoi(argv[3]);
        names += 2;
    }
    for (size_t family = 0; family < sizeof families / sizeof *families; family++)
        for (const struct op *op = families[family]; op->name; op++)
            if (is_wanted(op, names)) report(op, limit);
    return 0;
}
