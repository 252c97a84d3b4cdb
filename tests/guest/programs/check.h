// What every guest test includes: CHECK prints where it failed and why, and ends the program with status 1.
#pragma once
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define CHECK(condition)                                                                              \
    do {                                                                                              \
        if (!(condition)) {                                                                           \
            fprintf(stderr, "%s:%d: %s (errno %d, %s)\n", __FILE__, __LINE__, #condition, errno, strerror(errno)); \
            _exit(1);                                                                                 \
        }                                                                                             \
    } while (0)

// The call fails with exactly this error.
#define FAILS(call, error)                                                                            \
    do {                                                                                              \
        errno = 0;                                                                                    \
        long result_ = (long)(call);                                                                  \
        if (result_ != -1 || errno != (error)) {                                                      \
            fprintf(stderr, "%s:%d: %s gave %ld, errno %d (%s), not %s\n", __FILE__, __LINE__, #call, result_, errno, strerror(errno), #error); \
            _exit(1);                                                                                 \
        }                                                                                             \
    } while (0)

// Ends the program well where the kernel is older than what the test is about. The sandbox's own is 6.12.
static inline void needs_linux(int major, int minor) {
    struct utsname name;
    int has_major = 0, has_minor = 0;
    uname(&name);
    sscanf(name.release, "%d.%d", &has_major, &has_minor);
    if (has_major < major || (has_major == major && has_minor < minor)) _exit(0);
}
