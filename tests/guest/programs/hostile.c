// Random system calls with hostile arguments: whatever they do to this program, the kernel below goes on.
//
// A child of a few hundred calls after another, each with its own seed, as root and as nobody, in a pid name space where
// this program is the first process, so that nothing they send ends it. The test fails where a child cannot be killed;
// that the sandbox is still there is seen by the end of the program. On a host it does nothing: as root it would do
// there all that root can.
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

enum { CHILDREN = 10, CALLS = 500, CHILD_SECONDS = 1, KILL_SECONDS = 30, PAGE = 4096, ARENA_PAGES = 64, NOBODY = 65534 };
#define COUNT(list) (sizeof(list) / sizeof(*(list)))

// What the kinds of arguments mean is told in argument().
struct call {
    int number;
    const char *kinds;
};
#define C(name, kinds) {SYS_##name, kinds}
static const struct call calls[] = {
    // Files.
    C(read, "fpn"), C(write, "fpn"), C(pread64, "fpno"), C(pwrite64, "fpno"), C(readv, "fvn"), C(writev, "fvn"),
    C(preadv2, "fvnoox"), C(pwritev2, "fvnoox"), C(lseek, "fow"), C(open, "sxx"), C(openat, "dsxx"), C(openat2, "dsbn"),
    C(close, "w"), C(close_range, "wwx"), C(dup, "f"), C(dup3, "fwx"), C(fcntl, "fwp"), C(flock, "fw"), C(ioctl, "fcp"),
    C(ioctl, "fcp"), C(getdents64, "fpn"), C(newfstatat, "dspx"), C(statx, "dsxxp"), C(statfs, "sp"), C(fallocate, "fxon"),
    C(ftruncate, "fo"), C(truncate, "so"), C(sendfile, "ffpn"), C(splice, "fpfpnx"), C(tee, "ffnx"), C(vmsplice, "fvnx"),
    C(copy_file_range, "fpfpnx"), C(fadvise64, "fonw"), C(readahead, "fon"), C(sync_file_range, "fonx"), C(mkdir, "sx"),
    C(mknod, "sxw"), C(rmdir, "s"), C(unlink, "s"), C(link, "ss"), C(symlink, "ss"), C(renameat2, "dsdsx"),
    C(readlink, "spn"), C(chmod, "sx"), C(chown, "sww"), C(utimensat, "dspx"), C(chdir, "s"), C(getcwd, "pn"),
    C(setxattr, "sspnx"), C(fgetxattr, "fspn"), C(listxattr, "spn"), C(removexattr, "ss"), C(mount, "sssxp"),
    C(umount2, "sx"), C(open_tree, "dsx"), C(move_mount, "dsdsx"), C(fsopen, "sx"), C(fsconfig, "fwspw"),
    C(fsmount, "fxx"), C(mount_setattr, "dsxbn"), C(name_to_handle_at, "dsppx"), C(io_setup, "wp"), C(io_submit, "anp"),
    // Readiness.
    C(poll, "pnt"), C(ppoll, "pntp8"), C(select, "npppt"), C(epoll_ctl, "fTfb"), C(epoll_wait, "fpnw"), C(eventfd2, "wx"),
    C(signalfd4, "fb8x"), C(timerfd_settime, "fTbp"), C(inotify_add_watch, "fsx"), C(inotify_rm_watch, "fw"), C(pipe2, "px"),
    // Memory.
    C(mmap, "anxxfo"), C(mmap, "anxxfo"), C(mprotect, "anx"), C(munmap, "an"), C(mremap, "annxa"), C(madvise, "anw"),
    C(msync, "anx"), C(mincore, "anp"), C(mlock2, "anx"), C(brk, "a"), C(mbind, "anwpnx"), C(process_vm_readv, "ivnvnx"),
    C(process_vm_writev, "ivnvnx"), C(process_madvise, "fvnwx"), C(memfd_create, "sx"), C(pkey_mprotect, "anxw"),
    // Inter-process communication.
    C(shmget, "TnG"), C(shmat, "RaG"), C(shmctl, "RTp"), C(semget, "TTG"), C(semop, "RbT"), C(semctl, "RTwp"),
    C(msgget, "TG"), C(msgsnd, "RbTG"), C(msgrcv, "RbnTG"), C(msgctl, "RTp"), C(mq_open, "sxxp"), C(mq_timedsend, "fpnwt"),
    C(futex, "bxwtpw"), C(futex_waitv, "bnxtw"),
    // Sockets.
    C(socket, "FTR"), C(socketpair, "FTRp"), C(bind, "fAl"), C(connect, "fAl"), C(listen, "fw"), C(accept4, "fppx"),
    C(sendto, "fpnxAl"), C(recvfrom, "fpnxpp"), C(sendmsg, "fMx"), C(recvmsg, "fMx"), C(sendmmsg, "fpnx"),
    C(recvmmsg, "fpnxt"), C(setsockopt, "fLObl"), C(setsockopt, "fLObl"), C(getsockopt, "fLOpp"), C(shutdown, "fw"),
    // Processes, signals and time.
    C(fork, ""), C(clone, "xappa"), C(clone3, "bn"), C(wait4, "ipxp"), C(waitid, "wipxp"), C(kill, "iS"), C(tgkill, "iiS"),
    C(rt_sigaction, "Spp8"), C(rt_sigprocmask, "Tpp8"), C(rt_sigtimedwait, "bbt8"), C(rt_sigqueueinfo, "iSb"),
    C(sigaltstack, "pp"), C(ptrace, "wipp"), C(prctl, "wpppp"), C(prctl, "wwwww"), C(arch_prctl, "wa"), C(setresuid, "www"),
    C(setgroups, "np"), C(capset, "pp"), C(setpgid, "ii"), C(setsid, ""), C(prlimit64, "iwbp"), C(sched_setattr, "ibx"),
    C(sched_setaffinity, "inp"), C(unshare, "x"), C(setns, "fx"), C(pidfd_open, "ix"), C(pidfd_send_signal, "fSpx"),
    C(kcmp, "iiwww"), C(seccomp, "wxp"), C(set_robust_list, "pl"), C(rseq, "plxw"), C(membarrier, "wxw"), C(getrandom, "pnx"),
    C(timer_create, "Rpp"), C(timer_settime, "RTbp"), C(setitimer, "Tbp"), C(clock_nanosleep, "wxtp"), C(clock_adjtime, "wb"),
    C(sethostname, "pn"), C(syslog, "wpn"), C(add_key, "sspnw"), C(keyctl, "wppnw"),
};

