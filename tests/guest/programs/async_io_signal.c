// O_ASYNC: SIGIO or a chosen signal when a file becomes ready.
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static volatile int signal_seen, fd_seen, band_seen, code_seen;
static void on_io(int signal, siginfo_t *info, void *context) {
    signal_seen = signal;
    fd_seen = info->si_fd;
    band_seen = info->si_band;
    code_seen = info->si_code;
}

int main(void) {
    int fds[2], pair[2];
    CHECK(pipe(fds) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    struct sigaction action = {.sa_sigaction = on_io, .sa_flags = SA_SIGINFO};
    sigaction(SIGIO, &action, 0);
    sigaction(SIGRTMIN + 3, &action, 0);
    CHECK(fcntl(fds[0], F_SETOWN, getpid()) == 0 && fcntl(fds[0], F_GETOWN) == getpid());
    CHECK(fcntl(fds[0], F_SETFL, O_ASYNC) == 0 && (fcntl(fds[0], F_GETFL) & O_ASYNC));
    CHECK(write(fds[1], "x", 1) == 1);
    for (int i = 0; i < 1000 && !signal_seen; i++) usleep(1000);
    CHECK(signal_seen == SIGIO);
    // With F_SETSIG the information says which file.
    CHECK(fcntl(pair[0], F_SETSIG, SIGRTMIN + 3) == 0 && fcntl(pair[0], F_GETSIG) == SIGRTMIN + 3);
    CHECK(fcntl(pair[0], F_SETOWN, getpid()) == 0 && fcntl(pair[0], F_SETFL, O_ASYNC | O_NONBLOCK) == 0);
    CHECK(write(pair[1], "x", 1) == 1);
    for (int i = 0; i < 1000 && signal_seen != SIGRTMIN + 3; i++) usleep(1000);
    CHECK(signal_seen == SIGRTMIN + 3 && fd_seen == pair[0] && (band_seen & 1) && code_seen == POLL_IN);
    // Not any more.
    CHECK(fcntl(fds[0], F_SETFL, 0) == 0);
    signal_seen = 0;
    CHECK(write(fds[1], "x", 1) == 1);
    usleep(30000);
    CHECK(signal_seen == 0);
    // Sockets are told by ioctl, too.
    int owner = -getpgrp(), none = 1 << 30;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    CHECK(ioctl(pair[0], SIOCSPGRP, &owner) == 0 && fcntl(pair[0], F_GETOWN) == owner);
    owner = 0;
    CHECK(ioctl(pair[0], FIOGETOWN, &owner) == 0 && owner == -getpgrp() && ioctl(pair[0], SIOCGPGRP, &owner) == 0);
    FAILS(ioctl(pair[0], FIOSETOWN, &none), ESRCH);
    FAILS(ioctl(pair[0], FIOSETOWN, 8), EFAULT);
    FAILS(ioctl(fds[0], FIOGETOWN, &owner), ENOTTY);
    return 0;
}
