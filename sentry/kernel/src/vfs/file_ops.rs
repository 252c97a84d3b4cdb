//! [`FileOps`]: what a kind of open file must be able to do.

use std::any::Any;
use std::sync::Arc;

use abi::{Errno, FileType, Result};
use waiter::{Events, WaitQueue};

use super::{File, Promising};
use crate::Task;
use crate::mm::{IoDst, IoSrc, Mappable};
use crate::socket::Socket;
use crate::task::Pid;

/// What lseek(2) can look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekExtent {
    /// `SEEK_DATA`.
    Data,
    /// `SEEK_HOLE`.
    Hole,
}

/// How much of a file is written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncScope {
    /// Content, and the attributes without which it cannot be read: fdatasync(2).
    Data,
    /// Everything: fsync(2).
    All,
}

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteAt {
    /// At this byte. Streams ignore it.
    Offset(u64),
    /// At the end of the file, atomically.
    Append,
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug)]
pub struct DirEntry<'a> {
    /// The name.
    pub name: &'a [u8],
    /// Inode number.
    pub ino: u64,
    /// Type.
    pub file_type: FileType,
    /// Position to continue at behind this entry: an opaque cookie, never 0.
    pub next: u64,
}

/// Takes the entries of a directory; says `false` where it is full (the entry given was not taken).
pub type Readdir<'a> = &'a mut dyn FnMut(&DirEntry<'_>) -> bool;

/// The behaviour of an open file. Calls come from any thread, several at once.
///
/// Nothing here waits for another guest task: see the module's header. The defaults are those of a stream that can do
/// nothing.
pub trait FileOps: Send + Sync + Any {
    /// Reads from `offset` on (streams ignore it) until `dst` is full or the data ends; 0 is the end of the file.
    ///
    /// # Errors
    /// `EAGAIN` where a stream has nothing now; `EISDIR`, `EINVAL`, `EIO`, `EFAULT`.
    fn read(&self, task: &Task, file: &File, offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        let _ = (task, file, offset, dst);
        Err(Errno::EINVAL)
    }

    /// Writes; returns the bytes taken and, for files with a position, the position behind them. What is kept beyond
    /// the sandbox is synced before it returns, where `file`'s flags have `O_SYNC` or `O_DSYNC`.
    ///
    /// # Errors
    /// `EAGAIN` where a stream has no room now; `EPIPE`, `ENOSPC`, `EFBIG`, `EIO`, `EFAULT`.
    fn write(&self, task: &Task, file: &File, at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        let _ = (task, file, at, src);
        Err(Errno::EINVAL)
    }

    /// Whether it has positions (pread(2) and lseek(2) work). Streams say `false`: `ESPIPE`.
    fn is_seekable(&self) -> bool {
        true
    }

    /// Whether lseek(2) moves the position. Devices whose positions mean nothing say `false`: it stays 0.
    fn keeps_position(&self) -> bool {
        true
    }

    /// The size that `SEEK_END` counts from.
    ///
    /// # Errors
    /// `EINVAL` where there is none.
    fn size(&self) -> Result<u64> {
        Err(Errno::EINVAL)
    }

    /// Finds data or a hole at or behind `offset` (`SEEK_DATA`, `SEEK_HOLE`).
    ///
    /// # Errors
    /// `ENXIO` where there is none.
    fn seek_extent(&self, offset: u64, wanted: SeekExtent) -> Result<u64> {
        let size = self.size()?;
        match wanted {
            _ if offset >= size => Err(Errno::ENXIO),
            SeekExtent::Data => Ok(offset),
            SeekExtent::Hole => Ok(size),
        }
    }

    /// Lists a directory from position `from` (0 is the start, `.` and `..` included); returns where to go on.
    ///
    /// # Errors
    /// `ENOTDIR`.
    fn readdir(&self, task: &Task, file: &File, from: u64, take: Readdir<'_>) -> Result<u64> {
        let _ = (task, file, from, take);
        Err(Errno::ENOTDIR)
    }

    /// What it is ready for now.
    fn poll(&self, file: &File) -> Events {
        let _ = file;
        Events::READABLE | Events::WRITABLE
    }

    /// The file as one whose calls can be promised ahead of time.
    fn promising(&self) -> Option<&dyn Promising> {
        None
    }

    /// Announces changes of [`Self::poll`]; `None` for files that are always ready (epoll refuses those: `EPERM`).
    fn wait_queue(&self) -> Option<&WaitQueue> {
        None
    }

    /// ioctl(2) beyond those that the VFS answers for all files.
    ///
    /// # Errors
    /// `ENOTTY` for a command it does not know.
    fn ioctl(&self, task: &Task, file: &File, command: u32, arg: u64) -> Result<u64> {
        let _ = (task, file, command, arg);
        Err(Errno::ENOTTY)
    }

    /// For mmap(2).
    ///
    /// # Errors
    /// `ENODEV` where it cannot be mapped.
    fn mappable(&self, file: &File) -> Result<Arc<dyn Mappable>> {
        let _ = file;
        Err(Errno::ENODEV)
    }

    /// Writes cached changes back.
    ///
    /// # Errors
    /// `EINVAL` where there is nothing to write back to; `EIO`.
    fn sync(&self, scope: SyncScope) -> Result<()> {
        let _ = scope;
        Err(Errno::EINVAL)
    }

    /// A descriptor was closed; the file may live on.
    ///
    /// # Errors
    /// Returned by close(2), which closes all the same.
    fn flush(&self, task: &Task) -> Result<()> {
        let _ = task;
        Ok(())
    }

    /// The socket behind it.
    fn socket(&self) -> Option<&dyn Socket> {
        None
    }

    /// The process whose directory in `/proc` it is: pidfd_send_signal(2) takes such files, too.
    ///
    /// # Errors
    /// `ESRCH` once it is gone.
    fn process(&self) -> Option<Result<Arc<Pid>>> {
        None
    }

    /// A text for `/proc/[pid]/fdinfo` beyond pos, flags and mnt_id, in whole lines.
    fn fdinfo(&self) -> String {
        String::new()
    }
}
