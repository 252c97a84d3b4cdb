// /proc/self/io counts what calls move; loginuid and sessionid keep what is written, and are inherited.
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct io {
    unsigned long rchar, wchar, syscr, syscw;
};

static struct io counts(const char *path) {
    char text[512] = "";
    struct io io;
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    CHECK(sscanf(text, "rchar: %lu wchar: %lu syscr: %lu syscw: %lu", &io.rchar, &io.wchar, &io.syscr, &io.syscw) == 4);
    return io;
}

static int zero;
static char bytes[1000];

static void *reads(void *unused) {
    (void)unused;
    CHECK(read(zero, bytes, 500) == 500);
    return NULL;
}

static void moved_bytes(void) {
    FILE *file = tmpfile();
    int out = fileno(file), null = open("/dev/null", O_WRONLY);
    zero = open("/dev/zero", O_RDONLY);
    CHECK(zero >= 0 && null >= 0);
    counts("/proc/self/io");
    struct io before = counts("/proc/self/io");
    // What reading the counts took is counted behind them.
    struct io again = counts("/proc/self/io");
    unsigned long own = again.rchar - before.rchar;
    CHECK(again.syscr == before.syscr + 1 && own > 0 && again.wchar == before.wchar);
    CHECK(read(zero, bytes, 100) == 100 && pwrite(out, bytes, 70, 0) == 70);
    FAILS(read(-1, bytes, 1), EBADF);
    CHECK(lseek(out, 0, SEEK_SET) == 0 && sendfile(null, out, NULL, 30) == 30);
    struct io after = counts("/proc/self/io");
    CHECK(after.syscr == again.syscr + 3 && after.syscw == again.syscw + 2);
    CHECK(after.wchar == again.wchar + 100 && after.rchar >= again.rchar + 130);
    // Threads that have ended and children that were waited for count in the process's file.
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, reads, NULL) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(counts("/proc/self/io").rchar >= after.rchar + 500);
    CHECK(counts("/proc/thread-self/io").rchar < after.rchar + 500 + 4000);
    if (fork() == 0) {
        struct io mine = counts("/proc/self/io");
        CHECK(mine.rchar == 0);
        reads(NULL);
        _exit(0);
    }
    int status;
    CHECK(wait(&status) > 0 && status == 0 && counts("/proc/self/io").rchar >= after.rchar + 1000);
}

static unsigned value(const char *path) {
    char text[32] = "";
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    return strtoul(text, NULL, 10);
}

static int set_login(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    if (fd < 0) return -1;
    int result = write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    errno = error;
    return result;
}

static void logins(void) {
    // Not every kernel keeps them.
    if (access("/proc/self/loginuid", F_OK) != 0 || getuid() != 0) return;
    if (value("/proc/self/loginuid") == (unsigned)-1) CHECK(value("/proc/self/sessionid") == (unsigned)-1);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/loginuid", getppid());
    if (getppid() > 0 && access(path, W_OK) == 0) FAILS(set_login(path, "5"), EPERM);
    FAILS(set_login("/proc/self/loginuid", "nobody"), EINVAL);
    if (set_login("/proc/self/loginuid", "1234") < 0) {
        CHECK(errno == EPERM);
        return;
    }
    unsigned session = value("/proc/self/sessionid");
    CHECK(value("/proc/self/loginuid") == 1234 && session != (unsigned)-1);
    if (fork() == 0) {
        CHECK(value("/proc/self/loginuid") == 1234 && value("/proc/self/sessionid") == session);
        if (set_login("/proc/self/loginuid", "99") > 0) {
            CHECK(value("/proc/self/loginuid") == 99 && value("/proc/self/sessionid") != session);
            if (set_login("/proc/self/loginuid", "4294967295") > 0) CHECK(value("/proc/self/sessionid") == (unsigned)-1);
        }
        _exit(0);
    }
    int status;
    CHECK(wait(&status) > 0 && status == 0);
    CHECK(value("/proc/self/loginuid") == 1234 && value("/proc/self/sessionid") == session);
}

int main(void) {
    moved_bytes();
    logins();
    return 0;
}
