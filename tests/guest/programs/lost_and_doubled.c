// What two threads or processes can lose or get twice between them: one-shot events, stops that are undone, the end of a
// process whose tracer ends too, queued signals without end, locks of waiters that could not be moved.
#include "check.h"
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

// One-shot events: each is one thread's alone, and none is lost when it is armed again.
static int instance, ready;
static atomic_int owners, taken;

static void *takes_one_shots(void *unused) {
    (void)unused;
    while (atomic_load(&taken) < 5000) {
        struct epoll_event event;
        int got = epoll_wait(instance, &event, 1, 20000);
        CHECK(got == 1);
        CHECK(atomic_fetch_add(&owners, 1) == 0);
        atomic_fetch_add(&taken, 1);
        // A notice that comes now must not give it to the other as well.
        uint64_t one = 1;
        CHECK(write(ready, &one, 8) == 8);
        CHECK(atomic_fetch_sub(&owners, 1) == 1);
        event.events = EPOLLIN | EPOLLONESHOT;
        CHECK(epoll_ctl(instance, EPOLL_CTL_MOD, ready, &event) == 0);
    }
    return 0;
}

static void one_shots(void) {
    CHECK((instance = epoll_create1(0)) >= 0 && (ready = eventfd(1, EFD_NONBLOCK)) >= 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT};
    CHECK(epoll_ctl(instance, EPOLL_CTL_ADD, ready, &event) == 0);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) CHECK(pthread_create(&threads[i], 0, takes_one_shots, 0) == 0);
    for (int i = 0; i < 2; i++) CHECK(pthread_join(threads[i], 0) == 0);
    close(ready);
    close(instance);
}

// Events that could not be delivered come again, of one-shots and edges too.
static void undelivered(void) {
    int instance = epoll_create1(0), ready = eventfd(1, EFD_NONBLOCK);
    uint32_t kinds[] = {EPOLLIN, EPOLLIN | EPOLLONESHOT, EPOLLIN | EPOLLET};
    for (int i = 0; i < 3; i++) {
        struct epoll_event event = {.events = kinds[i], .data.u32 = i};
        CHECK(epoll_ctl(instance, EPOLL_CTL_ADD, ready, &event) == 0);
        errno = 0;
        CHECK(epoll_wait(instance, (void *)8, 1, 0) == -1 && errno == EFAULT);
        event.data.u32 = 9;
        CHECK(epoll_wait(instance, &event, 1, 0) == 1 && event.events == EPOLLIN && event.data.u32 == i);
        CHECK(epoll_wait(instance, &event, 1, 0) == (i == 0));
        CHECK(epoll_ctl(instance, EPOLL_CTL_DEL, ready, 0) == 0);
    }
    close(ready);
    close(instance);
}

// A process that is stopped and continued at once goes on.
static void stopped_and_continued(void) {
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
            char byte = 0;
            if (write(pipes[1], &byte, 1) != 1) _exit(1);
            for (volatile int i = 0; i < 1000; i++) {}
        }
    }
    fcntl(pipes[0], F_SETPIPE_SZ, 4096);
    for (int i = 0; i < 1000; i++) {
        CHECK(kill(child, SIGTSTP) == 0 && kill(child, SIGCONT) == 0);
        if (i % 3 == 0) sched_yield();
    }
    char bytes[4096];
    // More than the pipe could hold: the child has written on.
    for (int left = 1 << 17; left > 0;) {
        ssize_t got = read(pipes[0], bytes, sizeof bytes);
        CHECK(got > 0);
        left -= got;
    }
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, 0, 0) == child);
    close(pipes[0]);
    close(pipes[1]);
}

