// also: static
// Values at the end of their range: calls must refuse or wrap them as Linux does, and nothing may fall over.
#include "check.h"
#include <elf.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

static void nothing(int signal) {}

// The stack cannot be written: the process dies of SIGSEGV, and nobody else does.
static void alternate_stack_at_the_end(void) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        stack_t stack = {.ss_sp = (void *)-8192L, .ss_size = 16384};
        CHECK(sigaltstack(&stack, NULL) == 0);
        struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_ONSTACK};
        CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
        raise(SIGUSR1);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void owner_without_a_negative(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    struct f_owner_ex owner = {.type = F_OWNER_PGRP, .pid = INT_MIN};
    fcntl(ends[0], F_SETOWN_EX, &owner);
    fcntl(ends[0], F_GETOWN);
    close(ends[0]);
    close(ends[1]);
}

// Segments whose addresses lie above where the program is put, in both orders.
static void program_moved_down(void) {
    for (int order = 0; order < 2; order++) {
        struct {
            Elf64_Ehdr header;
            Elf64_Phdr load[2];
        } image = {0};
        memcpy(image.header.e_ident, ELFMAG, SELFMAG);
        image.header.e_ident[EI_CLASS] = ELFCLASS64;
        image.header.e_ident[EI_DATA] = ELFDATA2LSB;
        image.header.e_ident[EI_VERSION] = EV_CURRENT;
        image.header.e_type = ET_DYN;
        image.header.e_machine = EM_X86_64;
        image.header.e_version = EV_CURRENT;
        image.header.e_phoff = sizeof image.header;
        image.header.e_ehsize = sizeof image.header;
        image.header.e_phentsize = sizeof(Elf64_Phdr);
        image.header.e_phnum = 2;
        for (int i = 0; i < 2; i++) {
            image.load[i ^ order].p_type = PT_LOAD;
            image.load[i ^ order].p_flags = PF_R | PF_W | PF_X;
            image.load[i ^ order].p_vaddr = 0x7ffff0000000 + i * 0x2000;
            image.load[i ^ order].p_filesz = sizeof image;
            image.load[i ^ order].p_memsz = 0x1800;
            image.load[i ^ order].p_align = 0x1000;
        }
        image.header.e_entry = 0x7ffff0000000;
        char name[] = "/tmp/overflow-XXXXXX";
        int file = mkstemp(name);
        CHECK(file >= 0 && write(file, &image, sizeof image) == sizeof image && fchmod(file, 0700) == 0);
        close(file);
        pid_t child = fork();
        if (child == 0) {
            execl(name, name, NULL);
            _exit(1);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(unlink(name) == 0);
    }
}

static void timer_that_expires_at_once(void) {
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    CHECK(timer >= 0);
    for (int i = 0; i < 2000; i++) {
        struct itimerspec soon = {.it_value.tv_nsec = 1};
        CHECK(timerfd_settime(timer, 0, &soon, NULL) == 0);
        unsigned long count = 0;
        CHECK(read(timer, &count, sizeof count) == sizeof count && count == 1);
    }
    close(timer);
}

int main(void) {
    alternate_stack_at_the_end();
    owner_without_a_negative();
    program_moved_down();
    timer_that_expires_at_once();
    return 0;
}
