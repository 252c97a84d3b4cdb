//! Making, removing and renaming names; owners, modes, times, sizes.

use std::os::fd::{AsRawFd, BorrowedFd};

use abi::{Errno, Result};

use super::{retry, with_name};
use crate::check;

bitflags::bitflags! {
    /// How [`rename_at`] treats the new name (`RENAME_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RenameFlags: u32 {
        /// Fail if it is there.
        const NO_REPLACE = libc::RENAME_NOREPLACE;
        /// Swap the two.
        const EXCHANGE = libc::RENAME_EXCHANGE;
    }
}

/// What [`set_times`] does with one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// Leaves it.
    Keep,
    /// The host's clock.
    Now,
    /// Seconds and nanoseconds.
    To(i64, u32),
}

impl SetTime {
    fn raw(self) -> libc::timespec {
        match self {
            Self::Keep => libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_OMIT },
            Self::Now => libc::timespec { tv_sec: 0, tv_nsec: libc::UTIME_NOW },
            Self::To(tv_sec, nanoseconds) => libc::timespec { tv_sec, tv_nsec: i64::from(nanoseconds) },
        }
    }
}

/// Makes a directory.
///
/// # Errors
/// What `mkdirat(2)` says.
pub fn make_dir_at(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> Result<()> {
    // SAFETY: `name` is a C string that the kernel only reads.
    with_name(name, |name| unit(unsafe { libc::mkdirat(dir.as_raw_fd(), name.as_ptr(), mode) }))
}

/// Makes a symbolic link.
///
/// # Errors
/// What `symlinkat(2)` says.
pub fn symlink_at(target: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    with_name(target, |target| {
        with_name(name, |name| {
            // SAFETY: both are C strings that the kernel only reads.
            unit(unsafe { libc::symlinkat(target.as_ptr(), dir.as_raw_fd(), name.as_ptr()) })
        })
    })
}

/// Makes a fifo, socket, device or empty regular file; the mode says which.
///
/// # Errors
/// What `mknodat(2)` says.
pub fn make_node_at(dir: BorrowedFd<'_>, name: &[u8], mode: u32, device: u64) -> Result<()> {
    // SAFETY: `name` is a C string that the kernel only reads.
    with_name(name, |name| unit(unsafe { libc::mknodat(dir.as_raw_fd(), name.as_ptr(), mode, device) }))
}

/// Gives the file `old` in `old_dir` a second name. A symbolic link is linked itself.
///
/// # Errors
/// What `linkat(2)` says.
pub fn link_at(old_dir: BorrowedFd<'_>, old: &[u8], new_dir: BorrowedFd<'_>, new: &[u8]) -> Result<()> {
    let (from, to) = (old_dir.as_raw_fd(), new_dir.as_raw_fd());
    with_name(old, |old| {
        // SAFETY: both are C strings that the kernel only reads.
        with_name(new, |new| unit(unsafe { libc::linkat(from, old.as_ptr(), to, new.as_ptr(), 0) }))
    })
}

/// Removes a name: of a directory if `is_dir`, else of anything but a directory.
///
/// # Errors
/// What `unlinkat(2)` says.
pub fn unlink_at(dir: BorrowedFd<'_>, name: &[u8], is_dir: bool) -> Result<()> {
    let flags = if is_dir { libc::AT_REMOVEDIR } else { 0 };
    // SAFETY: `name` is a C string that the kernel only reads.
    with_name(name, |name| unit(unsafe { libc::unlinkat(dir.as_raw_fd(), name.as_ptr(), flags) }))
}

/// Renames.
///
/// # Errors
/// What `renameat2(2)` says.
pub fn rename_at(
    old_dir: BorrowedFd<'_>,
    old: &[u8],
    new_dir: BorrowedFd<'_>,
    new: &[u8],
    flags: RenameFlags,
) -> Result<()> {
    let (from, to, flags) = (old_dir.as_raw_fd(), new_dir.as_raw_fd(), flags.bits());
    with_name(old, |old| {
        with_name(new, |new| {
            // SAFETY: both are C strings that the kernel only reads.
            let done =
                unsafe { libc::syscall(libc::SYS_renameat2, from, old.as_ptr(), to, new.as_ptr(), flags) };
            check(done).map(|_| ())
        })
    })
}

/// Changes owner and group of an open file (a path descriptor will do); `None` leaves one.
///
/// # Errors
/// What `fchownat(2)` says.
pub fn set_owner(file: BorrowedFd<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let (uid, gid) = (uid.unwrap_or(u32::MAX), gid.unwrap_or(u32::MAX));
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: an empty C string with AT_EMPTY_PATH names the descriptor itself.
    unit(unsafe { libc::fchownat(file.as_raw_fd(), c"".as_ptr(), uid, gid, flags) })
}

/// Changes the permission bits of an open file (not a path descriptor).
///
/// # Errors
/// What `fchmod(2)` says.
pub fn set_mode(file: BorrowedFd<'_>, mode: u32) -> Result<()> {
    // SAFETY: a plain system call on a live descriptor.
    unit(unsafe { libc::fchmod(file.as_raw_fd(), mode & 0o7777) })
}

/// [`set_mode`] for a path descriptor (Linux 6.6).
///
/// # Errors
/// What `fchmodat2(2)` says; `ENOSYS` on an older host.
pub fn set_mode_path_only(file: BorrowedFd<'_>, mode: u32) -> Result<()> {
    let (fd, mode, flags) = (file.as_raw_fd(), mode & 0o7777, libc::AT_EMPTY_PATH);
    // SAFETY: an empty C string with AT_EMPTY_PATH names the descriptor itself.
    check(unsafe { libc::syscall(libc::SYS_fchmodat2, fd, c"".as_ptr(), mode, flags) }).map(|_| ())
}

/// Sets access and modification time of an open file (a path descriptor will do).
///
/// # Errors
/// What `utimensat(2)` says.
pub fn set_times(file: BorrowedFd<'_>, atime: SetTime, mtime: SetTime) -> Result<()> {
    let times = [atime.raw(), mtime.raw()];
    let flags = libc::AT_EMPTY_PATH | libc::AT_SYMLINK_NOFOLLOW;
    // SAFETY: an empty C string with AT_EMPTY_PATH names the descriptor; `times` holds the two that are read.
    let done = unsafe { libc::utimensat(file.as_raw_fd(), c"".as_ptr(), times.as_ptr(), flags) };
    unit(done)
}

/// Sets the size of a file opened for writing.
///
/// # Errors
/// What `ftruncate(2)` says.
pub fn truncate(file: BorrowedFd<'_>, size: u64) -> Result<()> {
    let size = i64::try_from(size).map_err(|_| Errno::EFBIG)?;
    // SAFETY: a plain system call on a live descriptor.
    retry(|| i64::from(unsafe { libc::ftruncate(file.as_raw_fd(), size) })).map(|_| ())
}

/// Allocates, punches, collapses or zeroes a range of a file opened for writing (`FALLOC_FL_*` in `mode`).
///
/// # Errors
/// What `fallocate(2)` says.
pub fn allocate(file: BorrowedFd<'_>, mode: i32, offset: u64, len: u64) -> Result<()> {
    let offset = i64::try_from(offset).map_err(|_| Errno::EINVAL)?;
    let len = i64::try_from(len).map_err(|_| Errno::EINVAL)?;
    // SAFETY: a plain system call on a live descriptor.
    check(i64::from(unsafe { libc::fallocate(file.as_raw_fd(), mode, offset, len) })).map(|_| ())
}

/// Waits until a file's data (and attributes, unless `data_only`) are on the disk.
///
/// # Errors
/// What `fsync(2)` says.
pub fn sync(file: BorrowedFd<'_>, data_only: bool) -> Result<()> {
    let fd = file.as_raw_fd();
    // SAFETY: plain system calls on a live descriptor.
    retry(|| i64::from(if data_only { unsafe { libc::fdatasync(fd) } } else { unsafe { libc::fsync(fd) } }))
        .map(|_| ())
}

/// Makes `dir` the process's working directory: the only way to hand a directory descriptor to calls that
/// take nothing but a path (`connect`, `bind`, `inotify_add_watch`). One thread of a process may do this.
///
/// # Errors
/// What `fchdir(2)` says.
pub fn change_dir(dir: BorrowedFd<'_>) -> Result<()> {
    // SAFETY: a plain system call on a live descriptor.
    unit(unsafe { libc::fchdir(dir.as_raw_fd()) })
}

/// Gives the calling thread a working directory and a file mode mask of its own: [`change_dir`] and `umask(2)` no
/// longer concern the threads that there are.
///
/// # Errors
/// What `unshare(2)` says.
pub fn own_working_dir() -> Result<()> {
    // SAFETY: a plain system call without pointers.
    unit(unsafe { libc::unshare(libc::CLONE_FS) })
}

fn unit(value: i32) -> Result<()> {
    check(i64::from(value)).map(|_| ())
}

/// The position of a descriptor, after moving it to `offset` where one is given. Shared with everyone who holds it.
///
/// # Errors
/// `ESPIPE` where it has none.
pub fn seek(file: BorrowedFd<'_>, offset: Option<u64>) -> Result<u64> {
    let (offset, whence) = match offset {
        Some(offset) => (i64::try_from(offset).map_err(|_| Errno::EINVAL)?, libc::SEEK_SET),
        None => (0, libc::SEEK_CUR),
    };
    // SAFETY: a plain system call.
    check(unsafe { libc::lseek(file.as_raw_fd(), offset, whence) }).map(|at| at as u64)
}
