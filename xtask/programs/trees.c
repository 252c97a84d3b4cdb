// The same operations on different mounts: $BENCH_IMAGE is read, $BENCH_BIND and $BENCH_TMPFS are written, too.
#include "ops.h"
#include <dirent.h>
#include <sys/stat.h>

enum { FILES = 200, BLOCK = 4096, BLOCKS = 256 };

static char root[256], path[320], other[320];
static char buffer[BLOCK];
static int fd;
static long step;

static void choose(const char *variable) {
    const char *dir = getenv(variable);
    if (!dir) give_up(variable);
    snprintf(root, sizeof root, "%s", dir);
}

static void name_file(long number) { snprintf(path, sizeof path, "%s/file-%ld", root, number % FILES); }

static void fill(void) {
    for (int number = 0; number < FILES; number++) {
        name_file(number);
        int file = check(open(path, O_CREAT | O_WRONLY, 0644), path);
        check(write(file, buffer, sizeof buffer), "write");
        close(file);
    }
}

static void op_open_read(long times);

static void use_image(void) { choose("BENCH_IMAGE"); }
// What a file's first open costs is told by its own figures in docs/performance.md: here each has been open before, as
// those are that the other mounts' rows have just made.
static void use_known_image(void) { use_image(), op_open_read(FILES); }
static void use_bind(void) { choose("BENCH_BIND"), fill(); }
static void use_tmpfs(void) { choose("BENCH_TMPFS"), fill(); }

static void open_block_file(void) {
    snprintf(other, sizeof other, "%s/blocks-%d", root, getpid());
    fd = check(open(other, O_CREAT | O_RDWR | O_TRUNC, 0600), other);
    unlink(other);
    for (int block = 0; block < BLOCKS; block++) check(write(fd, buffer, sizeof buffer), "write");
}

static void make_one(void) {
    snprintf(path, sizeof path, "%s/one-%d", root, getpid());
    snprintf(other, sizeof other, "%s/two-%d", root, getpid());
    close(check(open(path, O_CREAT | O_RDWR, 0600), path));
}

static void use_bind_one(void) { use_bind(), make_one(); }
static void use_tmpfs_one(void) { use_tmpfs(), make_one(); }
static void use_bind_blocks(void) { use_bind(), open_block_file(); }
static void use_tmpfs_blocks(void) { use_tmpfs(), open_block_file(); }
static void use_image_blocks(void) {
    use_image();
    snprintf(path, sizeof path, "%s/blocks", root);
    fd = check(open(path, O_RDONLY), path);
}

static void op_stat(long times) {
    struct stat info;
    while (times--) {
        name_file(step++);
        check(stat(path, &info), path);
    }
}

static void op_open_read(long times) {
    while (times--) {
        name_file(step++);
        int file = check(open(path, O_RDONLY), path);
        check(read(file, buffer, sizeof buffer), "read");
        close(file);
    }
}

static void op_list(long times) {
    while (times--) {
        DIR *dir = opendir(root);
        if (!dir) give_up(root);
        while (readdir(dir)) {}
        closedir(dir);
    }
}

static void op_read(long times) {
    while (times--) check(pread(fd, buffer, BLOCK, step++ % BLOCKS * BLOCK), "pread");
}

static void op_write(long times) {
    while (times--) check(pwrite(fd, buffer, BLOCK, step++ % BLOCKS * BLOCK), "pwrite");
}

static void op_create(long times) {
    snprintf(path, sizeof path, "%s/new-%d", root, getpid());
    while (times--) {
        close(check(open(path, O_CREAT | O_RDWR | O_EXCL, 0600), path));
        unlink(path);
    }
}

static void op_rename(long times) {
    while (times--) {
        check(rename(path, other), "rename");
        check(rename(other, path), "rename");
    }
}

static void op_mkdir(long times) {
    snprintf(path, sizeof path, "%s/dir-%d", root, getpid());
    while (times--) {
        check(mkdir(path, 0700), path);
        rmdir(path);
    }
}

const struct op trees[] = {
    {"image-stat", use_image, op_stat},
    {"image-open-read-close", use_known_image, op_open_read},
    {"image-list-200", use_image, op_list},
    {"image-read-4k", use_image_blocks, op_read, PROCESSES},
    {"bind-stat", use_bind, op_stat},
    {"bind-open-read-close", use_bind, op_open_read},
    {"bind-list-200", use_bind, op_list},
    {"bind-read-4k", use_bind_blocks, op_read},
    {"bind-write-4k", use_bind_blocks, op_write},
    {"bind-create-unlink", use_bind, op_create},
    {"bind-rename-twice", use_bind_one, op_rename},
    {"bind-mkdir-rmdir", use_bind, op_mkdir},
    {"tmpfs-stat", use_tmpfs, op_stat},
    {"tmpfs-open-read-close", use_tmpfs, op_open_read},
    {"tmpfs-list-200", use_tmpfs, op_list},
    {"tmpfs-read-4k", use_tmpfs_blocks, op_read},
    {"tmpfs-write-4k", use_tmpfs_blocks, op_write, PROCESSES},
    {"tmpfs-create-unlink", use_tmpfs, op_create, PROCESSES},
    {"tmpfs-rename-twice", use_tmpfs_one, op_rename},
    {"tmpfs-mkdir-rmdir", use_tmpfs, op_mkdir},
    {NULL},
};
