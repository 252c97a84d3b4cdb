// Takes as much of one kind of thing as it is given: `hog KIND`. Ends with 0 once it has been refused (or has reached a
// bound that is fine), with 1 where something else went wrong, with 2 for a kind that is not known.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static char block[1 << 20];

// Whether a call was refused for want of something.
static int refused(void) {
    int expected[] = {ENOMEM, ENOSPC, EMFILE, ENFILE, ENOBUFS, EAGAIN, ENOLCK, EDQUOT, EPERM};
    for (unsigned i = 0; i < sizeof expected / sizeof *expected; i++)
        if (errno == expected[i]) return 1;
    perror("unexpected");
    exit(1);
}

// As many descriptors as the administrator allows.
static void raise_files(void) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void pipes(void) {
    int ends[2];
    raise_files();
    while (pipe2(ends, O_NONBLOCK) == 0) {
        fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
        while (write(ends[1], block, sizeof block) > 0) continue;
        refused();
    }
    refused();
}

static void sockets(int type) {
    int ends[2];
    raise_files();
    while (socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, ends) == 0) {
        for (int i = 0; i < 2; i++)
            while (send(ends[i], block, 60000, 0) > 0) continue;
        refused();
    }
    refused();
}

static void absent_names(void) {
    char name[300];
    for (int dir = 0; dir < 300; dir++) {
        sprintf(name, "/tmp/absent%d", dir);
        if (mkdir(name, 0700) != 0) { refused(); return; }
        for (int i = 0; i < 700; i++) {
            sprintf(name, "/tmp/absent%d/%0200d", dir, i);
            if (access(name, F_OK) == 0) exit(1);
        }
    }
}

static void inodes(const char *where) {
    char name[300];
    for (int i = 0; i < 4000000; i++) {
        sprintf(name, "%s/%0200d", where, i);
        int made = i % 2 ? mkdir(name, 0700) : mknod(name, S_IFREG | 0600, 0);
        if (made != 0) { refused(); return; }
    }
    exit(1);
}

static void attributes(void) {
    char name[300];
    for (int i = 0; i < 1000000; i++) {
        sprintf(name, "/dev/shm/x%d", i);
        if (mknod(name, S_IFREG | 0600, 0) != 0) { refused(); return; }
        for (int j = 0; j < 2; j++) {
            char key[32];
            sprintf(key, "user.%d", j);
            if (setxattr(name, key, block, 60000, 0) != 0) { refused(); return; }
        }
    }
    exit(1);
}

// Control groups, and attributes of all their files.
static void groups(void) {
    char name[300];
    for (int i = 0; i < 100000; i++) {
        sprintf(name, "/sys/fs/cgroup/x%d", i);
        if (mkdir(name, 0755) != 0) { refused(); return; }
        for (int j = 0; j < 2; j++) {
            char key[32];
            sprintf(key, "user.%d", j);
            if (setxattr(name, key, block, 60000, 0) != 0) { refused(); return; }
        }
    }
    exit(1);
}

static void messages(void) {
    struct { long type; char text[8192]; } message = {1, ""};
    for (;;) {
        int queue = msgget(IPC_PRIVATE, 0600);
        if (queue < 0) { refused(); return; }
        while (msgsnd(queue, &message, sizeof message.text, IPC_NOWAIT) == 0) continue;
        refused();
        if (errno == ENOMEM) return;
    }
}

static void semaphores(void) {
    while (semget(IPC_PRIVATE, 32000, 0600) >= 0) continue;
    refused();
}

static void queues(void) {
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_MSGQUEUE, &limit);
    raise_files();
    struct mq_attr attr = {.mq_maxmsg = 10, .mq_msgsize = 8192};
    for (int i = 0; i < 100000; i++) {
        char name[32];
        sprintf(name, "/queue%d", i);
        mqd_t queue = mq_open(name, O_CREAT | O_RDWR | O_NONBLOCK, 0600, &attr);
        if (queue == (mqd_t)-1) { refused(); return; }
        while (mq_send(queue, block, 8192, 0) == 0) continue;
        refused();
    }
    exit(1);
}

static void watches(void) {
    raise_files();
    int sources[1000], count = 0;
    while (count < 1000 && (sources[count] = eventfd(0, 0)) >= 0) count++;
    for (;;) {
        int epoll = epoll_create1(0);
        if (epoll < 0) { refused(); return; }
        for (int i = 0; i < count; i++) {
            struct epoll_event event = {.events = EPOLLIN};
            if (epoll_ctl(epoll, EPOLL_CTL_ADD, sources[i], &event) != 0) { refused(); return; }
        }
    }
}

static void notices(void) {
    raise_files();
    mkdir("/tmp/watched", 0700);
    for (;;) {
        int watcher = inotify_init1(IN_NONBLOCK);
        if (watcher < 0 || inotify_add_watch(watcher, "/tmp/watched", IN_CREATE) < 0) { refused(); break; }
    }
    for (int i = 0; i < 5000; i++) {
        char name[300];
        sprintf(name, "/tmp/watched/%0200d", i);
        if (mknod(name, S_IFREG | 0600, 0) != 0) { refused(); return; }
    }
}

