// also: static. mmap in its forms: fixed, noreplace, growsdown, file-backed shared and private, /dev/zero, huge and noreserve.
#include "check.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>

static sigjmp_buf back;
static volatile siginfo_t got;
static void on_fault(int signal, siginfo_t *info, void *context) {
    got = *info;
    siglongjmp(back, 1);
}
#define FAULTS(expression, signal, code)                     \
    do {                                                     \
        if (sigsetjmp(back, 1) == 0) {                       \
            expression;                                      \
            CHECK(!"no fault");                              \
        }                                                    \
        CHECK(got.si_signo == (signal) && got.si_code == (code)); \
    } while (0)

int main(void) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &action, 0);
    sigaction(SIGBUS, &action, 0);
    const size_t page = 4096;

    volatile char *p = mmap(0, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED && p[0] == 0 && p[4 * page - 1] == 0);
    FAILS(mmap((void *)p, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), EEXIST);
    CHECK(munmap((void *)(p + page), page) == 0);
    FAULTS(p[page] = 1, SIGSEGV, SEGV_MAPERR);
    CHECK(got.si_addr == p + page);
    CHECK(mmap((void *)(p + page), page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == p + page);
    FAULTS(p[page] = 1, SIGSEGV, SEGV_ACCERR);
    CHECK(mprotect((void *)p, 4 * page, PROT_NONE) == 0);
    FAULTS((void)p[0], SIGSEGV, SEGV_ACCERR);
    CHECK(munmap((void *)p, 4 * page) == 0);

    FAILS(mmap(0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), EINVAL);
    FAILS(mmap((void *)123, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), EINVAL);
    FAILS(mmap(0, page, PROT_READ, MAP_ANONYMOUS, -1, 0), EINVAL);
    FAILS(mmap(0, page, PROT_READ, MAP_PRIVATE, -1, 0), EBADF);
    FAILS(munmap((void *)123, page), EINVAL);

    // A terabyte that nobody touches.
    char *big = mmap(0, 1L << 40, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(big != MAP_FAILED);
    big[0] = big[(1L << 39) + 5] = big[(1L << 40) - 1] = 7;
    CHECK(big[(1L << 39) + 5] == 7 && big[1L << 38] == 0);
    CHECK(munmap(big, 1L << 40) == 0);

    // Files: shared writes show in the file, private ones do not.
    char path[] = "/tmp/mmap-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && unlink(path) == 0 && ftruncate(fd, 2 * page + 100) == 0);
    CHECK(pwrite(fd, "hello", 5, 0) == 5);
    char *shared = mmap(0, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *private = mmap(0, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(memcmp(shared, "hello", 5) == 0 && memcmp(private, "hello", 5) == 0);
    memcpy(shared, "HELLO", 5);
    char buffer[8] = {0};
    CHECK(pread(fd, buffer, 5, 0) == 5 && strcmp(buffer, "HELLO") == 0 && memcmp(private, "HELLO", 5) == 0);
    private[0] = 'x';
    CHECK(shared[0] == 'H' && pread(fd, buffer, 1, 0) == 1 && buffer[0] == 'H');
    CHECK(pwrite(fd, "abc", 3, page) == 3 && memcmp(shared + page, "abc", 3) == 0);
    // Zeros up to the end of the last page, SIGBUS behind it.
    CHECK(shared[2 * page + 100] == 0 && shared[3 * page - 1] == 0);
    FAULTS((void)*(volatile char *)(shared + 3 * page), SIGBUS, BUS_ADRERR);
    CHECK(ftruncate(fd, page) == 0);
    FAULTS((void)*(volatile char *)(shared + page), SIGBUS, BUS_ADRERR);
    CHECK(ftruncate(fd, 2 * page) == 0 && shared[page] == 0);
    int read_only = open("/proc/self/exe", O_RDONLY);
    FAILS(mmap(0, page, PROT_WRITE, MAP_SHARED, read_only, 0), EACCES);
    CHECK(mmap(0, page, PROT_WRITE, MAP_PRIVATE, read_only, 0) != MAP_FAILED);
    FAILS(mmap(0, page, PROT_READ, MAP_SHARED, read_only, 100), EINVAL);

    // /dev/zero: shared with children when mapped shared.
    int zero = open("/dev/zero", O_RDWR);
    CHECK(zero >= 0);
    volatile int *all = mmap(0, page, PROT_READ | PROT_WRITE, MAP_SHARED, zero, 0);
    volatile int *own = mmap(0, page, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0);
    CHECK(all != MAP_FAILED && own != MAP_FAILED && *all == 0 && *own == 0);
    if (fork() == 0) {
        *all = 5;
        *own = 6;
        _exit(0);
    }
    wait(0);
    CHECK(*all == 5 && *own == 0);

    // A mapping that grows down when touched below.
    char *top = mmap(0, 64 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(munmap(top, 64 * page) == 0);
    volatile char *stack = mmap(top + 63 * page, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0);
    CHECK(stack != MAP_FAILED);
    stack[0] = 1;
    stack[-1] = 2;
    stack[-(long)page - 5] = 3;
    CHECK(stack[-1] == 2 && stack[-100] == 0);
    return 0;
}
