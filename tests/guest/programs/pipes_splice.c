// Pipes, splice, tee, vmsplice, sendfile, copy_file_range: sizes, atomicity, ends, FIFOs.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/epoll.h>
#include <sys/wait.h>

static char buffer[1 << 17];

// A bad pointer is found before a bad descriptor.
static void sendfile_arguments(void) {
    FAILS(sendfile(-1, -1, (void *)8, 1), EFAULT);
    FAILS(sendfile(-1, -1, NULL, 1), EBADF);
}

int main(void) {
    sendfile_arguments();
    int p[2], q[2], status;
    CHECK(pipe2(p, O_NONBLOCK) == 0 && pipe(q) == 0);
    FAILS(pipe2(p, 0x40), EINVAL);
    CHECK(fcntl(p[1], F_GETPIPE_SZ) == 65536);
    FAILS(read(p[0], buffer, 1), EAGAIN);
    FAILS(write(p[0], buffer, 1), EBADF);
    CHECK(write(p[1], buffer, sizeof buffer) == 65536);
    FAILS(write(p[1], buffer, 1), EAGAIN);
    int unread;
    CHECK(ioctl(p[0], FIONREAD, &unread) == 0 && unread == 65536);
    FAILS(fcntl(p[1], F_SETPIPE_SZ, 4096), EBUSY);
    // At most PIPE_BUF goes in at once or not at all.
    CHECK(read(p[0], buffer, 100) == 100);
    FAILS(write(p[1], buffer, 4096), EAGAIN);
    CHECK(read(p[0], buffer, 65436) == 65436);
    CHECK(fcntl(p[1], F_SETPIPE_SZ, 5000) == 8192);
    FAILS(lseek(p[0], 0, SEEK_SET), ESPIPE);
    FAILS(pread(p[0], buffer, 1, 0), ESPIPE);
    struct pollfd poll_fds[] = {{p[0], POLLIN}, {p[1], POLLOUT}};
    CHECK(poll(poll_fds, 2, 0) == 1 && poll_fds[1].revents == POLLOUT);

    // splice between pipes, tee, vmsplice.
    CHECK(write(q[1], "hello world", 11) == 11);
    CHECK(tee(q[0], p[1], 5, 0) == 5);
    CHECK(splice(q[0], 0, p[1], 0, 6, 0) == 6);
    CHECK(read(p[0], buffer, 100) == 11 && memcmp(buffer, "hellohello ", 11) == 0);
    CHECK(read(q[0], buffer, 100) == 5 && memcmp(buffer, "world", 5) == 0);
    FAILS(splice(q[0], 0, p[1], 0, 5, SPLICE_F_NONBLOCK), EAGAIN);
    FAILS(tee(p[0], p[1], 5, 0), EINVAL);
    struct iovec iov[] = {{"abc", 3}, {"defg", 4}};
    CHECK(vmsplice(p[1], iov, 2, 0) == 7 && read(p[0], buffer, 100) == 7 && memcmp(buffer, "abcdefg", 7) == 0);

    // Files.
    char path[] = "/tmp/splice-XXXXXX";
    int file = mkstemp(path);
    CHECK(unlink(path) == 0);
    CHECK(write(p[1], "from pipe", 9) == 9);
    loff_t at = 100;
    CHECK(splice(p[0], 0, file, &at, 9, 0) == 9 && at == 109);
    CHECK(lseek(file, 0, SEEK_CUR) == 0 && lseek(file, 0, SEEK_END) == 109);
    at = 105;
    CHECK(splice(file, &at, p[1], 0, 100, 0) == 4 && read(p[0], buffer, 10) == 4 && memcmp(buffer, "pipe", 4) == 0);
    FAILS(splice(file, 0, file, 0, 1, 0), EINVAL);
    FAILS(splice(p[0], &at, file, 0, 1, 0), ESPIPE);
    off_t from = 100;
    CHECK(sendfile(p[1], file, &from, 4) == 4 && from == 104 && read(p[0], buffer, 10) == 4 && memcmp(buffer, "from", 4) == 0);
    char path2[] = "/tmp/splice-XXXXXX";
    int copy = mkstemp(path2);
    CHECK(unlink(path2) == 0);
    loff_t in = 0, out = 5;
    CHECK(copy_file_range(file, &in, copy, &out, 1000, 0) == 109 && out == 114 && in == 109);
    CHECK(pread(copy, buffer, 9, 105) == 9 && memcmp(buffer, "from pipe", 9) == 0);
    FAILS(copy_file_range(file, 0, copy, 0, 1, 1), EINVAL);

    // The other end's end.
    CHECK(close(p[0]) == 0);
    signal(SIGPIPE, SIG_IGN);
    FAILS(write(p[1], "x", 1), EPIPE);
    CHECK(poll(poll_fds + 1, 1, 0) == 1 && (poll_fds[1].revents & POLLERR));
    close(q[1]);
    CHECK(read(q[0], buffer, 1) == 0);
    signal(SIGPIPE, SIG_DFL);
    pid_t child = fork();
    if (child == 0) {
        write(p[1], "x", 1);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WTERMSIG(status) == SIGPIPE);

    // FIFOs.
    char fifo[64];
    sprintf(fifo, "/tmp/fifo-%d", getpid());
    CHECK(mkfifo(fifo, 0600) == 0);
    FAILS(mkfifo(fifo, 0600), EEXIST);
    FAILS(open(fifo, O_WRONLY | O_NONBLOCK), ENXIO);
    int reader = open(fifo, O_RDONLY | O_NONBLOCK);
    CHECK(reader >= 0 && read(reader, buffer, 1) == 0);
    int writer = open(fifo, O_WRONLY | O_NONBLOCK);
    CHECK(writer >= 0 && write(writer, "f", 1) == 1 && read(reader, buffer, 1) == 1);
    FAILS(read(reader, buffer, 1), EAGAIN);
    close(reader);
    close(writer);
    child = fork();
    if (child == 0) {
        int out = open(fifo, O_WRONLY);
        _exit(out >= 0 && write(out, "hi", 2) == 2 ? 0 : 1);
    }
    reader = open(fifo, O_RDONLY);
    CHECK(read(reader, buffer, 10) == 2 && read(reader, buffer, 10) == 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    // The end of a writer that was there first is a hang-up, for the reader's epoll too.
    child = fork();
    if (child == 0) {
        int out = open(fifo, O_WRONLY);
        CHECK(out >= 0);
        usleep(20000);
        _exit(0);
    }
    usleep(10000);
    reader = open(fifo, O_RDONLY);
    int queue = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET};
    CHECK(epoll_ctl(queue, EPOLL_CTL_ADD, reader, &event) == 0);
    CHECK(epoll_wait(queue, &event, 1, 5000) == 1 && event.events == EPOLLHUP);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(unlink(fifo) == 0);
    return 0;
}
