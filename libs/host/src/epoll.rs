//! The host's readiness of descriptors (`man 7 epoll`), edge-triggered.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use abi::{Errno, Result};

use crate::check;

/// Watches descriptors for changes of their readiness.
#[derive(Debug)]
pub struct Epoll(OwnedFd);

impl Epoll {
    /// An instance that watches nothing.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`.
    pub fn new() -> Result<Self> {
        // SAFETY: a plain system call.
        let fd = check(i64::from(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) }))?;
        // SAFETY: the call just made this descriptor, and nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// Watches `fd` for everything, edge-triggered, under the name `token`, until it is closed.
    ///
    /// # Errors
    /// `EPERM` for a file that is always ready.
    pub fn add(&self, fd: BorrowedFd<'_>, token: u64) -> Result<()> {
        self.add_for(
            fd,
            token,
            libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET,
        )
    }

    /// Watches `fd` for its other end's being closed alone, under the name `token`.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_end(&self, fd: BorrowedFd<'_>, token: u64) -> Result<()> {
        // The host adds EPOLLHUP and EPOLLERR itself.
        self.add_for(fd, token, libc::EPOLLET)
    }

    fn add_for(&self, fd: BorrowedFd<'_>, token: u64, events: i32) -> Result<()> {
        let mut event = libc::epoll_event { events: events as u32, u64: token };
        let (epoll, fd) = (self.0.as_raw_fd(), fd.as_raw_fd());
        // SAFETY: `event` is live for the call.
        check(i64::from(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &raw mut event) })).map(drop)
    }

    /// Stops watching `fd`.
    ///
    /// # Errors
    /// `ENOENT` where it was not watched.
    pub fn remove(&self, fd: BorrowedFd<'_>) -> Result<()> {
        let (epoll, fd) = (self.0.as_raw_fd(), fd.as_raw_fd());
        // SAFETY: the event may be null for this operation.
        check(i64::from(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) }))
            .map(drop)
    }

    /// Sleeps until something changes; returns (token, events as poll(2) numbers them).
    ///
    /// # Errors
    /// What the host says; never `EINTR`.
    pub fn wait(&self) -> Result<Vec<(u64, u32)>> {
        const ROOM: usize = 32;
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; ROOM];
        loop {
            // SAFETY: `events` has room for as many entries as are asked for.
            let done = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), ROOM as i32, -1) };
            match check(i64::from(done)) {
                Ok(count) => {
                    return Ok(events[..count].iter().map(|event| (event.u64, event.events)).collect());
                }
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}
