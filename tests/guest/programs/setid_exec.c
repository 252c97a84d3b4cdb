// Set-user-id programs: what execve gives and takes, also with a shared root directory; no_new_privs; ambient capabilities; AT_SECURE.
#include "check.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static unsigned long capabilities(int *permitted) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct caps[2];
    CHECK(syscall(SYS_capget, &header, caps) == 0);
    if (permitted) *permitted = caps[0].permitted != 0;
    return caps[0].effective | (unsigned long)caps[1].effective << 32;
}

static char copy[64];
static int run(const char *mode, void (*before)(void)) {
    pid_t child = fork();
    if (child == 0) {
        if (before) before();
        execl(copy, copy, mode, (char *)0);
        _exit(99);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}
static void become_user(void) { CHECK(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0); }
static void without_new_privs(void) {
    become_user();
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
}
static void with_ambient(void) {
    CHECK(prctl(PR_SET_KEEPCAPS, 1) == 0);
    become_user();
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct caps[2] = {{1 << CAP_CHOWN, 1 << CAP_CHOWN, 1 << CAP_CHOWN}};
    CHECK(syscall(SYS_capset, &header, caps) == 0);
    CHECK(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0) == 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_CHOWN, 0, 0) == 1);
    FAILS(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0), EPERM);
}

// Whoever shares the root directory with a program could change what it finds there: it gains nothing then.
static char stack[65536] __attribute__((aligned(16)));
static int exec_mode(void *mode) {
    execl(copy, copy, (char *)mode, (char *)0);
    return 99;
}
static void *sleep_on(void *arg) {
    for (;;) pause();
}
static void with_threads(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, 0, sleep_on, 0) == 0);
    become_user();
}
static int run_sharing(const char *mode) {
    pid_t child = fork();
    if (child == 0) {
        become_user();
        int status;
        pid_t sharer = clone(exec_mode, stack + sizeof stack, CLONE_FS | SIGCHLD, (void *)mode);
        CHECK(sharer > 0 && waitpid(sharer, &status, 0) == sharer && WIFEXITED(status));
        _exit(WEXITSTATUS(status));
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

int main(int argc, char **argv) {
    uid_t r, e, s;
    if (argc > 1) {
        int permitted;
        unsigned long effective = capabilities(&permitted);
        CHECK(getresuid(&r, &e, &s) == 0);
        if (!strcmp(argv[1], "plain")) return r == 1000 && e == 1000 && s == 1000 && !effective && !permitted && !getauxval(AT_SECURE) ? 0 : 1;
        if (!strcmp(argv[1], "setuid")) return r == 1000 && e == 0 && s == 0 && effective && getauxval(AT_SECURE) && prctl(PR_GET_DUMPABLE) != 1 ? 0 : 1;
        if (!strcmp(argv[1], "held")) return r == 1000 && e == 1000 && s == 1000 && !effective && !permitted ? 0 : 1;
        if (!strcmp(argv[1], "other")) return r == 0 && e == 1000 && s == 1000 && !effective ? 0 : 1;
        if (!strcmp(argv[1], "ambient")) return e == 1000 && effective == 1 << CAP_CHOWN ? 0 : 1;
        return 98;
    }
    if (getuid() != 0) return 0;
    sprintf(copy, "/var/tmp/setid-%d", getpid());
    int in = open("/proc/self/exe", O_RDONLY), out = open(copy, O_CREAT | O_WRONLY, 0755);
    struct stat st;
    CHECK(in >= 0 && out >= 0 && fstat(in, &st) == 0);
    for (off_t left = st.st_size; left > 0;) left -= sendfile(out, in, 0, left);
    CHECK(fchmod(out, 0755) == 0 && close(out) == 0);
    CHECK(run("plain", become_user) == 0);
    CHECK(run("ambient", with_ambient) == 0);
    CHECK(chmod(copy, 04755) == 0 && run("setuid", become_user) == 0 && run("plain", without_new_privs) == 0);
    CHECK(run_sharing("held") == 0 && run("setuid", with_threads) == 0);
    CHECK(chown(copy, 1000, 1000) == 0 && stat(copy, &st) == 0 && !(st.st_mode & S_ISUID));
    CHECK(chmod(copy, 04755) == 0 && run("other", 0) == 0);
    return unlink(copy);
}
