// Files of /proc about a process's memory stay with the memory that it had when they were opened: the program that it
// executes afterwards cannot be looked into through them. They end with that memory.
#include "check.h"
#include <fcntl.h>
#include <sys/wait.h>

static const char *const names[] = {"maps", "smaps", "smaps_rollup", "environ", "auxv", "mem"};
enum { COUNT = sizeof names / sizeof *names };

int main(int argc, char **argv) {
    int fds[COUNT], go[2], began[2];
    char byte, path[64], text[4096];
    if (argc > 1) {
        // The program that is executed.
        CHECK(write(atoi(argv[1]), "x", 1) == 1);
        CHECK(read(atoi(argv[2]), &byte, 1) == 0);
        return 0;
    }
    CHECK(pipe(go) == 0 && pipe(began) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        close(go[1]);
        CHECK(read(go[0], &byte, 1) == 1);
        char out[16], in[16];
        sprintf(out, "%d", began[1]);
        sprintf(in, "%d", go[0]);
        execl("/proc/self/exe", argv[0], out, in, NULL);
        _exit(1);
    }
    for (int i = 0; i < COUNT; i++) {
        sprintf(path, "/proc/%d/%s", pid, names[i]);
        fds[i] = open(path, O_RDONLY);
        CHECK(fds[i] >= 0);
    }
    CHECK(read(fds[0], text, sizeof text) > 0 && lseek(fds[0], 0, SEEK_SET) == 0);
    CHECK(pread(fds[5], &byte, 1, (long)names) == 1);
    CHECK(write(go[1], "x", 1) == 1 && read(began[0], &byte, 1) == 1);
    for (int i = 0; i < COUNT; i++) {
        // Linux keeps the auxiliary vector longer than the memory, and its roll-up says so by an error.
        if (strcmp(names[i], "auxv") == 0) continue;
        ssize_t count = pread(fds[i], text, sizeof text, i == 5 ? (long)names : 0);
        CHECK(count == 0 || (count < 0 && errno == ESRCH));
    }
    sprintf(path, "/proc/%d/maps", pid);
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && read(fd, text, sizeof text) > 0);
    close(go[1]);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(pread(fd, text, sizeof text, 0) <= 0);
    return 0;
}