static const uint64_t edges[] = {
    0, 1, 2, 7, 8, 64, 255, 4095, 4096, 65535, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, 999999999, 1000000000,
    0x7ffffffff000, 0x800000000000, 0x7ffffffffffff000, INT64_MAX, INT64_MAX / 1000000000, (uint64_t)INT64_MIN,
    0xffffffff00000000, 0xffffffffff600000, 0xfffffffffffff000, UINT64_MAX,
};
static const char *const names[] = {
    "/", "/tmp", "a", "b", "d", "d/x", "l", "fifo", "..", "", "d/../a", "/proc", "/proc/self/mem", "/proc/self/maps",
    "/proc/self/fd/3", "/proc/self/ns/net", "/proc/self/uid_map", "/proc/self/comm", "/proc/sys/kernel/sem", "/dev/null",
    "/dev/zero", "/dev/urandom", "/dev/ptmx", "/dev/pts/0", "/dev/shm/x", "/dev/mqueue/q", "/q", "/sys/fs/cgroup", "/bin/true",
    "user.x", "system.posix_acl_access", "tmpfs", "proc", "overlay", "devpts", "mqueue", "size=1m,mode=777", "\xff\xfe", "source",
};
static const uint32_t requests[] = {
    0x5401, 0x5402, 0x5404, 0x540e, 0x540f, 0x5410, 0x5412, 0x5413, 0x5414, 0x541b, 0x5420, 0x5421, 0x5423, 0x5441, 0x5452, // terminals
    0x80045430, 0x40045431, 0x40045436, 0x8901, 0x8910, 0x8912, 0x8913, 0x8914, 0x8915, 0x8927, 0x8933, 0x89a0, // and sockets
    0xb701, 0xb703, 0x400454ca, 0x40049409, 0x4020940d, 0xc0189436, 0xc020660b, 0x80086601, 0x5206, 0x40085203, // and files
};

static uint64_t state;
static int files[64], file_count;
static char *arena; // ARENA_PAGES that can be written, then one that cannot be read, then one that can only be read.

static uint64_t next(void) {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}
static uint64_t below(uint64_t limit) { return next() % limit; }

static uint64_t number(void) {
    switch (below(6)) {
    case 0: return next();
    case 1: return below(64);
    case 2: return 1ull << below(64);
    default: return edges[below(COUNT(edges))] + below(3) - 1;
    }
}

static uint64_t a_file(void) { return below(20) ? files[below(file_count)] : number(); }

// 256 bytes of numbers, descriptors and pointers.
static char *block(void) {
    char *at = arena + below(ARENA_PAGES * PAGE / 256) * 256;
    for (int i = 0; i < 256; i += 8) {
        uint64_t two = a_file() << 32 | (uint32_t)number();
        uint64_t word = below(3) ? number() : below(2) ? two : (uint64_t)(arena + below(ARENA_PAGES * PAGE));
        memcpy(at + i, &word, 8);
    }
    return at;
}

