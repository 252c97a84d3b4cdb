// also: static. Private memory is copied on write across chains of forks; shared memory is not.
#include "check.h"
#include <sys/mman.h>
#include <sys/wait.h>

static void chain(unsigned char *memory, size_t size, int depth) {
    for (size_t at = 0; at < size; at += 4096) CHECK(memory[at] == depth);
    if (depth == 8) return;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        for (size_t at = 0; at < size; at += 4096) memory[at] = depth + 1;
        chain(memory, size, depth + 1);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    for (size_t at = 0; at < size; at += 4096) CHECK(memory[at] == depth);
}

int main(void) {
    size_t size = 1 << 20;
    unsigned char *private = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *shared = mmap(0, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(private != MAP_FAILED && shared != MAP_FAILED);
    chain(private, size, 0);
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        if (child == 0) {
            shared[i]++;
            private[i] = 9;
            _exit(i);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == i);
        CHECK(shared[i] == 1 && private[i] == 0);
    }
    // A parent that writes after the fork does not change the child's copy.
    int pipe_fds[2];
    CHECK(pipe(pipe_fds) == 0);
    pid_t child = fork();
    if (child == 0) {
        char go;
        CHECK(read(pipe_fds[0], &go, 1) == 1);
        _exit(private[4096]);
    }
    private[4096] = 77;
    CHECK(write(pipe_fds[1], "x", 1) == 1);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    return 0;
}
