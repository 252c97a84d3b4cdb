// also: static
// Every form of call site that programs have, made hot: whatever the sandbox does to make their calls cheaper, they
// return what they should, to the registers and places they should, also while signals, threads and forks interfere.
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

// lseek(fd, offset, whence), called from code with no padding near it.
typedef long site(long fd, long offset, long whence, long unused, long copy, long number, long stacked);

#define SITE(name, before)                                                                            \
    site name;                                                                                        \
    extern char name##_call[];                                                                        \
    asm(".pushsection .text.sites, \"ax\"\n .fill 160, 1, 0x90\n .globl " #name "\n " #name ":\n " before \
        "\n " #name "_call: syscall\n ret\n .fill 160, 1, 0x90\n .popsection")

SITE(number, "mov $8, %eax");
SITE(wide_number, ".byte 0x48, 0xc7, 0xc0, 8, 0, 0, 0");
SITE(register_number, "mov %r9, %rax");
SITE(last_argument, "mov $8, %eax; mov %r8, %rsi");
SITE(stack_store, "mov $8, %eax; mov %r11, -8(%rsp)");
SITE(stack_load, "mov 8(%rsp), %rax");
SITE(upper_number, "mov %r9d, %eax");
SITE(address, "mov $8, %eax; lea 0x100(%r8), %rsi");
SITE(relative_address, "mov $8, %eax; lea name_of_site(%rip), %r10");
SITE(nothing_known, "mov $8, %eax; nop");
SITE(padded, ".byte 0xeb, 8, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0\n mov $8, %eax; nop");

asm("name_of_site: .asciz \"/proc/self/exe\"");
// access(name_of_site, F_OK), by a relative address.
long may_access(void);
asm(".pushsection .text.sites, \"ax\"\n .fill 160, 1, 0x90\n may_access: xor %esi, %esi; mov $21, %eax;"
    "lea name_of_site(%rip), %rdi; syscall; ret; .fill 160, 1, 0x90\n .popsection");

// Calls behind the instructions that precede the site, with the number in place already.
long enter(void *at, long fd, long offset, long whence, long number);
asm("enter: mov %rdi, %r10; mov %rsi, %rdi; mov %rdx, %rsi; mov %rcx, %rdx; mov %r8, %rax; jmp *%r10");

static const struct {
    site *whole;
    char *call;
} sites[] = {
    {number, number_call},           {wide_number, wide_number_call}, {register_number, register_number_call},
    {last_argument, last_argument_call}, {stack_store, stack_store_call}, {stack_load, stack_load_call},
    {upper_number, upper_number_call},   {address, address_call},         {relative_address, relative_address_call},
    {nothing_known, nothing_known_call}, {padded, padded_call},
};
#define SITES (sizeof sites / sizeof *sites)

static void use_sites(int fd, int rounds) {
    for (int round = 0; round < rounds; round++)
        for (unsigned form = 0; form < SITES; form++) {
            long offset = round * 64L + form;
            long copy = sites[form].whole == address ? offset - 0x100 : offset;
            CHECK(sites[form].whole(fd, offset, SEEK_SET, 0, copy, SYS_lseek, SYS_lseek) == offset);
            CHECK(sites[form].whole(-1, offset, SEEK_SET, 0, copy, SYS_lseek, SYS_lseek) == -EBADF);
            CHECK(enter(sites[form].call, fd, offset + 1, SEEK_SET, SYS_lseek) == offset + 1);
        }
}

// All places that a site can have in a word, in code that four threads run while one site after another is rewritten.
typedef long short_site(long fd, long offset, long whence);
static atomic_int phase;
static char *straddling;

static void *use_straddling(void *unused) {
    int fd = syscall(SYS_memfd_create, "sites", 0);
    atomic_fetch_add(&phase, 1);
    while (atomic_load(&phase) < 4) continue;
    for (int round = 0; round < 400; round++)
        for (int form = 0; form < 16; form++) {
            short_site *at = (short_site *)(straddling + 256 * form + form % 8);
            CHECK(at(fd, round, SEEK_SET) == round);
        }
    // In between there is one that only computes, for longer than anybody waits.
    for (volatile long i = 0; unused && i < 30000000; i++) continue;
    close(fd);
    return NULL;
}

static void sites_across_words(void) {
    // mov $8, %eax; syscall; ret
    const char by_number[] = {0xb8, 8, 0, 0, 0, 0x0f, 0x05, 0xc3};
    // mov %rsi, %r8; mov $8, %eax; lea 0(%r8), %rsi; syscall; ret
    const char by_address[] = {0x49, 0x89, 0xf0, 0xb8, 8, 0, 0, 0, 0x49, 0x8d, 0xb0, 0, 0, 0, 0, 0x0f, 0x05, 0xc3};
    straddling = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(straddling != MAP_FAILED);
    for (int form = 0; form < 16; form++)
        memcpy(straddling + 256 * form + form % 8, form < 8 ? by_number : by_address, form < 8 ? sizeof by_number : sizeof by_address);
    CHECK(mprotect(straddling, 4096, PROT_READ | PROT_EXEC) == 0);
    pthread_t threads[4];
    for (long i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, use_straddling, (void *)(long)(i == 3)) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(munmap(straddling, 4096) == 0);
    atomic_store(&phase, 0);
}

static int file(void) {
    int fd = syscall(SYS_memfd_create, "sites", 0);
    CHECK(fd >= 0);
    return fd;
}

static void *use_some(void *unused) {
    int fd = file();
    use_sites(fd, 300);
    close(fd);
    return NULL;
}

static void threads_race_to_the_first_trap(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, use_some, NULL) == 0);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

