// Calls on one unix socket that race: one name at most, one connection at most; lengths of addresses of messages.
#include "check.h"
#include <netinet/in.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { ROUNDS = 300, THREADS = 4 };

static int fd, won;
static pthread_barrier_t barrier;
static int (*race)(long);

static socklen_t name(struct sockaddr_un *to, const char *what, long number) {
    to->sun_family = AF_UNIX;
    return offsetof(struct sockaddr_un, sun_path) + 1 +
           snprintf(to->sun_path + 1, sizeof to->sun_path - 1, "socket_races-%d-%s-%ld", getpid(), what, number);
}

static void *run(void *number) {
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&barrier);
        if (race((long)number) == 0) __sync_fetch_and_add(&won, 1);
        else CHECK(errno == EINVAL || errno == EISCONN || errno == EAGAIN);
        pthread_barrier_wait(&barrier);
    }
    return 0;
}

static int bind_name(long number) {
    struct sockaddr_un to = {0};
    return bind(fd, (void *)&to, name(&to, "own", number));
}

static int connect_listener(long number) {
    struct sockaddr_un to = {0};
    return connect(fd, (void *)&to, name(&to, "listener", 0));
}

static void in_threads(int (*what)(long), void (*before)(void), void (*after)(void)) {
    pthread_t threads[THREADS];
    race = what;
    pthread_barrier_init(&barrier, 0, THREADS + 1);
    for (long i = 0; i < THREADS; i++) CHECK(pthread_create(&threads[i], 0, run, (void *)i) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        won = 0;
        before();
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        after();
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], 0);
}

static void new_socket(void) {
    CHECK((fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
}

static void one_name(void) {
    CHECK(won == 1 && close(fd) == 0);
    // All names are free.
    for (long i = 0; i < THREADS; i++) {
        new_socket();
        CHECK(bind_name(i) == 0 && close(fd) == 0);
    }
}

static int listener;

static void one_connection(void) {
    CHECK(won == 1);
    int server = accept(listener, 0, 0), more;
    CHECK(server >= 0 && write(fd, "x", 1) == 1);
    // Of what came to nothing there may be ends that were in the backlog for a moment; none stays.
    while ((more = accept(listener, 0, 0)) >= 0) CHECK(close(more) == 0);
    CHECK(errno == EAGAIN && close(server) == 0 && close(fd) == 0);
}

static void lengths(void) {
    int to = socket(AF_INET, SOCK_DGRAM, 0), from = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in at[20] = {{.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof at[0];
    CHECK(bind(to, (void *)at, len) == 0 && getsockname(to, (void *)at, &len) == 0);
    char text[] = "text";
    struct iovec data = {text, 4};
    struct msghdr message = {.msg_name = at, .msg_namelen = sizeof at, .msg_iov = &data, .msg_iovlen = 1};
    CHECK(sendmsg(from, &message, 0) == 4);
    message.msg_namelen = -1;
    FAILS(sendmsg(from, &message, 0), EINVAL);
    FAILS(recvmsg(to, &message, 0), EINVAL);
    message.msg_namelen = sizeof at;
    CHECK(recvmsg(to, &message, 0) == 4 && message.msg_namelen == sizeof at[0]);
    FAILS(sendto(from, text, 4, 0, (void *)at, sizeof at), EINVAL);
}

int main(void) {
    in_threads(bind_name, new_socket, one_name);
    struct sockaddr_un at = {0};
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK(bind(listener, (void *)&at, name(&at, "listener", 0)) == 0 && listen(listener, 100) == 0);
    in_threads(connect_listener, new_socket, one_connection);
    lengths();
    return 0;
}
