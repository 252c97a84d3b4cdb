//! The work directory: a directory beside the upper tree in which a change is prepared, so that it shows whole or not at
//! all. What is made there is *exchanged* with what stands under the name that changes, and what was there goes with its
//! spare name. So there is no moment, and no error, in which a lower file shows through.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::{DeviceId, Errno, FileType, Result};
use kernel::vfs::{Caller, Inode, NewNode, Rename, RenameFlags, VfsPath};

/// What covers a name of the layers below.
pub(super) const WHITEOUT: NewNode<'static> = NewNode {
    file_type: FileType::Char,
    mode: 0,
    uid: 0,
    gid: 0,
    rdev: DeviceId { major: 0, minor: 0 },
    target: b"",
};

const DIRECTORY: NewNode<'static> = NewNode {
    file_type: FileType::Directory,
    mode: 0o700,
    rdev: DeviceId { major: 0, minor: 0 },
    ..WHITEOUT
};

/// The directory below a `workdir` that is worked in, as on Linux.
const SUBDIRECTORY: &[u8] = b"work";

/// A place for preparations in the upper file system.
pub(super) struct Work {
    dir: Arc<dyn Inode>,
    next_name: AtomicU64,
}

impl Work {
    /// Works below `given`, or where there is none in a directory without a name.
    pub(super) fn new(caller: &Caller<'_>, upper: &VfsPath, given: Option<&VfsPath>) -> Result<Self> {
        let dir = match given.map(VfsPath::inode) {
            None => upper.inode().create_unnamed(caller, &DIRECTORY)?,
            Some(parent) => match parent.create(caller, SUBDIRECTORY, &DIRECTORY) {
                Err(Errno::EEXIST) => parent.lookup(caller, SUBDIRECTORY)?,
                made => made?,
            },
        };
        Ok(Self { dir, next_name: AtomicU64::new(0) })
    }

    /// Makes a file.
    pub(super) fn create<'a>(&'a self, caller: Caller<'a>, node: &NewNode<'_>) -> Result<Spare<'a>> {
        self.spare(caller, |name| self.dir.create(&caller, name, node))
    }

    /// Makes another name of `target`.
    pub(super) fn link<'a>(&'a self, caller: Caller<'a>, target: &Arc<dyn Inode>) -> Result<Spare<'a>> {
        self.spare(caller, |name| self.dir.link(&caller, name, target).map(|()| target.clone()))
    }

    /// Takes `inode`, called `name`, out of `dir`.
    pub(super) fn take<'a>(
        &'a self,
        caller: Caller<'a>,
        dir: &Arc<dyn Inode>,
        name: &[u8],
        inode: &Arc<dyn Inode>,
    ) -> Result<Spare<'a>> {
        self.spare(caller, |spare| {
            let (new_dir, flags) = (&self.dir, RenameFlags::NOREPLACE);
            let rename = Rename { name, source: inode, new_dir, new_name: spare, replaced: None, flags };
            dir.rename(&caller, &rename).map(|()| inode.clone())
        })
    }

    /// Carries `make` out under a name that is free: an earlier overlay may have left some.
    fn spare<'a>(
        &'a self,
        caller: Caller<'a>,
        make: impl Fn(&[u8]) -> Result<Arc<dyn Inode>>,
    ) -> Result<Spare<'a>> {
        loop {
            let name = format!("#{:x}", self.next_name.fetch_add(1, Ordering::Relaxed)).into_bytes();
            match make(&name) {
                Err(Errno::EEXIST) => {}
                inode => return Ok(Spare { inode: inode?, work: self, caller, name }),
            }
        }
    }
}

/// Something in the work directory; removed from there when dropped.
pub(super) struct Spare<'a> {
    pub(super) inode: Arc<dyn Inode>,
    work: &'a Work,
    caller: Caller<'a>,
    name: Vec<u8>,
}

impl Spare<'_> {
    /// Exchanges it with `other`, which is called `name` in `dir`. Returns what is in place now.
    pub(super) fn exchange(
        &mut self,
        dir: &Arc<dyn Inode>,
        name: &[u8],
        other: &Arc<dyn Inode>,
    ) -> Result<Arc<dyn Inode>> {
        let rename = Rename {
            name: &self.name,
            source: &self.inode,
            new_dir: dir,
            new_name: name,
            replaced: Some(other),
            flags: RenameFlags::EXCHANGE,
        };
        self.work.dir.rename(&self.caller, &rename)?;
        Ok(std::mem::replace(&mut self.inode, other.clone()))
    }
}

impl Drop for Spare<'_> {
    /// What cannot be removed stays unseen.
    fn drop(&mut self) {
        let _ = match self.inode.file_type() == Some(FileType::Directory) {
            true => self.work.dir.rmdir(&self.caller, &self.name, &self.inode),
            false => self.work.dir.unlink(&self.caller, &self.name, &self.inode),
        };
    }
}
