//! The [`Dentry`]: a name in a file system's tree, with what is known of the names below it.
//!
//! A child holds its parent; a parent's map refers to its children weakly and also remembers names that are absent.
//! The dentry cache keeps unused children alive (see [`super::dcache`]). A dentry always has an inode: an absent name is
//! an entry in its parent's map, not a dentry.
//!
//! Locks, in this order: `Superblock::rename_lock`, a directory's `lock` (held while names in it change or are looked
//! up in the file system; of two directories the ancestor's first), a `children` map, a dentry's `link`.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use abi::{Errno, FileType, Result};
use host::heap::{self, Purpose};
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::{Caching, Caller, Inode, Mount, Superblock};

/// Most absent names remembered per directory.
const MAX_ABSENT: usize = 1024;

const NO_SLOT: u32 = u32::MAX;

/// A name in a tree.
pub struct Dentry {
    sb: Arc<Superblock>,
    inode: Arc<dyn Inode>,
    link: RwLock<Link>,
    /// For directories: what is known of the names in it.
    dir: Option<Box<Directory>>,
    is_symlink: bool,
    /// Mounts on this dentry, in any name space: the path walk looks for one only where this is not zero.
    mounts: AtomicU32,
    /// Place in the dentry cache.
    slot: AtomicU32,
    referenced: AtomicBool,
    /// The name was removed; open files may still refer to it.
    unlinked: AtomicBool,
}

/// Where a dentry hangs.
struct Link {
    /// `None` for a root.
    parent: Option<Arc<Dentry>>,
    name: Arc<[u8]>,
}

#[derive(Default)]
struct Directory {
    lock: Mutex<()>,
    children: RwLock<Children>,
}

#[derive(Default)]
struct Children {
    map: HashMap<Arc<[u8]>, Child>,
    absent: usize,
}

enum Child {
    Present(Weak<Dentry>),
    Absent,
}

/// What the cache knows of a name.
#[derive(Debug)]
pub(super) enum Cached {
    Present(Arc<Dentry>),
    Absent,
    Unknown,
}

impl Dentry {
    /// The root of a tree.
    pub(super) fn root(sb: Arc<Superblock>, inode: Arc<dyn Inode>) -> Arc<Self> {
        Arc::new(Self::make(sb, inode, Link { parent: None, name: Arc::from(&b"/"[..]) }))
    }

    /// A name that is in no directory: a pipe, a socket, an unnamed file. `name` is shown in `/proc/[pid]/fd`.
    pub(super) fn unattached(sb: Arc<Superblock>, inode: Arc<dyn Inode>, name: &[u8]) -> Arc<Self> {
        Self::nameless(sb, inode, Link { parent: None, name: Arc::from(name) })
    }

    /// A file made in this directory that has no name in it: shown as `name`, deleted.
    pub(super) fn unnamed_child(self: &Arc<Self>, inode: Arc<dyn Inode>, name: &[u8]) -> Arc<Self> {
        let link = Link { parent: Some(self.clone()), name: Arc::from(name) };
        Self::nameless(self.sb.clone(), inode, link)
    }

    fn nameless(sb: Arc<Superblock>, inode: Arc<dyn Inode>, link: Link) -> Arc<Self> {
        let dentry = Self::make(sb, inode, link);
        dentry.unlinked.store(true, Ordering::Relaxed);
        Arc::new(dentry)
    }

    fn make(sb: Arc<Superblock>, inode: Arc<dyn Inode>, link: Link) -> Self {
        let file_type = inode.file_type();
        let is_dir = file_type == Some(FileType::Directory);
        Self {
            sb,
            inode,
            link: RwLock::new(link),
            dir: is_dir.then(Box::default),
            is_symlink: file_type == Some(FileType::Symlink),
            mounts: AtomicU32::new(0),
            slot: AtomicU32::new(NO_SLOT),
            referenced: AtomicBool::new(false),
            unlinked: AtomicBool::new(false),
        }
    }

