// splice(2) loses no bytes and lets nobody overtake: what could not be written is still in the pipe, and what was read
// from elsewhere has room there.
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>

static void a_failed_write(void) {
    int pipes[2], pair[2];
    char text[16] = "";
    CHECK(pipe(pipes) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(write(pipes[1], "first", 5) == 5);
    close(pair[0]);
    FAILS(splice(pipes[0], NULL, pair[1], NULL, 5, 0), EPIPE);
    CHECK(write(pipes[1], "then", 4) == 4);
    CHECK(read(pipes[0], text, sizeof text) == 9 && strcmp(text, "firstthen") == 0);
    // A pipe that nobody reads.
    int other[2];
    CHECK(pipe(other) == 0 && write(pipes[1], "kept", 4) == 4);
    close(other[0]);
    FAILS(splice(pipes[0], NULL, other[1], NULL, 4, 0), EPIPE);
    FAILS(tee(pipes[0], other[1], 4, 0), EPIPE);
    CHECK(read(pipes[0], text, 4) == 4 && memcmp(text, "kept", 4) == 0);
    close(pipes[0]), close(pipes[1]), close(pair[1]), close(other[1]);
}

enum { COUNT = 16 << 10 };
static int blocked[2], full[2];
static unsigned numbers[COUNT], taken[COUNT];
static ssize_t spliced, read_behind;

static void *splices(void *unused) {
    (void)unused;
    spliced = splice(blocked[0], NULL, full[1], NULL, sizeof numbers / 2, 0);
    return NULL;
}

static void *reads(void *unused) {
    (void)unused;
    read_behind = read(blocked[0], taken, sizeof taken);
    return NULL;
}

// One thread waits for a socket to take what is in the pipe, another reads the pipe: it gets what comes after that.
static void a_reader_beside(void) {
    int size = 4096;
    CHECK(pipe(blocked) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, full) == 0);
    CHECK(setsockopt(full[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
    for (unsigned i = 0; i < COUNT; i++) numbers[i] = i;
    CHECK(write(blocked[1], numbers, sizeof numbers) == sizeof numbers);
    pthread_t first, second;
    CHECK(pthread_create(&first, NULL, splices, NULL) == 0);
    usleep(50000);
    CHECK(pthread_create(&second, NULL, reads, NULL) == 0);
    usleep(50000);
    static unsigned got[COUNT];
    size_t done = 0;
    while (done < sizeof numbers / 2) {
        ssize_t count = read(full[0], (char *)got + done, sizeof got - done);
        CHECK(count > 0);
        done += count;
    }
    CHECK(pthread_join(first, NULL) == 0 && pthread_join(second, NULL) == 0);
    CHECK(spliced == (ssize_t)done && spliced + read_behind == sizeof numbers);
    CHECK(memcmp(got, numbers, done) == 0 && memcmp(taken, (char *)numbers + done, read_behind) == 0);
    close(blocked[0]), close(blocked[1]), close(full[0]), close(full[1]);
}

enum { TOTAL = 1 << 20, NOISE = 0xff };
static int busy[2], source[2];
static atomic_bool over;

static void *makes_noise(void *unused) {
    (void)unused;
    static char noise[3000];
    memset(noise, NOISE, sizeof noise);
    while (!over) {
        if (write(busy[1], noise, sizeof noise) < 0) sched_yield();
    }
    return NULL;
}

static void *feeds(void *unused) {
    (void)unused;
    unsigned char bytes[1000];
    for (int sent = 0; sent < TOTAL;) {
        int count = TOTAL - sent < 1000 ? TOTAL - sent : 1000;
        for (int i = 0; i < count; i++) bytes[i] = (sent + i) % 251;
        CHECK(write(source[1], bytes, count) == count);
        sent += count;
    }
    return NULL;
}

static void *checks(void *unused) {
    (void)unused;
    unsigned char bytes[8192];
    for (int seen = 0; seen < TOTAL;) {
        ssize_t count = read(busy[0], bytes, sizeof bytes);
        if (count < 0) {
            CHECK(errno == EAGAIN);
            sched_yield();
            continue;
        }
        for (ssize_t i = 0; i < count; i++) {
            if (bytes[i] == NOISE) continue;
            CHECK(bytes[i] == seen % 251);
            seen++;
        }
    }
    over = 1;
    return NULL;
}

// Others write to the pipe that a stream is spliced into.
static void a_writer_beside(void) {
    CHECK(pipe2(busy, O_NONBLOCK) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, source) == 0);
    pthread_t threads[3];
    CHECK(pthread_create(&threads[0], NULL, makes_noise, NULL) == 0);
    CHECK(pthread_create(&threads[1], NULL, feeds, NULL) == 0);
    CHECK(pthread_create(&threads[2], NULL, checks, NULL) == 0);
    while (!over) {
        if (splice(source[0], NULL, busy[1], NULL, 5000, SPLICE_F_NONBLOCK) < 0) {
            CHECK(errno == EAGAIN);
            sched_yield();
        }
    }
    for (int i = 0; i < 3; i++) CHECK(pthread_join(threads[i], NULL) == 0);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    a_failed_write();
    a_reader_beside();
    a_writer_beside();
    return 0;
}
