// also: static
// The largest resident set, as getrusage(2), wait4(2) and VmHWM tell it: memory that was given back still counts.
#include "check.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SIZE = 32 << 20, SLACK_KB = 512 };

static long peak_kb(int who) {
    struct rusage usage;
    CHECK(getrusage(who, &usage) == 0);
    return usage.ru_maxrss;
}

static long high_water_kb(void) {
    char line[256];
    long kb = -1;
    FILE *file = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, file)) sscanf(line, "VmHWM: %ld", &kb);
    fclose(file);
    return kb;
}

// The kinds of memory in the summary of all mappings make up the whole, but for what is rounded.
static void kinds(void) {
    char line[256];
    long pss = -1, anon = -1, file = -1, shmem = -1;
    FILE *rollup = fopen("/proc/self/smaps_rollup", "r");
    while (fgets(line, sizeof line, rollup)) {
        sscanf(line, "Pss: %ld", &pss);
        sscanf(line, "Pss_Anon: %ld", &anon);
        sscanf(line, "Pss_File: %ld", &file);
        sscanf(line, "Pss_Shmem: %ld", &shmem);
    }
    fclose(rollup);
    CHECK(pss > 0 && anon > 0 && file >= 0 && shmem >= 0);
    CHECK(pss - anon - file - shmem >= 0 && pss - anon - file - shmem <= 3);
}

static void touch_and_free(void) {
    char *memory = mmap(0, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    memset(memory, 1, SIZE);
    CHECK(peak_kb(RUSAGE_SELF) > SIZE / 1024 - SLACK_KB);
    CHECK(munmap(memory, SIZE) == 0);
}

int main(void) {
    kinds();
    CHECK(peak_kb(RUSAGE_SELF) > 0 && peak_kb(RUSAGE_SELF) < SIZE / 1024 && peak_kb(RUSAGE_CHILDREN) == 0);
    pid_t child = fork();
    if (child == 0) {
        touch_and_free();
        long self = peak_kb(RUSAGE_SELF), thread = peak_kb(RUSAGE_THREAD), high_water = high_water_kb();
        CHECK(self > SIZE / 1024 - SLACK_KB && thread > SIZE / 1024 - SLACK_KB && high_water > SIZE / 1024 - SLACK_KB);
        _exit(0);
    }
    int status;
    struct rusage usage;
    CHECK(wait4(child, &status, 0, &usage) == child && status == 0);
    CHECK(usage.ru_maxrss > SIZE / 1024 - SLACK_KB);
    CHECK(peak_kb(RUSAGE_CHILDREN) > SIZE / 1024 - SLACK_KB && peak_kb(RUSAGE_SELF) < SIZE / 1024);
    // Nothing large, and nobody looked while it ran.
    child = fork();
    if (child == 0) _exit(0);
    CHECK(wait4(child, &status, 0, &usage) == child && usage.ru_maxrss > 0 && usage.ru_maxrss < SIZE / 1024);
    return 0;
}
