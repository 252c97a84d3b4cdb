// execve: scripts, arguments, environment, limits, close-on-exec, threads, vfork, errors; fexecve.
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int run(const char *path, char **argv, char **envp) {
    pid_t child = vfork();
    if (child == 0) {
        execve(path, argv, envp);
        _exit(errno);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
static void put(const char *path, const char *text, int mode) {
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0700);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == strlen(text) && fchmod(fd, mode) == 0 && close(fd) == 0);
}
static char *self;
static void *exec_in_thread(void *unused) {
    execl(self, self, "pid", 0);
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "pid")) return getpid() == gettid() ? 55 : 1;
    if (argc > 1 && !strcmp(argv[1], "fds")) return fcntl(50, F_GETFD) == 0 && fcntl(51, F_GETFD) == -1 ? 0 : 1;
    if (argc > 1 && !strcmp(argv[1], "signals")) {
        struct sigaction now;
        sigset_t mask;
        sigprocmask(SIG_BLOCK, 0, &mask);
        sigaction(SIGUSR1, 0, &now);
        int handled = now.sa_handler == SIG_DFL;
        sigaction(SIGUSR2, 0, &now);
        return handled && now.sa_handler == SIG_IGN && sigismember(&mask, SIGHUP) ? 0 : 1;
    }
    self = argv[0];
    char *none[] = {0}, *args[] = {"x", "fds", 0}, dir[] = "/tmp/exec-XXXXXX";
    CHECK(mkdtemp(dir) && chdir(dir) == 0);
    CHECK(run("/nowhere", args, none) == ENOENT && run("/etc/passwd", args, none) == EACCES && run("/tmp", args, none) == EACCES);
    put("empty", "", 0700);
    CHECK(run("./empty", args, none) == ENOEXEC);
    put("junk", "\177ELF junk", 0700);
    CHECK(run("./junk", args, none) == ENOEXEC);
    put("script", "#!/bin/sh -e\nexit $#$1\n", 0700);
    char *two[] = {"name", "1", "b", 0};
    CHECK(run("./script", two, none) == 21);
    put("missing", "#!/no/such/interpreter\n", 0700);
    CHECK(run("./missing", args, none) == ENOENT);
    put("loop", "#!./loop\n", 0700);
    CHECK(run("./loop", args, none) == ELOOP);
    int writer = open("script", O_WRONLY);
    CHECK(run("./script", two, none) == ETXTBSY && close(writer) == 0);
    // An argument of at most 128 KiB.
    static char long_text[140000];
    memset(long_text, 'a', sizeof long_text - 1);
    char *big[] = {"x", long_text, 0};
    CHECK(run("/bin/true", big, none) == E2BIG);
    long_text[131071] = 0;
    CHECK(run("/bin/true", big, none) == 0);
    CHECK(run("/bin/true", 0, 0) == 0);

    dup2(0, 50);
    dup2(0, 51);
    CHECK(fcntl(51, F_SETFD, FD_CLOEXEC) == 0 && run(self, args, none) == 0);
    signal(SIGUSR1, (void *)exec_in_thread);
    signal(SIGUSR2, SIG_IGN);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGHUP);
    sigprocmask(SIG_BLOCK, &mask, 0);
    char *signals[] = {"x", "signals", 0};
    CHECK(run(self, signals, none) == 0);
    // Another thread than the first becomes the process.
    pid_t child = fork();
    if (child == 0) {
        pthread_t thread;
        pthread_create(&thread, 0, exec_in_thread, 0);
        for (;;) pause();
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 55);
    // By descriptor.
    child = fork();
    if (child == 0) {
        int fd = open("/bin/true", O_PATH | O_CLOEXEC);
        syscall(SYS_execveat, fd, "", args, none, AT_EMPTY_PATH);
        _exit(1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    chdir("/");
    char command[64];
    sprintf(command, "rm -rf %s", dir);
    return system(command) != 0;
}
