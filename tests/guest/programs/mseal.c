// mseal(2): what may no longer be done to a sealed mapping, and what still may.
#include "check.h"
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PAGES(n) ((n) * 4096UL)

static long seal(void *at, size_t len, unsigned long flags) {
    return syscall(462, at, len, flags);
}

int main(void) {
    needs_linux(6, 10);
    char *at = mmap(0, PAGES(8), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    at[PAGES(2)] = 7;
    FAILS(seal(at, PAGES(1), 1), EINVAL);
    FAILS(seal(at + 1, PAGES(1), 0), EINVAL);
    CHECK(seal(at, 0, 0) == 0);
    CHECK(munmap(at + PAGES(7), PAGES(1)) == 0);
    FAILS(seal(at + PAGES(6), PAGES(2), 0), ENOMEM);
    CHECK(mprotect(at + PAGES(6), PAGES(1), PROT_READ) == 0);
    // Two pages in the middle; twice is fine.
    CHECK(seal(at + PAGES(2), PAGES(2), 0) == 0 && seal(at + PAGES(2), PAGES(2), 0) == 0);
    FAILS(munmap(at, PAGES(3)), EPERM);
    FAILS(mprotect(at + PAGES(3), PAGES(2), PROT_READ), EPERM);
    CHECK(mremap(at + PAGES(2), PAGES(2), PAGES(1), 0) == MAP_FAILED && errno == EPERM);
    CHECK(mremap(at + PAGES(2), PAGES(2), PAGES(4), MREMAP_MAYMOVE) == MAP_FAILED && errno == EPERM);
    CHECK(mremap(at, PAGES(1), PAGES(1), MREMAP_MAYMOVE | MREMAP_FIXED, at + PAGES(2)) == MAP_FAILED && errno == EPERM);
    CHECK(mmap(at + PAGES(3), PAGES(1), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EPERM);
    // The content of writable memory is still the owner's.
    CHECK(at[PAGES(2)] == 7 && madvise(at + PAGES(2), PAGES(1), MADV_DONTNEED) == 0 && at[PAGES(2)] == 0);
    // That of read-only memory is not.
    CHECK(seal(at + PAGES(6), PAGES(1), 0) == 0);
    FAILS(madvise(at + PAGES(6), PAGES(1), MADV_DONTNEED), EPERM);
    // Neighbours are free, and children inherit.
    CHECK(munmap(at, PAGES(2)) == 0 && mprotect(at + PAGES(4), PAGES(2), PROT_NONE) == 0);
    pid_t child = fork();
    if (child == 0) _exit(munmap(at + PAGES(2), PAGES(1)) == -1 && errno == EPERM ? 0 : 1);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    return 0;
}
