//! Extended attributes of an open file (`man 7 xattr`). Path descriptors do not work here.

use std::os::fd::{AsRawFd, BorrowedFd};

use abi::Result;

use super::with_name;
use crate::check;

/// Copies the value of `name` to `value`; returns its length. With an empty buffer, just the length.
///
/// # Errors
/// What `fgetxattr(2)` says: `ENODATA`, `ERANGE` where the buffer is too small.
pub fn get_xattr(file: BorrowedFd<'_>, name: &[u8], value: &mut [u8]) -> Result<usize> {
    with_name(name, |name| {
        // SAFETY: `value` has the length that is passed; `name` is a C string.
        let len = unsafe {
            libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len())
        };
        check(len as i64)
    })
}

/// Sets `name`; `flags` is 0, `XATTR_CREATE` (1) or `XATTR_REPLACE` (2).
///
/// # Errors
/// What `fsetxattr(2)` says.
pub fn set_xattr(file: BorrowedFd<'_>, name: &[u8], value: &[u8], flags: i32) -> Result<()> {
    with_name(name, |name| {
        // SAFETY: `value` has the length that is passed; `name` is a C string.
        let done = unsafe {
            libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), flags)
        };
        check(i64::from(done)).map(|_| ())
    })
}

/// Copies all names, each with a NUL, to `names`; returns their length. With an empty buffer, just the length.
///
/// # Errors
/// What `flistxattr(2)` says.
pub fn list_xattr(file: BorrowedFd<'_>, names: &mut [u8]) -> Result<usize> {
    // SAFETY: `names` has the length that is passed.
    let len = unsafe { libc::flistxattr(file.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    check(len as i64)
}

/// Removes `name`.
///
/// # Errors
/// What `fremovexattr(2)` says.
pub fn remove_xattr(file: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    with_name(name, |name| {
        // SAFETY: `name` is a C string that the kernel only reads.
        check(i64::from(unsafe { libc::fremovexattr(file.as_raw_fd(), name.as_ptr()) })).map(|_| ())
    })
}
