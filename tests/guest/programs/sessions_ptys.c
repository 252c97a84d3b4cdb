// Sessions, process groups, terminals: controlling terminal, foreground group, SIGTTIN, hang-up, window size, orphans.
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

static volatile int hups, winches;
static void on_hup(int signal) { hups++; }
static void on_winch(int signal) { winches++; }

static void read_all(int fd, const char *want) {
    char buffer[256] = {0};
    int len = 0;
    while (len < strlen(want)) {
        int count = read(fd, buffer + len, strlen(want) - len); // No more: the other side may have written on.
        CHECK(count > 0);
        len += count;
    }
    if (strcmp(buffer, want) != 0) fprintf(stderr, "got %s\n", buffer);
    CHECK(strcmp(buffer, want) == 0);
}

// When the foreground group has ended, its number stays, and who is in another group is still in the background.
static void foreground_is_gone(void) {
    int master = posix_openpt(O_RDWR | O_NOCTTY), status;
    CHECK(master >= 0 && unlockpt(master) == 0);
    pid_t child = fork();
    if (child == 0) {
        setsid();
        int tty = open(ptsname(master), O_RDWR);
        CHECK(tty >= 0);
        signal(SIGTTOU, SIG_IGN);
        signal(SIGTTIN, SIG_IGN);
        pid_t foreground = fork();
        if (foreground == 0) {
            CHECK(setpgid(0, 0) == 0 && tcsetpgrp(tty, getpid()) == 0);
            _exit(0);
        }
        CHECK(waitpid(foreground, &status, 0) == foreground && status == 0 && tcgetpgrp(tty) == foreground);
        CHECK(write(master, "typed\n", 6) == 6);
        char line[8];
        FAILS(read(tty, line, sizeof line), EIO);
        CHECK(tcsetpgrp(tty, getpid()) == 0 && read(tty, line, sizeof line) == 6);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    close(master);
}

int main(void) {
    foreground_is_gone();
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    CHECK(master >= 0 && grantpt(master) == 0);
    char *name = ptsname(master);
    CHECK(name && strncmp(name, "/dev/pts/", 9) == 0);
    FAILS(open(name, O_RDWR | O_NOCTTY), EIO);
    CHECK(unlockpt(master) == 0);
    struct timespec old[2] = {{1000, 0}, {1000, 0}};
    struct stat st;
    CHECK(utimensat(AT_FDCWD, name, old, 0) == 0 && stat(name, &st) == 0 && st.st_mtime == 1000);
    CHECK(utimensat(AT_FDCWD, name, NULL, 0) == 0 && stat(name, &st) == 0 && st.st_mtime > 1000);

    pid_t child = fork();
    if (child == 0) {
        pid_t me = getpid();
        close(master);
        CHECK(setsid() == me && getsid(0) == me && getpgrp() == me);
        FAILS(setsid(), EPERM);
        FAILS(setpgid(0, 0), EPERM);
        FAILS(open("/dev/tty", O_RDWR), ENXIO);
        int tty = open(name, O_RDWR);
        CHECK(tty >= 0 && isatty(tty) && tcgetpgrp(tty) == me && tcgetsid(tty) == me);
        int own = open("/dev/tty", O_RDWR);
        CHECK(own >= 0);
        // Cooked: a line at a time, echo, erase, EOF.
        CHECK(write(tty, "ready\n", 6) == 6);
        char line[64];
        CHECK(read(tty, line, sizeof line) == 4 && memcmp(line, "abd\n", 4) == 0);
        CHECK(read(tty, line, sizeof line) == 0);
        // A background group is stopped when it reads.
        pid_t background = fork();
        if (background == 0) {
            setpgid(0, 0);
            read(tty, line, 1);
            _exit(7);
        }
        setpgid(background, background);
        int status;
        CHECK(waitpid(background, &status, WUNTRACED) == background && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTTIN);
        CHECK(tcsetpgrp(tty, background) == 0 && tcgetpgrp(tty) == background);
        // We are in the background now: changing that takes SIGTTOU unless it is blocked or ignored.
        kill(background, SIGKILL);
        CHECK(waitpid(background, &status, 0) == background);
        signal(SIGTTOU, SIG_IGN);
        CHECK(tcsetpgrp(tty, me) == 0);
        // Raw.
        struct termios raw, saved;
        CHECK(tcgetattr(tty, &saved) == 0);
        raw = saved;
        cfmakeraw(&raw);
        CHECK(tcsetattr(tty, TCSANOW, &raw) == 0);
        CHECK(write(tty, "raw", 3) == 3 && read(tty, line, 1) == 1 && line[0] == 3);
        signal(SIGWINCH, on_winch);
        CHECK(write(tty, "w", 1) == 1);
        while (!winches) usleep(1000);
        struct winsize size;
        CHECK(ioctl(tty, TIOCGWINSZ, &size) == 0 && size.ws_row == 33 && size.ws_col == 99);
        signal(SIGHUP, on_hup);
        CHECK(write(tty, "h", 1) == 1);
        while (!hups) usleep(1000);
        CHECK(read(tty, line, 1) == 0);
        FAILS(write(tty, "x", 1), EIO);
        _exit(0);
    }
    read_all(master, "ready\r\n");
    CHECK(write(master, "abc\177d\n\004", 7) == 7);
    read_all(master, "abc\b \bd\r\n");
    read_all(master, "raw");
    CHECK(write(master, "\003", 1) == 1);
    read_all(master, "w");
    struct winsize size = {33, 99};
    CHECK(ioctl(master, TIOCSWINSZ, &size) == 0);
    read_all(master, "h");
    CHECK(close(master) == 0);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);

    // Ctrl-C reaches the foreground group; a session's end hangs up.
    master = posix_openpt(O_RDWR | O_NOCTTY);
    grantpt(master);
    unlockpt(master);
    name = ptsname(master);
    child = fork();
    if (child == 0) {
        close(master);
        setsid();
        int tty = open(name, O_RDWR);
        write(tty, "x", 1);
        for (;;) pause();
    }
    read_all(master, "x");
    CHECK(write(master, "\003", 1) == 1);
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    char byte;
    read_all(master, "^C");
    FAILS(read(master, &byte, 1), EIO);

    // Groups.
    child = fork();
    if (child == 0) for (;;) pause();
    CHECK(setpgid(child, child) == 0 && getpgid(child) == child);
    FAILS(setpgid(child, 0x3ffffff), EPERM);
    FAILS(setpgid(1, 1), ESRCH);
    CHECK(kill(-child, SIGKILL) == 0 && waitpid(child, 0, 0) == child);
    FAILS(kill(-child, 0), ESRCH);
    return 0;
}