// Waits for one file in as many entries as may be, in many processes.
static void polls(void) {
    raise_files();
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    size_t bytes = limit.rlim_cur * sizeof(struct pollfd);
    struct pollfd *waits = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (waits == MAP_FAILED) { refused(); return; }
    int ends[2];
    if (pipe(ends) != 0) { refused(); return; }
    for (rlim_t i = 0; i < limit.rlim_cur; i++) waits[i] = (struct pollfd){ends[0], POLLIN};
    for (int i = 0; i < 16; i++) {
        pid_t child = fork();
        if (child == 0) _exit(poll(waits, limit.rlim_cur, 3000) < 0);
        if (child < 0) { refused(); break; }
    }
    while (wait(NULL) > 0) {
    }
}

static void locks(void) {
    int fd = open("/tmp/locked", O_CREAT | O_RDWR, 0600);
    // Every lock is compared with all others: a bound on the time, not on the memory.
    for (long at = 0; at < 40000; at += 2) {
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = at, .l_len = 1};
        if (fcntl(fd, F_SETLK, &lock) != 0) { refused(); return; }
    }
}

static void signals(void) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, 0);
    union sigval value = {0};
    for (int i = 0; i < 10000000; i++)
        if (sigqueue(getpid(), SIGRTMIN, value) != 0) { refused(); return; }
    exit(1);
}

static void timers(void) {
    struct sigevent event = {.sigev_notify = SIGEV_NONE};
    for (int i = 0; i < 10000000; i++) {
        timer_t timer;
        if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, &timer) != 0) { refused(); return; }
    }
    exit(1);
}

static void mappings(void) {
    for (int process = 0; process < 4; process++) {
        pid_t child = fork();
        if (child < 0) { refused(); return; }
        for (int i = 0; child == 0; i++)
            if (mmap(0, 4096, i % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
                refused();
                pause();
            }
    }
    sleep(5);
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
}

static void descriptors(void) {
    raise_files();
    for (;;)
        if (open("/dev/null", O_RDONLY) < 0) { refused(); return; }
}

static void memory(void) {
    for (;;) {
        char *page = mmap(0, 16 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) { refused(); return; }
        memset(page, 1, 16 << 20);
    }
}

static void file(const char *name) {
    int fd = open(name, O_CREAT | O_RDWR, 0600);
    for (;;)
        if (write(fd, block, sizeof block) < 0) { refused(); return; }
}

static void anonymous_files(void) {
    raise_files();
    for (;;) {
        int fd = memfd_create("hog", 0);
        if (fd < 0) { refused(); return; }
        for (int i = 0; i < 16; i++)
            if (write(fd, block, sizeof block) < 0) { refused(); return; }
    }
}

// One page in every megabyte of a huge file.
static void sparse(void) {
    int fd = memfd_create("hog", 0);
    for (long at = 0; at < 1L << 40; at += 1 << 20) {
        if (ftruncate(fd, at + 4096) != 0 || pwrite(fd, "x", 1, at) != 1) { refused(); return; }
    }
    exit(1);
}

static void preallocated(void) {
    int fd = memfd_create("hog", 0);
    for (long at = 0; at < 1L << 40; at += 64 << 20)
        if (fallocate(fd, 0, at, 64 << 20) != 0) { refused(); return; }
    exit(1);
}

static void segments(void) {
    for (;;) {
        int id = shmget(IPC_PRIVATE, 16 << 20, 0600);
        if (id < 0) { refused(); return; }
        char *at = shmat(id, 0, 0);
        if (at == (void *)-1) { refused(); return; }
        memset(at, 1, 16 << 20);
    }
}

// Processes that make processes.
static void forks(void) {
    int refusals = 0;
    for (int i = 0; i < 20000 && refusals < 50; i++) {
        pid_t child = fork();
        if (child < 0) {
            refused();
            refusals++;
            usleep(1000);
        } else if (child == 0) {
            fork();
            pause();
        }
    }
    if (refusals == 0) exit(1);
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
}

int main(int argc, char **argv) {
    const char *kind = argc > 1 ? argv[1] : "";
#define KIND(name, call) if (strcmp(kind, name) == 0) { call; return 0; }
    KIND("pipes", pipes())
    KIND("streams", sockets(SOCK_STREAM))
    KIND("datagrams", sockets(SOCK_DGRAM))
    KIND("absent-names", absent_names())
    KIND("inodes", inodes("/dev/shm"))
    KIND("root-inodes", inodes("/root"))
    KIND("attributes", attributes())
    KIND("groups", groups())
    KIND("messages", messages())
    KIND("semaphores", semaphores())
    KIND("queues", queues())
    KIND("watches", watches())
    KIND("notices", notices())
    KIND("polls", polls())
    KIND("locks", locks())
    KIND("signals", signals())
    KIND("timers", timers())
    KIND("mappings", mappings())
    KIND("descriptors", descriptors())
    KIND("memory", memory())
    KIND("shm-file", file("/dev/shm/hog"))
    KIND("root-file", file("/root/hog"))
    KIND("anonymous-files", anonymous_files())
    KIND("sparse", sparse())
    KIND("preallocated", preallocated())
    KIND("segments", segments())
    KIND("forks", forks())
    return 2;
}
