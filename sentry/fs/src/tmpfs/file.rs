//! Open files of tmpfs, and extended attributes.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::fcntl::Seals;
use abi::mount::MountFlags;
use abi::{Errno, OpenFlags, Result, Timespec};
use kernel::Task;
use kernel::mm::{IoDst, IoSrc, Mappable};
use kernel::vfs::{DirEntry, File, FileOps, Readdir, SeekExtent, SetXattrFlags, SyncScope, WriteAt, Xattr};

use super::inode::{Kind, TmpInode};

/// All values of one inode's attributes together: bounds what a guest can pile up.
const MAX_XATTR_BYTES: usize = 128 << 10;
const DAY_SECONDS: i64 = 24 * 60 * 60;

impl FileOps for TmpInode {
    fn read(&self, _task: &Task, file: &File, offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        let count = self.content()?.read(offset, dst)?;
        if count > 0 {
            self.touch_accessed(file);
        }
        Ok(count)
    }

    fn write(&self, _task: &Task, _file: &File, at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        let content = self.content()?;
        let io = content.lock_io();
        let size = content.size();
        let offset = match at {
            WriteAt::Offset(offset) => offset,
            WriteAt::Append => size,
        };
        let len = src.remaining() as u64;
        if len == 0 {
            return Ok((0, offset));
        }
        let end = offset.checked_add(len).filter(|&end| i64::try_from(end).is_ok()).ok_or(Errno::EFBIG)?;
        let seals = self.seal_bits();
        if seals.intersects(Seals::WRITE | Seals::FUTURE_WRITE) || (end > size && seals.contains(Seals::GROW))
        {
            return Err(Errno::EPERM);
        }
        let count = content.write(offset, src)?;
        drop(io);
        drop(self.touch_modified());
        Ok((count, offset + count as u64))
    }

    fn size(&self) -> Result<u64> {
        self.content().map(|content| content.size())
    }

    fn seek_extent(&self, offset: u64, wanted: SeekExtent) -> Result<u64> {
        self.content()?.seek_extent(offset, wanted)
    }

    fn readdir(&self, _task: &Task, file: &File, from: u64, take: Readdir<'_>) -> Result<u64> {
        let mut at = from;
        let directory = abi::FileType::Directory;
        let dots = [(0, &b"."[..], self.ino), (1, &b".."[..], self.parent_ino())];
        for (position, name, ino) in dots {
            if at == position {
                if !take(&DirEntry { name, ino, file_type: directory, next: position + 1 }) {
                    return Ok(at);
                }
                at = position + 1;
            }
        }
        let names = self.names()?.read();
        for (next, listed) in names.from(at) {
            let file_type = listed.file_type;
            if !take(&DirEntry { name: &listed.name, ino: listed.ino, file_type, next }) {
                return Ok(at);
            }
            at = next;
        }
        drop(names);
        self.touch_accessed(file);
        Ok(at)
    }

    fn mappable(&self, _file: &File) -> Result<Arc<dyn Mappable>> {
        match &self.kind {
            Kind::Regular { content, .. } => Ok(content.clone()),
            _ => Err(Errno::ENODEV),
        }
    }

    fn sync(&self, _scope: SyncScope) -> Result<()> {
        Ok(())
    }
}

impl TmpInode {
    /// Updates the access time as `relatime` does: where it is not later than the last change, or a day old.
    fn touch_accessed(&self, file: &File) {
        let mount = file.path().mount.flags();
        if file.flags().contains(OpenFlags::NOATIME) || mount.contains(MountFlags::NOATIME) {
            return;
        }
        let mut meta = self.meta.lock();
        if meta.atime > meta.mtime && meta.atime > meta.ctime {
            let now: Timespec = self.shared.timekeeper.now();
            if now.tv_sec.saturating_sub(meta.atime.tv_sec) < DAY_SECONDS {
                return;
            }
        }
        meta.atime = self.shared.timekeeper.now();
    }
}

impl Xattr for TmpInode {
    fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.meta.lock().xattrs.get(name).map(|value| value.to_vec()).ok_or(Errno::ENODATA)
    }

    fn set(&self, name: &[u8], value: &[u8], flags: SetXattrFlags) -> Result<()> {
        let now = self.shared.timekeeper.now();
        let mut meta = self.meta.lock();
        match meta.xattrs.contains_key(name) {
            true if flags.contains(SetXattrFlags::CREATE) => return Err(Errno::EEXIST),
            false if flags.contains(SetXattrFlags::REPLACE) => return Err(Errno::ENODATA),
            _ => {}
        }
        let cost = (name.len() + value.len()) as u64;
        host::heap::room_for(cost, host::heap::Purpose::Lasting).map_err(|_| Errno::ENOSPC)?;
        let used: usize = meta.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if used + name.len() + value.len() > MAX_XATTR_BYTES {
            return Err(Errno::ENOSPC);
        }
        meta.xattrs.insert(name.into(), value.into());
        meta.ctime = now;
        if name.starts_with(b"system.posix_acl_") {
            self.has_acl.store(true, Ordering::Release);
        }
        Ok(())
    }

    fn remove(&self, name: &[u8]) -> Result<()> {
        let now = self.shared.timekeeper.now();
        let mut meta = self.meta.lock();
        meta.xattrs.remove(name).ok_or(Errno::ENODATA)?;
        meta.ctime = now;
        let has_acl = meta.xattrs.keys().any(|name| name.starts_with(b"system.posix_acl_"));
        self.has_acl.store(has_acl, Ordering::Release);
        Ok(())
    }

    fn list(&self) -> Result<Vec<Vec<u8>>> {
        Ok(self.meta.lock().xattrs.keys().map(|name| name.to_vec()).collect())
    }
}
