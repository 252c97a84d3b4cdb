//! The host system calls that a gofer may make: at most 47, arguments checked; and a number that is none.
//!
//! Nothing here opens through a symbolic link, executes, makes a process, or maps memory that can be executed. A call
//! outside the table ends the process.

use abi::OpenFlags;
use abi::fcntl::AtFlags;
use abi::fs::SEEK_SET;
use abi::futex::{
    FUTEX_CLOCK_REALTIME as REALTIME, FUTEX_PRIVATE_FLAG as PRIVATE,
    op::{WAIT, WAIT_BITSET, WAKE, WAKE_BITSET},
};
use abi::mman::{MAP_PRIVATE, MAP_SHARED, MapFlags};
use abi::socket::MsgFlags;
use gofer_protocol::{DOOR_RULE, RenameFlags};
use host::seccomp::{ArgCheck, LAST_WORDS, LOOK_BEFORE_CLOSE, NOT_EXECUTABLE, Rule, SEND_WITHOUT_SIGNAL, nr};

/// A compromised gofer cannot use a link to save itself a look.
const NO_FOLLOW: ArgCheck = ArgCheck::with(2, OpenFlags::NOFOLLOW.bits() as u64);
/// The same for `statx`.
const NO_FOLLOW_AT_2: ArgCheck = ArgCheck::with(2, AtFlags::SYMLINK_NOFOLLOW.bits() as u64);
/// Not shared, not of a file.
const PRIVATE_MEMORY: ArgCheck = ArgCheck::Masked {
    arg: 3,
    mask: MAP_SHARED | MAP_PRIVATE | MapFlags::ANONYMOUS.bits(),
    value: MAP_PRIVATE | MapFlags::ANONYMOUS.bits(),
};
const THE_FILE_ITSELF: u32 = AtFlags::EMPTY_PATH.union(AtFlags::SYMLINK_NOFOLLOW).bits();
const FUTEX_OPERATIONS: &[u32] = &[
    WAIT | PRIVATE,
    WAKE | PRIVATE,
    WAIT_BITSET | PRIVATE,
    WAKE_BITSET | PRIVATE,
    WAIT_BITSET | PRIVATE | REALTIME,
];
const RECEIVE_FLAGS: &[u32] =
    &[MsgFlags::CMSG_CLOEXEC.bits(), MsgFlags::CMSG_CLOEXEC.union(MsgFlags::DONTWAIT).bits()];
/// Files and directories.
const UNLINK_FLAGS: &[u32] = &[0, AtFlags::REMOVEDIR.bits()];

/// The allow-list.
pub const RULES: &[Rule] = &[
    // No call: another filter makes a notification of it, on which the client takes its turn.
    DOOR_RULE,
    // Requests, replies, events.
    Rule::when(nr::SYS_recvmsg, "recvmsg", &[ArgCheck::OneOf32(2, RECEIVE_FLAGS)]),
    SEND_WITHOUT_SIGNAL,
    Rule::any(nr::SYS_read, "read"),
    LAST_WORDS,
    Rule::any(nr::SYS_close, "close"),
    LOOK_BEFORE_CLOSE,
    // Looking.
    Rule::when(nr::SYS_openat, "openat", &[NO_FOLLOW]),
    Rule::when(nr::SYS_statx, "statx", &[NO_FOLLOW_AT_2]),
    Rule::any(nr::SYS_getdents64, "getdents64"),
    Rule::when(nr::SYS_lseek, "lseek", &[ArgCheck::Eq32(2, SEEK_SET)]),
    Rule::any(nr::SYS_readlinkat, "readlinkat"),
    Rule::any(nr::SYS_fstatfs, "fstatfs"),
    Rule::any(nr::SYS_fgetxattr, "fgetxattr"),
    Rule::any(nr::SYS_flistxattr, "flistxattr"),
    // Names.
    Rule::any(nr::SYS_mkdirat, "mkdirat"),
    Rule::any(nr::SYS_symlinkat, "symlinkat"),
    Rule::any(nr::SYS_mknodat, "mknodat"),
    Rule::when(nr::SYS_linkat, "linkat", &[ArgCheck::Eq32(4, 0)]),
    Rule::when(nr::SYS_unlinkat, "unlinkat", &[ArgCheck::OneOf32(2, UNLINK_FLAGS)]),
    Rule::when(nr::SYS_renameat2, "renameat2", &[ArgCheck::AtMost(4, RenameFlags::all().bits() as u64)]),
    // Attributes.
    Rule::when(nr::SYS_fchownat, "fchownat", &[ArgCheck::Eq32(4, THE_FILE_ITSELF)]),
    Rule::any(nr::SYS_fchmod, "fchmod"),
    Rule::when(nr::SYS_fchmodat2, "fchmodat2", &[ArgCheck::Eq32(3, AtFlags::EMPTY_PATH.bits())]),
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
