// also: volume
// A name to which rename(2) gives one file after the other is there at each moment.
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

enum { ROUNDS = 1500 };

static char name[300];
static atomic_int over;

static void *look(void *unused) {
    char content[16];
    struct stat stat_;
    while (!over) {
        int fd = open(name, O_RDONLY);
        CHECK(fd >= 0);
        CHECK(read(fd, content, sizeof content) == 7 && !memcmp(content, "content", 7));
        CHECK(fstat(fd, &stat_) == 0 && stat_.st_size == 7 && stat_.st_nlink <= 1);
        CHECK(close(fd) == 0);
        CHECK(stat(name, &stat_) == 0 && stat_.st_size == 7);
        CHECK(access(name, R_OK) == 0);
    }
    return 0;
}
static void make(const char *path) {
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0644);
    CHECK(fd >= 0 && write(fd, "content", 7) == 7 && close(fd) == 0);
}

int main(int argc, char **argv) {
    char dir[256], new[300];
    pthread_t threads[2];
    sprintf(dir, "%s/replaced_name-XXXXXX", argc > 1 ? argv[1] : "/tmp");
    CHECK(mkdtemp(dir));
    sprintf(name, "%s/name", dir);
    sprintf(new, "%s/new", dir);
    make(name);
    for (int t = 0; t < 2; t++) CHECK(pthread_create(&threads[t], 0, look, 0) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        make(new);
        CHECK(rename(new, name) == 0);
    }
    over = 1;
    for (int t = 0; t < 2; t++) CHECK(pthread_join(threads[t], 0) == 0);
    CHECK(unlink(name) == 0 && rmdir(dir) == 0);
    return 0;
}
