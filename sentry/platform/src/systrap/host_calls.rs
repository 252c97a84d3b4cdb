//! The host calls that the sentry makes for this platform once it has restricted itself.

use host::seccomp::{ArgCheck, Rule};

use super::life::KICK;
use stub::layout::INTERRUPT;

/// What the sentry's allow-list must contain. Memory for the sentry itself, threads, locks and `exit` are not listed:
/// every Rust program needs those.
pub const HOST_CALLS: &[Rule] = &[
    Rule::when(libc::SYS_ioctl, "ioctl", &[ArgCheck::OneOf(1, &SECCOMP_REQUESTS)]),
    Rule::when(libc::SYS_futex, "futex", &[ArgCheck::Eq32(1, libc::FUTEX_WAKE as u32)]),
    Rule::when(libc::SYS_tgkill, "tgkill", &[ArgCheck::OneOf32(2, &[INTERRUPT as u32, KICK as u32])]),
    Rule::when(libc::SYS_kill, "kill", &[ArgCheck::Eq32(1, libc::SIGKILL as u32)]),
    Rule::when(libc::SYS_waitid, "waitid", &[ArgCheck::Eq32(0, libc::P_ALL)]),
    Rule::any(libc::SYS_wait4, "wait4"),
    Rule::when(
        libc::SYS_socketpair,
        "socketpair",
        &[
            ArgCheck::Eq32(0, libc::AF_UNIX as u32),
            ArgCheck::Eq32(1, (libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC) as u32),
        ],
    ),
    // Of a stub's thread, to get it onto another core: the sandbox's pid name space has no other processes.
    Rule::any(libc::SYS_sched_setaffinity, "sched_setaffinity"),
    Rule::any(libc::SYS_sendmsg, "sendmsg"),
    Rule::any(libc::SYS_recvmsg, "recvmsg"),
    Rule::any(libc::SYS_close, "close"),
    Rule::when(
        libc::SYS_fallocate,
        "fallocate",
        &[ArgCheck::Eq32(1, (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE) as u32)],
    ),
    Rule::when(libc::SYS_ppoll, "ppoll", &[ArgCheck::Eq(1, 1)]),
    Rule::any(libc::SYS_getpid, "getpid"),
    Rule::any(libc::SYS_gettid, "gettid"),
    Rule::any(libc::SYS_clock_nanosleep, "clock_nanosleep"),
    Rule::any(libc::SYS_rt_sigreturn, "rt_sigreturn"),
];

const SECCOMP_REQUESTS: [u64; 3] =
    [libc::SECCOMP_IOCTL_NOTIF_RECV, libc::SECCOMP_IOCTL_NOTIF_SEND, libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS];
