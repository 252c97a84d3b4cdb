//! The host system calls that a gofer may make: at most 47, arguments checked; and a number that is none.
//!
//! Nothing here opens through a symbolic link, executes, makes a process, or maps memory that can be executed. A call
//! outside the table ends the process.

use gofer_protocol::DOOR_RULE;
use host::seccomp::{ArgCheck, Rule, nr};

/// `O_NOFOLLOW`: a compromised gofer cannot use a link to save itself a look.
const NO_FOLLOW: ArgCheck = ArgCheck::Masked { arg: 2, mask: 0o400_000, value: 0o400_000 };
/// `PROT_EXEC` is not among the protections.
const NOT_EXECUTABLE: ArgCheck = ArgCheck::Masked { arg: 2, mask: 4, value: 0 };
/// `MAP_ANONYMOUS | MAP_PRIVATE`, not shared, not of a file.
const PRIVATE_MEMORY: ArgCheck = ArgCheck::Masked { arg: 3, mask: 0x23, value: 0x22 };
/// `AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW`.
const THE_FILE_ITSELF: u32 = 0x1100;
/// `FUTEX_WAIT`, `FUTEX_WAKE`, and the bitset forms, private, with and without `FUTEX_CLOCK_REALTIME`.
const FUTEX_OPERATIONS: &[u32] = &[128, 129, 137, 138, 393];

/// `MSG_CMSG_CLOEXEC`, with and without `MSG_DONTWAIT`.
const RECEIVE_FLAGS: &[u32] = &[0x4000_0000, 0x4000_0040];

/// The allow-list.
pub const RULES: &[Rule] = &[
    // No call: another filter makes a notification of it, on which the client takes its turn.
    DOOR_RULE,
    // Requests, replies, events.
    Rule::when(nr::SYS_recvmsg, "recvmsg", &[ArgCheck::OneOf32(2, RECEIVE_FLAGS)]),
    Rule::when(nr::SYS_sendmsg, "sendmsg", &[ArgCheck::Eq32(2, 0x4000)]),
    Rule::any(nr::SYS_read, "read"),
    // The last words on standard error.
    Rule::when(nr::SYS_write, "write", &[ArgCheck::Eq32(0, 2)]),
    Rule::any(nr::SYS_close, "close"),
    // `F_GETFD`: Rust's library looks before it closes, in builds with debug assertions.
    Rule::when(nr::SYS_fcntl, "fcntl", &[ArgCheck::Eq32(1, 1)]),
    // Looking.
    Rule::when(nr::SYS_openat, "openat", &[NO_FOLLOW]),
    Rule::when(nr::SYS_statx, "statx", &[ArgCheck::Masked { arg: 2, mask: 0x100, value: 0x100 }]),
    Rule::any(nr::SYS_getdents64, "getdents64"),
    Rule::when(nr::SYS_lseek, "lseek", &[ArgCheck::Eq32(2, 0)]),
    Rule::any(nr::SYS_readlinkat, "readlinkat"),
    Rule::any(nr::SYS_fstatfs, "fstatfs"),
    Rule::any(nr::SYS_fgetxattr, "fgetxattr"),
    Rule::any(nr::SYS_flistxattr, "flistxattr"),
    // Names.
    Rule::any(nr::SYS_mkdirat, "mkdirat"),
    Rule::any(nr::SYS_symlinkat, "symlinkat"),
    Rule::any(nr::SYS_mknodat, "mknodat"),
    Rule::when(nr::SYS_linkat, "linkat", &[ArgCheck::Eq32(4, 0)]),
    Rule::when(nr::SYS_unlinkat, "unlinkat", &[ArgCheck::OneOf32(2, &[0, 0x200])]),
    Rule::when(nr::SYS_renameat2, "renameat2", &[ArgCheck::AtMost(4, 3)]),
    // Attributes.
    Rule::when(nr::SYS_fchownat, "fchownat", &[ArgCheck::Eq32(4, THE_FILE_ITSELF)]),
    Rule::any(nr::SYS_fchmod, "fchmod"),
    Rule::when(nr::SYS_fchmodat2, "fchmodat2", &[ArgCheck::Eq32(3, 0x1000)]),
    Rule::when(nr::SYS_utimensat, "utimensat", &[ArgCheck::Eq32(3, THE_FILE_ITSELF)]),
    Rule::any(nr::SYS_ftruncate, "ftruncate"),
    Rule::any(nr::SYS_fsetxattr, "fsetxattr"),
    Rule::any(nr::SYS_fremovexattr, "fremovexattr"),
    Rule::any(nr::SYS_fsync, "fsync"),
    Rule::any(nr::SYS_fdatasync, "fdatasync"),
    // Watches, by path.
    Rule::any(nr::SYS_fchdir, "fchdir"),
    Rule::any(nr::SYS_inotify_add_watch, "inotify_add_watch"),
    Rule::any(nr::SYS_inotify_rm_watch, "inotify_rm_watch"),
    // Memory, threads, the end.
    Rule::when(nr::SYS_mmap, "mmap", &[NOT_EXECUTABLE, PRIVATE_MEMORY]),
    Rule::any(nr::SYS_munmap, "munmap"),
    Rule::any(nr::SYS_mremap, "mremap"),
    Rule::any(nr::SYS_brk, "brk"),
    Rule::any(nr::SYS_madvise, "madvise"),
    Rule::when(nr::SYS_mprotect, "mprotect", &[NOT_EXECUTABLE]),
    Rule::when(nr::SYS_futex, "futex", &[ArgCheck::OneOf32(1, FUTEX_OPERATIONS)]),
    Rule::any(nr::SYS_clock_nanosleep, "clock_nanosleep"),
    // Of a sleep that the cgroup freezer or a debugger interrupted.
    Rule::any(nr::SYS_restart_syscall, "restart_syscall"),
    Rule::any(nr::SYS_getrandom, "getrandom"),
    Rule::any(nr::SYS_rt_sigprocmask, "rt_sigprocmask"),
    Rule::any(nr::SYS_rt_sigreturn, "rt_sigreturn"),
    Rule::any(nr::SYS_sigaltstack, "sigaltstack"),
    Rule::any(nr::SYS_exit, "exit"),
    Rule::any(nr::SYS_exit_group, "exit_group"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{DOOR_RULE, RULES, nr};

    #[test]
    fn at_most_forty_seven_calls_and_none_that_makes_a_socket() {
        let calls: BTreeSet<i64> =
            RULES.iter().filter(|rule| **rule != DOOR_RULE).map(|rule| rule.nr).collect();
        assert!(calls.len() <= 47);
        let sockets = [nr::SYS_socket, nr::SYS_connect, nr::SYS_bind, nr::SYS_listen];
        assert!(sockets.iter().all(|call| !calls.contains(call)));
    }
}
