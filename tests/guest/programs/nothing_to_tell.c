// Calls that have nothing to tell, or to do: waitid(2) for stops of a zombie, capget(2) without a buffer.
#include "check.h"
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>

int main(void) {
    pid_t child = fork();
    if (child == 0) _exit(3);
    siginfo_t info;
    CHECK(waitid(P_PID, child, &info, WEXITED | WNOWAIT) == 0);
    FAILS(waitid(P_PID, child, &info, WSTOPPED | WNOHANG), ECHILD);
    FAILS(waitid(P_PID, child, &info, WCONTINUED), ECHILD);
    CHECK(waitid(P_PID, child, &info, WEXITED) == 0 && info.si_status == 3);

    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    CHECK(syscall(SYS_capget, &header, 0) == 0);
    header.version = 1;
    CHECK(syscall(SYS_capget, &header, 0) == 0 && header.version == _LINUX_CAPABILITY_VERSION_3);
    return 0;
}
