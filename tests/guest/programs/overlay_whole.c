// A change of an overlay happens whole or not at all: no failure and no moment shows the lower file again.
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mount.h>
#include <sys/stat.h>

// A call that either works, or fails for want of room; with what must hold then.
#define WHOLE(call, after_success, after_failure)    \
    do {                                             \
        if ((call) == 0) {                           \
            CHECK(after_success);                    \
        } else {                                     \
            CHECK(errno == ENOSPC || errno == ENOENT || errno == EEXIST); \
            CHECK(after_failure);                    \
        }                                            \
    } while (0)

static char base[64];

static char *at(const char *name) {
    static _Thread_local char paths[4][256];
    static _Thread_local int next;
    char *path = paths[next++ % 4];
    snprintf(path, 256, "%s/%s", base, name);
    return path;
}

static void put(const char *name, const char *text) {
    int fd = open(at(name), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    CHECK(fd >= 0);
    CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

// The first byte of a file; 0 where there is none.
static char first(const char *name) {
    char byte = 0;
    int fd = open(at(name), O_RDONLY);
    if (fd < 0) {
        CHECK(errno == ENOENT);
        return 0;
    }
    CHECK(read(fd, &byte, 1) >= 0);
    close(fd);
    return byte;
}

static void fill(void) {
    for (int i = 0;; i++) {
        char name[32];
        snprintf(name, sizeof name, "full/filler%d", i);
        int fd = open(at(name), O_CREAT | O_WRONLY, 0644);
        if (fd < 0) {
            CHECK(errno == ENOSPC);
            return;
        }
        close(fd);
    }
}

static void drain(void) {
    for (int i = 0;; i++) {
        char name[32];
        snprintf(name, sizeof name, "full/filler%d", i);
        if (unlink(at(name)) != 0) return;
    }
}

static void a_full_upper_layer(void) {
    put("all/file", "upper");
    put("all/other", "upper");
    put("all/third", "upper");
    put("all/fourth", "upper");
    CHECK(unlink(at("all/gone")) == 0);
    CHECK(unlink(at("all/dir/inner")) == 0);
    fill();
    // Linux keeps a spare whiteout, so some of these succeed there.
    for (int i = 0; i < 3; i++) {
        bool is_there = first("all/file") == 'u';
        WHOLE(unlink(at("all/file")), first("all/file") == 0, is_there == (first("all/file") == 'u'));
        is_there = first("all/other") == 'u';
        WHOLE(rename(at("all/other"), at("all/new")), first("all/other") == 0 && first("all/new") == 'u',
              first("all/other") == (is_there ? 'u' : 0));
        WHOLE(rename(at("all/third"), at("all/fourth")), first("all/third") == 0 && first("all/fourth") == 'u',
              first("all/third") != 'l' && first("all/fourth") == 'u');
        WHOLE(mkdir(at("all/gone"), 0755), first("all/gone/inner") == 0, access(at("all/gone"), F_OK) != 0 || i > 0);
        WHOLE(rmdir(at("all/dir")), access(at("all/dir"), F_OK) != 0, first("all/dir/inner") == 0);
    }
    drain();
    put("all/file", "upper");
    rmdir(at("all/gone"));
    rmdir(at("all/dir"));
    CHECK(rename(at("all/file"), at("all/gone")) == 0);
    CHECK(first("all/gone") == 'u' && first("all/file") == 0);
    CHECK(link(at("all/gone"), at("all/file")) == 0 && first("all/file") == 'u');
    CHECK(unlink(at("all/gone")) == 0 && first("all/gone") == 0);
    CHECK(unlink(at("all/file")) == 0 && first("all/file") == 0);
    CHECK(mkdir(at("all/dir"), 0755) == 0);
    CHECK(first("all/dir/inner") == 0);
    CHECK(mkdir(at("all/gone"), 0755) == 0);
    CHECK(rename(at("all/gone"), at("all/file")) == 0);
    CHECK(rmdir(at("all/file")) == 0 && first("all/file") == 0);
}

static void directories_replace_directories(void) {
    CHECK(unlink(at("all/target/inner")) == 0);
    CHECK(mkdir(at("all/source"), 0755) == 0);
    put("all/source/mine", "upper");
    CHECK(rename(at("all/source"), at("all/target")) == 0);
    CHECK(first("all/target/mine") == 'u' && first("all/target/inner") == 0);
    FAILS(rmdir(at("all/target")), ENOTEMPTY);
}

static atomic_bool over;

static void *look(void *unused) {
    (void)unused;
    while (!over) CHECK(first("all/busy") != 'l');
    return NULL;
}

static void nobody_sees_the_lower_file(void) {
    pthread_t thread;
    put("all/busy", "upper");
    CHECK(pthread_create(&thread, NULL, look, NULL) == 0);
    for (int i = 0; i < 300; i++) {
        CHECK(unlink(at("all/busy")) == 0);
        put("all/busy", "upper");
    }
    over = 1;
    pthread_join(thread, NULL);
}

int main(void) {
    // Without the right to mount there is nothing to see.
    if (unshare(CLONE_NEWNS) != 0 || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) != 0) return 0;
    snprintf(base, sizeof base, "/tmp/overlay_whole.%d", getpid());
    CHECK(mkdir(base, 0755) == 0);
    CHECK(mount("tmpfs", base, "tmpfs", 0, NULL) == 0);
    CHECK(mkdir(at("low"), 0755) == 0 && mkdir(at("low/dir"), 0755) == 0 && mkdir(at("low/target"), 0755) == 0);
    put("low/file", "lower");
    put("low/other", "lower");
    put("low/third", "lower");
    put("low/fourth", "lower");
    put("low/gone", "lower");
    put("low/busy", "lower");
    put("low/dir/inner", "lower");
    put("low/target/inner", "lower");
    CHECK(mkdir(at("full"), 0755) == 0 && mkdir(at("all"), 0755) == 0);
    CHECK(mount("tmpfs", at("full"), "tmpfs", 0, "nr_inodes=50") == 0);
    CHECK(mkdir(at("full/up"), 0755) == 0 && mkdir(at("full/up/in"), 0755) == 0 && mkdir(at("full/work"), 0755) == 0);
    char options[512];
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", at("low"), at("full/up"), at("full/up/in"));
    FAILS(mount("overlay", at("all"), "overlay", 0, options), EINVAL);
    CHECK(rmdir(at("full/up/in")) == 0);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s", at("low"), at("full/up"), at("full/work"));
    CHECK(mount("overlay", at("all"), "overlay", 0, options) == 0);
    a_full_upper_layer();
    directories_replace_directories();
    nobody_sees_the_lower_file();
    CHECK(umount2(base, MNT_DETACH) == 0);
    CHECK(rmdir(base) == 0);
    return 0;
}
