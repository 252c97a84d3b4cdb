// memfd: seals, mapping rules, huge flags; fallocate and holes.
#include "check.h"
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>

int main(void) {
    int fd = memfd_create("name", MFD_ALLOW_SEALING | MFD_CLOEXEC);
    CHECK(fd >= 0 && fcntl(fd, F_GET_SEALS) == 0 && ftruncate(fd, 8192) == 0);
    char link[64] = {0}, proc[64];
    sprintf(proc, "/proc/self/fd/%d", fd);
    CHECK(readlink(proc, link, 63) > 0 && strcmp(link, "/memfd:name (deleted)") == 0);
    FAILS(memfd_create("x", 0x8000), EINVAL);
    // What chromium asks, to see whether there is such a call.
    FAILS(memfd_create("", ~0), EINVAL);
    FAILS(memfd_create("x", 1U << 26), EINVAL);
    int plain = memfd_create("plain", 0);
    CHECK(fcntl(plain, F_GET_SEALS) == F_SEAL_SEAL);
    FAILS(fcntl(plain, F_ADD_SEALS, F_SEAL_WRITE), EPERM);
    char *map = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    FAILS(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EBUSY);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
    FAILS(ftruncate(fd, 4096), EPERM);
    FAILS(ftruncate(fd, 16384), EPERM);
    FAILS(pwrite(fd, "x", 1, 8192), EPERM);
    CHECK(munmap(map, 8192) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0);
    FAILS(pwrite(fd, "x", 1, 0), EPERM);
    FAILS(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EPERM);
    map = mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(map != MAP_FAILED);
    FAILS(mprotect(map, 4096, PROT_READ | PROT_WRITE), EACCES);
    CHECK(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0) != MAP_FAILED);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL) == 0);
    FAILS(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), EPERM);

    // Holes.
    int file = memfd_create("holes", 0);
    CHECK(fallocate(file, 0, 0, 1 << 20) == 0);
    struct stat st;
    CHECK(fstat(file, &st) == 0 && st.st_size == 1 << 20 && st.st_blocks == 2048);
    static char data[1 << 20];
    CHECK(pwrite(file, data, sizeof data, 0) == sizeof data);
    CHECK(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 65536) == 0);
    CHECK(fstat(file, &st) == 0 && st.st_blocks == 2048 - 128);
    CHECK(lseek(file, 0, SEEK_HOLE) == 4096 && lseek(file, 4096, SEEK_DATA) == 4096 + 65536);
    FAILS(lseek(file, 1 << 20, SEEK_DATA), ENXIO);
    FAILS(fallocate(file, FALLOC_FL_PUNCH_HOLE, 0, 4096), EOPNOTSUPP);
    FAILS(fallocate(file, 0, 0, 0), EINVAL);
    FAILS(fallocate(file, 0, -1, 10), EINVAL);
    CHECK(fallocate(file, FALLOC_FL_KEEP_SIZE, 2 << 20, 4096) == 0 && fstat(file, &st) == 0 && st.st_size == 1 << 20);
    CHECK(ftruncate(file, 10) == 0 && ftruncate(file, 5000) == 0);
    char buffer[16] = "x";
    CHECK(pread(file, buffer, 1, 4999) == 1 && buffer[0] == 0 && pread(file, buffer, 16, 5000) == 0);
    return 0;
}
