//! An open regular file: reads and writes go straight between the host's page cache and guest memory.

use std::sync::Arc;

use abi::{Errno, OpenFlags, PAGE_SIZE, Result};
use kernel::Task;
use kernel::mm::{Access, Backing, HostFile, IoDst, IoSrc, Mappable, MappingSet};
use kernel::vfs::{File, FileOps, SeekExtent, SyncScope, WriteAt};

use super::attr::Reach;
use super::inode::GoferInode;
use super::window::Window;

/// Bytes moved by one host call at most: a signal need not wait for more.
const CHUNK: usize = 8 << 20;

/// An open regular file.
#[derive(Debug)]
pub(super) struct GoferFile {
    inode: Arc<GoferInode>,
    host: Arc<HostFile>,
    is_writer: bool,
    window: Window,
}

impl Drop for GoferFile {
    fn drop(&mut self) {
        self.inode.closed(self.is_writer);
    }
}

impl GoferFile {
    pub(super) fn open(inode: Arc<GoferInode>, flags: OpenFlags) -> Result<Self> {
        let is_writer = flags.is_writable();
        let host = inode.opened(is_writer)?;
        Ok(Self { inode, host, is_writer, window: Window::default() })
    }

    /// Reads until `dst` is full or the file ends.
    pub(super) fn read_at(&self, offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        if let Some(done) = self.window.read(&self.inode, &self.host, offset, dst) {
            return Ok(done);
        }
        let fd = self.host.fd();
        let mut done = 0;
        while dst.remaining() > 0 {
            let at = offset.checked_add(done as u64).ok_or(Errno::EINVAL)?;
            match dst.fill_with(CHUNK, &mut |to| host::memory::preadv(fd, to, at)) {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        if !self.inode.volume.is_read_only() {
            self.inode.attrs.was_read();
        }
        Ok(done)
    }

    /// Writes all of `src`; returns the bytes taken and the position behind them.
    pub(super) fn write_at(&self, at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        let mut done = 0;
        let change = self.inode.begin_change(Reach::Content);
        while src.remaining() > 0 {
            match self.inode.with_room(|| self.write_once(at, done, src)) {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(_) if done > 0 => break,
                Err(error) => return Err(error),
            }
        }
        drop(change);
        // What was written last may be told of after this.
        self.inode.note_own_change();
        let end = match at {
            WriteAt::Offset(offset) => offset.saturating_add(done as u64),
            WriteAt::Append => self.size()?,
        };
        Ok((done, end))
    }

    fn write_once(&self, at: WriteAt, done: usize, src: &mut IoSrc<'_>) -> Result<usize> {
        let fd = self.host.fd();
        match at {
            WriteAt::Append => src.drain_with(CHUNK, &mut |from| host::memory::append(fd, from)),
            WriteAt::Offset(offset) => {
                let offset = offset.checked_add(done as u64).ok_or(Errno::EFBIG)?;
                src.drain_with(CHUNK, &mut |from| host::memory::pwritev(fd, from, offset))
            }
        }
    }

    fn sync_if_asked(&self, file: &File) -> Result<()> {
        let flags = file.flags();
        if flags.contains(OpenFlags::SYNC) {
            self.sync(SyncScope::All)
        } else if flags.contains(OpenFlags::DSYNC) {
            self.sync(SyncScope::Data)
        } else {
            Ok(())
        }
    }
}

impl FileOps for GoferFile {
    fn read(&self, _task: &Task, _file: &File, offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        self.read_at(offset, dst)
    }

    fn write(&self, _task: &Task, file: &File, at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        let done = self.write_at(at, src)?;
        self.sync_if_asked(file)?;
        Ok(done)
    }
    fn size(&self) -> Result<u64> {
        self.inode.refreshed().map(|attr| attr.size)
    }

    fn seek_extent(&self, offset: u64, wanted: SeekExtent) -> Result<u64> {
        host::fs::seek_extent(self.host.fd(), offset, wanted == SeekExtent::Data)
    }

    fn mappable(&self, _file: &File) -> Result<Arc<dyn Mappable>> {
        Ok(self.inode.clone())
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        host::fs::sync(self.host.fd(), scope == SyncScope::Data)
    }
}

impl Mappable for GoferInode {
    fn backing(&self, offset: u64, len: u64, access: Access) -> Result<Backing> {
        let file = self.handle(access.is_write())?;
        if access.is_write() {
            // The guest changes size and times without our seeing it.
            self.attrs.set_volatile();
        }
        let end = self.refreshed()?.size.checked_next_multiple_of(PAGE_SIZE).ok_or(Errno::EFBIG)?;
        let left = end.checked_sub(offset).filter(|left| *left > 0).ok_or(Errno::ENXIO)?;
        Ok(Backing::Host { file, offset, len: len.min(left) })
    }

    fn mappings(&self) -> &MappingSet {
        &self.mappings
    }
}
