// Mappings and page faults.
#include "ops.h"
#include <sys/mman.h>

enum { SMALL = 1 << 16, LARGE = 64 << 20, PAGE = 4096 };

static char *area;
static size_t used;

static char *fresh(size_t size) {
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) give_up("mmap");
    return at;
}

static void touch(char *at, size_t size) {
    for (size_t offset = 0; offset < size; offset += PAGE) *(volatile char *)(at + offset) = 1;
}

static void op_mmap(long times) { while (times--) munmap(fresh(SMALL), SMALL); }

static void op_mmap_touch(long times) {
    while (times--) {
        char *at = fresh(64 * PAGE);
        touch(at, 64 * PAGE);
        munmap(at, 64 * PAGE);
    }
}

static void make_large(void) { area = fresh(LARGE), used = 0; }

// The first touch of a page in a mapping of 64 MiB; the mapping is renewed when it is used up.
static void op_touch(long times) {
    while (times--) {
        if (used == LARGE) {
            munmap(area, LARGE);
            make_large();
        }
        *(volatile char *)(area + used) = 1;
        used += PAGE;
    }
}

static void make_small(void) {
    area = fresh(SMALL);
    touch(area, SMALL);
}

static void op_mprotect(long times) {
    while (times--) {
        mprotect(area, SMALL, PROT_READ);
        mprotect(area, SMALL, PROT_READ | PROT_WRITE);
    }
}

static void op_brk(long times) {
    while (times--) {
        sbrk(SMALL);
        sbrk(-SMALL);
    }
}

// The same by faults of the kernel's choosing: a page of a file that is in memory.
static void make_file_area(void) {
    int fd = check(memfd_create("bench", 0), "memfd_create");
    check(ftruncate(fd, LARGE), "ftruncate");
    area = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (area == MAP_FAILED) give_up("mmap");
    touch(area, LARGE);
    used = LARGE;
}

static void op_file_fault(long times) {
    while (times--) {
        if (used == LARGE) {
            madvise(area, LARGE, MADV_DONTNEED);
            used = 0;
        }
        (void)*(volatile char *)(area + used);
        used += PAGE;
    }
}

const struct op memory[] = {
    {"mmap-munmap-64k", NULL, op_mmap, BOTH},
    {"mmap-touch-64-pages", NULL, op_mmap_touch, BOTH},
    {"first-touch", make_large, op_touch, PROCESSES},
    {"file-fault", make_file_area, op_file_fault},
    {"mprotect-twice", make_small, op_mprotect},
    {"brk-64k-up-down", NULL, op_brk},
    {NULL},
};
