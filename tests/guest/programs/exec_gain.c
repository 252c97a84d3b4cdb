// PR_SET_MDWE: memory that is not executable stays so.
#include "check.h"
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define SET_MDWE 65
#define GET_MDWE 66

static void *map(int prot) {
    return mmap(0, 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}
static void child_sees(int bits) {
    int status;
    pid_t child = fork();
    if (child == 0) _exit(prctl(GET_MDWE, 0, 0, 0, 0));
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == bits);
}

int main(int argc, char **argv) {
    needs_linux(6, 7);
    if (argc > 1) return prctl(GET_MDWE, 0, 0, 0, 0);
    FAILS(prctl(SET_MDWE, 4, 0, 0, 0), EINVAL);
    FAILS(prctl(SET_MDWE, 2, 0, 0, 0), EINVAL);
    FAILS(prctl(SET_MDWE, 1, 1, 0, 0), EINVAL);
    FAILS(prctl(GET_MDWE, 1, 0, 0, 0), EINVAL);
    void *before = map(PROT_READ | PROT_EXEC), *data = map(PROT_READ | PROT_WRITE);
    CHECK(map(PROT_READ | PROT_WRITE | PROT_EXEC) != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        CHECK(prctl(SET_MDWE, 3, 0, 0, 0) == 0);
        child_sees(0);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);

    CHECK(prctl(SET_MDWE, 1, 0, 0, 0) == 0 && prctl(GET_MDWE, 0, 0, 0, 0) == 1);
    FAILS(prctl(SET_MDWE, 0, 0, 0, 0), EPERM);
    FAILS(prctl(SET_MDWE, 3, 0, 0, 0), EPERM);
    CHECK(map(PROT_READ | PROT_WRITE | PROT_EXEC) == MAP_FAILED && errno == EACCES);
    CHECK(map(PROT_WRITE | PROT_EXEC) == MAP_FAILED && errno == EACCES);
    FAILS(mprotect(data, 4096, PROT_READ | PROT_EXEC), EACCES);
    FAILS(mprotect(before, 4096, PROT_READ | PROT_WRITE | PROT_EXEC), EACCES);
    CHECK(mprotect(before, 4096, PROT_EXEC) == 0 && mprotect(before, 4096, PROT_READ) == 0);
    FAILS(mprotect(before, 4096, PROT_READ | PROT_EXEC), EACCES);
    CHECK(map(PROT_READ | PROT_EXEC) != MAP_FAILED);
    child_sees(1);
    // Another program has it too.
    child = fork();
    if (child == 0) {
        execl("/proc/self/exe", argv[0], "tell", (char *)0);
        _exit(99);
    }
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 1);
    return 0;
}
