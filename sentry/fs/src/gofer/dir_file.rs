//! An open directory: a snapshot of its names, taken when listing starts.

use std::sync::Arc;

use abi::{Errno, FileType, Result};
use kernel::Task;
use kernel::mm::IoDst;
use kernel::vfs::{DirEntry, File, FileOps, Inode, Readdir, SyncScope};
use parking_lot::Mutex;

use super::dir::Shown;
use super::inode::GoferInode;

/// Positions of `.` and `..`.
const FIRST: u64 = 2;

type Entries = Arc<Vec<Shown>>;

/// An open directory. Lock: `snapshot` is a leaf.
#[derive(Debug)]
pub(super) struct DirFile {
    inode: Arc<GoferInode>,
    snapshot: Mutex<Option<Entries>>,
}

impl DirFile {
    pub(super) fn new(inode: Arc<GoferInode>) -> Self {
        Self { inode, snapshot: Mutex::new(None) }
    }

    /// The names, as they were when the listing was (re)started.
    fn entries(&self, restart: bool) -> Result<Entries> {
        let known = self.snapshot.lock().clone();
        if let Some(entries) = known.filter(|_| !restart) {
            return Ok(entries);
        }
        let entries = Arc::new(self.inode.entries()?);
        *self.snapshot.lock() = Some(entries.clone());
        Ok(entries)
    }
}

impl FileOps for DirFile {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, _dst: &mut IoDst<'_>) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn readdir(&self, _task: &Task, file: &File, from: u64, take: Readdir<'_>) -> Result<u64> {
        let entries = self.entries(from == 0)?;
        let mut at = from;
        if at < FIRST {
            let ino = self.inode.attr()?.ino;
            let parent = file.path().dentry.parent();
            let parent_ino = parent.and_then(|dir| dir.inode().attr().ok()).map_or(ino, |attr| attr.ino);
            for (position, name, ino) in [(0, &b"."[..], ino), (1, b"..", parent_ino)] {
                if at == position {
                    let entry = DirEntry { name, ino, file_type: FileType::Directory, next: position + 1 };
                    if !take(&entry) {
                        return Ok(at);
                    }
                    at += 1;
                }
            }
        }
        let skip = usize::try_from(at - FIRST).unwrap_or(usize::MAX);
        for (name, ino, file_type) in entries.iter().skip(skip) {
            if !take(&DirEntry { name, ino: *ino, file_type: *file_type, next: at + 1 }) {
                break;
            }
            at += 1;
        }
        Ok(at)
    }

    fn size(&self) -> Result<u64> {
        Ok(i64::MAX.cast_unsigned())
    }

    fn sync(&self, scope: SyncScope) -> Result<()> {
        self.inode.with_target(|target| {
            let request = gofer_protocol::Sync { target, data_only: scope == SyncScope::Data };
            self.inode.volume.connection().call(&request).map(|_| ())
        })
    }
}