    /// The file that the name stands for.
    #[must_use]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        &self.inode
    }

    /// The file system that it belongs to.
    #[must_use]
    pub fn superblock(&self) -> &Arc<Superblock> {
        &self.sb
    }

    /// Its last component; `/` for a root.
    #[must_use]
    pub fn name(&self) -> Arc<[u8]> {
        self.link.read().name.clone()
    }

    /// The directory that it is in; `None` for a root.
    #[must_use]
    pub fn parent(&self) -> Option<Arc<Dentry>> {
        self.link.read().parent.clone()
    }

    /// Parent and name, consistent with each other.
    #[must_use]
    pub fn parent_and_name(&self) -> (Option<Arc<Dentry>>, Arc<[u8]>) {
        let link = self.link.read();
        (link.parent.clone(), link.name.clone())
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.dir.is_some()
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.is_symlink
    }

    /// Whether its name was removed (or it never had one).
    #[must_use]
    pub fn is_unlinked(&self) -> bool {
        self.unlinked.load(Ordering::Acquire)
    }

    /// Whether it had a name, which was removed.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.is_unlinked() && self.parent().is_some()
    }

    /// Whether `self` is `other` or an ancestor of it, within their file system.
    #[must_use]
    pub fn is_ancestor_of(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut at = Some(other.clone());
        while let Some(dentry) = at {
            if Arc::ptr_eq(self, &dentry) {
                return true;
            }
            at = dentry.parent();
        }
        false
    }

    fn directory(&self) -> Result<&Directory> {
        self.dir.as_deref().ok_or(Errno::ENOTDIR)
    }

    /// Keeps the names in this directory as they are.
    pub(super) fn lock_names(&self) -> Result<MutexGuard<'_, ()>> {
        Ok(self.directory()?.lock.lock())
    }

    /// What is known of `name` without asking the file system.
    pub(super) fn cached(&self, name: &[u8]) -> Cached {
        let Some(dir) = &self.dir else { return Cached::Unknown };
        // Copied out, so that the map is not locked while the file system is asked or a dentry dies.
        let known = match dir.children.read().map.get(name) {
            Some(Child::Present(weak)) => Some(weak.upgrade()),
            Some(Child::Absent) => None,
            None => return Cached::Unknown,
        };
        match known {
            None if self.is_still_absent(name) => Cached::Absent,
            None => Cached::Unknown,
            Some(Some(child)) if child.is_current(self, name) => {
                // Loading first keeps the cache line shared between threads that walk the same path.
                if !child.referenced.load(Ordering::Relaxed) {
                    child.referenced.store(true, Ordering::Relaxed);
                }
                Cached::Present(child)
            }
            Some(_) => Cached::Unknown,
        }
    }

    fn is_still_absent(&self, name: &[u8]) -> bool {
        match self.sb.caching {
            Caching::Exclusive => true,
            Caching::Revalidate => self.sb.fs().revalidate(&self.inode, name, None),
            Caching::Never => false,
        }
    }

    /// Whether this cached child of `dir` may be used. One that carries a mount always may.
    fn is_current(&self, dir: &Self, name: &[u8]) -> bool {
        match self.sb.caching {
            Caching::Exclusive => true,
            _ if self.has_mounts() => true,
            Caching::Revalidate => self.sb.fs().revalidate(&dir.inode, name, Some(&self.inode)),
            Caching::Never => false,
        }
    }

    /// The child called `name`, asking the file system where it is not cached.
    pub(super) fn child(self: &Arc<Self>, caller: &Caller<'_>, name: &[u8]) -> Result<Option<Arc<Self>>> {
        match self.cached(name) {
            Cached::Present(child) => Ok(Some(child)),
            Cached::Absent => Ok(None),
            Cached::Unknown => {
                let _names = self.lock_names()?;
                self.child_locked(caller, name)
            }
        }
    }

    /// As [`Self::child`], with the names locked.
    pub(super) fn child_locked(
        self: &Arc<Self>,
        caller: &Caller<'_>,
        name: &[u8],
    ) -> Result<Option<Arc<Self>>> {
        match self.cached(name) {
            Cached::Present(child) => return Ok(Some(child)),
            Cached::Absent => return Ok(None),
            Cached::Unknown => {}
        }
        if self.is_removed() {
            return Ok(None);
        }
        match self.inode.lookup(caller, name) {
            Ok(inode) => Ok(Some(self.adopt(name, inode))),
            Err(Errno::ENOENT) => {
                self.note_absent(name);
                Ok(None)
            }
            Err(errno) => Err(errno),
        }
    }

    /// The dentry for `name`, which the file system says is `inode`. The names must be locked.
    pub(super) fn adopt(self: &Arc<Self>, name: &[u8], inode: Arc<dyn Inode>) -> Arc<Self> {
        let Some(dir) = &self.dir else {
            return Self::unattached(self.sb.clone(), inode, name);
        };
        let mut children = dir.children.write();
        let stale = match children.map.get(name) {
            Some(Child::Present(weak)) => weak.upgrade(),
            _ => None,
        };
        if let Some(known) = &stale
            && (Arc::ptr_eq(&known.inode, &inode) || known.has_mounts())
        {
            let known = known.clone();
            drop(children);
            return known;
        }
        let name: Arc<[u8]> = Arc::from(name);
        let link = Link { parent: Some(self.clone()), name: name.clone() };
        let child = Arc::new(Self::make(self.sb.clone(), inode, link));
        children.put(name, Child::Present(Arc::downgrade(&child)));
        drop(children);
        if let Some(stale) = stale {
            self.sb.dcache.remove(&stale);
        }
        if self.sb.caching != Caching::Never {
            self.sb.dcache.insert(&child);
        }
        child
    }

    /// Remembers that there is no `name`. The names must be locked.
    pub(super) fn note_absent(&self, name: &[u8]) {
        let Some(dir) = &self.dir else { return };
        if self.sb.caching != Caching::Never {
            let mut children = dir.children.write();
            let may_grow = heap::room_for(0, Purpose::Cache).is_ok();
            if children.absent >= MAX_ABSENT || !may_grow {
                children.forget_absent();
            }
            if may_grow {
                children.put(Arc::from(name), Child::Absent);
            } else {
                children.take(name);
            }
        }
    }

    /// Notes that the file system has removed this name from `dir`. The names must be locked.
    pub(super) fn unlink_from(&self, dir: &Self) {
        self.note_unlinked();
        dir.note_absent(&self.name());
    }

    /// The file system has given this name to another file, which has it in the cache already.
    pub(super) fn note_unlinked(&self) {
        self.unlinked.store(true, Ordering::Release);
        self.sb.dcache.remove(self);
    }

    /// Notes that the file system has moved this name from `from` to `to`. Both directories' names must be locked.
    pub(super) fn moved(self: &Arc<Self>, from: &Self, to: &Arc<Self>, new_name: &[u8]) {
        let old_name = self.name();
        from.forget(&old_name);
        let new_name: Arc<[u8]> = Arc::from(new_name);
        if let Some(dir) = &to.dir {
            dir.children.write().put(new_name.clone(), Child::Present(Arc::downgrade(self)));
        }
        let old =
            std::mem::replace(&mut *self.link.write(), Link { parent: Some(to.clone()), name: new_name });
        drop(old);
    }

    /// Forgets what is known of `name`.
    pub(super) fn forget(&self, name: &[u8]) {
        if let Some(dir) = &self.dir {
            dir.children.write().take(name);
        }
    }

    pub(super) fn has_mounts(&self) -> bool {
        self.mounts.load(Ordering::Acquire) != 0
    }

    pub(super) fn add_mount(&self) {
        self.mounts.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn remove_mount(&self) {
        self.mounts.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn set_cache_slot(&self, slot: Option<u32>) {
        self.slot.store(slot.unwrap_or(NO_SLOT), Ordering::Release);
    }

    pub(super) fn take_cache_slot(&self) -> Option<u32> {
        let slot = self.slot.swap(NO_SLOT, Ordering::AcqRel);
        (slot != NO_SLOT).then_some(slot)
    }

    pub(super) fn take_referenced(&self) -> bool {
        self.referenced.swap(false, Ordering::Relaxed)
    }

    /// Takes a dying dentry out of its parent's map and gives the parent up.
    fn detach(&mut self) -> Option<Arc<Self>> {
        let address: *const Self = self;
        let link = self.link.get_mut();
        let parent = link.parent.take()?;
        if let Some(dir) = &parent.dir {
            let mut children = dir.children.write();
            let is_own = matches!(children.map.get(&link.name),
                Some(Child::Present(weak)) if std::ptr::eq(weak.as_ptr(), address) || weak.strong_count() == 0);
            if is_own {
                children.take(&link.name);
            }
        }
        Some(parent)
    }
}

impl Drop for Dentry {
    /// Gives up the chain of parents one by one: a guest can nest directories deeper than our stack.
    fn drop(&mut self) {
        let mut next = self.detach();
        while let Some(mut dentry) = next.and_then(Arc::into_inner) {
            next = dentry.detach();
        }
    }
}

impl Children {
    fn put(&mut self, name: Arc<[u8]>, child: Child) {
        self.absent += usize::from(matches!(child, Child::Absent));
        if let Some(Child::Absent) = self.map.insert(name, child) {
            self.absent -= 1;
        }
    }

    fn take(&mut self, name: &[u8]) {
        if let Some(Child::Absent) = self.map.remove(name) {
            self.absent -= 1;
        }
    }

    fn forget_absent(&mut self) {
        self.map.retain(|_, child| matches!(child, Child::Present(_)));
        self.absent = 0;
    }
}

impl fmt::Debug for Dentry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dentry({:?})", String::from_utf8_lossy(&self.name()))
    }
}

/// A dentry seen through a mount: Linux's `struct path`.
#[derive(Clone, Debug)]
pub struct VfsPath {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The name.
    pub dentry: Arc<Dentry>,
}

impl VfsPath {
    /// The file that it names.
    #[must_use]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        self.dentry.inode()
    }
}

impl PartialEq for VfsPath {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.dentry, &other.dentry) && Arc::ptr_eq(&self.mount, &other.mount)
    }
}

impl Eq for VfsPath {}
