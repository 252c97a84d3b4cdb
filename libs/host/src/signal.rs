//! Signals taken from a descriptor instead of by handlers (`man 2 signalfd`), for single-threaded programs.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use abi::{Errno, Result};

use crate::check;

/// The signals with these numbers, blocked for this process and readable here. They stay blocked for children: what
/// is executed from here inherits that, see [`unblock_all`].
#[derive(Debug)]
pub struct SignalFd(File);

fn set_of(signals: &[i32]) -> libc::sigset_t {
    // SAFETY: all zeros is a valid set for `sigemptyset` to fill.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        set
    }
}

impl SignalFd {
    /// Blocks `signals` and makes them readable.
    ///
    /// # Errors
    /// What `signalfd(2)` says.
    pub fn new(signals: &[i32]) -> Result<Self> {
        let set = set_of(signals);
        // SAFETY: `set` is a valid set; the old one is not wanted.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        Self::open(&set)
    }

    /// Makes those signals readable that are blocked already, if any are: whoever blocked them takes them elsewhere at
    /// other times.
    ///
    /// # Errors
    /// What `signalfd(2)` says.
    pub fn of_blocked() -> Result<Self> {
        let mut set = set_of(&[]);
        // SAFETY: with a null new set, the call only writes the current one to `set`.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set) };
        Self::open(&set)
    }

    fn open(set: &libc::sigset_t) -> Result<Self> {
        // SAFETY: `set` is a valid set.
        let fd = check(i64::from(unsafe { libc::signalfd(-1, set, libc::SFD_CLOEXEC) }))?;
        // SAFETY: the call just made this descriptor, and nothing else owns it.
        Ok(Self(File::from(unsafe { OwnedFd::from_raw_fd(fd as i32) })))
    }

    /// Waits for the next one: its number.
    ///
    /// # Errors
    /// What `read(2)` says.
    pub fn next(&self) -> Result<i32> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        (&self.0)
            .read_exact(&mut info)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(5)))?;
        // `ssi_signo` comes first.
        Ok(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
    }

    /// The descriptor; readable when a signal is there.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Has a command start with no signal blocked and none ignored that Rust ignores: what a program expects.
pub fn unblock_all_in(command: &mut std::process::Command) {
    let reset = || {
        unblock_all();
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; sigprocmask(2) and signal(2) are.
    unsafe { std::os::unix::process::CommandExt::pre_exec(command, reset) };
}

/// Sends a signal to every process of a group.
///
/// # Errors
/// `ESRCH` where there is none; `EINVAL` where `group` is no group's number.
pub fn send_to_group(group: i32, signal: i32) -> Result<()> {
    if group <= 1 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: a plain system call with numbers.
    check(i64::from(unsafe { libc::kill(-group, signal) })).map(|_| ())
}

/// Ignores a signal, also in what is executed from here.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN is a valid action; a number that is no signal changes nothing.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Unblocks every signal and gives those that Rust ignores (SIGPIPE) their default action: what a program expects
/// that is executed from here.
pub fn unblock_all() {
    let set = set_of(&[]);
    // SAFETY: `set` is a valid set; SIG_DFL is a valid action.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}
