// Files: data in memory, metadata and names of the image.
#include "ops.h"
#include <sys/mman.h>
#include <sys/stat.h>

#define IMAGE_FILE "/etc/passwd"
#define ABSENT "/etc/no-such-file"

static int fd;
static char buffer[1 << 16];

static void make_memory_file(void) {
    fd = check(memfd_create("bench", 0), "memfd_create");
    check(write(fd, buffer, sizeof buffer), "write");
}

static void op_pread(long times) { while (times--) PREAD(fd, buffer, 4096, 4096); }
static void op_pwrite(long times) { while (times--) PWRITE(fd, buffer, 4096, 4096); }
static void op_pread_64k(long times) { while (times--) PREAD(fd, buffer, sizeof buffer, 0); }
static void op_lseek(long times) { while (times--) CALL3(lseek, fd, 0, SEEK_SET); }

static void op_fstat(long times) {
    struct stat info;
    while (times--) CALL2(fstat, fd, &info);
}

static void op_stat(long times) {
    struct stat info;
    check(CALL2(stat, IMAGE_FILE, &info), "stat");
    while (times--) CALL2(stat, IMAGE_FILE, &info);
}

static void op_stat_absent(long times) {
    struct stat info;
    while (times--) CALL2(stat, ABSENT, &info);
}

static void op_open(long times) {
    while (times--) CALL1(close, check(OPEN(IMAGE_FILE, O_RDONLY, 0), "open"));
}

static void op_open_read(long times) {
    while (times--) {
        int file = check(OPEN(IMAGE_FILE, O_RDONLY, 0), "open");
        CALL3(read, file, buffer, 4096);
        CALL1(close, file);
    }
}

static void op_create(long times) {
    char name[64];
    snprintf(name, sizeof name, "/tmp/bench-%d", gettid());
    while (times--) {
        CALL1(close, check(OPEN(name, O_CREAT | O_RDWR, 0600), "create"));
        CALL1(unlink, name);
    }
}

const struct op files[] = {
    {"pread-4k", make_memory_file, op_pread, BOTH},
    {"pwrite-4k", make_memory_file, op_pwrite, BOTH},
    {"pread-64k", make_memory_file, op_pread_64k},
    {"fstat", make_memory_file, op_fstat},
    {"lseek", make_memory_file, op_lseek, BOTH},
    {"stat", NULL, op_stat, BOTH},
    {"stat-absent", NULL, op_stat_absent},
    {"open-close", NULL, op_open, BOTH},
    {"open-read-close", NULL, op_open_read},
    {"create-unlink", NULL, op_create, BOTH},
    {NULL},
};
