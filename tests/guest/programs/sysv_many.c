// Thousands of semaphore sets: found by key, removed in any order, their keys and places free again; how identifiers
// follow each other. More shared memory than can be counted.
#include "check.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/wait.h>

#define SETS 4000

static void raise_limit(const char *file, const char *value) {
    int fd = open(file, O_WRONLY);
    CHECK(fd >= 0 && write(fd, value, strlen(value)) == (ssize_t)strlen(value));
    close(fd);
}

// Segments of which no page is there yet: as many as can still be added up.
static void pages_without_end(void) {
    CHECK(unshare(CLONE_NEWIPC) == 0);
    raise_limit("/proc/sys/kernel/shmall", "18446744073709551615");
    raise_limit("/proc/sys/kernel/shmmax", "18446744073709551615");
    raise_limit("/proc/sys/kernel/shmmni", "32768");
    int made = 0;
    while (shmget(IPC_PRIVATE, (1ul << 63) - (2 << 20), IPC_CREAT | SHM_NORESERVE | 0600) >= 0) CHECK(made++ < 9000);
    CHECK(made == 0 ? errno == EINVAL || errno == ENOMEM : errno == ENOSPC || errno == ENOMEM);
    struct shm_info info;
    CHECK(shmctl(0, SHM_INFO, (void *)&info) >= 0 && info.used_ids == made && info.shm_rss == 0);
    _exit(0);
}

// Places go round, so that a number is not soon used again; a place is found by any number that has it.
static void numbers(void) {
    int id;
    struct msqid_ds state;
    for (int i = 0; i < 64; i++) CHECK((id = msgget(IPC_PRIVATE, 0600)) == i && msgctl(id, IPC_RMID, 0) == 0);
    CHECK((id = msgget(IPC_PRIVATE, 0600)) == 32768 && msgctl(id, MSG_STAT, &state) == id);
    CHECK(msgctl(0, MSG_STAT, &state) == id && msgctl(0, IPC_STAT, &state) == -1);
    FAILS(msgctl(1, MSG_STAT, &state), EINVAL);
    FAILS(msgctl(-1, MSG_STAT, &state), EINVAL);
    CHECK(msgctl(id, IPC_RMID, 0) == 0);
}

int main(void) {
    if (getuid() == 0 && fork() == 0) pages_without_end();
    int status = 0;
    CHECK((wait(&status) > 0 || errno == ECHILD) && status == 0);
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

    numbers();

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
