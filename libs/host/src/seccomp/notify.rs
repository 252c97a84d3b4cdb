//! The supervisor's side of `SECCOMP_RET_USER_NOTIF` (`man 2 seccomp_unotify`).

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use abi::{Errno, Result};

use super::Error;
use crate::check;

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` (Linux 6.6): a hand-over runs the other side on the caller's core.
const SYNC_WAKE_UP: u64 = 1;
/// What poll(2) says of a listener that nobody calls any more. `POLLERR` is not among it: it says that a signal for us
/// came while the listener was locked.
const DESERTED: i16 = libc::POLLHUP | libc::POLLNVAL;

/// Whether the host has user notification with the structures that we know.
///
/// # Errors
/// [`Error::Host`]: what `seccomp(2)` says; `EPROTO` where its structures are larger than ours.
pub fn check_user_notify() -> std::result::Result<(), Error> {
    let mut sizes = libc::seccomp_notif_sizes { seccomp_notif: 0, seccomp_notif_resp: 0, seccomp_data: 0 };
    let operation = libc::SECCOMP_GET_NOTIF_SIZES;
    // SAFETY: the call fills the structure.
    check(unsafe { libc::syscall(libc::SYS_seccomp, operation, 0, &raw mut sizes) }).map_err(Error::Host)?;
    let fits = usize::from(sizes.seccomp_notif) <= size_of::<RawNotification>()
        && usize::from(sizes.seccomp_notif_resp) <= size_of::<RawResponse>();
    if fits { Ok(()) } else { Err(Error::Host(Errno::EPROTO)) }
}

/// Numbers that are no calls, and far from those that are.
const NO_CALLS: Range<u32> = 0xd00..0xe00;

/// Calls a number that the thread's filter hands to a listener; returns when that answers. The number must be one of
/// 0xd00 to 0xdff, which are no calls.
///
/// # Errors
/// What the listener says; `ENOSYS` where there is none any more; `EINVAL` for another number.
pub fn ask_listener(nr: u32, arg: u64) -> Result<usize> {
    if !NO_CALLS.contains(&nr) {
        return Err(Errno::EINVAL);
    }
    // SAFETY: a number that the host does not have does nothing but what the filter makes of it.
    check(unsafe { libc::syscall(libc::c_long::from(nr), arg) })
}

/// What [`Listener::wait_while_connected`] saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A call can be received.
    Call,
    /// None will come: no thread is left that could call, or the peer's end is closed.
    End,
    /// Neither within the time, or a signal came.
    Nothing,
}

/// A call that waits for our answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Names the waiting call in [`Listener::answer`].
    pub id: u64,
    /// The caller's thread id in our pid name space (0 where it is not in it).
    pub tid: i32,
    /// The call's number.
    pub nr: i32,
    /// Where it was made: the address behind the `syscall` instruction.
    pub ip: u64,
    /// Its arguments.
    pub args: [u64; 6],
}

/// The descriptor on which a filter's notifications arrive.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

impl Listener {
    /// Wraps a listener descriptor. Anything else makes every later call fail with `ENOTTY` or `EINVAL`.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Asks for same-core hand-overs in both directions. Kernels before 6.6 say `EINVAL`; all works without.
    ///
    /// # Errors
    /// What the ioctl says.
    pub fn set_sync_wake_up(&self) -> Result<()> {
        self.set_flags(SYNC_WAKE_UP)
    }

    /// Lets the host choose the core on which each side wakes, as it does by default.
    ///
    /// # Errors
    /// As [`Self::set_sync_wake_up`].
    pub fn clear_sync_wake_up(&self) -> Result<()> {
        self.set_flags(0)
    }

    fn set_flags(&self, flags: u64) -> Result<()> {
        // SAFETY: the request takes a plain number.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, flags) };
        check(i64::from(result)).map(|_| ())
    }

    /// Waits for the next call.
    ///
    /// # Errors
    /// `EINTR` for a signal; `ENOENT` where the caller went away in between, or (since 6.11) where no caller is left.
    #[inline]
    pub fn receive(&self) -> Result<Notification> {
        // The kernel insists on a zeroed structure.
        let mut raw = RawNotification::default();
        // SAFETY: the structure is as large as the request says and writable.
        let result =
            unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, &raw mut raw) };
        check(i64::from(result))?;
        Ok(Notification { id: raw.id, tid: raw.pid as i32, nr: raw.nr, ip: raw.ip, args: raw.args })
    }

    /// Makes a waiting call return `value`.
    ///
    /// # Errors
    /// `ENOENT` where it no longer waits (killed, or interrupted and about to call again).
    #[inline]
    pub fn answer(&self, id: u64, value: i64) -> Result<()> {
        let mut raw = RawResponse { id, value, error: 0, flags: 0 };
        // SAFETY: the structure is as large as the request says and readable.
        let result =
            unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, &raw mut raw) };
        check(i64::from(result)).map(|_| ())
    }

    /// Whether this is a listener at all.
    ///
    /// # Errors
    /// `EINVAL` where it is not.
    pub fn check(&self) -> Result<()> {
        // No call has this number: the host counts from a random one.
        let id = 0_u64;
        // SAFETY: the request reads 8 bytes.
        let result =
            unsafe { libc::ioctl(self.fd.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &raw const id) };
        // Whatever else it says, only a listener knows that no such call waits.
        match check(i64::from(result)) {
            Err(Errno::ENOENT) => Ok(()),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Waits for at most `limit` until a call can be received, or until there will be none since no thread is left that
    /// could call or the other end of the socket `peer` is closed. What `peer` sends does not end the wait.
    ///
    /// # Errors
    /// What `ppoll(2)` says.
    pub fn wait_while_connected(&self, peer: BorrowedFd<'_>, limit: Duration) -> Result<Seen> {
        let mut polled = [
            libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: peer.as_raw_fd(), events: libc::POLLRDHUP, revents: 0 },
        ];
        let limit = time_spec(limit);
        // SAFETY: a live array of two, and a time limit that outlives the call.
        let ready = unsafe { libc::ppoll(polled.as_mut_ptr(), 2, &raw const limit, std::ptr::null()) };
        match check(i64::from(ready)) {
            Ok(0) | Err(Errno::EINTR) => Ok(Seen::Nothing),
            Ok(_) if polled[0].revents & libc::POLLIN != 0 => Ok(Seen::Call),
            Ok(_) => {
                let has_ended = polled[0].revents & DESERTED != 0 || polled[1].revents != 0;
                Ok(if has_ended { Seen::End } else { Seen::Nothing })
            }
            Err(error) => Err(error),
        }
    }

    /// Whether no thread is left that could call.
    #[must_use]
    pub fn has_hung_up(&self) -> bool {
        self.wait_hung_up(Duration::ZERO)
    }

    /// Waits for at most `limit` until no thread is left that could call; says whether that is so.
    #[must_use]
    pub fn wait_hung_up(&self, limit: Duration) -> bool {
        self.poll(0, limit) & DESERTED != 0
    }

    /// Waits for at most `limit` until a call can be received; says whether one can.
    #[must_use]
    pub fn wait_call(&self, limit: Duration) -> bool {
        self.poll(libc::POLLIN, limit) & libc::POLLIN != 0
    }

    fn poll(&self, events: i16, limit: Duration) -> i16 {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events, revents: 0 };
        let limit = time_spec(limit);
        // SAFETY: one pollfd, and a time limit that outlives the call.
        let ready = unsafe { libc::ppoll(&raw mut poll, 1, &raw const limit, std::ptr::null()) };
        if ready == 1 { poll.revents } else { 0 }
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.fd
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn time_spec(limit: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    }
}

/// `struct seccomp_notif`.
#[derive(Default)]
#[repr(C)]
struct RawNotification {
    id: u64,
    pid: u32,
    flags: u32,
    nr: i32,
    arch: u32,
    ip: u64,
    args: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct RawResponse {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

const _: () = assert!(size_of::<RawNotification>() == size_of::<libc::seccomp_notif>());
const _: () = assert!(size_of::<RawResponse>() == size_of::<libc::seccomp_notif_resp>());
