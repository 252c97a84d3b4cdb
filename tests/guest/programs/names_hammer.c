// also: volume
// Several threads make, link, rename, remove, write, cut, map and look at the same few names of one directory at once.
// Each call may win or lose, but only in the ways that Linux knows; and when all is quiet, everybody agrees.
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE 2
#define RENAME_NOREPLACE 1
#endif

enum { THREADS = 4, NAMES = 4, DIRS = 2, SECONDS = 3 };

static char root[256];
static atomic_int over;

// The call worked, or failed with one of these.
#define MAY(call, ...)                                                                                 \
    ({                                                                                                 \
        errno = 0;                                                                                     \
        long result_ = (long)(call);                                                                   \
        int said_ = errno;                                                                             \
        int known_[] = {__VA_ARGS__};                                                                  \
        int is_known_ = result_ >= 0;                                                                  \
        for (unsigned n_ = 0; n_ < sizeof known_ / sizeof *known_; n_++) is_known_ |= said_ == known_[n_]; \
        errno = said_;                                                                                 \
        CHECK(is_known_ && #call);                                                                     \
        result_;                                                                                       \
    })

static void place(char *path, unsigned *seed) {
    sprintf(path, "%s/d%d/%d", root, rand_r(seed) % DIRS, rand_r(seed) % NAMES);
}

// What must hold of an open file, whatever others do to its name.
static void use(int fd, unsigned *seed) {
    struct stat before, after;
    char byte = 'x', buffer[64];
    CHECK(fstat(fd, &before) == 0);
    switch (rand_r(seed) % 6) {
    case 0:
        CHECK(pwrite(fd, &byte, 1, rand_r(seed) % 5000) == 1);
        break;
    case 1:
        CHECK(ftruncate(fd, rand_r(seed) % 5000) == 0);
        break;
    case 2:
        for (int i = 0; i < 20; i++) CHECK(pread(fd, buffer, sizeof buffer, rand_r(seed) % 5000) >= 0);
        break;
    case 3:
        CHECK(fchmod(fd, 0600 | rand_r(seed) % 8) == 0);
        break;
    case 4: {
        CHECK(ftruncate(fd, 4096) == 0 || 1);
        char *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(page != MAP_FAILED && munmap(page, 4096) == 0);
        break;
    }
    case 5: {
        struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = rand_r(seed) % 1000}};
        CHECK(futimens(fd, times) == 0);
        break;
    }
    }
    CHECK(fstat(fd, &after) == 0);
    CHECK(before.st_ino == after.st_ino && before.st_dev == after.st_dev && S_ISREG(after.st_mode));
    CHECK(!(before.st_nlink == 0 && after.st_nlink != 0));
}

static void *hammer(void *argument) {
    unsigned seed = (long)argument;
    char one[300], two[300];
    while (!over) {
        place(one, &seed);
        place(two, &seed);
        int fd;
        switch (rand_r(&seed) % 10) {
        case 0:
            fd = MAY(open(one, O_RDWR | O_CREAT | O_EXCL, 0644), EEXIST);
            if (fd >= 0) use(fd, &seed), close(fd);
            break;
        case 1:
        case 2:
            fd = MAY(open(one, O_RDWR | O_CREAT, 0644), 0);
            use(fd, &seed), close(fd);
            break;
        case 3:
            fd = MAY(open(one, O_RDWR | (rand_r(&seed) % 2 ? O_TRUNC : 0)), ENOENT);
            if (fd >= 0) use(fd, &seed), close(fd);
            break;
        case 4:
            MAY(unlink(one), ENOENT);
            break;
        case 5:
            MAY(rename(one, two), ENOENT);
            break;
        case 6:
            MAY(link(one, two), ENOENT, EEXIST);
            break;
        case 7:
            MAY(renameat2(AT_FDCWD, one, AT_FDCWD, two, rand_r(&seed) % 2 ? RENAME_EXCHANGE : RENAME_NOREPLACE), ENOENT, EEXIST);
            break;
        case 8: {
            struct stat stat_;
            MAY(stat(one, &stat_), ENOENT);
            break;
        }
        case 9: {
            char dir[300];
            sprintf(dir, "%s/d%d", root, rand_r(&seed) % DIRS);
            DIR *listing = opendir(dir);
            CHECK(listing);
            while (readdir(listing)) {}
            closedir(listing);
            break;
        }
        }
    }
    return 0;
}

