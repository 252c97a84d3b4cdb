// idle PROCESSES THREADS: has so many further processes and threads, all of which do nothing until they are killed.
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void *rest(void *unused) {
    for (;;) pause();
    return unused;
}

int main(int argc, char **argv) {
    int processes = argc > 1 ? atoi(argv[1]) : 0, threads = argc > 2 ? atoi(argv[2]) : 0;
    pthread_t thread;
    for (int made = 0; made < processes; made++)
        if (fork() == 0) rest(NULL);
    for (int made = 0; made < threads; made++) pthread_create(&thread, NULL, rest, NULL);
    rest(NULL);
}
