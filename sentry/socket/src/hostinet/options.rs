//! Options of host sockets: passed on where [`super::calls`] allows it.

use std::os::fd::BorrowedFd;

use abi::socket::{SOL_SOCKET, so};
use abi::{Errno, Result};
use kernel::socket::Linger;

use super::calls;

/// The longest value that is passed on, bytes: `TCP_INFO` and source lists fit.
const VALUE_MAX: usize = 1024;

/// The value of an option.
///
/// # Errors
/// `ENOPROTOOPT` for one that is not passed on, and what the host says.
pub(super) fn get(fd: BorrowedFd<'_>, level: i32, name: i32) -> Result<Vec<u8>> {
    if !calls::may_get(level, name) {
        return Err(Errno::ENOPROTOOPT);
    }
    host::socket::option(fd, level, name, VALUE_MAX)
}

/// Sets an option.
///
/// # Errors
/// As [`get`].
pub(super) fn set(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> Result<()> {
    if !calls::may_set(level, name) {
        return Err(Errno::ENOPROTOOPT);
    }
    let value = value.get(..VALUE_MAX.min(value.len())).unwrap_or(value);
    host::socket::set_option(fd, level, name, value)
}

/// Passes a common option on that the sentry keeps as well. What the host does not get works by the sentry's part alone
/// (time-outs) or means nothing here (marks).
pub(super) fn apply_common(fd: BorrowedFd<'_>, name: i32, value: &[u8], linger: Linger) -> Result<()> {
    match name {
        // A close that waits would hold the sentry's thread up: the host sends what is left behind our back.
        so::LINGER if linger.on && linger.seconds > 0 => {
            host::socket::set_option(fd, SOL_SOCKET, so::LINGER, &[0; 8])
        }
        _ if calls::may_set(SOL_SOCKET, name) => host::socket::set_option(fd, SOL_SOCKET, name, value),
        _ => Ok(()),
    }
}
