// also: static
// Programs that are started again and again: whatever the sandbox does to make the calls of their dynamic linkers
// cheaper, these do what they should, while signals, threads and forks interfere, with other mappings and registers in
// the way; and who traces such a program sees its own code.
#include "check.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>

extern char **environ;

// A mapping of this process, or of another.
struct text {
    unsigned long start, end, offset;
    char path[256];
};

// The code of the dynamic linker, or of the program itself where it has none.
static struct text text_of(pid_t pid) {
    char name[64], line[512], rights[8];
    snprintf(name, sizeof name, "/proc/%d/maps", pid);
    FILE *maps = fopen(name, "r");
    struct text found = {0}, text;
    CHECK(maps);
    while (fgets(line, sizeof line, maps)) {
        text.path[0] = 0;
        sscanf(line, "%lx-%lx %7s %lx %*s %*s %255s", &text.start, &text.end, rights, &text.offset, text.path);
        int is_linker = strstr(text.path, "/ld") != NULL;
        if (strcmp(rights, "r-xp") == 0 && text.path[0] == '/' && (is_linker || !found.start)) found = text;
    }
    fclose(maps);
    CHECK(found.start);
    return found;
}

// What the processor says of itself, asked as C libraries do, and so that nobody takes it for that.
static void ask_processor(void) {
    long here[4], there[4];
    __asm__ volatile("mov $0x80000000, %%eax\n\tcpuid"
                     : "=a"(here[0]), "=b"(here[1]), "=c"(here[2]), "=d"(here[3])
                     : "a"(-1L), "b"(-1L), "c"(-1L), "d"(-1L));
    __asm__ volatile("mov $0x80000000, %%eax\n\tnop\n\tcpuid"
                     : "=a"(there[0]), "=b"(there[1]), "=c"(there[2]), "=d"(there[3])
                     : "a"(-1L), "b"(-1L), "c"(-1L), "d"(-1L));
    CHECK(memcmp(here, there, sizeof here) == 0);
}

// What a program is told of the processor: that it has floating point, a counter and SSE2, and what else its leaf 1 says.
static void is_told_of_processor(void) {
    unsigned long word[2], features = 0;
    int fd = open("/proc/self/auxv", O_RDONLY);
    CHECK(fd >= 0);
    while (read(fd, word, sizeof word) == sizeof word)
        if (word[0] == AT_HWCAP) features = word[1];
    close(fd);
    CHECK((features & 0x4000011) == 0x4000011 && features >> 32 == 0);
}

// Calls from the text: by the linker where there is one.
static void use_calls(void) {
    ask_processor();
    struct stat stat;
    int fd = open("/proc/self/exe", O_RDONLY);
    char head[4];
    CHECK(fd >= 0 && fstat(fd, &stat) == 0 && stat.st_size > 0);
    CHECK(read(fd, head, 4) == 4 && memcmp(head, "\177ELF", 4) == 0);
    CHECK(pread(fd, head, 3, 1) == 3 && memcmp(head, "ELF", 3) == 0);
    CHECK(close(fd) == 0);
    if (getauxval(AT_BASE) == 0) return;
    void *library = dlopen("libutil.so.1", RTLD_NOW);
    CHECK(library && dlsym(library, "forkpty"));
    CHECK(dlclose(library) == 0);
    CHECK(!dlopen("/no/such/library.so", RTLD_NOW));
}

static void *use_many(void *unused) {
    for (int i = 0; i < 50; i++)
        use_calls();
    return NULL;
}

