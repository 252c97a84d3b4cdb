// also: static. The signal frame: registers and vector state in it can be read and changed; faults tell address and reason.
#include "check.h"
#include <immintrin.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <ucontext.h>

static volatile greg_t seen;
static void change(int signal, siginfo_t *info, void *context) {
    ucontext_t *user = context;
    seen = user->uc_mcontext.gregs[REG_R12];
    user->uc_mcontext.gregs[REG_R12] = 0x5678;
    // xmm7 in the legacy area.
    uint32_t *xmm = user->uc_mcontext.fpregs->_xmm[7].element;
    CHECK(xmm[0] == 0x11111111);
    xmm[0] = 0x22222222;
}
static volatile uint64_t fault_at, fault_ip, error_code, trap;
static int fault_signal, fault_code;
static void skip(int signal, siginfo_t *info, void *context) {
    ucontext_t *user = context;
    fault_signal = signal;
    fault_code = info->si_code;
    fault_at = (uint64_t)info->si_addr;
    fault_ip = user->uc_mcontext.gregs[REG_RIP];
    error_code = user->uc_mcontext.gregs[REG_ERR];
    trap = user->uc_mcontext.gregs[REG_TRAPNO];
    user->uc_mcontext.gregs[REG_RIP] = user->uc_mcontext.gregs[REG_RBX];
}
#define RUN(instruction) __asm__ volatile("lea 1f(%%rip), %%rbx\n" instruction "\n1:" ::: "rbx", "rax", "rcx", "rdx", "memory", "cc")

int main(void) {
    struct sigaction action = {.sa_sigaction = change, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, 0);
    long pid = getpid();
    uint32_t low;
    uint64_t r12;
    __asm__ volatile("mov $0x1234, %%r12\n mov $0x11111111, %%eax\n movd %%eax, %%xmm7\n mov $62, %%eax\n syscall\n movd %%xmm7, %0\n mov %%r12, %1"
                     : "=r"(low), "=r"(r12) : "D"(pid), "S"((long)SIGUSR1) : "rax", "rcx", "r11", "r12", "xmm7", "memory");
    CHECK(seen == 0x1234 && r12 == 0x5678 && low == 0x22222222);

    struct sigaction skipping = {.sa_sigaction = skip, .sa_flags = SA_SIGINFO};
    int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    for (int i = 0; i < 5; i++) sigaction(signals[i], &skipping, 0);
    RUN("movl $1, 0x10");
    CHECK(fault_signal == SIGSEGV && fault_code == SEGV_MAPERR && fault_at == 0x10 && trap == 14 && (error_code & 6) == 6);
    RUN("mov 0x20, %%eax");
    CHECK(fault_signal == SIGSEGV && fault_at == 0x20 && (error_code & 6) == 4);
    RUN("ud2");
    CHECK(fault_signal == SIGILL && fault_code == ILL_ILLOPN && fault_at == fault_ip && trap == 6);
    RUN("xor %%ecx, %%ecx; mov $1, %%eax; cltd; idiv %%ecx");
    CHECK(fault_signal == SIGFPE && fault_code == FPE_INTDIV && fault_at == fault_ip && trap == 0);
    RUN("int3");
    CHECK(fault_signal == SIGTRAP && fault_code == SI_KERNEL && trap == 3);
    RUN("hlt");
    CHECK(fault_signal == SIGSEGV && fault_code == SI_KERNEL && fault_at == 0 && trap == 13);
    RUN("mov $0x8000000000000000, %%rax; movl $1, (%%rax)");
    CHECK(fault_signal == SIGSEGV && fault_code == SI_KERNEL && fault_at == 0);
    return 0;
}
