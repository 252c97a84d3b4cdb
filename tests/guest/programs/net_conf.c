// /proc/sys/net: settings of interfaces, found by name and listed.
#include "check.h"
#include <dirent.h>
#include <fcntl.h>

static int has(const char *path, const char *name) {
    DIR *dir = opendir(path);
    CHECK(dir);
    int found = 0;
    for (struct dirent *entry; (entry = readdir(dir));) found += strcmp(entry->d_name, name) == 0;
    closedir(dir);
    return found;
}

static long number(const char *path) {
    char text[32] = "";
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && read(fd, text, 31) > 1 && text[strlen(text) - 1] == '\n');
    close(fd);
    return atol(text);
}

int main(void) {
    const char *trees[] = {"ipv4/conf", "ipv4/neigh", "ipv6/conf", "ipv6/neigh"};
    char path[128];
    for (int at = 0; at < 4; at++) {
        sprintf(path, "/proc/sys/net/%s", trees[at]);
        CHECK(has(path, "default") == 1 && has(path, "lo") == 1 && has(path, "all") == (at % 2 == 0));
        strcat(path, "/lo");
        CHECK(has(path, at % 2 ? "gc_stale_time" : "forwarding") == 1);
        strcat(path, "/none");
        FAILS(open(path, O_RDONLY), ENOENT);
    }
    FAILS(open("/proc/sys/net/ipv4/conf/none0/forwarding", O_RDONLY), ENOENT);
    CHECK(number("/proc/sys/net/ipv6/conf/lo/mtu") == 65536);
    CHECK(number("/proc/sys/net/ipv4/neigh/lo/base_reachable_time_ms") == 30000);
    CHECK(number("/proc/sys/net/ipv6/conf/all/hop_limit") == 64);
    return 0;
}
