// Asynchronous I/O of the kernel: contexts, reads, writes, vectors, sync, eventfd, time-outs, errors.
#include "check.h"
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

static aio_context_t context;
static int submit(struct iocb *request) { return syscall(SYS_io_submit, context, 1, &request); }
static int get(long least, long most, struct io_event *events, struct timespec *timeout) {
    return syscall(SYS_io_getevents, context, least, most, events, timeout);
}

int main(void) {
    struct io_event events[8];
    struct timespec none = {0, 0}, soon = {0, 20000000};
    char path[] = "/tmp/aio-XXXXXX", buffer[64] = {0};
    int file = mkstemp(path);
    CHECK(file >= 0 && unlink(path) == 0);
    FAILS(syscall(SYS_io_setup, 0, &context), EINVAL);
    FAILS(syscall(SYS_io_setup, -1, &context), EINVAL);
    FAILS(syscall(SYS_io_setup, (4 << 20) + 1, &context), EINVAL);
    FAILS(syscall(SYS_io_setup, 4, 0), EFAULT);
    CHECK(syscall(SYS_io_setup, 4, &context) == 0 && context != 0);
    FAILS(syscall(SYS_io_setup, 4, &context), EINVAL);

    struct iocb write_it = {.aio_data = 11, .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = file, .aio_buf = (uintptr_t)"hello world", .aio_nbytes = 11, .aio_offset = 5};
    CHECK(submit(&write_it) == 1 && get(1, 8, events, 0) == 1);
    CHECK(events[0].data == 11 && events[0].obj == (uintptr_t)&write_it && events[0].res == 11);
    struct iocb read_it = {.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = file, .aio_buf = (uintptr_t)buffer, .aio_nbytes = 64, .aio_offset = 5};
    int event_fd = eventfd(0, EFD_NONBLOCK);
    read_it.aio_flags = IOCB_FLAG_RESFD;
    read_it.aio_resfd = event_fd;
    struct iovec parts[] = {{buffer + 20, 3}, {buffer + 30, 4}};
    struct iocb vector = {.aio_data = 3, .aio_lio_opcode = IOCB_CMD_PREADV, .aio_fildes = file, .aio_buf = (uintptr_t)parts, .aio_nbytes = 2, .aio_offset = 5};
    struct iocb sync = {.aio_data = 4, .aio_lio_opcode = IOCB_CMD_FSYNC, .aio_fildes = file};
    struct iocb *all[] = {&read_it, &vector, &sync};
    CHECK(syscall(SYS_io_submit, context, 3, all) == 3 && get(3, 8, events, 0) == 3);
    uint64_t count;
    CHECK(read(event_fd, &count, 8) == 8 && count == 1 && memcmp(buffer, "hello world", 11) == 0);
    CHECK(memcmp(buffer + 20, "hel", 3) == 0 && memcmp(buffer + 30, "lo w", 4) == 0);
    for (int i = 0; i < 3; i++) CHECK(events[i].res >= 0);

    // Errors of the first request are the call's; later ones end it early; failures of the I/O are results.
    struct iocb bad = read_it;
    bad.aio_fildes = 999;
    FAILS(submit(&bad), EBADF);
    bad = read_it;
    bad.aio_lio_opcode = 77;
    FAILS(submit(&bad), EINVAL);
    bad = read_it;
    bad.aio_resfd = file;
    FAILS(submit(&bad), EINVAL);
    struct iocb *mixed[] = {&read_it, &bad};
    CHECK(syscall(SYS_io_submit, context, 2, mixed) == 1 && get(1, 1, events, 0) == 1);
    read_it.aio_buf = 16;
    CHECK(submit(&read_it) == 1 && get(1, 1, events, 0) == 1 && events[0].res == -EFAULT);
    FAILS(syscall(SYS_io_submit, context, 1, 0), EFAULT);
    FAILS(syscall(SYS_io_submit, 12345, 1, all), EINVAL);

    CHECK(get(1, 8, events, &none) == 0 && get(0, 8, events, 0) == 0);
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    CHECK(get(1, 8, events, &soon) == 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    CHECK((after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec >= 20000000);
    FAILS(get(5, 2, events, 0), EINVAL);
    FAILS(syscall(SYS_io_cancel, context, &read_it, events), EINVAL);
    CHECK(syscall(SYS_io_destroy, context) == 0);
    FAILS(syscall(SYS_io_destroy, context), EINVAL);
    return 0;
}
