// System V message queues: types, sizes, waiting, copies, removal, errors.
#include "check.h"
#include <signal.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/wait.h>

struct message { long type; char text[8200]; };
static struct message in, out;

static int send_text(int id, long type, const char *text, int flags) {
    out.type = type;
    strcpy(out.text, text);
    return msgsnd(id, &out, strlen(text), flags);
}

static void receive(int id, long type, int flags, long want, const char *text) {
    memset(&in, 0, sizeof in);
    CHECK(msgrcv(id, &in, sizeof in.text, type, flags) == strlen(text));
    CHECK(in.type == want && strcmp(in.text, text) == 0);
}

static void handler(int signal) {}

int main(void) {
    int id = msgget(IPC_PRIVATE, 0600);
    CHECK(id >= 0);
    FAILS(msgrcv(id, &in, 10, 0, IPC_NOWAIT), ENOMSG);
    FAILS(send_text(id, 0, "x", 0), EINVAL);
    FAILS(msgsnd(id, &out, 9000, 0), EINVAL);
    FAILS(msgsnd(id, (void *)8, 1, 0), EFAULT);
    FAILS(msgget(0x3333, 0), ENOENT);

    CHECK(send_text(id, 3, "three", 0) == 0 && send_text(id, 2, "two", 0) == 0 && send_text(id, 2, "zwei", 0) == 0);
    CHECK(send_text(id, 9, "nine", 0) == 0 && send_text(id, 4, "", 0) == 0);
    receive(id, 0, MSG_COPY | IPC_NOWAIT, 3, "three");
    receive(id, 3, MSG_COPY | IPC_NOWAIT, 9, "nine");
    FAILS(msgrcv(id, &in, 10, 17, MSG_COPY | IPC_NOWAIT), ENOMSG);
    FAILS(msgrcv(id, &in, 10, 0, MSG_COPY), EINVAL);
    receive(id, -5, 0, 2, "two");
    receive(id, 3, MSG_EXCEPT, 2, "zwei");
    receive(id, 9, 0, 9, "nine");
    FAILS(msgrcv(id, &in, 2, 0, 0), E2BIG);
    CHECK(msgrcv(id, &in, 2, 0, MSG_NOERROR) == 2 && memcmp(in.text, "th", 2) == 0);
    receive(id, 0, 0, 4, "");
    FAILS(msgrcv(id, &in, -1, 0, 0), EINVAL);

    struct msqid_ds ds;
    CHECK(msgctl(id, IPC_STAT, &ds) == 0);
    CHECK(ds.msg_qnum == 0 && ds.msg_lspid == getpid() && ds.msg_lrpid == getpid() && ds.msg_qbytes > 0);

    // A full queue makes senders wait.
    ds.msg_qbytes = 100;
    CHECK(msgctl(id, IPC_SET, &ds) == 0);
    CHECK(msgsnd(id, &out, 90, 0) == 0);
    FAILS(msgsnd(id, &out, 20, IPC_NOWAIT), EAGAIN);
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, 0);
    ualarm(20000, 0);
    FAILS(msgsnd(id, &out, 20, 0), EINTR);
    pid_t child = fork();
    if (child == 0) {
        CHECK(msgsnd(id, &out, 20, 0) == 0);
        _exit(0);
    }
    usleep(20000);
    CHECK(msgrcv(id, &in, 100, 0, 0) == 90);
    CHECK(msgrcv(id, &in, 100, 0, 0) == 20);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);

    // Waiting for one type; others pass by.
    child = fork();
    if (child == 0) {
        CHECK(msgrcv(id, &in, 100, 7, 0) == 2);
        _exit(in.type == 7 ? 0 : 1);
    }
    CHECK(send_text(id, 6, "six", 0) == 0);
    usleep(20000);
    CHECK(send_text(id, 7, "ok", 0) == 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    receive(id, 0, 0, 6, "six");

    struct msginfo info;
    CHECK(msgctl(0, IPC_INFO, (void *)&info) >= 0 && info.msgmax == 8192);
    CHECK(msgctl(0, MSG_INFO, (void *)&info) >= 0 && info.msgpool >= 1);

    // Removal ends waits.
    child = fork();
    if (child == 0) _exit(msgrcv(id, &in, 100, 0, 0) == -1 ? errno : 0);
    usleep(30000);
    CHECK(msgctl(id, IPC_RMID, 0) == 0);
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == EIDRM);
    FAILS(msgctl(id, IPC_STAT, &ds), EINVAL);
    return 0;
}
