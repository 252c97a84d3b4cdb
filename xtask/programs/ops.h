// One operation of the guest, repeated: what every file of this program registers and ops.c measures.
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// Whether several threads, or several processes, may do it at once.
enum crowd { ALONE, PROCESSES = 1, THREADS = 2, BOTH = 3 };

struct op {
    const char *name;
    void (*setup)(void);        // once, before anything is timed; may be null
    void (*run)(long times);    // the operation, so many times
    enum crowd crowd;
};

extern const struct op calls[], files[], trees[], channels[], memory[], processes[];

// Nanoseconds of the monotonic clock.
double now(void);

// Nanoseconds that one operation takes each of `count` processes or threads which do it at the same time for `limit`
// nanoseconds; `op` has been set up in this process.
double measure_threads(const struct op *op, int count, double limit);
double measure_processes(const struct op *op, int count, double limit);

// Ends the program with a line that the runner shows in place of a figure.
void give_up(const char *what) __attribute__((noreturn));

static inline long check(long result, const char *what) {
    if (result < 0) give_up(what);
    return result;
}

static inline long raw(long nr, long a, long b, long c, long d) {
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
    return result;
}

// Built with RAW, the short calls are instructions in this program instead of libc's wrappers.
#ifdef RAW
#define CALL(name, a, b, c, d) raw(SYS_##name, (long)(a), (long)(b), (long)(c), (long)(d))
#define CALL0(name) CALL(name, 0, 0, 0, 0)
#define CALL1(name, a) CALL(name, a, 0, 0, 0)
#define CALL2(name, a, b) CALL(name, a, b, 0, 0)
#define CALL3(name, a, b, c) CALL(name, a, b, c, 0)
#define PREAD(fd, to, len, at) CALL(pread64, fd, to, len, at)
#define PWRITE(fd, from, len, at) CALL(pwrite64, fd, from, len, at)
#define OPEN(path, flags, mode) CALL(openat, AT_FDCWD, path, flags, mode)
#else
#define CALL(name, a, b, c, d) name(a, b, c, d)
#define CALL0(name) name()
#define CALL1(name, a) name(a)
#define CALL2(name, a, b) name(a, b)
#define CALL3(name, a, b, c) name(a, b, c)
#define PREAD(fd, to, len, at) pread(fd, to, len, at)
#define PWRITE(fd, from, len, at) pwrite(fd, from, len, at)
#define OPEN(path, flags, mode) openat(AT_FDCWD, path, flags, mode)
#endif
