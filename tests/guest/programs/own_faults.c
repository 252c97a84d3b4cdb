// What a call that asks for too much does to its caller: signals with their information, limits, nothing left behind.
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

static siginfo_t last;
static int count;

static void note(int number, siginfo_t *info, void *context) {
    last = *info;
    count++;
}

// The last signal was this one, and says that the process itself has sent it.
static void expect_own(int number) {
    CHECK(count == 1 && last.si_signo == number && last.si_code == SI_USER && last.si_pid == getpid());
    count = 0;
}

static void broken_pipes(void) {
    int ends[2];
    CHECK(pipe(ends) == 0 && close(ends[0]) == 0);
    FAILS(write(ends[1], "x", 1), EPIPE);
    expect_own(SIGPIPE);
    close(ends[1]);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && close(ends[0]) == 0);
    FAILS(send(ends[1], "x", 1, 0), EPIPE);
    expect_own(SIGPIPE);
    FAILS(send(ends[1], "x", 1, MSG_NOSIGNAL), EPIPE);
    CHECK(count == 0);
    close(ends[1]);
}

static void file_size(void) {
    char name[] = "/tmp/own-faults-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0 && ftruncate(fd, 10000) == 0);
    struct rlimit limit = {5000, RLIM_INFINITY};
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    // Becoming smaller, or staying, is no growth.
    CHECK(ftruncate(fd, 10000) == 0 && ftruncate(fd, 9000) == 0 && truncate(name, 8000) == 0 && count == 0);
    FAILS(ftruncate(fd, 8001), EFBIG);
    expect_own(SIGXFSZ);
    FAILS(pwrite(fd, "x", 1, 5000), EFBIG);
    expect_own(SIGXFSZ);
    CHECK(pwrite(fd, "xx", 2, 4999) == 1);
    CHECK(fallocate(fd, 0, 0, 8000) == 0 && count == 0);
    // Who may not change the file at all hears of that.
    int reader = open(name, O_RDONLY);
    FAILS(ftruncate(reader, 20000), EINVAL);
    FAILS(truncate("/tmp", 20000), EISDIR);
    CHECK(count == 0);
    limit.rlim_cur = RLIM_INFINITY;
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0 && unlink(name) == 0);
    close(reader);
    close(fd);
}

static void no_descriptors_without_numbers(void) {
    int first = dup(0), ends[2];
    close(first);
    FAILS(pipe((int *)8), EFAULT);
    FAILS(socketpair(AF_UNIX, SOCK_STREAM, 0, (int *)8), EFAULT);
    // Half of the pair fits.
    struct rlimit old, limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
    limit = (struct rlimit){first + 1, old.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    FAILS(pipe(ends), EMFILE);
    FAILS(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), EMFILE);
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    int again = dup(0);
    CHECK(again == first);
    close(again);
}

static void reading_without_waiting(void) {
    int ends[2];
    char byte;
    struct iovec range = {&byte, 1};
    CHECK(pipe(ends) == 0);
    FAILS(preadv2(ends[0], &range, 1, -1, RWF_NOWAIT), EAGAIN);
    CHECK(write(ends[1], "x", 1) == 1 && preadv2(ends[0], &range, 1, -1, RWF_NOWAIT) == 1);
    close(ends[0]);
    close(ends[1]);
}

static void copies_within_a_file(void) {
    int fd = memfd_create("copies", 0);
    CHECK(write(fd, "0123456789", 10) == 10);
    loff_t from = 0, to = 20;
    // Where the file ends, so does what could overlap.
    CHECK(copy_file_range(fd, &from, fd, &to, 100, 0) == 10 && from == 10 && to == 30);
    from = 0, to = 5;
    FAILS(copy_file_range(fd, &from, fd, &to, 100, 0), EINVAL);
    close(fd);
}

int main(void) {
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGPIPE, &action, NULL) == 0 && sigaction(SIGXFSZ, &action, NULL) == 0);
    broken_pipes();
    file_size();
    no_descriptors_without_numbers();
    reading_without_waiting();
    copies_within_a_file();
    return 0;
}
