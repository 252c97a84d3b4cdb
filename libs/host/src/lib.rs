//! The host's system calls, as safe functions. The only crate beside platform and stub that uses `libc`.
//!
//! One file per subject. Errors are [`abi::Errno`]: what the host said. Every descriptor is an `OwnedFd` or a
//! `BorrowedFd`; every `unsafe` block says why it holds.

pub mod capability;
pub mod cpu;
pub mod epoll;
pub mod fs;
pub mod heap;
pub mod memory;
mod memory_x86_64;
pub mod mount;
pub mod netlink;
pub mod packet;
pub mod poll;
pub mod process;
pub mod random;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod terminal;
pub mod time;
pub mod unix;

use abi::{Errno, Result};

/// The calling thread's `errno`.
fn last_errno() -> Errno {
    Errno::from_raw(std::io::Error::last_os_error().raw_os_error().unwrap_or(5))
}

/// Takes ownership of a descriptor.
///
/// # Safety
/// `number` is what a system call returned that has made a descriptor, and nothing else owns it.
unsafe fn own(number: usize) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the caller's promise.
    unsafe { std::os::fd::OwnedFd::from_raw_fd(number as std::os::fd::RawFd) }
}

/// A system call's return value as a result.
fn check(value: i64) -> Result<usize> {
    usize::try_from(value).map_err(|_| last_errno())
}
