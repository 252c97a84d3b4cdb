//! The host system calls that the sentry may make: at most 60, arguments checked, on every thread. With
//! `--network=host` there are a few more.
//!
//! Nothing here opens a path, makes a process, gives memory the right to execute, or touches another process than the
//! stubs, which share the sandbox's pid name space. A call outside the table ends the sandbox.

use abi::fcntl::cmd::{F_DUPFD_CLOEXEC, F_GET_SEALS, F_GETFD, F_GETFL, F_SETFD, F_SETFL};
use abi::fcntl::ioctl::{FIONBIO, FIONREAD};
use abi::fcntl::{AtFlags, RwFlags};
use abi::futex::{
    FUTEX_CLOCK_REALTIME as REALTIME, FUTEX_PRIVATE_FLAG as PRIVATE,
    op::{CMP_REQUEUE, REQUEUE, WAIT, WAIT_BITSET, WAKE, WAKE_BITSET},
};
use abi::prctl::PR_SET_NAME;
use abi::sched::CloneFlags;
use abi::seccomp::{IOCTL_NOTIF_ID_VALID, IOCTL_NOTIF_RECV, IOCTL_NOTIF_SEND, IOCTL_NOTIF_SET_FLAGS};
use abi::socket::{AF_UNIX, SOCK_CLOEXEC, SocketType};
use abi::termios::{TCGETS, TCSETS, TCSETSF, TCSETSW, TIOCGWINSZ, TIOCSWINSZ};
use abi::{Errno, Signal};
use control::Failure;
use control::network::NetworkMode;
use fs::gofer::FALLOCATE_MODES;
use host::seccomp::{Action, ArgCheck, InstallFlags, NOT_EXECUTABLE, Rule, compile, compile_with, nr};

/// It allows an empty path and does not demand one; other paths lead nowhere in our empty root.
const EMPTY_PATH_AT_2: ArgCheck = ArgCheck::with(2, AtFlags::EMPTY_PATH.bits() as u64);
/// Locks and condition variables, private and shared.
const FUTEX_OPERATIONS: &[u32] = &[
    WAIT,
    WAKE,
    REQUEUE,
    CMP_REQUEUE,
    WAIT_BITSET,
    WAKE_BITSET,
    WAIT | PRIVATE,
    WAKE | PRIVATE,
    REQUEUE | PRIVATE,
    CMP_REQUEUE | PRIVATE,
    WAIT_BITSET | PRIVATE,
    WAKE_BITSET | PRIVATE,
    WAIT | REALTIME,
    WAIT_BITSET | REALTIME,
    WAIT | PRIVATE | REALTIME,
    WAIT_BITSET | PRIVATE | REALTIME,
];
/// What glibc makes a thread with.
const THREAD_FLAGS: u64 = CloneFlags::VM
    .union(CloneFlags::FS)
    .union(CloneFlags::FILES)
    .union(CloneFlags::SIGHAND)
    .union(CloneFlags::THREAD)
    .union(CloneFlags::SYSVSEM)
    .union(CloneFlags::SETTLS)
    .union(CloneFlags::PARENT_SETTID)
    .union(CloneFlags::CHILD_CLEARTID)
    .bits();
/// Of stubs' listeners, of terminals, of pipes and sockets.
const IOCTLS: &[u32] = &[
    IOCTL_NOTIF_RECV,
    IOCTL_NOTIF_SEND,
    IOCTL_NOTIF_ID_VALID,
    IOCTL_NOTIF_SET_FLAGS,
    TCGETS,
    TCSETS,
    TCSETSW,
    TCSETSF,
    TIOCGWINSZ,
    TIOCSWINSZ,
    FIONREAD,
    FIONBIO,
];
const FCNTLS: &[u32] = &[F_DUPFD_CLOEXEC, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_GET_SEALS];
/// Of the pairs that we make.
const PAIR_TYPES: &[u32] = &[
    (SocketType::Stream as i32 | SOCK_CLOEXEC).cast_unsigned(),
    (SocketType::SeqPacket as i32 | SOCK_CLOEXEC).cast_unsigned(),
];
/// Those of faults.
const FAULT_SIGNALS: &[u32] = &[Signal::BUS.number().cast_unsigned(), Signal::SEGV.number().cast_unsigned()];
/// `recvfrom` and `sendto` without a socket address.
const NO_ADDRESS: ArgCheck = ArgCheck::Eq(4, 0);

