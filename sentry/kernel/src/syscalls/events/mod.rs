//! System calls on what tasks wait for: pipes, poll and select, epoll, and the descriptors for events, signals, timers.

mod epoll;
mod eventfd;
mod pipe;
pub(super) mod poll;
mod select;
mod signalfd;
mod timerfd;

use std::sync::Arc;

use abi::OpenFlags;

use super::table::{Arg, Row};
use crate::time::MonotonicTime;
use crate::vfs::{AnonKind, FileOps};
use crate::{SysResult, Task};

const FD_FLAGS: Arg =
    Arg::Flags(&[(0o2_000_000, "O_CLOEXEC"), (0o4000, "O_NONBLOCK"), (0o40000, "O_DIRECT")]);
const EVENTFD_FLAGS: Arg =
    Arg::Flags(&[(1, "EFD_SEMAPHORE"), (0o2_000_000, "EFD_CLOEXEC"), (0o4000, "EFD_NONBLOCK")]);
const CTL_OPS: Arg = Arg::Enum(&[(1, "EPOLL_CTL_ADD"), (2, "EPOLL_CTL_DEL"), (3, "EPOLL_CTL_MOD")]);

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[
    Row::full(7, "poll", &[Arg::Hex, Arg::Size, Arg::Int], poll::poll),
    Row::full(22, "pipe", &[Arg::Hex], pipe::pipe).takes_memory(),
    Row::full(23, "select", &[Arg::Int, Arg::Hex, Arg::Hex, Arg::Hex, Arg::Hex], select::select),
    Row::full(213, "epoll_create", &[Arg::Int], epoll::epoll_create).takes_memory(),
    Row::full(232, "epoll_wait", &[Arg::Fd, Arg::Hex, Arg::Int, Arg::Int], epoll::epoll_wait),
    Row::full(233, "epoll_ctl", &[Arg::Fd, CTL_OPS, Arg::Fd, Arg::Hex], epoll::epoll_ctl).takes_memory(),
    Row::full(
        270,
        "pselect6",
        &[Arg::Int, Arg::Hex, Arg::Hex, Arg::Hex, Arg::Timespec, Arg::Hex],
        select::pselect6,
    ),
    Row::full(271, "ppoll", &[Arg::Hex, Arg::Size, Arg::Timespec, Arg::Hex, Arg::Size], poll::ppoll),
    Row::full(
        281,
        "epoll_pwait",
        &[Arg::Fd, Arg::Hex, Arg::Int, Arg::Int, Arg::Hex, Arg::Size],
        epoll::epoll_pwait,
    ),
    Row::full(282, "signalfd", &[Arg::Fd, Arg::Hex, Arg::Size], signalfd::signalfd).takes_memory(),
    Row::full(283, "timerfd_create", &[Arg::Int, FD_FLAGS], timerfd::timerfd_create).takes_memory(),
    Row::full(284, "eventfd", &[Arg::Size], eventfd::eventfd).takes_memory(),
    Row::partial(
        286,
        "timerfd_settime",
        &[Arg::Fd, Arg::Hex, Arg::Hex, Arg::Hex],
        timerfd::timerfd_settime,
        "TFD_TIMER_CANCEL_ON_SET never cancels: nobody sets the clock inside",
    ),
    Row::full(287, "timerfd_gettime", &[Arg::Fd, Arg::Hex], timerfd::timerfd_gettime),
    Row::full(289, "signalfd4", &[Arg::Fd, Arg::Hex, Arg::Size, FD_FLAGS], signalfd::signalfd4)
        .takes_memory(),
    Row::full(290, "eventfd2", &[Arg::Size, EVENTFD_FLAGS], eventfd::eventfd2).takes_memory(),
    Row::full(291, "epoll_create1", &[FD_FLAGS], epoll::epoll_create1).takes_memory(),
    Row::full(293, "pipe2", &[Arg::Hex, FD_FLAGS], pipe::pipe2).takes_memory(),
    Row::full(
        441,
        "epoll_pwait2",
        &[Arg::Fd, Arg::Hex, Arg::Int, Arg::Timespec, Arg::Hex, Arg::Size],
        epoll::epoll_pwait2,
    ),
];

/// Gives a descriptor of its own to something that has no name in any file system.
fn install(
    task: &Task,
    name: &'static str,
    ops: Arc<dyn FileOps>,
    flags: OpenFlags,
    close_on_exec: bool,
) -> SysResult {
    let kind = AnonKind::Named(name);
    let file = task.kernel().vfs.anon_file(kind, ops, flags | OpenFlags::RDWR, &task.creds());
    Ok(task.install_fd(file, close_on_exec)? as u64)
}

/// Splits `flags` into the status flags to keep and whether to close on exec; `None` where others than `allowed` are
/// set.
fn fd_flags(flags: u64, allowed: OpenFlags) -> Option<(OpenFlags, bool)> {
    let flags = u32::try_from(flags & 0xffff_ffff).ok().map(OpenFlags::from_bits_retain)?;
    if !flags.difference(allowed | OpenFlags::CLOEXEC).is_empty() {
        return None;
    }
    Some((flags & allowed, flags.contains(OpenFlags::CLOEXEC)))
}

/// The end of a wait of `ms` milliseconds: never where that is negative.
fn deadline_in_ms(task: &Task, ms: i32) -> Option<MonotonicTime> {
    (ms >= 0).then(|| deadline_in(task, i64::from(ms) * 1_000_000))
}

/// The end of a wait of `ns` nanoseconds. None for a wait of nothing is needed: a deadline of 0 has passed.
fn deadline_in(task: &Task, ns: i64) -> MonotonicTime {
    if ns == 0 { MonotonicTime(0) } else { task.kernel().timekeeper.deadline_in(ns) }
}