static uint64_t pointer(void) {
    char *edge = arena + ARENA_PAGES * PAGE;
    switch (below(16)) {
    case 0: return 0;
    case 1: return number();
    case 2: return (uint64_t)(edge - below(32));
    case 3: return (uint64_t)(edge + PAGE);
    case 4: return (uint64_t)block() + below(9);
    default: return (uint64_t)block();
    }
}

static uint64_t name(void) {
    char *at = arena + below(ARENA_PAGES) * PAGE;
    return below(20) ? (uint64_t)strcpy(at, names[below(COUNT(names))]) : pointer();
}

static uint64_t vector(void) {
    uint64_t *at = (uint64_t *)block();
    for (int i = 0; i < 8; i++) {
        at[2 * i] = pointer();
        at[2 * i + 1] = below(3) ? below(300) : number();
    }
    return (uint64_t)at;
}

static uint64_t address(void) {
    static const uint16_t families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, 0};
    uint16_t *at = (uint16_t *)block();
    at[0] = families[below(COUNT(families))];
    if (at[0] != AF_UNIX) memset(at + 1, 0, 26);
    if (at[0] == AF_INET || at[0] == AF_INET6) at[1] = 4000 + below(8);
    return (uint64_t)at;
}

static uint64_t message(void) {
    uint64_t *control = (uint64_t *)block(), *at = (uint64_t *)block();
    control[0] = below(4) ? 16 + below(40) : number();
    control[1] = below(4) ? 1ull << 32 | SOL_SOCKET : number();
    uint64_t header[7] = {below(2) ? 0 : address(), 16, vector(), below(8), (uint64_t)control, below(4) ? 64 : number(), 0};
    memcpy(at, header, sizeof header);
    return (uint64_t)at;
}

static uint64_t argument(char kind) {
    static const uint64_t levels[] = {SOL_SOCKET, 0, 6, 17, 41, 58, 255, 263, 270}, domains[] = {1, 1, 2, 2, 10, 16, 17, 40};
    if (!below(30)) return number();
    switch (kind) {
    case 'f': return a_file();
    case 'd': return below(3) ? AT_FDCWD : a_file();
    case 'p': return pointer();
    case 'b': return (uint64_t)block();
    case 's': return name();
    case 'v': return vector();
    case 'A': return address();
    case 'M': return message();
    case 'a': return below(8) ? (uint64_t)arena + (ARENA_PAGES * 2 + below(64)) * PAGE : number();
    case 'n': return below(3) ? below(5000) : number();
    case 'o': return below(3) ? below(9000) : number();
    case 'x': return below(4) ? 1ull << below(32) | (below(2) ? 1ull << below(32) : 0) : below(2) ? 0 : number();
    case 'i': return below(6) ? getpid() * below(2) : below(40);
    case 't': return below(2) ? pointer() : below(20);
    case 'c': return below(8) ? requests[below(COUNT(requests))] : number();
    case 'l': return below(3) ? 4u << below(6) : number();
    case 'L': return levels[below(COUNT(levels))];
    case 'O': return below(80);
    case 'F': return domains[below(COUNT(domains))];
    case 'S': return 1 + below(64);
    case 'T': return below(6);
    case 'R': return below(4);
    case 'G': return 01666;
    case '8': return 8;
    default: return below(48);
    }
}

static void keep(int fd) {
    if (fd >= 0 && file_count < (int)COUNT(files)) files[file_count++] = fd;
}

static void open_files(void) {
    static const char *const paths[] = {"a", ".", "/proc/self/mem", "/proc/self/status", "/proc/self/ns/net", "/proc/self/uid_map",
                                        "/dev/null", "/dev/zero", "/dev/urandom", "/dev/ptmx", "/etc/passwd", "/bin/true"};
    for (unsigned i = 0; i < COUNT(paths); i++) {
        int fd = open(paths[i], O_RDWR | O_NONBLOCK);
        keep(fd < 0 ? open(paths[i], O_RDONLY | O_NONBLOCK) : fd);
    }
    int pair[2];
    if (pipe2(pair, O_NONBLOCK) == 0) keep(pair[0]), keep(pair[1]);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0) keep(pair[0]), keep(pair[1]);
    static const int domains[] = {AF_UNIX, AF_INET, AF_INET6};
    for (int i = 0; i < 9; i++) keep(socket(domains[i % 3], (1 + i / 3) | SOCK_NONBLOCK, i < 6 ? 0 : 1));
    keep(socket(AF_NETLINK, SOCK_RAW, 0));
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    keep(eventfd(0, EFD_NONBLOCK)), keep(epoll_create1(0)), keep(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    keep(inotify_init1(IN_NONBLOCK)), keep(signalfd(-1, &usr1, SFD_NONBLOCK)), keep(memfd_create("m", MFD_ALLOW_SEALING));
    keep(syscall(SYS_pidfd_open, getpid(), 0)), keep(syscall(SYS_fsopen, "tmpfs", 0));
}