/// The allow-list for everything but the platform.
const KERNEL_RULES: &[Rule] = &[
    // Files that a gofer has donated, standard input and output, logs.
    Rule::any(nr::SYS_read, "read"),
    Rule::any(nr::SYS_write, "write"),
    Rule::any(nr::SYS_readv, "readv"),
    Rule::any(nr::SYS_writev, "writev"),
    Rule::any(nr::SYS_preadv, "preadv"),
    // At a position or at the end.
    Rule::when(nr::SYS_pwritev2, "pwritev2", &[ArgCheck::OneOf32(5, &[0, RwFlags::APPEND.bits()])]),
    Rule::any(nr::SYS_lseek, "lseek"),
    Rule::any(nr::SYS_fstat, "fstat"),
    Rule::when(nr::SYS_statx, "statx", &[EMPTY_PATH_AT_2]),
    Rule::any(nr::SYS_ftruncate, "ftruncate"),
    Rule::when(nr::SYS_fallocate, "fallocate", &[ArgCheck::OneOf32(1, &FALLOCATE_MODES)]),
    Rule::any(nr::SYS_fsync, "fsync"),
    Rule::any(nr::SYS_fdatasync, "fdatasync"),
    Rule::when(nr::SYS_fcntl, "fcntl", &[ArgCheck::OneOf32(1, FCNTLS)]),
    Rule::when(nr::SYS_ioctl, "ioctl", &[ArgCheck::OneOf32(1, IOCTLS)]),
    Rule::any(nr::SYS_close, "close"),
    // Gofers, the control socket, stubs.
    Rule::any(nr::SYS_sendmsg, "sendmsg"),
    Rule::any(nr::SYS_recvmsg, "recvmsg"),
    // Links: as many frames as there are.
    Rule::any(nr::SYS_recvmmsg, "recvmmsg"),
    Rule::when(nr::SYS_recvfrom, "recvfrom", &[NO_ADDRESS]),
    Rule::when(nr::SYS_sendto, "sendto", &[NO_ADDRESS]),
    Rule::any(nr::SYS_accept4, "accept4"),
    Rule::any(nr::SYS_shutdown, "shutdown"),
    Rule::when(
        nr::SYS_socketpair,
        "socketpair",
        &[ArgCheck::Eq32(0, AF_UNIX as u32), ArgCheck::OneOf32(1, PAIR_TYPES), ArgCheck::Eq32(2, 0)],
    ),
    Rule::any(nr::SYS_ppoll, "ppoll"),
    Rule::any(nr::SYS_epoll_create1, "epoll_create1"),
    Rule::any(nr::SYS_epoll_ctl, "epoll_ctl"),
    Rule::any(nr::SYS_epoll_wait, "epoll_wait"),
    // Memory.
    Rule::when(nr::SYS_mmap, "mmap", &[NOT_EXECUTABLE]),
    Rule::when(nr::SYS_mprotect, "mprotect", &[NOT_EXECUTABLE]),
    Rule::any(nr::SYS_munmap, "munmap"),
    Rule::any(nr::SYS_mremap, "mremap"),
    Rule::any(nr::SYS_madvise, "madvise"),
    Rule::any(nr::SYS_mincore, "mincore"),
    Rule::any(nr::SYS_brk, "brk"),
    // Threads and their signals.
    Rule::when(nr::SYS_clone, "clone", &[ArgCheck::Eq(0, THREAD_FLAGS)]),
    Rule::any(nr::SYS_exit, "exit"),
    Rule::any(nr::SYS_exit_group, "exit_group"),
    Rule::when(nr::SYS_futex, "futex", &[ArgCheck::OneOf32(1, FUTEX_OPERATIONS)]),
    Rule::any(nr::SYS_set_robust_list, "set_robust_list"),
    Rule::any(nr::SYS_rseq, "rseq"),
    Rule::any(nr::SYS_sigaltstack, "sigaltstack"),
    Rule::any(nr::SYS_rt_sigprocmask, "rt_sigprocmask"),
    // The fault handler gives way to the default action where a fault is our own.
    Rule::when(nr::SYS_rt_sigaction, "rt_sigaction", &[ArgCheck::OneOf32(0, FAULT_SIGNALS)]),
    Rule::any(nr::SYS_sched_yield, "sched_yield"),
    // The allocator counts processors.
    Rule::any(nr::SYS_sched_getaffinity, "sched_getaffinity"),
    Rule::when(nr::SYS_prctl, "prctl", &[ArgCheck::Eq32(0, PR_SET_NAME.cast_unsigned())]),
    // Time and chance.
    Rule::any(nr::SYS_clock_gettime, "clock_gettime"),
    Rule::any(nr::SYS_getrandom, "getrandom"),
    Rule::any(nr::SYS_restart_syscall, "restart_syscall"),
];

/// The whole allow-list: the kernel's calls and the platform's, and with `--network=host` what sockets of the host need.
#[must_use]
pub fn rules(network: NetworkMode) -> Vec<Rule> {
    let sockets = if network == NetworkMode::Host { socket::hostinet::HOST_CALLS } else { &[] };
    KERNEL_RULES.iter().chain(platform::systrap::HOST_CALLS).chain(sockets).copied().collect()
}

/// Calls that glibc tries and that we answer instead of dying of them: it falls back on older ones, and its allocator
/// asks `/proc/sys/vm/overcommit_memory` before it shrinks a thread's arena, taking failure for "no".
pub const REFUSED: &[Rule] = &[Rule::any(nr::SYS_clone3, "clone3"), Rule::any(nr::SYS_openat, "openat")];

/// Arms the filter on every thread. From here on the process can do what [`rules`] say, and nothing else.
///
/// # Errors
/// A host without seccomp, or a table that cannot be compiled.
pub(crate) fn close_jail(network: NetworkMode) -> Result<(), Failure> {
    let failed = |error| Failure::host(format!("cannot install the seccomp filter of the sandbox: {error}"));
    // Of two filters the stricter answer counts, and ENOSYS is milder than the end of the process: so the calls that
    // are to be refused must pass the table first.
    let rules: Vec<Rule> = rules(network).into_iter().chain(REFUSED.iter().copied()).collect();
    let refuse = compile_with(REFUSED, Action::Errno(Errno::ENOSYS), Action::Allow).map_err(failed)?;
    let allow = compile(&rules, Action::KillProcess).map_err(failed)?;
    refuse.install(InstallFlags::ALL_THREADS).map_err(failed)?;
    allow.install(InstallFlags::ALL_THREADS).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use control::network::NetworkMode;

    #[test]
    fn at_most_sixty_calls() {
        let calls = |network| super::rules(network).iter().map(|rule| rule.nr).collect::<BTreeSet<i64>>();
        let usual = calls(NetworkMode::Sandbox);
        assert!(usual.len() <= 60, "{} calls", usual.len());
        assert_eq!(usual, calls(NetworkMode::None));
        // Neither making nor binding sockets is among those that the host's sockets add.
        assert_eq!(calls(NetworkMode::Host).difference(&usual).count(), 6);
    }
}
