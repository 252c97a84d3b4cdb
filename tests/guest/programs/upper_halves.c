// An int or unsigned int in a register is its lower half: whatever is above it counts for nothing.
#include "check.h"
#include <asm/prctl.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

#define GARBAGE 0xdeadbeef00000000
#define INT(value) ((uint32_t)(value) | GARBAGE)

static char *page;

// No more than six registers, and none is sign-extended or cut on the way.
static long call(long number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
    register uint64_t r10 asm("r10") = d, r8 asm("r8") = e, r9 asm("r9") = f;
    long result;
    asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
    return result;
}

static void descriptors(void) {
    int fd = open("/proc/self/exe", O_RDONLY), ends[2];
    long copy = call(SYS_fcntl, INT(fd), INT(F_DUPFD), INT(100), 0, 0, 0);
    CHECK(copy >= 100 && call(SYS_close, INT(copy), 0, 0, 0, 0, 0) == 0);
    CHECK(call(SYS_fadvise64, INT(fd), 0, 10, INT(POSIX_FADV_WILLNEED), 0, 0) == 0);
    close(fd);
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec at = {{0, 0}, {1000000, 0}};
    CHECK(call(SYS_timerfd_settime, INT(timer), INT(TFD_TIMER_ABSTIME), (uintptr_t)&at, 0, 0, 0) == 0);
    close(timer);
    CHECK(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) == 0);
    char byte = 'x';
    struct iovec range = {&byte, 1};
    struct mmsghdr messages[4] = {0};
    for (int i = 0; i < 4; i++) messages[i].msg_hdr = (struct msghdr){.msg_iov = &range, .msg_iovlen = 1};
    CHECK(call(SYS_sendmmsg, INT(ends[0]), (uintptr_t)messages, INT(2), INT(0), 0, 0) == 2);
    // Of the time allowed the rest is told.
    struct timespec allowed = {1000, 0};
    CHECK(call(SYS_recvmmsg, INT(ends[1]), (uintptr_t)messages, INT(2), INT(0), (uintptr_t)&allowed, 0) == 2);
    CHECK(allowed.tv_sec < 1000 && allowed.tv_sec > 900);
    close(ends[0]);
    close(ends[1]);
}

static void memory(void) {
    CHECK(call(SYS_msync, (uintptr_t)page, 4096, INT(MS_ASYNC), 0, 0, 0) == 0);
    CHECK(call(SYS_getrandom, (uintptr_t)page, 16, INT(GRND_NONBLOCK), 0, 0, 0) == 16);
    CHECK(call(SYS_set_mempolicy, INT(MPOL_DEFAULT), 0, 0, 0, 0, 0) == 0);
    CHECK(call(SYS_mbind, (uintptr_t)page, 4096, MPOL_DEFAULT, 0, 0, INT(0)) == 0);
    void *pages[] = {page};
    int status[1];
    CHECK(call(SYS_move_pages, INT(0), 1, (uintptr_t)pages, 0, (uintptr_t)status, INT(MPOL_MF_MOVE)) == 0);
    int self = call(SYS_pidfd_open, INT(getpid()), INT(0), 0, 0, 0, 0);
    struct iovec range = {page, 4096};
    CHECK(self >= 0);
    CHECK(call(SYS_process_madvise, INT(self), (uintptr_t)&range, 1, INT(MADV_WILLNEED), INT(0), 0) == 4096);
    close(self);
}

static void process(void) {
    uint64_t base = 0;
    CHECK(call(SYS_arch_prctl, INT(ARCH_GET_FS), (uintptr_t)&base, 0, 0, 0, 0) == 0 && base != 0);
    struct itimerval timer;
    CHECK(call(SYS_getitimer, INT(ITIMER_VIRTUAL), (uintptr_t)&timer, 0, 0, 0, 0) == 0);
    timer = (struct itimerval){0};
    CHECK(call(SYS_setitimer, INT(ITIMER_PROF), (uintptr_t)&timer, 0, 0, 0, 0) == 0);
}

int main(void) {
    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    page[0] = 1;
    descriptors();
    memory();
    process();
    return 0;
}