static void threads_and_forks_interfere(void) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, use_many, NULL) == 0);
    for (int i = 0; i < 10; i++) {
        pid_t child = fork();
        // Another thread may have had the linker's locks.
        if (child == 0) _exit(getpid() == getppid());
        int status;
        CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    }
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    pid_t child = fork();
    if (child == 0) {
        use_calls();
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static volatile int ticks;

static void tick(int signal) { ticks++; }

static void signals_interfere(void) {
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval often = {{0, 150}, {0, 150}}, never = {{0}};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    for (int i = 0; i < 1000000 && ticks < 100; i++)
        use_calls();
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(ticks >= 100);
}

static void a_register_is_in_use(void) {
    static long words[16];
    CHECK(syscall(SYS_arch_prctl, 0x1001, words) == 0);
    use_calls();
    CHECK(syscall(SYS_arch_prctl, 0x1001, 0) == 0);
    use_calls();
}

// The code becomes the process's own, and what it writes there is what is executed.
static void code_is_written(void) {
    struct text text = text_of(getpid());
    CHECK(mprotect((void *)text.start, text.end - text.start, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
    for (volatile char *at = (char *)text.start; at < (char *)text.end; at += 512)
        *at = *at;
    use_calls();
    CHECK(mprotect((void *)text.start, text.end - text.start, PROT_READ | PROT_EXEC) == 0);
    use_calls();
    // The file's own bytes again.
    CHECK(madvise((void *)text.start, text.end - text.start, MADV_DONTNEED) == 0);
    use_calls();
}

static void helpers_are_replaced(void) {
    char line[512];
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps);
    void *starts[16];
    int count = 0;
    while (fgets(line, sizeof line, maps) && count < 16)
        if (strstr(line, "[calls]")) starts[count++] = (void *)strtoul(line, NULL, 16);
    fclose(maps);
    for (int i = 0; i < count; i++)
        CHECK(munmap(starts[i], 4096) == 0);
    use_calls();
}

static void as_program(const char *how) {
    if (strcmp(how, "plain") == 0) {
        use_calls();
        is_told_of_processor();
    }
    if (strcmp(how, "hot") == 0) use_many(NULL);
    if (strcmp(how, "threads") == 0) threads_and_forks_interfere();
    if (strcmp(how, "signals") == 0) signals_interfere();
    if (strcmp(how, "register") == 0) a_register_is_in_use();
    if (strcmp(how, "written") == 0) code_is_written();
    if (strcmp(how, "replaced") == 0) helpers_are_replaced();
    if (strcmp(how, "wait") == 0) {
        CHECK(write(1, "x", 1) == 1);
        for (;;)
            pause();
    }
    exit(0);
}

static pid_t start(char *how) {
    char *args[] = {"shared_text", how, NULL};
    pid_t child;
    CHECK(posix_spawn(&child, "/proc/self/exe", NULL, NULL, args, environ) == 0);
    return child;
}

static void run(char *how) {
    int status;
    pid_t child = start(how);
    CHECK(waitpid(child, &status, 0) == child);
    if (status != 0) fprintf(stderr, "%s: status %x\n", how, status);
    CHECK(status == 0);
}

// What a tracer reads of a text is what its file has.
static void is_as_in_file(pid_t child) {
    struct text text = text_of(child);
    size_t len = text.end - text.start;
    char *bytes = malloc(len), *file = malloc(len);
    struct iovec here = {bytes, len}, there = {(void *)text.start, len};
    CHECK(process_vm_readv(child, &here, 1, &there, 1, 0) == (ssize_t)len);
    int fd = open(text.path, O_RDONLY);
    CHECK(fd >= 0);
    size_t got = pread(fd, file, len, text.offset);
    CHECK(got > len - 4096);
    for (size_t i = 0; i < got; i++) {
        if (bytes[i] != file[i]) fprintf(stderr, "%s: at %zx %02x, in the file %02x\n", text.path, i, bytes[i] & 255, file[i] & 255);
        CHECK(bytes[i] == file[i]);
    }
    close(fd);
    free(bytes);
    free(file);
}

static void a_tracer_starts_it(void) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        CHECK(ptrace(PTRACE_TRACEME, 0, 0, 0) == 0);
        execl("/proc/self/exe", "shared_text", "plain", NULL);
        _exit(1);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
    is_as_in_file(child);
    CHECK(ptrace(PTRACE_CONT, child, 0, 0) == 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void a_tracer_comes_later(void) {
    int status, ready[2];
    char byte;
    CHECK(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ready[1], 1);
        execl("/proc/self/exe", "shared_text", "wait", NULL);
        _exit(1);
    }
    CHECK(read(ready[0], &byte, 1) == 1);
    CHECK(ptrace(PTRACE_ATTACH, child, 0, 0) == 0);
    CHECK(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
    is_as_in_file(child);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child && WTERMSIG(status) == SIGKILL);
}

int main(int argc, char **argv) {
    if (argc > 1) as_program(argv[1]);
    // A linker that has directories to look into calls so often that its site is rewritten as any program's is. The jump
    // that is put into padding then stays there, under a tracer, too.
    CHECK(unsetenv("LD_LIBRARY_PATH") == 0);
    for (int i = 0; i < 20; i++)
        run("plain");
    static char *hows[] = {"hot", "threads", "signals", "register", "written", "replaced", "plain"};
    for (int i = 0; i < sizeof hows / sizeof *hows; i++)
        run(hows[i]);
    a_tracer_starts_it();
    a_tracer_comes_later();
    // Those that were traced, or have written their code, have changed nothing for others.
    run("plain");
    return 0;
}
