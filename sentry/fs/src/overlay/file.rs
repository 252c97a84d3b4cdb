//! Open files of the overlay that are not simply those of the upper layer: lower files, which may be copied up while
//! they are open, and directories.

use std::sync::{Arc, OnceLock};

use abi::{Errno, FileType, OpenFlags, Result};
use kernel::Task;
use kernel::mm::{IoDst, Mappable};
use kernel::vfs::{DirEntry, File, FileOps, Inode, Readdir, SeekExtent, SyncScope};
use parking_lot::Mutex;

use super::inode::OvlInode;
use super::listing::Listing;

/// A lower file open for reading.
pub(super) struct OvlFile {
    inode: Arc<OvlInode>,
    lower: Arc<dyn FileOps>,
    /// The copy, once there is one.
    upper: OnceLock<Arc<dyn FileOps>>,
    flags: OpenFlags,
}

impl OvlFile {
    pub(super) fn new(inode: Arc<OvlInode>, lower: Arc<dyn FileOps>, flags: OpenFlags) -> Self {
        Self { inode, lower, upper: OnceLock::new(), flags }
    }

    fn real(&self) -> &Arc<dyn FileOps> {
        let Some(upper) = self.inode.upper.get() else { return &self.lower };
        if let Some(opened) = self.upper.get() {
            return opened;
        }
        match upper.clone().open(&self.inode.shared.caller(), self.flags) {
            Ok(opened) => self.upper.get_or_init(|| opened),
            // It goes on with what it has.
            Err(_) => &self.lower,
        }
    }
}

impl FileOps for OvlFile {
    fn read(&self, task: &Task, file: &File, offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        self.real().read(task, file, offset, dst)
    }

    fn size(&self) -> Result<u64> {
        self.real().size()
    }

    fn seek_extent(&self, offset: u64, wanted: SeekExtent) -> Result<u64> {
        self.real().seek_extent(offset, wanted)
    }

    fn ioctl(&self, task: &Task, file: &File, command: u32, arg: u64) -> Result<u64> {
        self.real().ioctl(task, file, command, arg)
    }

    fn mappable(&self, file: &File) -> Result<Arc<dyn Mappable>> {
        self.real().mappable(file)
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        match self.inode.upper.get() {
            Some(_) => self.real().sync(scope),
            None => Ok(()),
        }
    }
}

/// An open directory. What it lists is put together when the reading starts at the beginning.
pub(super) struct OvlDir {
    inode: Arc<OvlInode>,
    listing: Mutex<Option<Arc<Listing>>>,
}

impl OvlDir {
    pub(super) fn new(inode: Arc<OvlInode>) -> Self {
        Self { inode, listing: Mutex::new(None) }
    }

    fn listing(&self, task: &Task, from: u64) -> Result<Arc<Listing>> {
        let mut slot = self.listing.lock();
        match &*slot {
            Some(listing) if from != 0 => Ok(listing.clone()),
            _ => {
                let listing = Arc::new(self.inode.list(task)?);
                *slot = Some(listing.clone());
                Ok(listing)
            }
        }
    }
}

impl FileOps for OvlDir {
    fn readdir(&self, task: &Task, _file: &File, from: u64, take: Readdir<'_>) -> Result<u64> {
        let listing = self.listing(task, from)?;
        let dots = [(&b"."[..], self.inode.ino), (&b".."[..], self.inode.parent_ino())];
        let mut at = from;
        while let Some((name, ino)) = usize::try_from(at).ok().and_then(|at| dots.get(at)) {
            if !take(&DirEntry { name, ino: *ino, file_type: FileType::Directory, next: at + 1 }) {
                return Ok(at);
            }
            at += 1;
        }
        let skip = usize::try_from(at - dots.len() as u64).map_err(|_| Errno::EINVAL)?;
        for entry in listing.skip(skip) {
            let next = at + 1;
            if !take(&DirEntry { name: entry.name, ino: entry.ino, file_type: entry.file_type, next }) {
                return Ok(at);
            }
            at = next;
        }
        Ok(at)
    }

    fn sync(&self, _scope: SyncScope) -> Result<()> {
        Ok(())
    }

    fn size(&self) -> Result<u64> {
        self.inode.attr().map(|attr| attr.size)
    }
}
