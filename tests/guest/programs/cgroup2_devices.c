// cgroup2: a BPF program decides which devices the processes of a group may open and make.
#include "check.h"
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

static char mnt[] = "/tmp/cgroup2-XXXXXX", top[64];

static long bpf(int command, union bpf_attr *attr) { return syscall(SYS_bpf, command, attr, sizeof *attr); }

// Everything but `minor` of the memory devices; what is asked is in r2..r5.
static int load(int minor, unsigned type) {
    struct bpf_insn code[] = {
        {BPF_LDX | BPF_MEM | BPF_W, 2, 1, 4, 0},       // r2 = major
        {BPF_LDX | BPF_MEM | BPF_W, 3, 1, 8, 0},       // r3 = minor
        {BPF_LDX | BPF_MEM | BPF_W, 4, 1, 0, 0},       // r4 = access << 16 | type
        {BPF_ALU | BPF_AND | BPF_K, 4, 0, 0, 0xffff},
        {BPF_JMP | BPF_JNE | BPF_K, 4, 0, 4, BPF_DEVCG_DEV_CHAR},
        {BPF_JMP | BPF_JNE | BPF_K, 2, 0, 3, 1},
        {BPF_JMP | BPF_JNE | BPF_K, 3, 0, 2, minor},
        {BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0},
        {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
        {BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 1},
        {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
    };
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.prog_type = type;
    attr.insn_cnt = sizeof code / sizeof *code;
    attr.insns = (unsigned long)code;
    attr.license = (unsigned long)"GPL";
    strcpy(attr.prog_name, "devices");
    return bpf(BPF_PROG_LOAD, &attr);
}

static long attach(int group, int program, unsigned flags, int replaced) {
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.target_fd = group;
    attr.attach_bpf_fd = program;
    attr.attach_type = BPF_CGROUP_DEVICE;
    attr.attach_flags = flags;
    attr.replace_bpf_fd = replaced;
    return bpf(BPF_PROG_ATTACH, &attr);
}

static long detach(int group, int program) {
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.target_fd = group;
    attr.attach_bpf_fd = program;
    attr.attach_type = BPF_CGROUP_DEVICE;
    return bpf(BPF_PROG_DETACH, &attr);
}

static int count(int group, unsigned *ids) {
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.query.target_fd = group;
    attr.query.attach_type = BPF_CGROUP_DEVICE;
    attr.query.prog_ids = (unsigned long)ids;
    attr.query.prog_cnt = 4;
    CHECK(bpf(BPF_PROG_QUERY, &attr) == 0);
    return attr.query.prog_cnt;
}

// What a process in the group gets for opening a device; and for making one.
static int in_group(int (*what)(const char *), const char *arg) {
    int status, pid = fork();
    if (pid == 0) {
        char path[128];
        sprintf(path, "%s/cgroup.procs", top);
        int fd = open(path, O_WRONLY);
        if (fd < 0 || write(fd, "0", 1) != 1) _exit(99);
        _exit(what(arg) < 0 ? errno : 0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int opens(const char *path) { return open(path, O_RDONLY); }
static int makes(const char *minor) {
    char path[] = "/tmp/device-XXXXXX";
    int fd = mkstemp(path);
    close(fd);
    unlink(path);
    int result = mknod(path, S_IFCHR | 0600, makedev(1, atoi(minor))), error = errno;
    unlink(path);
    errno = error;
    return result;
}

int main(void) {
    needs_linux(6, 8);
    if (getuid() != 0 || unshare(CLONE_NEWNS) != 0) return 0;
    int zero = load(5, BPF_PROG_TYPE_CGROUP_DEVICE);
    // Not everybody may.
    if (zero < 0 && (errno == EPERM || errno == ENOSYS)) return 0;
    CHECK(zero >= 0 && (fcntl(zero, F_GETFD) & FD_CLOEXEC));
    CHECK(mount("none", "/", 0, MS_REC | MS_PRIVATE, 0) == 0 && mkdtemp(mnt));
    if (mount("none", mnt, "cgroup2", 0, 0) != 0) return rmdir(mnt);
    sprintf(top, "%s/guest-test-%d", mnt, getpid());
    if (mkdir(top, 0755) != 0) return umount(mnt) || rmdir(mnt);
    int group = open(top, O_RDONLY | O_DIRECTORY), null = load(3, BPF_PROG_TYPE_CGROUP_DEVICE);
    unsigned ids[4] = {0};
    CHECK(null >= 0 && count(group, ids) == 0 && in_group(opens, "/dev/zero") == 0);
    FAILS(attach(mnt[0], zero, 0, 0), EBADF);
    FAILS(attach(group, group, 0, 0), EINVAL);
    FAILS(detach(group, zero), ENOENT);
    // One alone is replaced by the next.
    CHECK(attach(group, zero, 0, 0) == 0 && count(group, ids) == 1);
    CHECK(in_group(opens, "/dev/zero") == EPERM && in_group(opens, "/dev/null") == 0);
    CHECK(in_group(makes, "5") == EPERM && in_group(makes, "3") == 0);
    CHECK(open("/dev/zero", O_RDONLY) >= 0);
    CHECK(attach(group, null, 0, 0) == 0 && in_group(opens, "/dev/zero") == 0 && in_group(opens, "/dev/null") == EPERM);
    FAILS(attach(group, zero, BPF_F_ALLOW_MULTI, 0), EPERM);
    CHECK(detach(group, null) == 0 && in_group(opens, "/dev/null") == 0);
    // Of several, all must allow it.
    CHECK(attach(group, zero, BPF_F_ALLOW_MULTI, 0) == 0 && attach(group, null, BPF_F_ALLOW_MULTI, 0) == 0);
    FAILS(attach(group, null, BPF_F_ALLOW_MULTI, 0), EINVAL);
    CHECK(count(group, ids) == 2 && in_group(opens, "/dev/zero") == EPERM && in_group(opens, "/dev/null") == EPERM);
    CHECK(in_group(opens, "/dev/full") == 0);
    CHECK(detach(group, zero) == 0 && in_group(opens, "/dev/zero") == 0 && count(group, ids) == 1);
    int full = load(7, BPF_PROG_TYPE_CGROUP_DEVICE);
    FAILS(attach(group, full, BPF_F_ALLOW_MULTI | BPF_F_REPLACE, zero), ENOENT);
    CHECK(attach(group, full, BPF_F_ALLOW_MULTI | BPF_F_REPLACE, null) == 0 && in_group(opens, "/dev/null") == 0);
    CHECK(in_group(opens, "/dev/full") == EPERM);
    // A program by its number, and what is told of it.
    CHECK(count(group, ids) == 1);
    union bpf_attr attr;
    memset(&attr, 0, sizeof attr);
    attr.prog_id = ids[0];
    int again = bpf(BPF_PROG_GET_FD_BY_ID, &attr);
    struct bpf_prog_info info = {0};
    memset(&attr, 0, sizeof attr);
    attr.info.bpf_fd = again;
    attr.info.info_len = 80;
    attr.info.info = (unsigned long)&info;
    CHECK(again >= 0 && bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) == 0);
    CHECK(info.type == BPF_PROG_TYPE_CGROUP_DEVICE && info.id == ids[0] && strcmp(info.name, "devices") == 0);
    // Nothing can be stored at the end of all addresses.
    int status, child = fork();
    if (child == 0) {
        CHECK(dup2(again, 0) == 0);
        FAILS(syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, 0xfffffffffffffffeUL, 0), EFAULT);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    // What it is attached to keeps it.
    CHECK(close(full) == 0 && close(again) == 0 && in_group(opens, "/dev/full") == EPERM);
    CHECK(close(group) == 0 && rmdir(top) == 0);
    return umount(mnt) || rmdir(mnt);
}
