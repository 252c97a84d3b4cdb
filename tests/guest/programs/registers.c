// also: static. Every register, flag and vector survives system calls and signals.
#include "check.h"
#include <cpuid.h>
#include <immintrin.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/time.h>

static volatile int ticks;
static void on_tick(int signal) {
    // Spoil what a handler may spoil.
    __asm__ volatile("pcmpeqd %%xmm0, %%xmm0; pcmpeqd %%xmm15, %%xmm15; fninit; fld1; fld1" ::: "xmm0", "xmm15");
    ticks++;
}

// Calls getppid with known values in all registers and compares them afterwards; returns a bit for each that differs.
static uint64_t gprs(void) {
    uint64_t bad;
    __asm__ volatile(
        "push %%rbp; push %%rbx\n"
        "mov $0x1111, %%rbx; mov $0x2222, %%rdx; mov $0x3333, %%rsi; mov $0x4444, %%rdi; mov $0x5555, %%rbp\n"
        "mov $0x8888, %%r8; mov $0x9999, %%r9; mov $0xaaaa, %%r10; mov $0xcccc, %%r12; mov $0xdddd, %%r13\n"
        "mov $0xeeee, %%r14; mov $0xffff, %%r15\n"
        "movq $0x7777, -128(%%rsp)\n"
        "mov $110, %%eax; stc; syscall\n"
        "mov $0, %%eax\n"
        "adc $0, %%rax; xor $1, %%rax\n"
        "cmp $0x1111, %%rbx; je 1f; or $2, %%rax; 1: cmp $0x2222, %%rdx; je 1f; or $4, %%rax; 1:\n"
        "cmp $0x3333, %%rsi; je 1f; or $8, %%rax; 1: cmp $0x4444, %%rdi; je 1f; or $16, %%rax; 1:\n"
        "cmp $0x5555, %%rbp; je 1f; or $32, %%rax; 1: cmp $0x8888, %%r8; je 1f; or $64, %%rax; 1:\n"
        "cmp $0x9999, %%r9; je 1f; or $128, %%rax; 1: cmp $0xaaaa, %%r10; je 1f; or $256, %%rax; 1:\n"
        "cmp $0xcccc, %%r12; je 1f; or $512, %%rax; 1: cmp $0xdddd, %%r13; je 1f; or $1024, %%rax; 1:\n"
        "cmp $0xeeee, %%r14; je 1f; or $2048, %%rax; 1: cmp $0xffff, %%r15; je 1f; or $4096, %%rax; 1:\n"
        "cmpq $0x7777, -128(%%rsp); je 1f; or $8192, %%rax; 1:\n"
        "pop %%rbx; pop %%rbp\n"
        : "=a"(bad)::"rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "memory", "cc");
    return bad;
}

__attribute__((target("avx512f"))) static int zmm(void) {
    uint64_t in[8] = {1, 2, 3, 4, 5, 6, 7, 8}, out[8], mask = 0xa5;
    uint32_t k;
    __asm__ volatile(
        "vmovdqu64 %3, %%zmm0; vmovdqu64 %3, %%zmm17; vmovdqu64 %3, %%zmm31; kmovw %k4, %%k3\n"
        "mov $110, %%eax; syscall\n"
        "vpxorq %%zmm0, %%zmm17, %%zmm16; vpxorq %%zmm31, %%zmm17, %%zmm18; vporq %%zmm16, %%zmm18, %%zmm16\n"
        "vmovdqu64 %%zmm17, %0; kmovw %%k3, %1\n"
        "vextracti64x4 $1, %%zmm16, %%ymm1; vporq %%zmm1, %%zmm16, %%zmm16; vmovq %%xmm16, %2\n"
        : "=m"(out), "=r"(k), "=r"(mask) : "m"(in), "r"(0xa5) : "rax", "rcx", "r11", "xmm0", "xmm1", "xmm16", "xmm17", "xmm18", "xmm31", "k3");
    return memcmp(in, out, sizeof in) == 0 && k == 0xa5 && mask == 0;
}

__attribute__((target("avx"))) static int ymm(void) {
    double in[4] = {1.5, -2.5, 3.25, 1e300};
    __m256d a = _mm256_loadu_pd(in);
    __asm__ volatile("" : "+x"(a));
    long parent;
    __asm__ volatile("syscall" : "=a"(parent), "+x"(a) : "a"(110) : "rcx", "r11");
    double out[4];
    _mm256_storeu_pd(out, a);
    return memcmp(in, out, sizeof in) == 0;
}

int main(void) {
    for (int i = 0; i < 200; i++) CHECK(gprs() == 0);
    uint32_t mxcsr = 0x3f80, control = 0x0f7f, got = 0;
    uint16_t x87 = 0;
    __asm__ volatile("ldmxcsr %0; fldcw %1" ::"m"(mxcsr), "m"(control));
    CHECK(syscall(SYS_getppid) > 0 || 1);
    __asm__ volatile("stmxcsr %0; fnstcw %1" : "=m"(got), "=m"(x87));
    CHECK((got & ~0x3f) == mxcsr && x87 == (control & 0xffff));
    mxcsr = 0x1f80; control = 0x37f;
    __asm__ volatile("ldmxcsr %0; fldcw %1" ::"m"(mxcsr), "m"(control));
    if (__builtin_cpu_supports("avx")) for (int i = 0; i < 100; i++) CHECK(ymm());
    if (__builtin_cpu_supports("avx512f")) for (int i = 0; i < 100; i++) CHECK(zmm());
    // The same while a timer signal comes every millisecond.
    struct sigaction action = {.sa_handler = on_tick, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, 0) == 0);
    struct itimerval interval = {{0, 1000}, {0, 1000}};
    CHECK(setitimer(ITIMER_REAL, &interval, 0) == 0);
    while (ticks < 50) {
        CHECK(gprs() == 0);
        double sum = 0;
        for (int i = 1; i < 1000; i++) sum += 1.0 / i;
        CHECK(sum > 7.48 && sum < 7.49);
        if (__builtin_cpu_supports("avx512f")) CHECK(zmm());
    }
    return 0;
}
