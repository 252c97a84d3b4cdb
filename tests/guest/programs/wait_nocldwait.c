// Children that nobody waits for (SA_NOCLDWAIT): wait(2) ends with ECHILD after the last, whatever signal comes with it.
#include "check.h"
#include <signal.h>
#include <sys/wait.h>

static volatile sig_atomic_t told;
static void on_child(int signal) { told += signal == SIGCHLD; }

int main(void) {
    struct sigaction action = {.sa_handler = on_child, .sa_flags = SA_NOCLDWAIT};
    CHECK(sigaction(SIGCHLD, &action, NULL) == 0);
    for (int round = 1; round <= 50; round++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            usleep(2000);
            _exit(0);
        }
        FAILS(waitpid(child, NULL, 0), ECHILD);
        CHECK(told == round);
    }
    return 0;
}
