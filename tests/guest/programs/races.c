// Races of processes that end, execute, fork and are attached to at the same time: each child must come to an end.
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static char self[4096];
static unsigned seed = 1;
static void pause_a_bit(void) {
    for (volatile int i = rand_r(&seed) % 20000; i > 0; i--) {}
}
static void *end_thread(void *unused) { return 0; }
static void *end_process(void *unused) { pause_a_bit(); _exit(3); }
static void *churn(void *unused) {
    for (;;) {
        pthread_t thread;
        if (pthread_create(&thread, 0, end_thread, 0) == 0) pthread_join(thread, 0);
    }
}
static void *execute(void *unused) {
    pause_a_bit();
    execl(self, self, "end", (char *)0);
    _exit(99);
}
// Waits for a child's end, letting it and its traced children go on from whatever they stop for.
static int end_of(pid_t child) {
    int status;
    for (;;) {
        pid_t got = waitpid(-1, &status, __WALL);
        CHECK(got > 0);
        if (!WIFEXITED(status) && !WIFSIGNALED(status)) ptrace(PTRACE_CONT, got, 0, 0);
        else if (got == child) return status;
    }
}

// One thread executes a program while others end, come, and execute too, or end the process.
static void exec_and_exit(int round) {
    pid_t child = fork();
    if (child == 0) {
        seed = round;
        pthread_t thread;
        pthread_create(&thread, 0, churn, 0);
        pthread_create(&thread, 0, execute, 0);
        if (round % 3 == 0) pthread_create(&thread, 0, execute, 0);
        if (round % 3 == 1) pthread_create(&thread, 0, end_process, 0);
        if (round % 2) pthread_exit(0);
        pause_a_bit();
        churn(0);
    }
    int status = end_of(child);
    CHECK(WIFEXITED(status) && (WEXITSTATUS(status) == 7 || WEXITSTATUS(status) == 3));
}
// Attaching to what executes, forks, or ends at that moment.
static void attach(int round) {
    pid_t child = fork();
    if (child == 0) {
        seed = round;
        pthread_t thread;
        pause_a_bit();
        if (round % 4 == 0) execute(0);
        if (round % 4 == 1) _exit(7);
        if (round % 4 == 2) {
            if (fork() == 0) _exit(0);
            wait(0);
            _exit(7);
        }
        pthread_create(&thread, 0, execute, 0);
        for (;;) pause();
    }
    pause_a_bit();
    long result = round % 8 < 4 ? ptrace(PTRACE_ATTACH, child, 0, 0) : ptrace(PTRACE_SEIZE, child, 0, PTRACE_O_TRACEFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT);
    CHECK(result == 0 || errno == ESRCH || errno == EPERM);
    if (round % 16 == 15) kill(child, SIGKILL);
    int status = end_of(child);
    CHECK(round % 16 == 15 || (WIFEXITED(status) && WEXITSTATUS(status) == 7));
}
// A tracer that ends lets go of its tracees.
static void tracer_ends(int round) {
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 200; i++) usleep(500);
        _exit(7);
    }
    pid_t tracer = fork();
    if (tracer == 0) {
        CHECK(ptrace(PTRACE_SEIZE, child, 0, 0) == 0 || errno == ESRCH || errno == EPERM);
        if (round % 2) ptrace(PTRACE_INTERRUPT, child, 0, 0);
        _exit(0);
    }
    CHECK(waitpid(tracer, 0, 0) == tracer);
    int status = end_of(child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

int main(int argc, char **argv) {
    if (argc > 1) return 7;
    CHECK(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    alarm(80);
    for (int round = 0; round < 120; round++) exec_and_exit(round);
    for (int round = 0; round < 120; round++) attach(round);
    for (int round = 0; round < 4; round++) tracer_ends(round);
    return 0;
}