// Nobody else is there: what is listed, what is looked up and what is open are the same files, with as many names as there are.
static void agree(void) {
    struct { ino_t ino; nlink_t nlink, seen; } files[DIRS * NAMES];
    int count = 0;
    for (int d = 0; d < DIRS; d++) {
        char dir[300], path[600];
        int is_listed[NAMES] = {0};
        ino_t listed[NAMES];
        sprintf(dir, "%s/d%d", root, d);
        DIR *listing = opendir(dir);
        CHECK(listing);
        for (struct dirent *entry; (entry = readdir(listing));)
            if (entry->d_name[0] != '.') {
                int n = atoi(entry->d_name);
                CHECK(n < NAMES && !is_listed[n]++);
                listed[n] = entry->d_ino;
            }
        closedir(listing);
        for (int n = 0; n < NAMES; n++) {
            struct stat by_name, by_fd;
            sprintf(path, "%s/%d", dir, n);
            int there = stat(path, &by_name) == 0;
            CHECK(there || errno == ENOENT);
            CHECK(there == is_listed[n]);
            if (!there) continue;
            int fd = open(path, O_RDONLY);
            CHECK(fd >= 0 && fstat(fd, &by_fd) == 0);
            CHECK(by_name.st_ino == by_fd.st_ino && by_name.st_ino == listed[n]);
            CHECK(by_name.st_size == by_fd.st_size && by_name.st_size == lseek(fd, 0, SEEK_END));
            CHECK(by_name.st_mode == by_fd.st_mode && by_name.st_nlink == by_fd.st_nlink);
            CHECK(by_name.st_mtim.tv_sec == by_fd.st_mtim.tv_sec && by_name.st_ctim.tv_nsec == by_fd.st_ctim.tv_nsec);
            close(fd);
            int f = 0;
            while (f < count && files[f].ino != by_name.st_ino) f++;
            if (f == count) count++, files[f].ino = by_name.st_ino, files[f].nlink = by_name.st_nlink, files[f].seen = 0;
            files[f].seen++;
        }
    }
    for (int f = 0; f < count; f++) CHECK(files[f].nlink == files[f].seen);
}

int main(int argc, char **argv) {
    struct stat stat_;
    // Given a directory: in that one, such as a mount of the host's.
    const char *base = argc > 1 ? argv[1] : "/tmp";
    sprintf(root, "%s/names_hammer-XXXXXX", base);
    CHECK(mkdtemp(root));
    for (int d = 0; d < DIRS; d++) {
        char dir[300];
        sprintf(dir, "%s/d%d", root, d);
        CHECK(mkdir(dir, 0755) == 0);
    }
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int round = 0;; round++) {
        pthread_t threads[THREADS];
        over = 0;
        for (long t = 0; t < THREADS; t++) CHECK(pthread_create(&threads[t], 0, hammer, (void *)(round * 100 + t)) == 0);
        usleep(150000);
        over = 1;
        for (int t = 0; t < THREADS; t++) CHECK(pthread_join(threads[t], 0) == 0);
        agree();
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec >= SECONDS) break;
    }
    for (int d = 0; d < DIRS; d++) {
        char path[600];
        for (int n = 0; n < NAMES; n++) {
            sprintf(path, "%s/d%d/%d", root, d, n);
            CHECK(unlink(path) == 0 || errno == ENOENT);
        }
        sprintf(path, "%s/d%d", root, d);
        CHECK(rmdir(path) == 0);
        FAILS(stat(path, &stat_), ENOENT);
    }
    CHECK(rmdir(root) == 0);
    return 0;
}
