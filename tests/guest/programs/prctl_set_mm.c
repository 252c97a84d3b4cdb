// also: static
// PR_SET_MM says where the heap is, and /proc/self/stat tells it.
#include "check.h"
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

// A field of /proc/self/stat, counted from 1 as proc(5) does, of those behind the name.
static uint64_t stat_field(int wanted) {
    char text[2048];
    FILE *file = fopen("/proc/self/stat", "r");
    CHECK(file);
    size_t length = fread(text, 1, sizeof text - 1, file);
    text[length] = 0;
    fclose(file);
    char *at = strrchr(text, ')') + 2;
    for (int field = 3; field < wanted; field++) at = strchr(at, ' ') + 1;
    return strtoull(at, NULL, 10);
}

static uint64_t heap_in_maps(void) {
    char line[512];
    FILE *file = fopen("/proc/self/maps", "r");
    CHECK(file);
    uint64_t start = 0;
    while (fgets(line, sizeof line, file))
        if (strstr(line, "[heap]") && !start) start = strtoull(line, NULL, 16);
    fclose(file);
    return start;
}

int main(void) {
    char *memory = sbrk(1 << 20);
    CHECK(memory != (char *)-1);
    memory[0] = 1;
    uint64_t start = heap_in_maps();
    CHECK(start && stat_field(47) == start);
    // Without CAP_SYS_RESOURCE nothing can be set.
    if (prctl(PR_SET_MM, PR_SET_MM_START_BRK, start, 0, 0) != 0 && errno == EPERM) return 0;
    uint64_t end = syscall(SYS_brk, 0);
    CHECK(end > start + (1 << 20) - 1);
    FAILS(prctl(PR_SET_MM, PR_SET_MM_START_BRK, end + 4096, 0, 0), EINVAL);
    FAILS(prctl(PR_SET_MM, PR_SET_MM_BRK, start - 4096, 0, 0), EINVAL);
    CHECK(prctl(PR_SET_MM, PR_SET_MM_START_BRK, start + 4096, 0, 0) == 0);
    CHECK(stat_field(47) == start + 4096);
    CHECK(prctl(PR_SET_MM, PR_SET_MM_BRK, end - 8192, 0, 0) == 0);
    CHECK((uint64_t)syscall(SYS_brk, 0) == end - 8192);
    // The memory is where it was.
    CHECK(memory[0] == 1 && heap_in_maps() != 0);
    return 0;
}
