// fork while other threads read files without a pause: it gets its turn.
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

enum { READERS = 6, FORKS = 30 };

static volatile int done;

static void *read_on(void *arg) {
    int fd = open("/proc/self/exe", O_RDONLY);
    char *buffer = malloc(1 << 20);
    CHECK(fd >= 0 && buffer);
    while (!done) CHECK(pread(fd, buffer, 1 << 20, 0) > 0);
    free(buffer);
    close(fd);
    return 0;
}

int main(void) {
    pthread_t readers[READERS];
    for (int i = 0; i < READERS; i++) CHECK(pthread_create(&readers[i], 0, read_on, 0) == 0);
    for (int i = 0; i < FORKS; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) _exit(7);
        int status;
        CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
    }
    done = 1;
    for (int i = 0; i < READERS; i++) CHECK(pthread_join(readers[i], 0) == 0);
    return 0;
}
