// Who may do what: set*id, capabilities over them, file permissions, sticky and set-group-id directories, supplementary groups.
#include "check.h"
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static char dir[] = "/tmp/creds-XXXXXX";
static struct __user_cap_data_struct caps[2];
static unsigned long effective(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    CHECK(syscall(SYS_capget, &header, caps) == 0);
    return caps[0].effective | (unsigned long)caps[1].effective << 32;
}
static void as_user(void) {
    uid_t r, e, s;
    unsigned long all = effective();
    CHECK(setgroups(0, 0) == 0 && setresgid(1000, 1000, 1000) == 0);
    // Effective only: capabilities are masked, and come back.
    CHECK(seteuid(1000) == 0 && effective() == 0 && seteuid(0) == 0 && effective() == all);
    CHECK(setresuid(1000, 1000, 0) == 0 && effective() == 0 && setresuid(-1, 0, -1) == 0 && effective() == all);
    CHECK(setfsuid(1000) == 0 && setfsuid(-1) == 1000);
    FAILS(openat(AT_FDCWD, "root-only", O_RDONLY), EACCES);
    setfsuid(0);
    CHECK(setuid(1000) == 0 && effective() == 0 && getresuid(&r, &e, &s) == 0 && r == 1000 && e == 1000 && s == 1000);
    FAILS(setuid(0), EPERM);
    FAILS(setgroups(0, 0), EPERM);
    FAILS(chown("mine", 0, 0), EPERM);
    FAILS(openat(AT_FDCWD, "root-only", O_RDONLY), EACCES);
    FAILS(open("/proc/1/mem", O_RDONLY), EACCES);
    FAILS(unlink("sticky/root-file"), EPERM);
    FAILS(rename("sticky/root-file", "sticky/x"), EPERM);
    FAILS(mknod("mine-node", S_IFCHR | 0600, 0x103), EACCES);
    FAILS(chroot("/"), EPERM);
    FAILS(setpriority(PRIO_PROCESS, 0, -5), EACCES);
    int fd = open("sticky/own", O_CREAT | O_RDWR, 04755);
    struct stat st;
    CHECK(fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == 04755 && st.st_uid == 1000);
    // Writing takes the set-user-id bit away.
    CHECK(write(fd, "x", 1) == 1 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0755);
    FAILS(fchown(fd, 0, -1), EPERM);
    CHECK(unlink("sticky/own") == 0);
    CHECK(access("root-only", R_OK) == -1 && faccessat(AT_FDCWD, "mine", R_OK | W_OK, AT_EACCESS) == 0);
    _exit(0);
}
static void in_child(void (*body)(void)) {
    pid_t child = fork();
    if (child == 0) body();
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}
static void groups(void) {
    gid_t list[3] = {7, 9, 8}, got[3];
    CHECK(setgroups(3, list) == 0 && getgroups(0, 0) == 3 && getgroups(3, got) == 3);
    FAILS(getgroups(2, got), EINVAL);
    CHECK(chown("group", 0, 9) == 0 && chmod("group", 0060) == 0);
    CHECK(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0);
    CHECK(open("group", O_RDWR) >= 0);
    // A file in a set-group-id directory gets its group; the bit is dropped for strangers to the group.
    int fd = open("sgid/file", O_CREAT | O_RDWR, 02775);
    struct stat st;
    CHECK(fd >= 0 && fstat(fd, &st) == 0 && st.st_gid == 50 && !(st.st_mode & S_ISGID));
    CHECK(mkdir("sgid/dir", 0755) == 0 && stat("sgid/dir", &st) == 0 && st.st_gid == 50 && (st.st_mode & S_ISGID));
    _exit(0);
}
static void securebits(void) {
    unsigned long all = effective();
    CHECK(prctl(PR_SET_KEEPCAPS, 1) == 0 && setresuid(1000, 1000, 1000) == 0 && effective() == 0);
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    effective();
    caps[0].effective = caps[0].permitted & (1 << CAP_CHOWN);
    caps[1].effective = 0;
    CHECK(syscall(SYS_capset, &header, caps) == 0 && effective() == 1 << CAP_CHOWN && chown("mine", 5, 5) == 0);
    caps[0].permitted = 0;
    caps[0].effective = 0;
    CHECK(syscall(SYS_capset, &header, caps) == 0);
    caps[0].permitted = 1;
    FAILS(syscall(SYS_capset, &header, caps), EPERM);
    FAILS(prctl(PR_CAPBSET_DROP, 3), EPERM);
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    FAILS(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0), EINVAL);
    _exit(0);
}

int main(void) {
    if (getuid() != 0) return 0;
    umask(0);
    CHECK(mkdtemp(dir) && chmod(dir, 0755) == 0 && chdir(dir) == 0);
    CHECK(close(open("root-only", O_CREAT | O_RDWR, 0600)) == 0 && close(open("mine", O_CREAT | O_RDWR, 0600)) == 0);
    CHECK(close(open("group", O_CREAT | O_RDWR, 0600)) == 0 && chown("mine", 1000, 1000) == 0);
    CHECK(mkdir("sticky", 01777) == 0 && close(open("sticky/root-file", O_CREAT, 0666)) == 0);
    CHECK(mkdir("sgid", 0777) == 0 && chown("sgid", 0, 50) == 0 && chmod("sgid", 02777) == 0);
    in_child(as_user);
    in_child(groups);
    in_child(securebits);
    char command[64];
    sprintf(command, "rm -rf %s", dir);
    return system(command) != 0;
}
