// also: volume
// When a read is noted as an access: where the last one is not later than the last change, or a day old.
#include "check.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

static struct timespec accessed(int fd) {
    struct stat stat_;
    CHECK(fstat(fd, &stat_) == 0);
    return stat_.st_atim;
}
static void set(int fd, time_t access, time_t change) {
    struct timespec times[2] = {{.tv_sec = access}, {.tv_sec = change}};
    CHECK(futimens(fd, times) == 0);
}
static int differ(struct timespec a, struct timespec b) { return a.tv_sec != b.tv_sec || a.tv_nsec != b.tv_nsec; }

int main(int argc, char **argv) {
    char path[300], byte, page[4096] = {0};
    struct statvfs mount;
    sprintf(path, "%s/access_times-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, page, sizeof page) == sizeof page);
    CHECK(fstatvfs(fd, &mount) == 0);
    if (mount.f_flag & ST_NOATIME) return unlink(path);
    time_t now = time(0);
    // Older than the change.
    set(fd, 1000, 2000);
    CHECK(accessed(fd).tv_sec == 1000);
    CHECK(pread(fd, &byte, 1, 0) == 1);
    struct timespec first = accessed(fd);
    CHECK(first.tv_sec >= now);
    // Once it was noted, it is not again.
    usleep(20000);
    for (int i = 0; i < 40; i++) CHECK(pread(fd, &byte, 1, i) == 1);
    CHECK(!(mount.f_flag & ST_RELATIME) || !differ(first, accessed(fd)));
    // Another descriptor of the file says the same.
    int other = open(path, O_RDONLY);
    CHECK(other >= 0 && !differ(accessed(fd), accessed(other)));
    // A change, and then a read, by the other one.
    usleep(20000);
    CHECK(pwrite(fd, &byte, 1, 0) == 1);
    usleep(20000);
    CHECK(pread(other, &byte, 1, 0) == 1);
    CHECK(differ(first, accessed(fd)) && !differ(accessed(fd), accessed(other)));
    CHECK(close(fd) == 0 && close(other) == 0 && unlink(path) == 0);
    return 0;
}
