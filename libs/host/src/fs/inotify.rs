//! Watching names of the host (`man 7 inotify`).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use abi::{Errno, Result};

use super::{retry, with_name};
use crate::check;

bitflags::bitflags! {
    /// What to watch for, and what happened (`IN_*`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct WatchMask: u32 {
        /// Content read.
        const ACCESS = libc::IN_ACCESS;
        /// Content changed.
        const MODIFY = libc::IN_MODIFY;
        /// Attributes changed.
        const ATTRIB = libc::IN_ATTRIB;
        /// A file opened for writing was closed.
        const CLOSE_WRITE = libc::IN_CLOSE_WRITE;
        /// Another was closed.
        const CLOSE_NOWRITE = libc::IN_CLOSE_NOWRITE;
        /// Opened.
        const OPEN = libc::IN_OPEN;
        /// A name left for elsewhere.
        const MOVED_FROM = libc::IN_MOVED_FROM;
        /// A name came from elsewhere.
        const MOVED_TO = libc::IN_MOVED_TO;
        /// A new name.
        const CREATE = libc::IN_CREATE;
        /// A name is gone.
        const DELETE = libc::IN_DELETE;
        /// The watched file itself is gone.
        const DELETE_SELF = libc::IN_DELETE_SELF;
        /// The watched file itself was renamed.
        const MOVE_SELF = libc::IN_MOVE_SELF;
        /// Its file system is gone.
        const UNMOUNT = libc::IN_UNMOUNT;
        /// Events were lost.
        const OVERFLOW = libc::IN_Q_OVERFLOW;
        /// The watch is gone.
        const IGNORED = libc::IN_IGNORED;
        /// What the event is about is a directory.
        const IS_DIR = libc::IN_ISDIR;
        /// Watch a symbolic link itself.
        const DONT_FOLLOW = libc::IN_DONT_FOLLOW;
        /// No events of names that were removed since.
        const EXCL_UNLINK = libc::IN_EXCL_UNLINK;
        /// Only a directory.
        const ONLY_DIR = libc::IN_ONLYDIR;
    }
}

/// An inotify instance.
#[derive(Debug)]
pub struct Inotify(OwnedFd);

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InotifyEvent<'a> {
    /// The watch, or -1 for an overflow.
    pub watch: i32,
    /// What happened.
    pub mask: WatchMask,
    /// Joins the two halves of a rename.
    pub cookie: u32,
    /// The name in the watched directory; empty for the watched file itself.
    pub name: &'a [u8],
}

/// The events of one filled buffer.
#[derive(Clone, Debug)]
pub struct InotifyEvents<'a> {
    bytes: &'a [u8],
}

impl Inotify {
    /// A new instance whose reads wait.
    ///
    /// # Errors
    /// What `inotify_init1(2)` says.
    pub fn new() -> Result<Self> {
        // SAFETY: a plain system call without pointers.
        let fd = check(i64::from(unsafe { libc::inotify_init1(libc::IN_CLOEXEC) }))?;
        let fd = i32::try_from(fd).map_err(|_| Errno::EBADF)?;
        // SAFETY: the call just made this descriptor, and nothing else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches a path relative to the working directory (see [`super::change_dir`]), or changes its watch.
    ///
    /// # Errors
    /// What `inotify_add_watch(2)` says; `ENOSPC` where the user's limit is reached.
    pub fn watch(&self, path: &[u8], mask: WatchMask) -> Result<i32> {
        with_name(path, |path| {
            // SAFETY: `path` is a C string that the kernel only reads.
            let watch = unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), path.as_ptr(), mask.bits()) };
            check(i64::from(watch)).and_then(|watch| i32::try_from(watch).map_err(|_| Errno::EOVERFLOW))
        })
    }

    /// Ends a watch; an `IGNORED` event follows.
    ///
    /// # Errors
    /// `EINVAL` where there is no such watch.
    pub fn unwatch(&self, watch: i32) -> Result<()> {
        // SAFETY: a plain system call on a live descriptor.
        check(i64::from(unsafe { libc::inotify_rm_watch(self.0.as_raw_fd(), watch) })).map(|_| ())
    }

    /// Waits for events and fills `buffer` with them.
    ///
    /// # Errors
    /// What `read(2)` says; `EINVAL` where the buffer is too small for the next event.
    pub fn wait<'a>(&self, buffer: &'a mut [u8]) -> Result<InotifyEvents<'a>> {
        // SAFETY: `buffer` has the length that is passed.
        let len = retry(|| unsafe {
            libc::read(self.0.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) as i64
        })?;
        Ok(InotifyEvents { bytes: buffer.get(..len).unwrap_or_default() })
    }
}

impl AsFd for Inotify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl<'a> Iterator for InotifyEvents<'a> {
    type Item = InotifyEvent<'a>;

    // struct inotify_event { int wd; u32 mask; u32 cookie; u32 len; char name[]; }
    fn next(&mut self) -> Option<InotifyEvent<'a>> {
        let (head, rest) = self.bytes.split_at_checked(16)?;
        let field = |at: usize| Some(u32::from_ne_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let (watch, mask, cookie) = (field(0)?.cast_signed(), field(4)?, field(8)?);
        let (name, rest) = rest.split_at_checked(field(12)? as usize)?;
        self.bytes = rest;
        let name = name.split(|&b| b == 0).next().unwrap_or_default();
        Some(InotifyEvent { watch, mask: WatchMask::from_bits_retain(mask), cookie, name })
    }
}
