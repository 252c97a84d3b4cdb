// mremap, mprotect, madvise, mincore, msync: contents and rights follow, holes are errors.
#include "check.h"
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

static sigjmp_buf back;
static void on_fault(int signal) { siglongjmp(back, signal); }

int main(void) {
    const size_t page = 4096;
    signal(SIGSEGV, on_fault);
    char *p = mmap(0, 8 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 8; i++) p[i * page] = i + 1;
    // Shrink, grow in place or elsewhere.
    CHECK(mremap(p, 8 * page, 4 * page, 0) == p);
    if (sigsetjmp(back, 1) == 0) {
        (void)*(volatile char *)(p + 5 * page);
        CHECK(!"no fault");
    }
    CHECK(mmap(p + 4 * page, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p + 4 * page);
    FAILS(mremap(p, 4 * page, 16 * page, 0), ENOMEM);
    char *q = mremap(p, 4 * page, 16 * page, MREMAP_MAYMOVE);
    CHECK(q != MAP_FAILED && q != p && q[0] == 1 && q[3 * page] == 4 && q[4 * page] == 0 && q[15 * page] == 0);
    char *there = mmap(0, 32 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mremap(q, 16 * page, 16 * page, MREMAP_MAYMOVE | MREMAP_FIXED, there + 8 * page) == there + 8 * page);
    q = there + 8 * page;
    CHECK(q[0] == 1 && q[3 * page] == 4);
    FAILS(mremap(q, 16 * page, 16 * page, MREMAP_FIXED, there), EINVAL);
    FAILS(mremap(q + 1, page, page, 0), EINVAL);
    FAILS(mremap(q, 16 * page, 0, 0), EINVAL);
    FAILS(mremap(q, 16 * page, 16 * page, MREMAP_MAYMOVE | MREMAP_FIXED, q + page), EINVAL);
    FAILS(mremap((void *)0x10000, page, 2 * page, MREMAP_MAYMOVE), EFAULT);
    // Keeping the old range empties it.
    char *kept = mremap(q, 4 * page, 4 * page, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0);
    CHECK(kept != MAP_FAILED && kept[0] == 1 && kept[3 * page] == 4 && q[0] == 0 && q[3 * page] == 0);
    FAILS(mremap(q, 4 * page, 4 * page, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, q + (1 << 30) + 1), EINVAL);
    FAILS(mremap(q, 4 * page, 4 * page, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, q + page), EINVAL);
    // A shared mapping may be mapped again by an old size of 0.
    char *shared = mmap(0, page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *twin = mremap(shared, 0, page, MREMAP_MAYMOVE);
    CHECK(twin != MAP_FAILED && twin != shared);
    shared[7] = 9;
    CHECK(twin[7] == 9);

    FAILS(mprotect(q + 1, page, PROT_READ), EINVAL);
    CHECK(munmap(q + 5 * page, page) == 0);
    FAILS(mprotect(q, 8 * page, PROT_READ), ENOMEM);
    // What came before the hole has changed.
    if (sigsetjmp(back, 1) == 0) {
        *(volatile char *)q = 1;
        CHECK(!"no fault");
    }
    CHECK(mprotect(q, 4 * page, PROT_READ | PROT_WRITE) == 0);
    q[0] = 4;
    CHECK(madvise(q, page, MADV_DONTNEED) == 0 && q[0] == 0);
    FAILS(madvise(q, 8 * page, MADV_DONTNEED), ENOMEM);
    FAILS(madvise(q, page, 9999), EINVAL);
    FAILS(madvise(q + 1, page, MADV_DONTNEED), EINVAL);
    CHECK(madvise(q, page, MADV_FREE) == 0 && madvise(q, page, MADV_WILLNEED) == 0);
    // WIPEONFORK and DONTFORK.
    char *wiped = mmap(0, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    wiped[0] = wiped[page] = 3;
    CHECK(madvise(wiped, page, MADV_WIPEONFORK) == 0 && madvise(wiped + page, page, MADV_DONTFORK) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(wiped[0] == 0);
        if (sigsetjmp(back, 1) != 0) _exit(0);
        (void)*(volatile char *)(wiped + page);
        _exit(9);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0 && wiped[0] == 3);

    unsigned char present[4];
    char *fresh = mmap(0, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    fresh[page] = 1;
    CHECK(mincore(fresh, 4 * page, present) == 0 && (present[1] & 1));
    FAILS(mincore(fresh + 1, page, present), EINVAL);
    CHECK(munmap(fresh + 2 * page, page) == 0);
    FAILS(mincore(fresh, 4 * page, present), ENOMEM);
    CHECK(msync(shared, page, MS_SYNC) == 0);
    FAILS(msync(shared, page, MS_SYNC | MS_ASYNC), EINVAL);
    FAILS(msync(fresh, 4 * page, MS_ASYNC), ENOMEM);

    // brk.
    char *end = sbrk(0);
    CHECK(sbrk(3 * page) == end && end[0] == 0);
    end[page] = 1;
    CHECK(brk(end) == 0 && sbrk(3 * page) == end && end[page] == 0);
    return 0;
}
