// Thousands of semaphore sets: found by key, removed in any order, their keys and places free again.
#include "check.h"
#include <sched.h>
#include <sys/ipc.h>
#include <sys/sem.h>
#include <sys/shm.h>

#define SETS 4000

int main(void) {
    static int ids[SETS];
    // In a name space of its own, where that is allowed: the host's may be full.
    if (unshare(CLONE_NEWUSER | CLONE_NEWIPC) == -1) return 0;
    for (int i = 0; i < SETS; i++) CHECK((ids[i] = semget(1000 + i, 2, IPC_CREAT | IPC_EXCL | 0600)) >= 0);
    struct seminfo info;
    CHECK(semctl(0, 0, SEM_INFO, &info) == SETS - 1 && info.semusz == SETS && info.semaem == 2 * SETS);
    for (int i = 0; i < SETS; i++) CHECK(semget(1000 + i, 0, 0) == ids[i]);
    FAILS(semget(1000, 3, 0), EINVAL);
    FAILS(semget(1000, 2, IPC_CREAT | IPC_EXCL), EEXIST);
    for (int i = 0; i < SETS; i += 2) CHECK(semctl(ids[i], 0, IPC_RMID) == 0);
    for (int i = 0; i < SETS; i += 2) FAILS(semget(1000 + i, 0, 0), ENOENT);
    CHECK(semctl(0, 0, SEM_INFO, &info) == SETS - 1 && info.semaem == SETS);
    int again = semget(1000, 1, IPC_CREAT | 0600);
    CHECK(again >= 0 && again != ids[0] && semget(1000, 0, 0) == again);
    CHECK(semctl(ids[0], 0, IPC_STAT, &(struct semid_ds){0}) == -1 && (errno == EINVAL || errno == EIDRM));

    // A segment that is removed while it is attached has no key any more.
    int segment = shmget(77, 4096, IPC_CREAT | 0600);
    char *at = shmat(segment, 0, 0);
    CHECK(at != (void *)-1 && shmctl(segment, IPC_RMID, 0) == 0);
    FAILS(shmget(77, 0, 0), ENOENT);
    int second = shmget(77, 4096, IPC_CREAT | IPC_EXCL | 0600);
    CHECK(second >= 0 && second != segment && shmget(77, 0, 0) == second);
    CHECK(shmdt(at) == 0 && shmget(77, 0, 0) == second && shmctl(second, IPC_RMID, 0) == 0);
    FAILS(shmget(77, 0, 0), ENOENT);
    return 0;
}
