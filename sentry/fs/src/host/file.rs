//! A descriptor of the host's as a guest's open file: standard input, output and error that the runtime passed on.
//!
//! The descriptor's flags are shared with whoever passed it on, so it is never made non-blocking: readiness is asked for
//! before each transfer, and transfers are small enough not to wait for more.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

use abi::fcntl::ioctl::FIONREAD;
use abi::{DeviceId, Errno, FileType, OpenFlags, Result, Timespec};
use host::memory::{VolatileSlice, readv, writev};
use kernel::Task;
use kernel::host_events::{HostSource, Readiness, normalize};
use kernel::mm::{IoDst, IoSrc};
use kernel::vfs::{Attr, Caller, File, FileOps, Inode, InodeCommon, SetAttr, SyncScope, WriteAt};
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

/// A stream that is ready for writing takes at least this much without waiting (`PIPE_BUF`).
const STREAM_WRITE: usize = 4096;
/// Most bytes of one read.
const STREAM_READ: usize = 64 << 10;

/// A donated descriptor.
pub struct HostInode {
    common: InodeCommon,
    fd: OwnedFd,
    attr: Attr,
    /// Device and inode number on the host.
    host_id: (u64, u64),
    /// Held from a look at the host's state to the end of the transfer that relies on it, by readers and by writers:
    /// that there is something to read, or of a regular file, where the position is that other holders share.
    reading: Mutex<()>,
    writing: Mutex<()>,
    queue: WaitQueue,
    /// Whether readiness changes: not for regular files and the like.
    is_watched: bool,
}

impl HostInode {
    /// Wraps `fd`; its inode number will be `ino`.
    ///
    /// # Errors
    /// What the host says to fstat(2) or epoll_ctl(2).
    pub fn new(readiness: &Readiness, fd: OwnedFd, ino: u64) -> Result<Arc<Self>> {
        let stat = host::fs::stat(fd.as_fd())?;
        let time = |(tv_sec, nsec): (i64, u32)| Timespec { tv_sec, tv_nsec: i64::from(nsec) };
        let attr = Attr {
            ino,
            mode: stat.mode,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: DeviceId::decode(stat.rdev),
            size: stat.size,
            blocks: stat.blocks,
            blksize: stat.block_size,
            atime: time(stat.atime),
            mtime: time(stat.mtime),
            ctime: time(stat.ctime),
            btime: None,
        };
        let mut outcome = Ok(false);
        let file = Arc::new_cyclic(|this: &Weak<Self>| {
            let source: Weak<dyn HostSource> = this.clone();
            outcome = readiness.watch(fd.as_fd(), &source);
            let is_watched = outcome.unwrap_or(false);
            let (common, queue) = (InodeCommon::default(), WaitQueue::new());
            Self {
                common,
                fd,
                attr,
                host_id: (stat.dev, stat.ino),
                reading: Mutex::new(()),
                writing: Mutex::new(()),
                queue,
                is_watched,
            }
        });
        outcome.map(|_| file)
    }

    fn is_regular(&self) -> bool {
        self.attr.file_type() == FileType::Regular
    }

    /// What the file is on the host, where it is a regular one.
    pub(super) fn identity(&self) -> Option<(u64, u64)> {
        self.is_regular().then_some(self.host_id)
    }

    /// The position that the host has for the descriptor.
    pub(super) fn host_position(&self) -> u64 {
        if self.is_regular() { host::fs::seek(self.fd.as_fd(), None).unwrap_or(0) } else { 0 }
    }

    fn events(&self) -> Events {
        let bits = host::poll::events_now(self.fd.as_fd());
        bits.map_or(Events::ERR, normalize)
    }

    fn read_stream(&self, dst: &mut IoDst<'_>) -> Result<usize> {
        let _alone = self.reading.lock();
        if self.is_watched && !self.events().intersects(Events::IN | Events::HUP | Events::ERR) {
            return Err(Errno::EAGAIN);
        }
        dst.fill_with(STREAM_READ, &mut once(|to| readv(self.fd.as_fd(), to)))
    }

    fn write_stream(&self, src: &mut IoSrc<'_>) -> Result<usize> {
        let _alone = self.writing.lock();
        if self.is_watched && !self.events().intersects(Events::OUT | Events::ERR | Events::HUP) {
            return Err(Errno::EAGAIN);
        }
        src.drain_with(STREAM_WRITE, &mut once(|from| writev(self.fd.as_fd(), from)))
    }

