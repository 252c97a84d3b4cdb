// Long work of one call ends when the process is killed: populating, locking, writing and reading gigabytes.
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define SIZE (1ul << 31)

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}
static void populate(void) {
    char *at = mmap(0, 8 * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    madvise(at, 8 * SIZE, 23);
}
static void write_much(void) {
    char *zeros = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int fd = syscall(SYS_memfd_create, "much", 0);
    for (;;) write(fd, zeros, SIZE);
}
static void read_much(void) {
    char *to = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    int fd = syscall(SYS_memfd_create, "much", 0);
    ftruncate(fd, SIZE);
    for (;;) pread(fd, to, SIZE, 0);
}

int main(void) {
    void (*work[])(void) = {populate, write_much, read_much};
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        if (child == 0) {
            work[i]();
            pause();
        }
        usleep(50000);
        double killed = now();
        int status;
        CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        // Giving back what it has had so far takes a while on a loaded host; all of it would take longer.
        CHECK(now() - killed < 5);
    }
    return 0;
}
