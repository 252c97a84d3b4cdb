// What could not be stored in the caller's memory is not lost: completions of io_getevents(2), requests of seccomp
// supervisors.
#include "check.h"
#include "seccomp_filter.h"
#include <linux/aio_abi.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static char *edge(void) {
    long page = sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED && munmap(pages + page, page) == 0);
    return pages + page;
}

static void completions(void) {
    aio_context_t context = 0;
    CHECK(syscall(SYS_io_setup, 8, &context) == 0);
    int pipes[2];
    CHECK(pipe(pipes) == 0);
    for (unsigned long i = 1; i <= 3; i++) {
        struct iocb request = {.aio_data = i, .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = pipes[1], .aio_buf = (long)"x", .aio_nbytes = 1};
        struct iocb *list = &request;
        CHECK(syscall(SYS_io_submit, context, 1, &list) == 1);
    }
    struct io_event events[3];
    FAILS(syscall(SYS_io_getevents, context, 1, 3, (void *)8, NULL), EFAULT);
    FAILS(syscall(SYS_io_getevents, context, 3, 3, edge() - sizeof events[0], NULL), EFAULT);
    CHECK(syscall(SYS_io_getevents, context, 3, 3, events, NULL) == 3);
    CHECK(events[0].data == 1 && events[1].data == 2 && events[2].data == 3 && events[2].res == 1);
    CHECK(syscall(SYS_io_destroy, context) == 0);
}

static void requests(void) {
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    int listener = install(SYS_getpgid, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    CHECK(listener >= 0);
    pid_t pid = fork();
    if (pid == 0) _exit(syscall(SYS_getpgid, 0) == 77 ? 0 : 1);
    // Readable at first, and then not writable.
    struct seccomp_notif *request = (void *)(edge() - sizeof *request);
    struct seccomp_notif good = {0};
    CHECK(mprotect((void *)((unsigned long)request & ~4095ul), 4096, PROT_READ) == 0);
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, request), EFAULT);
    CHECK(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &good) == 0 && good.pid == (unsigned)pid && good.data.nr == SYS_getpgid);
    struct seccomp_notif_resp answer = {.id = good.id, .val = 77};
    CHECK(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) == 0);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    FAILS(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer), ENOENT);
}

int main(void) {
    completions();
    requests();
    return 0;
}
