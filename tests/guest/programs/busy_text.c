// A program that runs cannot be opened for writing, and one that is open for writing cannot be run, however the two race.
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char path[64];
static atomic_bool over;

static void *writes(void *unused) {
    (void)unused;
    while (!over) {
        int fd = open(path, O_WRONLY);
        if (fd >= 0) {
            close(fd);
        } else {
            CHECK(errno == ETXTBSY);
        }
    }
    return NULL;
}

// The program itself, started again: nobody has its file open for writing, or can open it.
static int running(void) {
    for (int i = 0; i < 50; i++) FAILS(open("/proc/self/exe", O_WRONLY), ETXTBSY);
    return 0;
}

int main(int argc, char **argv) {
    (void)argv;
    if (argc > 1) return running();
    snprintf(path, sizeof path, "/tmp/busy_text.%d", getpid());
    char command[128];
    snprintf(command, sizeof command, "cp /proc/%d/exe %s", getpid(), path);
    CHECK(system(command) == 0 && chmod(path, 0755) == 0);
    int fd = open(path, O_WRONLY);
    CHECK(fd >= 0);
    FAILS(execl(path, path, "run", NULL), ETXTBSY);
    close(fd);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, writes, NULL) == 0);
    for (int i = 0; i < 30; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            execl(path, path, "run", NULL);
            _exit(errno == ETXTBSY ? 0 : 1);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    }
    over = 1;
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(unlink(path) == 0);
    return 0;
}
