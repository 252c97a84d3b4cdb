// also: static
// A process that forks again and again: whatever its children look at of what it has mapped is there, although the
// sandbox shows them at first only what earlier ones had looked at.
#include "check.h"
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

enum { FILES = 6, SIZE = 4 * 4096 };

static char *views[FILES];

static char *map_file(int index) {
    char path[] = "/tmp/fork-touches-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0);
    for (int i = 0; i < SIZE; i++) {
        char byte = (char)(i / 4096 + index * 16);
        if (i % 4096 == 0) CHECK(pwrite(fd, &byte, 1, i) == 1);
    }
    CHECK(ftruncate(fd, SIZE) == 0);
    int prot = index % 2 ? PROT_READ | PROT_WRITE : PROT_READ;
    char *view = mmap(NULL, SIZE, prot, index % 3 ? MAP_PRIVATE : MAP_SHARED, fd, 0);
    CHECK(view != MAP_FAILED);
    // Copies of some pages are the process's own.
    if (prot & PROT_WRITE && index % 3) view[4096 + 1] = 'p';
    close(fd);
    unlink(path);
    return view;
}

static void look(int index, int turn) {
    volatile char *view = views[index];
    for (int page = 0; page < SIZE / 4096; page++) CHECK(view[page * 4096] == page + index * 16);
    if (index % 2 == 0 || index % 3 == 0) return;
    CHECK(view[4096 + 1] == 'p' && view[2 * 4096 + 2] == 0);
    view[4096 + 1] = (char)turn;
    view[2 * 4096 + 2] = 'c';
    CHECK(view[4096 + 1] == (char)turn && view[2 * 4096 + 2] == 'c');
}

int main(void) {
    for (int i = 0; i < FILES; i++) views[i] = map_file(i);
    for (int turn = 0; turn < 150; turn++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            struct timespec now;
            // Few of them, others each time, sometimes none, in one of its own children or here.
            if (turn % 7 == 6 && fork() != 0) {
                int status;
                CHECK(wait(&status) > 0 && status == 0);
                _exit(0);
            }
            for (int i = 0; i < turn % 4; i++) look((turn / 5 + i) % FILES, turn);
            CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
            _exit(0);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
        if (turn % 25 == 24)
            for (int i = 0; i < FILES; i++)
                for (int page = 0; page < SIZE / 4096; page++) CHECK(views[i][page * 4096] == page + i * 16);
    }
    return 0;
}