// A process ends while it is traced by one that never asks, and that ends afterwards: the parent hears of it.
static void tracer_ends_after_tracee(void) {
    int to_child[2], to_tracer[2], attached[2];
    CHECK(pipe(to_child) == 0 && pipe(to_tracer) == 0 && pipe(attached) == 0);
    pid_t child = fork();
    char byte = 0;
    if (child == 0) _exit(read(to_child[0], &byte, 1) == 1 ? 7 : 1);
    pid_t tracer = fork();
    if (tracer == 0) {
        CHECK(ptrace(PTRACE_SEIZE, child, 0, 0) == 0);
        CHECK(write(attached[1], &byte, 1) == 1);
        CHECK(read(to_tracer[0], &byte, 1) == 1);
        _exit(0);
    }
    CHECK(read(attached[0], &byte, 1) == 1);
    CHECK(write(to_child[1], &byte, 1) == 1);
    siginfo_t info = {0};
    // Only the tracer may hear of it so far.
    do {
        char path[64], line[256] = "";
        snprintf(path, sizeof path, "/proc/%d/stat", child);
        int fd = open(path, O_RDONLY);
        CHECK(fd >= 0 && read(fd, line, sizeof line - 1) > 0);
        close(fd);
        if (strstr(line, ") Z ")) break;
        usleep(1000);
    } while (1);
    CHECK(waitid(P_PID, child, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0);
    CHECK(write(to_tracer[1], &byte, 1) == 1);
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    CHECK(waitpid(tracer, &status, 0) == tracer && status == 0);
}

// Signals of F_SETSIG count against the limit of queued ones; beyond it a plain SIGIO tells of them.
static void notices_are_limited(void) {
    struct rlimit limit = {16, 16};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    sigaddset(&set, SIGIO);
    CHECK(setrlimit(RLIMIT_SIGPENDING, &limit) == 0 && sigprocmask(SIG_BLOCK, &set, 0) == 0);
    int pipes[2];
    CHECK(pipe2(pipes, O_NONBLOCK) == 0);
    CHECK(fcntl(pipes[0], F_SETOWN, getpid()) == 0 && fcntl(pipes[0], F_SETSIG, SIGRTMIN) == 0);
    CHECK(fcntl(pipes[0], F_SETFL, O_ASYNC | O_NONBLOCK) == 0);
    sigset_t pending;
    time_t end = time(0) + 30;
    do {
        char byte = 0;
        CHECK(write(pipes[1], &byte, 1) == 1 && read(pipes[0], &byte, 1) == 1);
        CHECK(sigpending(&pending) == 0 && time(0) < end);
    } while (!sigismember(&pending, SIGIO));
    int queued = 0;
    struct timespec none = {0};
    sigdelset(&set, SIGIO);
    while (sigtimedwait(&set, 0, &none) == SIGRTMIN) queued++;
    CHECK(queued > 0 && queued <= 16);
}

// A waiter that could not be moved to a lock, whose word names nobody, still waits, and can be moved later.
static int condition, lock;

static void *waits_to_be_moved(void *unused) {
    (void)unused;
    long got = syscall(SYS_futex, &condition, FUTEX_WAIT_REQUEUE_PI | FUTEX_PRIVATE_FLAG, 0, 0, &lock, 0);
    CHECK(got == 0);
    CHECK((__atomic_load_n(&lock, __ATOMIC_SEQ_CST) & FUTEX_TID_MASK) == (unsigned)syscall(SYS_gettid));
    if (syscall(SYS_futex, &lock, FUTEX_UNLOCK_PI | FUTEX_PRIVATE_FLAG, 0, 0, 0, 0) != 0) CHECK(0);
    return 0;
}

static long move(void) {
    return syscall(SYS_futex, &condition, FUTEX_CMP_REQUEUE_PI | FUTEX_PRIVATE_FLAG, 1, 10L, &lock, 0);
}

static void failed_requeue(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, 0, waits_to_be_moved, 0) == 0);
    // A number that no thread has. Until the thread waits, there is nothing to move.
    lock = 0x3ffffff0;
    long got;
    time_t end = time(0) + 30;
    while ((got = move()) == 0) CHECK(time(0) < end);
    CHECK(got == -1 && errno == ESRCH);
    FAILS(move(), ESRCH);
    __atomic_store_n(&lock, 0, __ATOMIC_SEQ_CST);
    CHECK(move() == 1);
    CHECK(pthread_join(thread, 0) == 0);
}

int main(void) {
    one_shots();
    undelivered();
    stopped_and_continued();
    tracer_ends_after_tracee();
    failed_requeue();
    notices_are_limited();
    return 0;
}