static volatile int ticks;

static void tick(int signal) {
    ticks++;
    CHECK(getpid() > 0);
}

static void signals_interfere(int fd) {
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0}};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    for (int i = 0; i < 1000 && ticks < 50; i++)
        use_sites(fd, 100);
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(ticks >= 50);
}

static void children_inherit(int fd) {
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            use_sites(file(), 100);
            _exit(0);
        }
        use_sites(fd, 20);
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
}

static char *code;

static void write_code(char *at, const char *bytes, int size) {
    CHECK(mprotect(code, 8192, PROT_READ | PROT_WRITE) == 0);
    memcpy(at, bytes, size);
    CHECK(mprotect(code, 8192, PROT_READ | PROT_EXEC) == 0);
}

// mov $number, %eax; syscall; ret
static void write_caller(char *at, char number) {
    char bytes[] = {0xb8, number, 0, 0, 0, 0x0f, 0x05, 0xc3};
    write_code(at, bytes, sizeof bytes);
}

static void code_made_at_run_time(void) {
    code = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED);
    for (int before = 0; before < 10; before++) {
        char *at = code + 4096 - before;
        write_caller(at, SYS_getpid);
        for (int i = 0; i < 100; i++)
            CHECK(((long (*)(void))at)() == getpid());
        write_caller(at, SYS_getppid);
        for (int i = 0; i < 100; i++)
            CHECK(((long (*)(void))at)() == getppid());
    }
    // mov %r9, %rax; syscall; ret
    char by_register[] = {0x4c, 0x89, 0xc8, 0x0f, 0x05, 0xc3};
    for (int before = 0; before < 8; before++) {
        site *at = (site *)(code + 4096 - before);
        write_code((char *)at, by_register, sizeof by_register);
        for (int i = 0; i < 100; i++)
            CHECK(at(0, 0, 0, 0, 0, SYS_getpid, 0) == getpid());
    }
    CHECK(munmap(code, 8192) == 0);
}

// What a stack move at a site cannot reach is the guest's fault, at that instruction.
static volatile int faults;
static char *fault_at;

static void leave(int signal, siginfo_t *info, void *context) {
    fault_at = (char *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
    faults++;
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RSP] = ((ucontext_t *)context)->uc_mcontext.gregs[REG_RBX];
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] += 5 + 2;
}

// As `stack_load`, with another stack. Returns through the fault's handler.
long load_from(long stack);
asm("load_from: push %rbx; lea -8(%rsp), %rbx; lea 1f(%rip), %rax; mov %rax, (%rbx); mov %rdi, %rsp; jmp stack_load\n"
    "1: pop %rbx; ret");

static void a_fault_at_a_site(void) {
    static char stack[65536];
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack};
    CHECK(sigaltstack(&other, NULL) == 0);
    struct sigaction action = {.sa_sigaction = leave, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    for (int i = 0; i < 3; i++)
        load_from(64);
    CHECK(faults == 3);
    CHECK(fault_at == (char *)stack_load);
}

// Where the sandbox keeps helpers of its own among the guest's mappings, the guest may still put others in their place.
static void mappings_are_replaced(int fd) {
    char line[512];
    void *starts[64];
    int count = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps);
    while (fgets(line, sizeof line, maps) && count < 64)
        if (strstr(line, "[calls]"))
            starts[count++] = (void *)strtoul(line, NULL, 16);
    fclose(maps);
    for (int i = 0; i < count; i++) {
        void *page = mmap(starts[i], 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        CHECK(page == starts[i] && *(char *)page == 0);
    }
    use_sites(fd, 100);
}

static void heap_grows(int fd) {
    char *old = sbrk(0);
    CHECK(sbrk(200 << 20) == old);
    old[199 << 20] = 1;
    use_sites(fd, 100);
    CHECK(sbrk(-(200 << 20)) == old + (200 << 20));
}

int main(void) {
    for (int i = 0; i < 5; i++) sites_across_words();
    threads_race_to_the_first_trap();
    for (int i = 0; i < 200; i++) CHECK(may_access() == 0);
    int fd = file();
    use_sites(fd, 100);
    a_fault_at_a_site();
    signals_interfere(fd);
    children_inherit(fd);
    code_made_at_run_time();
    heap_grows(fd);
    mappings_are_replaced(fd);
    return 0;
}
