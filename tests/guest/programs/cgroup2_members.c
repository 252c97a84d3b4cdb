// cgroup2: who is in a group, whoever looks, comes, goes or kills meanwhile, and by whose rights they are moved.
#include "cgroup2.h"
#include <dirent.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>

// What is run in a child of its own.
static void apart(int flags, void (*what)(void)) {
    int status, pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        what();
        _exit(0);
    }
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

// The first process of a name space is spared by what it writes itself.
static void kill_as_init(void) {
    int status, other = sleeper();
    CHECK(getpid() == 1 && put("k", "cgroup.procs", "0") == 0 && put_pid("k", "cgroup.procs", other) == 0);
    CHECK(put("k", "cgroup.kill", "1") == 0);
    CHECK(waitpid(other, &status, 0) == other && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void killing(void) {
    CHECK(mkdir(in("k", ""), 0755) == 0);
    apart(CLONE_NEWPID, kill_as_init);
    // From outside it is not.
    int status, pid = syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        for (;;) pause();
    }
    CHECK(put_pid("k", "cgroup.procs", pid) == 0 && put("k", "cgroup.kill", "1") == 0);
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK(rmdir(in("k", "")) == 0);
}

// A directory that is emptied while it is read: all are found, each once.
static void removing(void) {
    enum { GROUPS = 300 };
    char name[32];
    CHECK(mkdir(in("r", ""), 0755) == 0);
    for (int i = 0; i < GROUPS; i++) {
        sprintf(name, "r/group-with-a-name-%d", i);
        CHECK(mkdir(in(name, ""), 0755) == 0);
    }
    DIR *dir = opendir(in("r", ""));
    struct dirent *entry;
    int found = 0;
    while ((entry = readdir(dir))) {
        if (strncmp(entry->d_name, "group-", 6) != 0) continue;
        struct stat st;
        sprintf(name, "r/%s", entry->d_name);
        CHECK(stat(in(name, ""), &st) == 0 && st.st_ino == entry->d_ino && entry->d_type == DT_DIR);
        CHECK(rmdir(in(name, "")) == 0);
        found++;
    }
    closedir(dir);
    CHECK(found == GROUPS && rmdir(in("r", "")) == 0);
    // Files are numbered as they are listed.
    CHECK(mkdir(in("r", ""), 0755) == 0);
    dir = opendir(in("r", ""));
    while ((entry = readdir(dir))) {
        struct stat st;
        if (entry->d_name[0] == '.') continue;
        CHECK(stat(in("r", entry->d_name), &st) == 0 && st.st_ino == entry->d_ino);
    }
    closedir(dir);
    CHECK(rmdir(in("r", "")) == 0);
}

static volatile int thread_id, thread_ends;
static void *thread(void *unused) {
    thread_id = gettid();
    while (!thread_ends) usleep(1000);
    return unused;
}

// Of a process whose threads are in several groups, whoever names one of them must have a right to the first one's.
static void move_by_thread(void) {
    pthread_t id;
    CHECK(put("t", "cgroup.procs", "0") == 0 && pthread_create(&id, 0, thread, 0) == 0);
    while (!thread_id) usleep(1000);
    CHECK(put_pid("t/x", "cgroup.threads", thread_id) == 0);
    int status, pid = fork();
    if (pid == 0) {
        CHECK(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0);
        FAILS(put_pid("t/x", "cgroup.procs", thread_id), EACCES);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0 && is_in(getpid(), "/t") && is_in(thread_id, "/t/x"));
    thread_ends = 1;
    CHECK(pthread_join(id, 0) == 0);
}

static void delegation(void) {
    CHECK(mkdir(in("t", ""), 0755) == 0 && mkdir(in("t/x", ""), 0755) == 0);
    CHECK(put("t/x", "cgroup.type", "threaded") == 0 && chown(in("t/x", ""), 1000, 1000) == 0);
    CHECK(chown(in("t/x", "cgroup.procs"), 1000, 1000) == 0 && chown(in("t/x", "cgroup.threads"), 1000, 1000) == 0);
    apart(0, move_by_thread);
    CHECK(rmdir(in("t/x", "")) == 0 && rmdir(in("t", "")) == 0);
}

static int pair[2];

static void send_fd(int fd) {
    char byte = 'x', control[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    CHECK(sendmsg(pair[0], &message, 0) == 1);
}

static int receive_fd(void) {
    char byte, control[CMSG_SPACE(sizeof(int))];
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK(recvmsg(pair[1], &message, 0) == 1);
    int fd;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

static void open_inside(void) {
    CHECK(put("n", "cgroup.procs", "0") == 0);
    int before = open(in("o", "cgroup.procs"), O_WRONLY);
    CHECK(before >= 0 && unshare(CLONE_NEWCGROUP) == 0);
    send_fd(open(in("o", "cgroup.procs"), O_WRONLY));
    // What was opened before still reaches there.
    CHECK(write(before, "0", 1) == 1 && is_in(getpid(), "/o"));
}

// What a descriptor of cgroup.procs can do is what who opened it could, whoever writes.
static void openers(void) {
    CHECK(mkdir(in("n", ""), 0755) == 0 && mkdir(in("o", ""), 0755) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    apart(0, open_inside);
    int inner = receive_fd();
    // Name spaces are limits of delegation where whoever mounted it first said so.
    if (strstr(get_path("/proc/mounts"), "nsdelegate")) FAILS(write(inner, "0", 1), ENOENT);
    close(inner);
    int outer = open(in("o", "cgroup.procs"), O_WRONLY), status, pid = fork();
    if (pid == 0) {
        CHECK(setresuid(1000, 1000, 1000) == 0 && write(outer, "0", 1) == 1 && is_in(getpid(), "/o"));
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    close(outer);
    CHECK(rmdir(in("n", "")) == 0 && rmdir(in("o", "")) == 0);
}

// Processor time never becomes less, whoever ends or moves meanwhile.
static void times(void) {
    CHECK(mkdir(in("c", ""), 0755) == 0 && mkdir(in("c/x", ""), 0755) == 0);
    int pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 150; i++) {
            int child = fork();
            if (child == 0) {
                put(i % 2 ? "c/x" : "c", "cgroup.procs", "0");
                for (volatile int n = 0; n < 300000; n++) {}
                _exit(0);
            }
            waitpid(child, 0, 0);
        }
        _exit(0);
    }
    long last = 0, now;
    while (waitpid(pid, 0, WNOHANG) == 0) {
        CHECK(sscanf(get("c", "cpu.stat"), "usage_usec %ld", &now) == 1 && now >= last);
        last = now;
    }
    CHECK(rmdir(in("c/x", "")) == 0 && sscanf(get("c", "cpu.stat"), "usage_usec %ld", &now) == 1 && now >= last);
    CHECK(rmdir(in("c", "")) == 0);
}

// What is written is a number as Linux reads it.
static void texts(void) {
    static char text[5000];
    CHECK(mkdir(in("w", ""), 0755) == 0);
    int fd = open(in("w", "cgroup.max.depth"), O_RDWR);
    CHECK(write(fd, "", 0) == 0 && write(fd, "0x10\n", 5) == 5 && is("w", "cgroup.max.depth", "16\n"));
    CHECK(write(fd, " 017 ", 5) == 5 && is("w", "cgroup.max.depth", "15\n"));
    FAILS(write(fd, "\n", 1), EINVAL);
    FAILS(write(fd, "1 2", 3), EINVAL);
    FAILS(write(fd, "09", 2), EINVAL);
    FAILS(write(fd, "99999999999999999999", 20), ERANGE);
    memset(text, 'a', sizeof text);
    FAILS(write(fd, text, sizeof text), E2BIG);
    close(fd);
    CHECK(rmdir(in("w", "")) == 0);
}

// Children that are made in a group are killed with it, whoever makes them.
static void kill_those_to_come(void) {
    struct clone_args args = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD};
    CHECK(mkdir(in("k", ""), 0755) == 0);
    args.cgroup = open(in("k", ""), O_PATH | O_DIRECTORY);
    for (int round = 0; round < 30; round++) {
        int maker = fork();
        if (maker == 0) {
            for (int i = 0; i < 20; i++) {
                if (syscall(SYS_clone3, &args, sizeof args) == 0) {
                    for (;;) pause();
                }
            }
            for (;;) pause();
        }
        usleep(round * 50);
        kill(maker, SIGSTOP);
        CHECK(waitpid(maker, 0, WUNTRACED) == maker && put("k", "cgroup.kill", "1") == 0);
        CHECK(wait_for("k", "populated 0\n"));
        end(maker);
    }
    close(args.cgroup);
    CHECK(rmdir(in("k", "")) == 0);
}

int main(void) {
    needs_linux(6, 8);
    if (!begin()) return 0;
    killing();
    removing();
    delegation();
    openers();
    times();
    texts();
    kill_those_to_come();
    return finish();
}
