// Processes and threads: making them, and waiting for their end.
#include "ops.h"
#include <pthread.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>

extern char **environ;

static void *nothing(void *unused) { return unused; }

static void op_thread(long times) {
    while (times--) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, nothing, NULL) != 0) give_up("pthread_create");
        pthread_join(thread, NULL);
    }
}

static void op_fork(long times) {
    while (times--) {
        pid_t child = check(fork(), "fork");
        if (child == 0) _exit(0);
        waitpid(child, NULL, 0);
    }
}

static void touch_64m(void) {
    size_t size = 64 << 20;
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) give_up("mmap");
    for (size_t offset = 0; offset < size; offset += 4096) at[offset] = 1;
}

static void op_spawn(long times) {
    char *argv[] = {"true", NULL};
    while (times--) {
        pid_t child;
        errno = posix_spawn(&child, "/bin/true", NULL, NULL, argv, environ);
        if (errno != 0) give_up("posix_spawn");
        waitpid(child, NULL, 0);
    }
}

const struct op processes[] = {
    {"thread-create-join", NULL, op_thread, BOTH},
    {"fork-exit-wait", NULL, op_fork, PROCESSES},
    {"fork-64m", touch_64m, op_fork},
    {"spawn-true", NULL, op_spawn, PROCESSES},
    {NULL},
};
