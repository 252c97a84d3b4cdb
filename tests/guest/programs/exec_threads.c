// also: static
// A thread executes a program while others of its process end by themselves, sleep, compute, or do the same: one
// program runs then, in one thread, under the process's number.
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>

#define THREADS 6

static char self[4096];
static pthread_barrier_t start;

static void *end_soon(void *which) {
    pthread_barrier_wait(&start);
    usleep((long)which * 50);
    return NULL;
}

static void *sleep_long(void *unused) {
    pthread_barrier_wait(&start);
    for (;;) pause();
}

static void *compute(void *unused) {
    pthread_barrier_wait(&start);
    for (volatile long i = 0;; i++) {}
}

static void *execute(void *unused) {
    pthread_barrier_wait(&start);
    char pid[16];
    snprintf(pid, sizeof pid, "%d", getpid());
    execl(self, self, pid, NULL);
    CHECK(!"a failed execve");
    return NULL;
}

static void fill(void *(*leader)(void *), int executors) {
    pthread_t thread;
    CHECK(pthread_barrier_init(&start, NULL, THREADS + 1 + executors) == 0);
    for (long i = 0; i < THREADS; i++)
        CHECK(pthread_create(&thread, NULL, i == 0 ? sleep_long : i == 1 ? compute : end_soon, (void *)i) == 0);
    for (int i = 0; i < executors; i++)
        CHECK(pthread_create(&thread, NULL, execute, NULL) == 0);
    leader(NULL);
}

static void *leave(void *unused) {
    pthread_barrier_wait(&start);
    pthread_exit(NULL);
}

// The program that was executed.
static int be_alone(const char *pid) {
    int tasks = 0;
    FILE *status = fopen("/proc/self/status", "r");
    CHECK(status);
    char line[256];
    while (fgets(line, sizeof line, status))
        sscanf(line, "Threads: %d", &tasks);
    fclose(status);
    CHECK(tasks == 1 && getpid() == atoi(pid) && gettid() == getpid());
    return 7;
}

int main(int argc, char **argv) {
    if (argc > 1) return be_alone(argv[1]);
    CHECK(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    static const struct { void *(*leader)(void *); int executors; } ways[] = {
        {execute, 0}, {sleep_long, 1}, {leave, 1}, {execute, 2}, {leave, 3},
    };
    for (int round = 0; round < 40; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) fill(ways[round % 5].leader, ways[round % 5].executors);
        int status;
        CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    }
    return 0;
}
