// also: host network
// /sys/class/net has the links of the network name space, numbered as if_nametoindex(3) numbers them.
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The text of a link's file, without the end of its line; NULL where it cannot be read.
static const char *of(const char *link, const char *file)
{
    static char path[300], text[100];
    snprintf(path, sizeof path, "/sys/class/net/%s/%s", link, file);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return NULL;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n < 0)
        return NULL;
    text[n] = 0;
    text[strcspn(text, "\n")] = 0;
    return text;
}

int main(void)
{
    DIR *dir = opendir("/sys/class/net");
    CHECK(dir != NULL);
    int seen = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        // Drivers put files of their own beside the links (bonding_masters).
        if (entry->d_name[0] == '.' || entry->d_type != DT_LNK)
            continue;
        CHECK((unsigned)atoi(of(entry->d_name, "ifindex")) == if_nametoindex(entry->d_name));
        CHECK(atoi(of(entry->d_name, "mtu")) > 0);
        CHECK(of(entry->d_name, "statistics/rx_bytes") != NULL);
        seen += strcmp(entry->d_name, "lo") == 0;
    }
    CHECK(seen == 1);
    CHECK(strcmp(of("lo", "address"), "00:00:00:00:00:00") == 0);
    CHECK(strcmp(of("lo", "type"), "772") == 0);
    // A loopback has no speed.
    CHECK(of("lo", "speed") == NULL);
    CHECK(of("no-such-link", "mtu") == NULL);
    return closedir(dir);
}
