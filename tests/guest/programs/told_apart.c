// Name spaces have numbers of their own; who shares queues with others cannot take them away; groups are signalled as a
// whole; who polls an epoll instance takes nothing from who waits on it.
#include "check.h"
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void all_numbers_differ(void) {
    const char *kinds[] = {"user", "mnt", "uts", "ipc", "net", "cgroup", "pid", "time"};
    enum { COUNT = sizeof kinds / sizeof *kinds };
    ino_t numbers[2 * COUNT];
    for (int round = 0; round < 2; round++) {
        if (round == 1) CHECK(unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC) == 0);
        for (int i = 0; i < COUNT; i++) {
            char path[64];
            struct stat attr;
            snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
            CHECK(stat(path, &attr) == 0);
            numbers[round * COUNT + i] = attr.st_ino;
            for (int j = round * COUNT; j < round * COUNT + i; j++) CHECK(numbers[j] != attr.st_ino);
        }
    }
    // New ones: mnt, uts, ipc.
    for (int i = 1; i <= 3; i++)
        for (int j = 0; j < COUNT; j++) CHECK(numbers[COUNT + i] != numbers[j]);
}

static void queues_of_others(void) {
    pid_t child = fork();
    if (child == 0) {
        CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0);
        FAILS(mount("none", "/tmp", "mqueue", MS_RDONLY, NULL), EPERM);
        CHECK(unshare(CLONE_NEWIPC) == 0);
        CHECK(mount("none", "/tmp", "mqueue", MS_RDONLY, NULL) == 0);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    // Read-only is the one mount, not what others see through theirs.
    char place[] = "/tmp/told-apart-XXXXXX", file[64];
    CHECK(mkdtemp(place) && unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    mqd_t queue = mq_open("/told-apart", O_CREAT | O_RDWR, 0600, NULL);
    CHECK(queue != (mqd_t)-1 && mount("none", place, "mqueue", MS_RDONLY, NULL) == 0);
    snprintf(file, sizeof file, "%s/q", place);
    FAILS(open(file, O_CREAT | O_RDWR, 0600), EROFS);
    CHECK(mq_unlink("/told-apart") == 0 && umount(place) == 0 && rmdir(place) == 0);
}

#ifndef PIDFD_SIGNAL_PROCESS_GROUP
#define PIDFD_SIGNAL_PROCESS_GROUP 4
#endif

static void groups_by_descriptor(void) {
    needs_linux(6, 9);
    pid_t members[3];
    for (int i = 0; i < 3; i++) {
        members[i] = fork();
        if (members[i] == 0) for (;;) pause();
        CHECK(setpgid(members[i], members[0]) == 0);
    }
    int leader = syscall(SYS_pidfd_open, members[0], 0), other = syscall(SYS_pidfd_open, members[1], 0);
    // No group has the number of one that leads none.
    FAILS(syscall(SYS_pidfd_send_signal, other, SIGTERM, NULL, PIDFD_SIGNAL_PROCESS_GROUP), ESRCH);
    CHECK(syscall(SYS_pidfd_send_signal, leader, SIGTERM, NULL, PIDFD_SIGNAL_PROCESS_GROUP) == 0);
    for (int i = 0; i < 3; i++) {
        int status;
        CHECK(waitpid(members[i], &status, 0) == members[i] && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    }
    // One that may not be signalled does not keep the others from it.
    for (int i = 0; i < 2; i++) {
        members[i] = fork();
        if (members[i] == 0) for (;;) pause();
        CHECK(setpgid(members[i], members[0]) == 0);
    }
    int mine = fork();
    if (mine == 0) {
        CHECK(setpgid(0, members[0]) == 0 && setresuid(1, 1, 1) == 0);
        leader = syscall(SYS_pidfd_open, members[0], 0);
        _exit(syscall(SYS_pidfd_send_signal, leader, SIGKILL, NULL, PIDFD_SIGNAL_PROCESS_GROUP) == 0);
    }
    int status;
    CHECK(waitpid(mine, &status, 0) == mine && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK(waitpid(members[0], &status, WNOHANG) == 0);
    CHECK(kill(-members[0], SIGKILL) == 0);
    CHECK(waitpid(members[0], &status, 0) == members[0] && waitpid(members[1], &status, 0) == members[1]);
}

static int watcher;

static void *poll_it(void *unused) {
    struct pollfd wait = {watcher, POLLIN};
    CHECK(poll(&wait, 1, 20000) == 1);
    return NULL;
}

static void *wait_on_it(void *unused) {
    struct epoll_event event;
    CHECK(epoll_wait(watcher, &event, 1, 20000) == 1);
    return NULL;
}

static void polled_and_waited_on(void) {
    for (int round = 0; round < 2; round++) {
        int fd = eventfd(0, 0);
        watcher = epoll_create1(0);
        struct epoll_event event = {EPOLLIN};
        CHECK(epoll_ctl(watcher, EPOLL_CTL_ADD, fd, &event) == 0);
        pthread_t threads[2];
        CHECK(pthread_create(&threads[0], NULL, round ? wait_on_it : poll_it, NULL) == 0);
        usleep(30000);
        CHECK(pthread_create(&threads[1], NULL, round ? poll_it : wait_on_it, NULL) == 0);
        usleep(30000);
        CHECK(eventfd_write(fd, 1) == 0);
        CHECK(pthread_join(threads[0], NULL) == 0 && pthread_join(threads[1], NULL) == 0);
        close(watcher);
        close(fd);
    }
}

int main(void) {
    polled_and_waited_on();
    queues_of_others();
    groups_by_descriptor();
    all_numbers_differ();
    return 0;
}
