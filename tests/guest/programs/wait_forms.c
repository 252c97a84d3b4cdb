// wait4 and waitid: exits, kills, stops, continues, options, orphans, SIGCHLD, usage.
#include "check.h"
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static siginfo_t chld;
static volatile int chlds;
static void on_chld(int signal, siginfo_t *info, void *context) { chld = *info; chlds++; }

int main(void) {
    int status;
    FAILS(wait(0), ECHILD);
    FAILS(waitpid(0x3ffffff, 0, 0), ECHILD);
    FAILS(waitpid(-1, 0, 0x40), EINVAL);
    struct sigaction action = {.sa_sigaction = on_chld, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGCHLD, &action, 0);

    pid_t child = fork();
    if (child == 0) _exit(300);
    siginfo_t info = {0};
    CHECK(waitid(P_PID, child, &info, WEXITED | WNOWAIT) == 0);
    CHECK(info.si_signo == SIGCHLD && info.si_code == CLD_EXITED && info.si_pid == child && info.si_status == 44 && info.si_uid == getuid());
    struct rusage usage;
    CHECK(wait4(child, &status, 0, &usage) == child && WIFEXITED(status) && WEXITSTATUS(status) == 44);
    CHECK(chlds == 1 && chld.si_code == CLD_EXITED && chld.si_pid == child && chld.si_status == 44);

    child = fork();
    if (child == 0) for (;;) pause();
    CHECK(waitpid(child, &status, WNOHANG) == 0);
    info.si_pid = 77;
    CHECK(waitid(P_ALL, 0, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0);
    FAILS(waitid(P_ALL, 0, &info, 0), EINVAL);
    FAILS(waitid(99, 0, &info, WEXITED), EINVAL);
    CHECK(kill(child, SIGSTOP) == 0);
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    CHECK(waitpid(child, &status, WUNTRACED | WNOHANG) == 0);
    CHECK(kill(child, SIGCONT) == 0);
    CHECK(waitid(P_PID, child, &info, WCONTINUED) == 0 && info.si_code == CLD_CONTINUED && info.si_status == SIGCONT);
    CHECK(kill(child, SIGTERM) == 0);
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    CHECK(chld.si_code == CLD_KILLED && chld.si_status == SIGTERM);

    // By group.
    child = fork();
    if (child == 0) {
        setpgid(0, 0);
        _exit(3);
    }
    setpgid(child, child);
    CHECK(waitpid(-child, &status, 0) == child && WEXITSTATUS(status) == 3);
    FAILS(waitpid(-child, &status, 0), ECHILD);

    // Clone children: __WCLONE and __WALL.
    child = syscall(SYS_clone, 0, 0, 0, 0, 0);
    if (child == 0) _exit(4);
    usleep(20000);
    FAILS(waitpid(child, &status, WNOHANG), ECHILD);
    CHECK(waitpid(child, &status, __WCLONE) == child && WEXITSTATUS(status) == 4);

    // Orphans go to a subreaper.
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    int fds[2];
    pipe(fds);
    child = fork();
    if (child == 0) {
        pid_t middle = getpid();
        if (fork() == 0) {
            while (getppid() == middle) usleep(1000);
            pid_t parent = getppid();
            write(fds[1], &parent, sizeof parent);
            _exit(5);
        }
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child);
    pid_t parent;
    CHECK(read(fds[0], &parent, sizeof parent) == sizeof parent && parent == getpid());
    CHECK(wait(&status) > 0 && WEXITSTATUS(status) == 5);

    // Ignored SIGCHLD: no zombies.
    signal(SIGCHLD, SIG_IGN);
    child = fork();
    if (child == 0) _exit(0);
    FAILS(waitpid(child, &status, 0), ECHILD);
    // Processor time of children adds up.
    signal(SIGCHLD, SIG_DFL);
    struct rusage before, after;
    getrusage(RUSAGE_CHILDREN, &before);
    child = fork();
    if (child == 0) {
        for (volatile long i = 0; i < 60000000; i++);
        _exit(0);
    }
    CHECK(waitpid(child, 0, 0) == child);
    getrusage(RUSAGE_CHILDREN, &after);
    CHECK(after.ru_utime.tv_sec * 1000000 + after.ru_utime.tv_usec > before.ru_utime.tv_sec * 1000000 + before.ru_utime.tv_usec + 10000);
    return 0;
}
