// mq_notify with SIGEV_THREAD: the C library's thread hears by a netlink socket.
#include "check.h"
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>

static volatile int called;
static void on_message(union sigval value) { called = value.sival_int; }

int main(void) {
    char name[32];
    sprintf(name, "/guest-thread-%d", getpid());
    mqd_t queue = mq_open(name, O_RDWR | O_CREAT, 0600, 0);
    CHECK(queue >= 0 && mq_unlink(name) == 0);
    struct sigevent event = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_message, .sigev_value.sival_int = 42};
    CHECK(mq_notify(queue, &event) == 0 && mq_send(queue, "x", 1, 0) == 0);
    for (int i = 0; i < 3000 && !called; i++) usleep(1000);
    CHECK(called == 42);
    // Registered, and taken back.
    struct mq_attr attr;
    char buffer[8192];
    CHECK(mq_receive(queue, buffer, sizeof buffer, 0) == 1);
    called = 0;
    CHECK(mq_notify(queue, &event) == 0 && mq_notify(queue, 0) == 0 && mq_send(queue, "x", 1, 0) == 0);
    usleep(50000);
    CHECK(called == 0);
    return 0;
}