static void nothing(int signal) {}

// What the calls themselves change: sleeps end after 20 ms, lost memory comes back.
static void map_again(int signal) {
    char *edge = arena + ARENA_PAGES * PAGE;
    static int repairs;
    if (repairs++ > 50) _exit(0);
    mmap(arena, ARENA_PAGES * 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (signal ? MAP_FIXED : 0), -1, 0);
    mprotect(edge, PAGE, PROT_NONE);
    mprotect(edge + PAGE, PAGE, PROT_READ);
}

static void set_signals(void) {
    struct sigaction wake = {.sa_handler = nothing}, repair = {.sa_handler = map_again, .sa_flags = SA_NODEFER};
    struct itimerval often = {{0, 20000}, {0, 20000}};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    sigaction(SIGALRM, &wake, NULL);
    sigaction(SIGSEGV, &repair, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
}

static int is_left_out(long number, int depth) {
    switch (number) {
    case SYS_reboot: case SYS_exit: case SYS_exit_group: case SYS_pause: case SYS_vfork: return 1;
    case SYS_fork: case SYS_clone: case SYS_clone3: return depth > 1 || below(4);
    // They end much of what a child can do.
    case SYS_close_range: case SYS_seccomp: case SYS_chroot: case SYS_execve: return below(16) != 0;
    default: return 0;
    }
}

static void child(int seed) {
    state = seed * 0x9e3779b97f4a7c15ull + 88172645463325252ull;
    struct rlimit memory = {1 << 29, 1 << 29}, size = {1 << 24, 1 << 24};
    setrlimit(RLIMIT_AS, &memory);
    setrlimit(RLIMIT_FSIZE, &size);
    signal(SIGXFSZ, SIG_IGN);
    if (seed % 3 == 0) unshare(CLONE_NEWNET | CLONE_NEWNS);
    if (seed % 2) setgid(NOBODY), setuid(NOBODY);
    arena = mmap(NULL, ARENA_PAGES * 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    map_again(SIGSEGV);
    open_files();
    time_t end = time(NULL) + CHILD_SECONDS;
    int depth = 0;
    for (int left = CALLS; left > 0 && time(NULL) <= end; left--) {
        if (left % 8 == 0) set_signals();
        struct call call = {below(480), "pppppp"};
        if (below(20)) call = calls[below(COUNT(calls))];
        uint64_t args[6];
        for (size_t i = 0, kinds = strlen(call.kinds); i < 6; i++) args[i] = i < kinds ? argument(call.kinds[i]) : 0;
        if (is_left_out(call.number, depth)) continue;
        long result = syscall(call.number, args[0], args[1], args[2], args[3], args[4], args[5]);
        int forks = call.number == SYS_fork || call.number == SYS_clone || call.number == SYS_clone3;
        if (forks && result == 0) depth++, left = left < 20 ? left : 20;
    }
    _exit(0);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

// The first process of its pid name space, in a process group of its own.
static int run(void *unused) {
    CHECK(setsid() > 0);
    char directory[] = "/tmp/hostile-XXXXXX";
    CHECK(mkdtemp(directory) && chmod(directory, 0777) == 0 && chdir(directory) == 0);
    CHECK(mkdir("d", 0777) == 0 && mkfifo("fifo", 0666) == 0 && symlink("a", "l") == 0);
    CHECK(close(open("a", O_CREAT | O_WRONLY, 0666)) == 0);
    for (int seed = 0; seed < CHILDREN; seed++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) child(seed);
        for (double begin = now(); waitpid(-1, NULL, WNOHANG) >= 0; usleep(2000)) {
            // Its descendants end with it.
            if (waitid(P_PID, pid, NULL, WEXITED | WNOHANG | WNOWAIT) < 0 || now() - begin > 2 * CHILD_SECONDS) kill(-1, SIGKILL);
            CHECK(now() - begin < KILL_SECONDS);
        }
    }
    return 0;
}

int main(void) {
    static char stack[1 << 16], log[1 << 16];
    int length = klogctl(3, log, sizeof log - 1);
    if (length < 0 || !strstr(log, "rampart")) return 0;
    pid_t pid = clone(run, stack + sizeof stack, CLONE_NEWPID | SIGCHLD, NULL);
    int status;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
    return 0;
}
