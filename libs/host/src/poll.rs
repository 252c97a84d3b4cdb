//! Waiting for descriptors (`man 2 ppoll`).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use abi::{Errno, Result};

use crate::check;

/// A counter that is readable when it is above 0; a read takes its value, eight bytes (`man 2 eventfd`).
///
/// # Errors
/// `EMFILE` where this process has too many descriptors.
pub fn event_counter() -> Result<OwnedFd> {
    // SAFETY: a plain system call without pointers.
    let fd = check(i64::from(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }))?;
    // SAFETY: the call just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Waits until `fd` is readable (or hung up), at most for `limit`; says whether it is. Signals do not end the wait.
///
/// # Errors
/// What `ppoll(2)` says.
pub fn readable(fd: BorrowedFd<'_>, limit: Option<Duration>) -> Result<bool> {
    any_readable([fd], limit).map(|[ready]| ready)
}

/// What `fd` is ready for at this moment, as poll(2) numbers events.
///
/// # Errors
/// What `ppoll(2)` says.
pub fn events_now(fd: BorrowedFd<'_>) -> Result<u32> {
    let events = libc::POLLIN | libc::POLLOUT | libc::POLLPRI | libc::POLLRDHUP;
    let mut polled = libc::pollfd { fd: fd.as_raw_fd(), events, revents: 0 };
    let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: one live pollfd, a live timespec, no mask.
    check(i64::from(unsafe { libc::ppoll(&raw mut polled, 1, &raw const now, std::ptr::null()) }))?;
    Ok(u32::from(polled.revents.unsigned_abs()))
}

/// Bytes that a read would return now (`FIONREAD`).
///
/// # Errors
/// `ENOTTY` for files that cannot tell.
pub fn readable_bytes(fd: BorrowedFd<'_>) -> Result<i32> {
    let mut count = 0;
    // SAFETY: the request writes one int.
    check(i64::from(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut count) }))?;
    Ok(count)
}

/// Waits until `fd` is readable (or hung up); false where the other end of `peer`, a socket, is closed first. What
/// `peer` sends does not end the wait.
///
/// # Errors
/// What `ppoll(2)` says.
pub fn readable_while_connected(fd: BorrowedFd<'_>, peer: Option<BorrowedFd<'_>>) -> Result<bool> {
    // A negative number is passed over.
    let peer = peer.map_or(-1, |peer| peer.as_raw_fd());
    let mut polled = [
        libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 },
        libc::pollfd { fd: peer, events: libc::POLLRDHUP, revents: 0 },
    ];
    loop {
        // SAFETY: a live array of two, no time limit, no mask.
        let done = unsafe { libc::ppoll(polled.as_mut_ptr(), 2, std::ptr::null(), std::ptr::null()) };
        match check(i64::from(done)) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => return Ok(polled[0].revents != 0),
        }
    }
}

/// Waits until one of `fds` is readable (or hung up), at most for `limit`; says which are.
///
/// # Errors
/// What `ppoll(2)` says.
pub fn any_readable<const N: usize>(fds: [BorrowedFd<'_>; N], limit: Option<Duration>) -> Result<[bool; N]> {
    let deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
    let mut polled = fds.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    loop {
        let left = deadline.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            libc::timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        let left = left.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: `polled` is a live list of the length given, `left` a live timespec or null, the mask is null.
        let done = unsafe { libc::ppoll(polled.as_mut_ptr(), polled.len() as u64, left, std::ptr::null()) };
        match check(i64::from(done)) {
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
            Ok(_) => return Ok(polled.map(|fd| fd.revents != 0)),
        }
    }
}
