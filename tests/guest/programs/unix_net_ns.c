// Abstract names and /proc/net/unix belong to a network name space; names that are files do not.
#include "check.h"
#include <sched.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

static struct sockaddr_un abstract_name = {AF_UNIX, "\0of this name space"}, path = {AF_UNIX, "named-by-a-file"};
#define ABSTRACT_LEN (offsetof(struct sockaddr_un, sun_path) + 19)

static int listener(struct sockaddr_un *at, socklen_t len) {
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(fd, (void *)at, len) == 0 && listen(fd, 8) == 0);
    return fd;
}

static int shows(const char *what) {
    char line[512];
    int found = 0;
    FILE *file = fopen("/proc/net/unix", "r");
    while (fgets(line, sizeof line, file)) found |= strstr(line, what) != 0;
    fclose(file);
    return found;
}

int main(void) {
    char directory[] = "/tmp/unix-net-ns-XXXXXX";
    CHECK(mkdtemp(directory) && chdir(directory) == 0);
    listener(&abstract_name, ABSTRACT_LEN);
    listener(&path, sizeof path);
    int early = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(shows("@of this name space"));
    pid_t child = fork();
    if (child == 0) {
        CHECK(unshare(CLONE_NEWNET) == 0);
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        FAILS(connect(fd, (void *)&abstract_name, ABSTRACT_LEN), ECONNREFUSED);
        CHECK(connect(fd, (void *)&path, sizeof path) == 0);
        CHECK(!shows("@of this name space"));
        // The name is free here.
        listener(&abstract_name, ABSTRACT_LEN);
        CHECK(shows("@of this name space"));
        // A socket stays in the name space that it was made in.
        CHECK(connect(early, (void *)&abstract_name, ABSTRACT_LEN) == 0);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(unlink("named-by-a-file") == 0 && rmdir(directory) == 0);
    return 0;
}