    /// Puts the host's position where the guest's is, then transfers.
    fn at<T>(&self, offset: u64, transfer: impl FnOnce() -> Result<T>) -> Result<T> {
        let (_readers, _writers) = (self.reading.lock(), self.writing.lock());
        host::fs::seek(self.fd.as_fd(), Some(offset))?;
        transfer()
    }
}

/// Only the first call is made: readiness was asked for one, and another could wait.
fn once(
    mut call: impl FnMut(&[VolatileSlice<'_>]) -> Result<usize>,
) -> impl FnMut(&[VolatileSlice<'_>]) -> Result<usize> {
    let mut is_made = false;
    move |slices| if std::mem::replace(&mut is_made, true) { Ok(0) } else { call(slices) }
}

impl HostSource for HostInode {
    fn ready(&self, events: Events) {
        self.queue.notify(events);
    }
}

/// An open description of a donated descriptor. (The inode is the descriptor itself: they come and go together.)
pub(super) struct OpenHostFile(pub(super) Arc<HostInode>);

impl FileOps for OpenHostFile {
    fn read(&self, _task: &Task, _file: &File, offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        let file = &self.0;
        if !file.is_regular() {
            return file.read_stream(dst);
        }
        let fill = &mut |to: &[VolatileSlice<'_>]| readv(file.fd.as_fd(), to);
        file.at(offset, || dst.fill_with(dst.remaining(), fill))
    }

    fn write(&self, _task: &Task, _file: &File, at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        let file = &self.0;
        if !file.is_regular() {
            return file.write_stream(src).map(|count| (count, 0));
        }
        let drain = &mut |from: &[VolatileSlice<'_>]| writev(file.fd.as_fd(), from);
        let offset = match at {
            WriteAt::Offset(offset) => offset,
            WriteAt::Append => host::memory::file_size(file.fd.as_fd())?,
        };
        let count = file.at(offset, || src.drain_with(src.remaining(), drain))?;
        // A descriptor that the host opened for appending has moved to the end first.
        Ok((count, file.host_position()))
    }

    fn is_seekable(&self) -> bool {
        self.0.is_regular()
    }

    fn size(&self) -> Result<u64> {
        host::memory::file_size(self.0.fd.as_fd())
    }

    fn poll(&self, _file: &File) -> Events {
        if self.0.is_watched { self.0.events() } else { Events::READABLE | Events::WRITABLE }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        self.0.is_watched.then_some(&self.0.queue)
    }

    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        if command != FIONREAD || self.0.is_regular() {
            return Err(Errno::ENOTTY);
        }
        let count = host::poll::readable_bytes(self.0.fd.as_fd())?;
        task.mm().write_object(abi::UserAddr(arg), &count)?;
        Ok(0)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        if !self.0.is_regular() {
            return Err(Errno::EINVAL);
        }
        host::fs::sync(self.0.fd.as_fd(), scope == SyncScope::Data)
    }
}

impl Inode for HostInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        let mut attr = self.attr;
        if self.is_regular() {
            let stat = host::fs::stat(self.fd.as_fd())?;
            (attr.size, attr.blocks) = (stat.size, stat.blocks);
        }
        Ok(attr)
    }

    /// The file is not the guest's: it may be cut (`>/dev/stdout`), not given away.
    fn set_attr(&self, _caller: &Caller<'_>, change: &SetAttr) -> Result<()> {
        if change.mode.or(change.uid).or(change.gid).is_some() {
            return Err(Errno::EPERM);
        }
        match change.size {
            Some(size) if self.is_regular() => host::fs::truncate(self.fd.as_fd(), size),
            Some(_) => Err(Errno::EINVAL),
            None => Ok(()),
        }
    }

    /// `/dev/stdout` and the like: the same descriptor again.
    fn open(self: Arc<Self>, _caller: &Caller<'_>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(OpenHostFile(self)))
    }

    fn open_special(
        self: Arc<Self>,
        caller: &Caller<'_>,
        flags: OpenFlags,
    ) -> Option<Result<Arc<dyn FileOps>>> {
        Some(self.open(caller, flags))
    }
}
