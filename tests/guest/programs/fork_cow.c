// also: static. Private memory is copied on write across chains of forks; shared memory is not.
#include "check.h"
#include <fcntl.h>
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

static void wait_well(pid_t child) {
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

enum { FILES = 3 };
static const char *const paths[FILES] = {"/etc/passwd", "/etc/group", "/etc/hosts"};
static char *maps[FILES], texts[FILES][64];
static size_t lens[FILES];

static void same_texts(int from) {
    for (int i = from; i < FILES; i++) CHECK(memcmp(maps[i], texts[i], lens[i]) == 0);
}

// Children see mapped files, which they may look at late or never, and their stores are their own.
static void data_files(void) {
    for (int i = 0; i < FILES; i++) {
        int fd = open(paths[i], O_RDONLY);
        lens[i] = read(fd, texts[i], sizeof texts[i]);
        CHECK(fd >= 0 && (ssize_t)lens[i] > 0);
        maps[i] = mmap(0, 4096, i ? PROT_READ : PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        CHECK(maps[i] != MAP_FAILED && close(fd) == 0);
    }
    pid_t child = fork();
    if (child == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0) {
            maps[0][0] ^= 1;
            same_texts(1);
            CHECK(maps[0][0] == (texts[0][0] ^ 1));
            _exit(0);
        }
        wait_well(grandchild);
        // What is mapped in a file's place is not the file.
        char *other = mmap(maps[1], 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        CHECK(other == maps[1] && munmap(maps[0], 4096) == 0);
        same_texts(2);
        CHECK(other[0] == 0);
        _exit(0);
    }
    wait_well(child);
    same_texts(0);
}

int main(void) {
    data_files();
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
