// POSIX message queues: priorities, limits, waiting, notification, poll, errors.
#include "check.h"
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static char name[32];

static struct timespec in_ms(int ms) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += ms * 1000000L;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

static void expect(mqd_t queue, const char *text, unsigned priority) {
    char buffer[64];
    unsigned got;
    CHECK(mq_receive(queue, buffer, sizeof buffer, &got) == strlen(text));
    CHECK(memcmp(buffer, text, strlen(text)) == 0 && got == priority);
}

static void handler(int signal) {}

int main(void) {
    snprintf(name, sizeof name, "/guest-test-%d", getpid());
    char buffer[64];
    struct mq_attr attr = {.mq_maxmsg = 4, .mq_msgsize = 64}, got;
    FAILS(mq_open(name, O_RDWR), ENOENT);
    FAILS(mq_open("/a/b", O_RDWR | O_CREAT, 0600, &attr), EACCES);
    FAILS(mq_open("/", O_RDWR | O_CREAT, 0600, &attr), ENOENT);
    attr.mq_maxmsg = 0;
    FAILS(mq_open(name, O_RDWR | O_CREAT, 0600, &attr), EINVAL);
    attr.mq_maxmsg = 4;
    umask(027);
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0666, &attr);
    CHECK(queue >= 0);
    struct stat st;
    CHECK(fstat(queue, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0777) == 0640);
    CHECK(fcntl(queue, F_GETFD) == FD_CLOEXEC);
    FAILS(mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr), EEXIST);
    mqd_t reader = mq_open(name, O_RDONLY | O_NONBLOCK);
    CHECK(reader >= 0);
    FAILS(mq_send(reader, "x", 1, 0), EBADF);
    FAILS(mq_send(0, "x", 1, 0), EBADF);

    CHECK(mq_send(queue, "low", 3, 1) == 0 && mq_send(queue, "high", 4, 9) == 0);
    CHECK(mq_send(queue, "high2", 5, 9) == 0 && mq_send(queue, "", 0, 0) == 0);
    struct timespec soon = in_ms(20);
    FAILS(mq_timedsend(queue, "x", 1, 0, &soon), ETIMEDOUT);
    CHECK(mq_getattr(queue, &got) == 0 && got.mq_maxmsg == 4 && got.mq_msgsize == 64 && got.mq_curmsgs == 4 && got.mq_flags == 0);
    CHECK(mq_getattr(reader, &got) == 0 && got.mq_flags == O_NONBLOCK);
    struct pollfd poll_fd = {queue, POLLIN | POLLOUT};
    CHECK(poll(&poll_fd, 1, 0) == 1 && poll_fd.revents == POLLIN);
    expect(queue, "high", 9);
    expect(reader, "high2", 9);
    expect(queue, "low", 1);
    expect(queue, "", 0);
    CHECK(poll(&poll_fd, 1, 0) == 1 && poll_fd.revents == POLLOUT);
    FAILS(mq_receive(reader, buffer, 64, 0), EAGAIN);
    FAILS(mq_receive(queue, buffer, 63, 0), EMSGSIZE);
    char long_text[65] = {0};
    FAILS(mq_send(queue, long_text, 65, 0), EMSGSIZE);
    FAILS(mq_send(queue, "x", 1, 32768), EINVAL);
    soon = in_ms(20);
    FAILS(mq_timedreceive(queue, buffer, 64, 0, &soon), ETIMEDOUT);
    soon.tv_nsec = -1;
    FAILS(mq_timedreceive(queue, buffer, 64, 0, &soon), EINVAL);

    // Interrupted, and restarted.
    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGALRM, &action, 0);
    ualarm(20000, 0);
    FAILS(mq_receive(queue, buffer, 64, 0), EINTR);

    // Between processes.
    pid_t child = fork();
    if (child == 0) {
        usleep(20000);
        CHECK(mq_send(queue, "child", 5, 3) == 0);
        _exit(0);
    }
    expect(queue, "child", 3);
    CHECK(waitpid(child, 0, 0) == child);

    // Notification: once, with a value; only one process at a time; not while somebody waits.
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1, .sigev_value.sival_int = 77};
    CHECK(mq_notify(queue, &event) == 0);
    FAILS(mq_notify(queue, &event), EBUSY);
    CHECK(mq_send(queue, "n", 1, 0) == 0 && mq_send(queue, "m", 1, 0) == 0);
    siginfo_t info;
    struct timespec no_time = {0, 0};
    CHECK(sigtimedwait(&set, &info, &no_time) == SIGRTMIN + 1);
    CHECK(info.si_code == SI_MESGQ && info.si_value.sival_int == 77 && info.si_pid == getpid() && info.si_uid == getuid());
    FAILS(sigtimedwait(&set, &info, &no_time), EAGAIN);
    expect(queue, "n", 0);
    expect(queue, "m", 0);
    CHECK(mq_notify(queue, &event) == 0 && mq_notify(queue, 0) == 0);
    CHECK(mq_send(queue, "n", 1, 0) == 0);
    FAILS(sigtimedwait(&set, &info, &no_time), EAGAIN);
    expect(queue, "n", 0);
    // Closing any descriptor of the queue ends it.
    CHECK(mq_notify(queue, &event) == 0 && mq_close(reader) == 0 && mq_notify(queue, &event) == 0);
    CHECK(mq_notify(queue, 0) == 0);

    got.mq_flags = O_NONBLOCK;
    CHECK(mq_setattr(queue, &got, 0) == 0);
    FAILS(mq_receive(queue, buffer, 64, 0), EAGAIN);

    CHECK(mq_unlink(name) == 0);
    FAILS(mq_unlink(name), ENOENT);
    CHECK(mq_send(queue, "still", 5, 0) == 0);
    expect(queue, "still", 0);
    return 0;
}
