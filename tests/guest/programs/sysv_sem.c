// also: static. System V semaphores: all or nothing, order, time-outs, undo, removal, errors.
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <time.h>

union semun { int val; struct semid_ds *buf; unsigned short *array; struct seminfo *info; };

static int op(int id, int num, int by, int flags) {
    struct sembuf one = {num, by, flags};
    return semop(id, &one, 1);
}

static int in_child(int id, struct sembuf *ops, int count) {
    pid_t child = fork();
    if (child == 0) _exit(semop(id, ops, count) == 0 ? 0 : errno);
    return child;
}

static int status_of(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void wait_for_count(int id, int num, int command, int count) {
    for (int i = 0; i < 2000 && semctl(id, num, command) != count; i++) usleep(1000);
    CHECK(semctl(id, num, command) == count);
}

static void handler(int signal) {}

int main(void) {
    int id = semget(IPC_PRIVATE, 3, 0600);
    CHECK(id >= 0);
    FAILS(semget(IPC_PRIVATE, 0, 0600), EINVAL);
    FAILS(semget(0x5eed0001, 1, 0), ENOENT);
    FAILS(op(id, 3, 1, 0), EFBIG);
    FAILS(op(id, 0, -1, IPC_NOWAIT), EAGAIN);
    FAILS(semctl(id, 0, SETVAL, (union semun){.val = 40000}), ERANGE);
    FAILS(semctl(id, 7, GETVAL), EINVAL);
    FAILS(semop(id, 0, 0), EINVAL);
    FAILS(op(-1, 0, 1, 0), EINVAL);
    FAILS(semop(id, (void *)8, 1), EFAULT);

    // All or nothing.
    struct sembuf both[] = {{0, 1, 0}, {1, -1, IPC_NOWAIT}};
    FAILS(semop(id, both, 2), EAGAIN);
    CHECK(semctl(id, 0, GETVAL) == 0);
    both[1].sem_flg = 0;
    pid_t child = in_child(id, both, 2);
    wait_for_count(id, 1, GETNCNT, 1);
    CHECK(op(id, 1, 1, 0) == 0 && status_of(child) == 0);
    unsigned short values[3];
    CHECK(semctl(id, 0, GETALL, (union semun){.array = values}) == 0);
    CHECK(values[0] == 1 && values[1] == 0 && values[2] == 0);
    CHECK(semctl(id, 1, GETPID) == child);

    // A waiter is served before whoever comes later.
    struct sembuf take = {2, -1, 0};
    child = in_child(id, &take, 1);
    wait_for_count(id, 2, GETNCNT, 1);
    CHECK(op(id, 2, 1, 0) == 0);
    FAILS(op(id, 2, -1, IPC_NOWAIT), EAGAIN);
    CHECK(status_of(child) == 0);

    // Waiting for zero.
    struct sembuf zero = {0, 0, 0};
    child = in_child(id, &zero, 1);
    wait_for_count(id, 0, GETZCNT, 1);
    CHECK(op(id, 0, -1, 0) == 0 && status_of(child) == 0);

    // Time-outs and signals.
    struct timespec timeout = {0, 30000000}, before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    FAILS(semtimedop(id, &take, 1, &timeout), EAGAIN);
    clock_gettime(CLOCK_MONOTONIC, &after);
    CHECK((after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec >= 30000000);
    timeout.tv_nsec = 1000000000;
    FAILS(semtimedop(id, &take, 1, &timeout), EINVAL);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, 0);
    ualarm(20000, 0);
    FAILS(op(id, 2, -1, 0), EINTR);
    CHECK(semctl(id, 2, GETNCNT) == 0);

    // Undo: at the end of a process, not of a thread; forgotten by SETVAL.
    child = fork();
    if (child == 0) {
        CHECK(op(id, 0, 5, SEM_UNDO) == 0 && op(id, 0, -2, SEM_UNDO) == 0 && op(id, 0, 4, 0) == 0);
        CHECK(op(id, 1, 3, SEM_UNDO) == 0 && semctl(id, 1, SETVAL, (union semun){.val = 9}) == 0);
        _exit(0);
    }
    CHECK(status_of(child) == 0);
    CHECK(semctl(id, 0, GETVAL) == 4 && semctl(id, 1, GETVAL) == 9);
    // An undo wakes whoever can go on.
    CHECK(semctl(id, 2, SETVAL, (union semun){.val = 1}) == 0);
    child = fork();
    if (child == 0) {
        CHECK(op(id, 2, -1, SEM_UNDO) == 0);
        usleep(50000);
        _exit(0);
    }
    for (int i = 0; i < 2000 && semctl(id, 2, GETVAL) != 0; i++) usleep(1000);
    CHECK(op(id, 2, -1, 0) == 0 && status_of(child) == 0);

    // Status and limits.
    struct semid_ds ds;
    CHECK(semctl(id, 0, IPC_STAT, (union semun){.buf = &ds}) == 0);
    CHECK(ds.sem_nsems == 3 && (ds.sem_perm.mode & 0777) == 0600 && ds.sem_otime != 0 && ds.sem_ctime != 0);
    ds.sem_perm.mode = 0640;
    CHECK(semctl(id, 0, IPC_SET, (union semun){.buf = &ds}) == 0);
    CHECK(semctl(id, 0, IPC_STAT, (union semun){.buf = &ds}) == 0 && (ds.sem_perm.mode & 0777) == 0640);
    struct seminfo info;
    CHECK(semctl(0, 0, IPC_INFO, (union semun){.info = &info}) >= 0 && info.semvmx == 32767 && info.semopm > 0);
    CHECK(semctl(0, 0, SEM_INFO, (union semun){.info = &info}) >= 0 && info.semusz >= 1 && info.semaem >= 3);

    // Keys.
    key_t key = 0x5eed0000 + getpid();
    int named = semget(key, 1, IPC_CREAT | IPC_EXCL | 0600);
    CHECK(named >= 0 && semget(key, 1, 0) == named);
    FAILS(semget(key, 1, IPC_CREAT | IPC_EXCL), EEXIST);
    FAILS(semget(key, 2, 0), EINVAL);
    CHECK(semctl(named, 0, IPC_RMID) == 0);

    // Removal ends waits.
    child = in_child(id, &take, 1);
    wait_for_count(id, 2, GETNCNT, 1);
    CHECK(semctl(id, 0, IPC_RMID) == 0 && status_of(child) == EIDRM);
    FAILS(semctl(id, 0, GETVAL), EINVAL);
    return 0;
}
