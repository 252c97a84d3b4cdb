// also: static
// A child has its parent's floating-point and vector registers, its rounding modes too, however often children have been
// made from that place, and so has the parent: by fork, by vfork, as a thread, while signals come, with a tracer.
#include "check.h"
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

struct state {
    uint8_t vectors[16][16];
    uint32_t mxcsr;
    uint16_t control;
};

// Loads `in`, makes the call, and stores in `out` what there is then, where the child goes on too.
long call_with(const struct state *in, struct state *out, long number, long a, long b, long c);
asm(".text\n .fill 160, 1, 0x90\n"
    "call_with: push %rbx; push %rbp; push %r12; push %r13\n"
    "mov %rsi, %rbx; mov %rdx, %r12; mov %rdi, %rbp\n"
    "ldmxcsr 256(%rbp); fldcw 260(%rbp)\n"
    ".altmacro\n .macro load_one n\n movdqu 16*\\n(%rbp), %xmm\\n\n .endm\n .macro store_one n\n movdqu %xmm\\n, 16*\\n(%rbx)\n .endm\n"
    ".set i, 0\n .rept 16\n load_one %i\n .set i, i + 1\n .endr\n"
    "mov %rcx, %rdi; mov %r8, %rsi; mov %r9, %rdx; xor %r10d, %r10d; xor %r8d, %r8d\n"
    "cmp $57, %r12; je 1f; cmp $435, %r12; je 2f\n"
    "mov $56, %eax; syscall; jmp 3f\n"
    "1: mov $57, %eax; syscall; jmp 3f\n"
    "2: mov $435, %eax; syscall\n"
    "3: .set i, 0\n .rept 16\n store_one %i\n .set i, i + 1\n .endr\n"
    "stmxcsr 256(%rbx); fnstcw 260(%rbx)\n"
    "ldmxcsr standard(%rip); fninit\n"
    "pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n"
    ".fill 160, 1, 0x90\n .section .rodata\n standard: .long 0x1f80\n .text");

static struct state pattern(int round) {
    struct state state = {.mxcsr = 0x1f80 | (round & 3) << 13, .control = 0x037f | (round & 3) << 10};
    for (unsigned i = 0; i < sizeof state.vectors; i++) ((uint8_t *)state.vectors)[i] = i * 7 + round;
    return state;
}

static bool same(const struct state *a, const struct state *b) {
    return memcmp(a->vectors, b->vectors, sizeof a->vectors) == 0 && (a->mxcsr & ~63) == (b->mxcsr & ~63) && a->control == b->control;
}

static void ended_well(long child) {
    int status;
    CHECK(child > 0);
    while (waitpid(child, &status, __WALL) != child) CHECK(errno == EINTR);
    CHECK(status == 0);
}

static void forks(int rounds) {
    for (int round = 0; round < rounds; round++) {
        struct state in = pattern(round), out = {0};
        long child = call_with(&in, &out, SYS_fork, 0, 0, 0);
        if (child == 0) _exit(!same(&in, &out));
        CHECK(same(&in, &out));
        ended_well(child);
        child = call_with(&in, &out, SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0);
        if (child == 0) _exit(!same(&in, &out));
        CHECK(same(&in, &out));
        ended_well(child);
        struct clone_args args = {.exit_signal = SIGCHLD};
        memset(&out, 0, sizeof out);
        child = call_with(&in, &out, SYS_clone3, (long)&args, sizeof args, 0);
        if (child == 0) _exit(!same(&in, &out));
        CHECK(same(&in, &out));
        ended_well(child);
        // One that fails, and a child after it.
        args.exit_signal = 1000;
        CHECK(call_with(&in, &out, SYS_clone3, (long)&args, sizeof args, 0) == -EINVAL);
        CHECK(same(&in, &out));
    }
}

// The same of wider registers, where there are any.
#define WIDE(name, move, which, size)                                                                                  \
    static void name(void) {                                                                                           \
        for (int round = 0; round < 60; round++) {                                                                     \
            uint8_t in[size], out[size];                                                                               \
            for (int i = 0; i < size; i++) in[i] = i * 3 + round;                                                      \
            long child;                                                                                                \
            asm volatile(move " (%2), %%" which "\n mov $57, %%eax\n syscall\n" move " %%" which                       \
                              ", (%1)\n nop; nop; nop; nop; nop; nop; nop; nop"                                       \
                         : "=&a"(child)                                                                                \
                         : "r"(out), "r"(in)                                                                           \
                         : "rcx", "r11", "memory", "xmm5");                                                            \
            if (child == 0) _exit(memcmp(in, out, size) != 0);                                                         \
            CHECK(memcmp(in, out, size) == 0);                                                                         \
            ended_well(child);                                                                                         \
        }                                                                                                              \
    }
WIDE(forks_with_avx, "vmovdqu", "ymm5", 32)
WIDE(forks_with_avx512, "vmovdqu64", "zmm5", 64)

// Children that share the memory.
static struct state shared_in, shared_out;

static void sharing_child(void) { _exit(!same(&shared_in, &shared_out)); }

static void sharing(int rounds) {
    // The registers that the child takes from its stack, and where it returns to.
    static uint64_t stack[8192] __attribute__((aligned(16)));
    for (int round = 0; round < rounds; round++) {
        shared_in = pattern(round);
        memset(&shared_out, 0, sizeof shared_out);
        uint64_t *top = stack + 8184;
        top[4] = (uint64_t)sharing_child;
        long child =
            call_with(&shared_in, &shared_out, SYS_clone, CLONE_VM | CLONE_VFORK | SIGCHLD, (long)top, 0);
        CHECK(same(&shared_in, &shared_out));
        ended_well(child);
    }
}

static volatile sig_atomic_t ticks;

static void tick(int signal) {
    (void)signal;
    volatile double x = 1.5;
    for (int i = 0; i < 10; i++) x *= 1.25;
    ticks++;
}

static void with_signals(void) {
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    for (int i = 0; i < 40 && ticks < 30; i++) forks(10);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
}

static void with_a_tracer(void) {
    pid_t traced = fork();
    if (traced == 0) {
        forks(30);
        CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
        CHECK(raise(SIGSTOP) == 0);
        forks(10);
        _exit(0);
    }
    int status;
    CHECK(waitpid(traced, &status, 0) == traced && WIFSTOPPED(status));
    while (!WIFEXITED(status)) {
        int signal = WSTOPSIG(status) == SIGSTOP || WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status);
        CHECK(ptrace(PTRACE_CONT, traced, 0, signal) == 0);
        CHECK(waitpid(traced, &status, 0) == traced && !WIFSIGNALED(status));
    }
    CHECK(WEXITSTATUS(status) == 0);
}

int main(void) {
    forks(100);
    if (__builtin_cpu_supports("avx")) forks_with_avx();
    if (__builtin_cpu_supports("avx512f")) forks_with_avx512();
    sharing(100);
    with_signals();
    with_a_tracer();
    return 0;
}
