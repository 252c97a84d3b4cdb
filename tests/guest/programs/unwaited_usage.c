// also: static
// Children that nobody waits for do not count as the parent's; /proc/stat's times never go back.
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>

static void work(void) {
    struct timespec now;
    do clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    while (now.tv_sec == 0 && now.tv_nsec < 60000000);
    _exit(0);
}

static long children_us(void) {
    struct rusage usage;
    CHECK(getrusage(RUSAGE_CHILDREN, &usage) == 0);
    return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 + usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

static long used_ticks(void) {
    char text[4096] = "";
    long user, nice, system;
    int fd = open("/proc/stat", O_RDONLY);
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    CHECK(sscanf(text, "cpu %ld %ld %ld", &user, &nice, &system) == 3);
    return user + nice + system;
}

int main(void) {
    long before = used_ticks();
    signal(SIGCHLD, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) work();
    FAILS(waitpid(pid, NULL, 0), ECHILD);
    CHECK(children_us() == 0);
    CHECK(used_ticks() >= before + 4);
    signal(SIGCHLD, SIG_DFL);
    pid = fork();
    if (pid == 0) work();
    CHECK(waitpid(pid, NULL, 0) == pid);
    CHECK(children_us() >= 50000);
    double loads[3], one;
    struct sysinfo info;
    char text[128] = "";
    int fd = open("/proc/loadavg", O_RDONLY), running, all, last;
    CHECK(fd >= 0 && read(fd, text, sizeof text - 1) > 0 && sysinfo(&info) == 0);
    CHECK(sscanf(text, "%lf %lf %lf %d/%d %d", &loads[0], &loads[1], &loads[2], &running, &all, &last) == 6);
    one = info.loads[0] / 65536.0;
    CHECK(running >= 1 && all >= running && last >= pid && loads[0] - one < 1 && one - loads[0] < 1);
    return 0;
}
