// Calls that need next to nothing from the kernel: what entering it costs.
#include "ops.h"
#include <sched.h>
#include <sys/stat.h>
#include <time.h>

static int fd;
static char buffer[4096];

static void op_getpid(long times) { while (times--) CALL0(getpid); }
static void op_getppid(long times) { while (times--) CALL0(getppid); }
static void op_getuid(long times) { while (times--) CALL0(getuid); }
static void op_sched_yield(long times) { while (times--) CALL0(sched_yield); }

static void op_clock_vdso(long times) {
    struct timespec at;
    while (times--) clock_gettime(CLOCK_REALTIME, &at);
}

static void op_clock_call(long times) {
    struct timespec at;
    while (times--) raw(SYS_clock_gettime, CLOCK_REALTIME, (long)&at, 0, 0);
}

static void op_nanosleep(long times) {
    struct timespec brief = {0, 1000};
    while (times--) CALL2(nanosleep, &brief, NULL);
}

static void open_zero(void) { fd = check(open("/dev/zero", O_RDONLY), "open"); }
static void open_null(void) { fd = check(open("/dev/null", O_WRONLY), "open"); }
static void op_read_zero(long times) { while (times--) CALL3(read, fd, buffer, sizeof buffer); }
static void op_write_null(long times) { while (times--) CALL3(write, fd, buffer, sizeof buffer); }

const struct op calls[] = {
    {"getpid", NULL, op_getpid},
    {"getppid", NULL, op_getppid, BOTH},
    {"getuid", NULL, op_getuid},
    {"clock_gettime", NULL, op_clock_vdso, BOTH},
    {"clock_gettime-call", NULL, op_clock_call},
    {"sched_yield", NULL, op_sched_yield, BOTH},
    {"nanosleep-1us", NULL, op_nanosleep},
    {"read-zero-4k", open_zero, op_read_zero},
    {"write-null", open_null, op_write_null},
    {NULL},
};
