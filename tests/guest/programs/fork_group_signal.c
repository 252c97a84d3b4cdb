// A signal to a process group against fork(2): a child that is being made while the signal is sent gets it too.
#include "check.h"
#include <signal.h>
#include <sys/wait.h>

// Leads a group of its own and makes children that live on, until it is killed.
static void breed(int ready) {
    setpgid(0, 0);
    write(ready, "x", 1);
    for (int i = 0; i < 200; i++)
        if (fork() == 0) for (;;) pause();
    for (;;) pause();
}

int main(void) {
    for (int round = 0; round < 60; round++) {
        int ready[2];
        char byte;
        CHECK(pipe(ready) == 0);
        pid_t leader = fork();
        if (leader == 0) breed(ready[1]);
        CHECK(read(ready[0], &byte, 1) == 1);
        usleep(round * 100);
        CHECK(kill(-leader, SIGKILL) == 0);
        CHECK(waitpid(leader, 0, 0) == leader);
        close(ready[1]);
        // The pipe ends when the last of them has: one that was missed would hold it open.
        alarm(20);
        CHECK(read(ready[0], &byte, 1) == 0);
        alarm(0);
        close(ready[0]);
    }
    return 0;
}
