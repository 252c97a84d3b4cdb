// Opening and writing files: what is emptied when, what is given back, and whose rights go with the content (man 2 open,
// man 2 fallocate, man 7 capabilities).
#include "check.h"
#include <fcntl.h>
#include <linux/capability.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

static char name[] = "/tmp/truncation-XXXXXX";

static long size_of(const char *path) {
    struct stat info;
    CHECK(stat(path, &info) == 0);
    return info.st_size;
}

static void give_capabilities(void) {
    struct vfs_cap_data data = {.magic_etc = VFS_CAP_REVISION_2, .data[0].permitted = 1 << CAP_NET_RAW};
    CHECK(setxattr(name, "security.capability", &data, sizeof data, 0) == 0);
    CHECK(getxattr(name, "security.capability", &data, sizeof data) > 0);
}

static void check_no_capabilities(void) {
    char data[64];
    FAILS(getxattr(name, "security.capability", data, sizeof data), ENODATA);
}

static void reading_descriptor_truncates(void) {
    int watch = inotify_init1(IN_NONBLOCK);
    CHECK(watch >= 0 && inotify_add_watch(watch, name, IN_MODIFY) >= 0);
    int file = open(name, O_RDONLY | O_TRUNC);
    CHECK(file >= 0 && size_of(name) == 0);
    struct inotify_event event;
    CHECK(read(watch, &event, sizeof event) == sizeof event && event.mask == IN_MODIFY);
    close(file);
    close(watch);
}

static void running_program_stays(void) {
    char copy[] = "/tmp/truncation-XXXXXX", command[128];
    int file = mkstemp(copy);
    CHECK(file >= 0);
    close(file);
    snprintf(command, sizeof command, "cp /bin/sleep %s && chmod 755 %s", copy, copy);
    CHECK(system(command) == 0);
    int ready[2];
    CHECK(pipe2(ready, O_CLOEXEC) == 0);
    pid_t child = fork();
    if (child == 0) {
        execl(copy, copy, "100", NULL);
        _exit(1);
    }
    close(ready[1]);
    char byte;
    CHECK(read(ready[0], &byte, 1) == 0);
    FAILS(open(copy, O_RDONLY | O_TRUNC), ETXTBSY);
    CHECK(size_of(copy) > 0);
    CHECK(kill(child, 9) == 0 && waitpid(child, NULL, 0) == child);
    CHECK(unlink(copy) == 0);
}

static void capabilities_go_with_the_content(void) {
    int file = open(name, O_WRONLY);
    CHECK(file >= 0 && write(file, "a", 1) == 1);
    give_capabilities();
    CHECK(write(file, "b", 1) == 1);
    check_no_capabilities();
    give_capabilities();
    CHECK(ftruncate(file, 0) == 0);
    check_no_capabilities();
    close(file);
    give_capabilities();
    file = open(name, O_WRONLY | O_TRUNC);
    CHECK(file >= 0);
    check_no_capabilities();
    close(file);
}

// The last page of a file in memory is given back, though the file ends within it.
static void last_page_goes(void) {
    struct stat info;
    char text[8];
    int file = memfd_create("punched", 0);
    CHECK(write(file, "text", 4) == 4 && fstat(file, &info) == 0 && info.st_blocks == 8);
    CHECK(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == 0);
    CHECK(fstat(file, &info) == 0 && info.st_blocks == 0 && info.st_size == 4);
    CHECK(pread(file, text, 8, 0) == 4 && memcmp(text, "\0\0\0\0", 4) == 0);
    close(file);
}

int main(void) {
    last_page_goes();
    int file = mkstemp(name);
    CHECK(file >= 0 && write(file, "text", 4) == 4 && fchmod(file, 0755) == 0);
    close(file);
    reading_descriptor_truncates();
    running_program_stays();
    if (getuid() == 0) {
        capabilities_go_with_the_content();
    }
    CHECK(unlink(name) == 0);
    return 0;
}
