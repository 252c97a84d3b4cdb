//! Directories that make their entries up.

use std::sync::Arc;

use abi::{Errno, FileType, OpenFlags, Result};
use kernel::Task;
use kernel::task::Pid;
use kernel::task::cgroup::Cgroup;
use kernel::vfs::{
    Attr, Caller, DirEntry, File, FileOps, Inode, InodeCommon, NewNode, Readdir, SetAttr, SyncScope, Xattr,
};

use super::Attributes;

/// An entry as a directory lists it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name.
    pub name: Vec<u8>,
    /// Inode number.
    pub ino: u64,
    /// Type.
    pub file_type: FileType,
    /// Where the listing goes on: what [`DirContent::next`] takes for the entry behind this one.
    pub next: u64,
}

/// What is in a directory.
pub trait DirContent: Send + Sync + 'static {
    /// Attributes of the directory itself.
    ///
    /// # Errors
    /// `ESRCH` where what it describes has gone.
    fn attr(&self) -> Result<Attr>;

    /// Finds a name.
    ///
    /// # Errors
    /// `ENOENT`.
    fn lookup(&self, caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>>;

    /// The first entry at or behind position `from`, which is 0 at first.
    fn next(&self, task: &Task, from: u64) -> Option<Entry>;

    /// Creates a name. Only pseudo file systems that are meant for it allow that.
    ///
    /// # Errors
    /// `EPERM`.
    fn create(&self, caller: &Caller<'_>, name: &[u8], node: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        let _ = (caller, name, node);
        Err(Errno::EPERM)
    }

    /// Removes a directory. Only pseudo file systems that are meant for it allow that.
    ///
    /// # Errors
    /// `EPERM`.
    fn remove(&self, caller: &Caller<'_>, name: &[u8]) -> Result<()> {
        let _ = (caller, name);
        Err(Errno::EPERM)
    }

    /// Attributes that can be changed; those of [`Self::attr`] then come from them.
    fn attributes(&self) -> Option<&Attributes> {
        None
    }

    /// The control group that it shows; see [`Inode::cgroup`].
    fn cgroup(&self) -> Option<&Arc<Cgroup>> {
        None
    }

    /// The process that it describes; see [`FileOps::process`].
    fn process(&self) -> Option<Result<Arc<Pid>>> {
        None
    }

    /// Decides about access beyond mode bits; see [`Inode::permission`].
    fn permission(&self, caller: &Caller<'_>, mask: u32) -> Option<Result<()>> {
        let _ = (caller, mask);
        None
    }
}

/// A directory with made-up content.
pub struct Dir<C> {
    common: InodeCommon,
    content: C,
}

impl<C: DirContent> Dir<C> {
    /// A directory with this content.
    pub fn new(content: C) -> Arc<Self> {
        Arc::new(Self { common: InodeCommon::default(), content })
    }

    /// The content.
    pub fn content(&self) -> &C {
        &self.content
    }
}

impl<C: DirContent> Inode for Dir<C> {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        self.content.attr()
    }

    fn set_attr(&self, _caller: &Caller<'_>, change: &SetAttr) -> Result<()> {
        self.content.attributes().map(|attributes| attributes.change(change)).ok_or(Errno::EPERM)
    }

    fn xattr(&self) -> Option<&dyn Xattr> {
        self.content.attributes().map(|attributes| attributes as &dyn Xattr)
    }

    fn cgroup(&self) -> Option<&Arc<Cgroup>> {
        self.content.cgroup()
    }

    fn lookup(&self, caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.content.lookup(caller, name)
    }

    fn create(&self, caller: &Caller<'_>, name: &[u8], node: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        self.content.create(caller, name, node)
    }

    fn rmdir(&self, caller: &Caller<'_>, name: &[u8], _child: &Arc<dyn Inode>) -> Result<()> {
        self.content.remove(caller, name)
    }

    fn open(self: Arc<Self>, _caller: &Caller<'_>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(OpenDir(self)))
    }

    fn permission(&self, caller: &Caller<'_>, mask: u32) -> Option<Result<()>> {
        self.content.permission(caller, mask)
    }
}

/// An open directory.
struct OpenDir<C>(Arc<Dir<C>>);

/// Positions below this are those of `.` and `..`.
const FIRST: u64 = 2;

impl<C: DirContent> FileOps for OpenDir<C> {
    fn read(
        &self,
        _task: &Task,
        _file: &File,
        _offset: u64,
        _dst: &mut kernel::mm::IoDst<'_>,
    ) -> Result<usize> {
        Err(Errno::EISDIR)
    }

    fn readdir(&self, task: &Task, file: &File, from: u64, take: Readdir<'_>) -> Result<u64> {
        let ino = self.0.content.attr()?.ino;
        let parent = file.path().dentry.parent();
        let parent_ino = parent.and_then(|dir| dir.inode().attr().ok()).map_or(ino, |attr| attr.ino);
        let mut at = from;
        for (position, name, ino) in [(0, &b"."[..], ino), (1, b"..", parent_ino)] {
            if at == position {
                let entry = DirEntry { name, ino, file_type: FileType::Directory, next: position + 1 };
                if !take(&entry) {
                    return Ok(at);
                }
                at += 1;
            }
        }
        while let Some(entry) = self.0.content.next(task, at - FIRST) {
            let next = entry.next + FIRST;
            let shown = DirEntry { name: &entry.name, ino: entry.ino, file_type: entry.file_type, next };
            if !take(&shown) {
                break;
            }
            at = next;
        }
        Ok(at)
    }

    fn sync(&self, _scope: SyncScope) -> Result<()> {
        Ok(())
    }

    fn process(&self) -> Option<Result<Arc<Pid>>> {
        self.0.content.process()
    }
}

/// Entries that never change: names in the order in which they are listed.
pub struct StaticEntries {
    attr: Attr,
    list: Vec<(String, Arc<dyn Inode>)>,
}

impl StaticEntries {
    pub(super) fn new(attr: Attr, list: Vec<(String, Arc<dyn Inode>)>) -> Self {
        let subdirectories = list.iter().filter(|(_, inode)| is_dir(inode)).count();
        Self { attr: Attr { nlink: 2 + u32::try_from(subdirectories).unwrap_or(0), ..attr }, list }
    }

    /// How many there are: positions from here on are free.
    pub fn len(&self) -> u64 {
        self.list.len() as u64
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

fn is_dir(inode: &Arc<dyn Inode>) -> bool {
    inode.file_type() == Some(FileType::Directory)
}

impl DirContent for StaticEntries {
    fn attr(&self) -> Result<Attr> {
        Ok(self.attr)
    }

    fn lookup(&self, _caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let found = self.list.iter().find(|(known, _)| known.as_bytes() == name);
        found.map(|(_, inode)| inode.clone()).ok_or(Errno::ENOENT)
    }

    fn next(&self, _task: &Task, from: u64) -> Option<Entry> {
        let (name, inode) = self.list.get(usize::try_from(from).ok()?)?;
        let attr = inode.attr().ok()?;
        let name = name.clone().into_bytes();
        Some(Entry { name, ino: attr.ino, file_type: attr.file_type(), next: from + 1 })
    }
}
