//! Waiting for files: poll(2), select(2), epoll(7) (`asm-generic/poll.h`, `linux/eventpoll.h`).

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct pollfd`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, reason = "Linux's names; man 2 poll")]
#[repr(C)]
pub struct PollFd {
    pub fd: i32,
    pub events: u16,
    pub revents: u16,
}

/// `struct epoll_event`, packed as on x86-64.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, packed)]
pub struct EpollEvent {
    /// Events and flags.
    pub events: u32,
    /// The caller's own.
    pub data: u64,
}

/// `EPOLL_CTL_ADD`.
pub const EPOLL_CTL_ADD: i32 = 1;
/// `EPOLL_CTL_DEL`.
pub const EPOLL_CTL_DEL: i32 = 2;
/// `EPOLL_CTL_MOD`.
pub const EPOLL_CTL_MOD: i32 = 3;

bitflags! {
    /// The flags among `epoll_event.events`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct EpollFlags: u32 {
        /// Wake one of several instances that watch the same file.
        const EXCLUSIVE = 1 << 28;
        /// Keep the system awake; ignored.
        const WAKEUP = 1 << 29;
        /// Report once, then stay quiet until modified.
        const ONESHOT = 1 << 30;
        /// Report changes, not states.
        const ET = 1 << 31;
    }
}
