// File locks: POSIX (ranges, deadlock, release on close), OFD, flock, between processes; /proc/locks.
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

static char path[] = "/tmp/locks-XXXXXX";

static int lock(int fd, int command, int type, long start, long len) {
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
    return fcntl(fd, command, &lock);
}
// The type of the lock that is in the way of another process, and who holds it.
static int in_way(int type, long start, long len, pid_t holder) {
    pid_t child = fork();
    if (child == 0) {
        int fd = open(path, O_RDWR);
        struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
        CHECK(fcntl(fd, F_GETLK, &lock) == 0);
        if (lock.l_type != F_UNLCK && holder) CHECK(lock.l_pid == holder);
        _exit(lock.l_type);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}
static void handler(int signal) {}

// Each of three processes holds its own of three files and waits for the next one's: the last to wait is told.
static void circle_of_files(void) {
    char names[3][32];
    int files[3], held[2], told[2], status, deadlocks = 0;
    for (int i = 0; i < 3; i++) {
        strcpy(names[i], "/tmp/locks-XXXXXX");
        CHECK((files[i] = mkstemp(names[i])) >= 0);
    }
    CHECK(pipe(held) == 0 && pipe(told) == 0);
    pid_t children[3];
    char byte;
    for (int i = 0; i < 3; i++) {
        if ((children[i] = fork()) == 0) {
            CHECK(lock(files[i], F_SETLK, F_WRLCK, 0, 0) == 0 && write(held[1], "x", 1) == 1);
            close(told[1]);
            CHECK(read(told[0], &byte, 1) == 0);
            int result = lock(files[(i + 1) % 3], F_SETLKW, F_WRLCK, 0, 0);
            CHECK(result == 0 || errno == EDEADLK);
            _exit(result == 0 ? 0 : 1);
        }
    }
    for (int i = 0; i < 3; i++) CHECK(read(held[0], &byte, 1) == 1);
    close(told[1]);
    for (int i = 0; i < 3; i++) {
        CHECK(waitpid(children[i], &status, 0) == children[i] && WIFEXITED(status));
        deadlocks += WEXITSTATUS(status);
        unlink(names[i]);
    }
    CHECK(deadlocks == 1);
}

int main(void) {
    circle_of_files();
    int fd = mkstemp(path), status;
    CHECK(fd >= 0 && ftruncate(fd, 1000) == 0);
    CHECK(lock(fd, F_SETLK, F_WRLCK, 10, 10) == 0);
    CHECK(in_way(F_WRLCK, 0, 10, 0) == F_UNLCK && in_way(F_RDLCK, 5, 10, getpid()) == F_WRLCK && in_way(F_WRLCK, 20, 0, 0) == F_UNLCK);
    // Split by unlocking the middle, downgrade, merge.
    CHECK(lock(fd, F_SETLK, F_UNLCK, 13, 4) == 0);
    CHECK(in_way(F_WRLCK, 13, 4, 0) == F_UNLCK && in_way(F_WRLCK, 12, 1, getpid()) == F_WRLCK && in_way(F_WRLCK, 17, 1, getpid()) == F_WRLCK);
    CHECK(lock(fd, F_SETLK, F_RDLCK, 0, 0) == 0);
    CHECK(in_way(F_RDLCK, 0, 0, 0) == F_UNLCK && in_way(F_WRLCK, 5000, 1, getpid()) == F_RDLCK);
    FAILS(lock(fd, F_SETLK, 77, 0, 0), EINVAL);
    FAILS(lock(fd, F_SETLK, F_RDLCK, -1, 0), EINVAL);
    int read_only = open(path, O_RDONLY);
    FAILS(lock(read_only, F_SETLK, F_WRLCK, 0, 0), EBADF);
    // Closing any descriptor of the file gives up all of them.
    CHECK(close(read_only) == 0 && in_way(F_WRLCK, 0, 0, 0) == F_UNLCK);
    // Negative length, SEEK_END.
    struct flock backwards = {.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = 0, .l_len = -100};
    CHECK(fcntl(fd, F_SETLK, &backwards) == 0 && in_way(F_WRLCK, 900, 1, getpid()) == F_WRLCK && in_way(F_WRLCK, 1000, 1, 0) == F_UNLCK);

    // Waiting; a signal interrupts it.
    int to_child[2], from_child[2];
    pipe(to_child);
    pipe(from_child);
    pid_t child = fork();
    char byte;
    if (child == 0) {
        int own = open(path, O_RDWR);
        CHECK(lock(own, F_SETLK, F_WRLCK, 0, 10) == 0);
        write(from_child[1], "x", 1);
        read(to_child[0], &byte, 1);
        // Both wait for each other: EDEADLK for the second.
        CHECK(lock(own, F_SETLKW, F_WRLCK, 900, 10) == 0 || errno == EDEADLK);
        _exit(0);
    }
    CHECK(read(from_child[0], &byte, 1) == 1);
    FAILS(lock(fd, F_SETLK, F_WRLCK, 5, 1), EAGAIN);
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGALRM, &action, 0);
    ualarm(20000, 0);
    FAILS(lock(fd, F_SETLKW, F_WRLCK, 5, 1), EINTR);
    write(to_child[1], "x", 1);
    usleep(50000);
    FAILS(lock(fd, F_SETLKW, F_WRLCK, 5, 1), EDEADLK);
    char line[200];
    FILE *locks = fopen("/proc/locks", "r");
    int found = 0;
    while (locks && fgets(line, sizeof line, locks)) found |= strstr(line, "POSIX") && strstr(line, "ADVISORY") && strstr(line, "WRITE");
    CHECK(found);
    CHECK(lock(fd, F_SETLK, F_UNLCK, 0, 0) == 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);

    // OFD locks belong to the open file, not the process.
    int a = open(path, O_RDWR), b = open(path, O_RDWR);
    CHECK(lock(a, F_OFD_SETLK, F_WRLCK, 0, 0) == 0);
    FAILS(lock(b, F_OFD_SETLK, F_WRLCK, 0, 0), EAGAIN);
    FAILS(lock(fd, F_SETLK, F_RDLCK, 0, 0), EAGAIN);
    struct flock query = {.l_type = F_WRLCK};
    CHECK(fcntl(b, F_OFD_GETLK, &query) == 0 && query.l_type == F_WRLCK && query.l_pid == -1);
    int copy = dup(a);
    CHECK(close(a) == 0);
    FAILS(lock(b, F_OFD_SETLK, F_WRLCK, 0, 0), EAGAIN);
    CHECK(close(copy) == 0 && lock(b, F_OFD_SETLK, F_WRLCK, 0, 0) == 0);
    query.l_pid = 5;
    FAILS(fcntl(b, F_OFD_SETLK, &query), EINVAL);

    // flock.
    a = open(path, O_RDONLY);
    int c = open(path, O_RDONLY);
    CHECK(flock(a, LOCK_SH) == 0 && flock(c, LOCK_SH) == 0);
    FAILS(flock(c, LOCK_EX | LOCK_NB), EAGAIN);
    CHECK(flock(a, LOCK_UN) == 0 && flock(c, LOCK_EX | LOCK_NB) == 0);
    FAILS(flock(a, LOCK_SH | LOCK_NB), EAGAIN);
    child = fork();
    if (child == 0) _exit(flock(c, LOCK_EX | LOCK_NB) == 0 && flock(c, LOCK_UN) == 0 ? 0 : 1);
    CHECK(waitpid(child, &status, 0) == child && status == 0 && flock(a, LOCK_EX | LOCK_NB) == 0);
    FAILS(flock(a, 0), EINVAL);
    unlink(path);
    return 0;
}
