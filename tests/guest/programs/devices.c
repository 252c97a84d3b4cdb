// Device files: null, zero, full, random, tty; positions, device numbers, /dev/fd, /dev/shm, devices in /sys.
#include "check.h"
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

// What /sys tells of /dev/null, by number and by class.
static void in_sysfs(void) {
    char text[128] = "", by_number[PATH_MAX], by_class[PATH_MAX], subsystem[64] = "";
    int uevent = open("/sys/dev/char/1:3/uevent", O_RDONLY), number = open("/sys/class/mem/null/dev", O_RDONLY);
    CHECK(read(uevent, text, sizeof text - 1) > 0 && !strcmp(text, "MAJOR=1\nMINOR=3\nDEVNAME=null\nDEVMODE=0666\n"));
    CHECK(read(number, text, sizeof text) == 4 && !memcmp(text, "1:3\n", 4));
    CHECK(realpath("/sys/dev/char/1:3", by_number) && realpath("/sys/class/mem/null", by_class) && !strcmp(by_number, by_class));
    CHECK(readlink("/sys/dev/char/1:3/subsystem", subsystem, sizeof subsystem - 1) > 0 && strstr(subsystem, "/class/mem"));
}

int main(void) {
    in_sysfs();
    char buffer[8192];
    const char *names[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
    int minors[] = {3, 5, 7, 8, 9}, fds[5];
    for (int i = 0; i < 5; i++) {
        struct stat st;
        fds[i] = open(names[i], O_RDWR);
        CHECK(fds[i] >= 0 && fstat(fds[i], &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, minors[i]));
        CHECK(lseek(fds[i], 12345, SEEK_SET) == 0 && lseek(fds[i], -5, SEEK_SET) == 0 && lseek(fds[i], 0, SEEK_CUR) == 0);
    }
    CHECK(read(fds[0], buffer, 10) == 0 && write(fds[0], buffer, 8192) == 8192);
    memset(buffer, 1, sizeof buffer);
    CHECK(read(fds[1], buffer, 8192) == 8192 && buffer[0] == 0 && buffer[8191] == 0 && write(fds[1], buffer, 5) == 5);
    CHECK(read(fds[2], buffer, 100) == 100 && pread(fds[1], buffer, 10, 99) == 10);
    FAILS(write(fds[2], "x", 1), ENOSPC);
    char other[64];
    CHECK(read(fds[3], buffer, 64) == 64 && read(fds[4], other, 64) == 64 && memcmp(buffer, other, 64) != 0);
    FAILS(mmap(0, 4096, PROT_READ, MAP_PRIVATE, fds[0], 0), ENODEV);
    FAILS(ftruncate(fds[0], 0), EINVAL);
    CHECK(close(open("/dev/null", O_WRONLY | O_TRUNC | O_CREAT, 0600)) == 0);
    int p[2];
    CHECK(pipe(p) == 0 && write(p[1], "fd", 2) == 2);
    sprintf(buffer, "/dev/fd/%d", p[0]);
    int again = open(buffer, O_RDONLY);
    CHECK(again >= 0 && read(again, buffer, 10) == 2);
    FAILS(socket(AF_INET, 4, 0), ESOCKTNOSUPPORT);
    FAILS(socket(AF_INET, 15, 0), EINVAL);
    FAILS(socket(999, SOCK_STREAM, 0), EAFNOSUPPORT);
    return 0;
}
