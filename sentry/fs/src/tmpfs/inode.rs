//! The tmpfs inode. It is its own open file: there is nothing to keep per open.
//!
//! Locks: a directory's `names` (of two, the one at the lower address first), then `meta`; the locks of [`Content`] are
//! taken with neither held, except `meta` for its size.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use abi::fcntl::{Seals, falloc};
use abi::{DeviceId, Errno, FileType, OpenFlags, PAGE_SIZE, Result, Timespec};
use host::heap::{self, Purpose};
use kernel::mm::{Mappable, MemoryFile};
use kernel::time::Timekeeper;
use kernel::vfs::{
    Attr, Caller, FileOps, Inode, InodeCommon, NewNode, Rename, RenameFlags, SetAttr, SetTime, Xattr,
};
use parking_lot::{Mutex, MutexGuard, RwLock, RwLockWriteGuard};

use super::content::Content;
use super::dir::Names;
use super::usage::Usage;

/// What an inode with its name takes, bytes, roughly.
const INODE_COST: u64 = 1 << 10;

/// What the inodes of one tmpfs share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) memory: Arc<MemoryFile>,
    pub(super) timekeeper: Arc<Timekeeper>,
    pub(super) usage: Arc<Usage>,
    pub(super) next_ino: AtomicU64,
    /// Unnamed files start without the seal against seals: memfd_create(2).
    pub(super) is_sealable: bool,
}

/// Attributes that change.
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) nlink: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) atime: Timespec,
    pub(super) mtime: Timespec,
    pub(super) ctime: Timespec,
    pub(super) xattrs: BTreeMap<Box<[u8]>, Arc<[u8]>>,
}

#[derive(Debug)]
pub(super) enum Kind {
    Regular { content: Arc<Content>, seals: AtomicU32 },
    Directory { names: RwLock<Names>, parent: AtomicU64 },
    Symlink(Box<[u8]>),
    Special(DeviceId),
}

/// A file of a tmpfs.
#[derive(Debug)]
pub(super) struct TmpInode {
    pub(super) common: InodeCommon,
    pub(super) shared: Arc<Shared>,
    pub(super) ino: u64,
    pub(super) mode: AtomicU32,
    pub(super) has_acl: AtomicBool,
    pub(super) meta: Mutex<Meta>,
    pub(super) kind: Kind,
    btime: Timespec,
}

impl TmpInode {
    /// A new file with one link (directories: two).
    pub(super) fn new(shared: &Arc<Shared>, node: &NewNode<'_>, parent: u64) -> Result<Arc<Self>> {
        heap::room_for(INODE_COST + node.target.len() as u64, Purpose::Lasting).map_err(|_| Errno::ENOSPC)?;
        shared.usage.charge_inode()?;
        let ino = shared.next_ino.fetch_add(1, Ordering::Relaxed);
        let kind = match node.file_type {
            FileType::Regular => Kind::Regular {
                content: Content::new(shared.memory.clone(), shared.usage.clone()),
                seals: AtomicU32::new(Seals::SEAL.bits()),
            },
            FileType::Directory => {
                Kind::Directory { names: RwLock::default(), parent: AtomicU64::new(parent) }
            }
            FileType::Symlink => Kind::Symlink(node.target.into()),
            _ => Kind::Special(node.rdev),
        };
        let now = shared.timekeeper.now();
        let meta = Meta {
            nlink: if node.file_type == FileType::Directory { 2 } else { 1 },
            uid: node.uid,
            gid: node.gid,
            atime: now,
            mtime: now,
            ctime: now,
            xattrs: BTreeMap::new(),
        };
        Ok(Arc::new(Self {
            common: InodeCommon::default(),
            shared: shared.clone(),
            ino,
            mode: AtomicU32::new(node.file_type as u32 | node.mode & 0o7777),
            has_acl: AtomicBool::new(false),
            meta: Mutex::new(meta),
            kind,
            btime: now,
        }))
    }

    pub(super) fn file_type(&self) -> FileType {
        FileType::from_mode(self.mode.load(Ordering::Relaxed)).unwrap_or(FileType::Regular)
    }

    pub(super) fn content(&self) -> Result<&Arc<Content>> {
        match &self.kind {
            Kind::Regular { content, .. } => Ok(content),
            Kind::Directory { .. } => Err(Errno::EISDIR),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn names(&self) -> Result<&RwLock<Names>> {
        match &self.kind {
            Kind::Directory { names, .. } => Ok(names),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The seals in force: none on what cannot be sealed.
    pub(super) fn seal_bits(&self) -> Seals {
        match &self.kind {
            Kind::Regular { seals, .. } => Seals::from_bits_retain(seals.load(Ordering::Acquire)),
            _ => Seals::empty(),
        }
    }

    /// Notes a change of content or names.
    pub(super) fn touch_modified(&self) -> MutexGuard<'_, Meta> {
        let now = self.shared.timekeeper.now();
        let mut meta = self.meta.lock();
        meta.mtime = now;
        meta.ctime = now;
        meta
    }

    fn touch_changed(&self) -> MutexGuard<'_, Meta> {
        let now = self.shared.timekeeper.now();
        let mut meta = self.meta.lock();
        meta.ctime = now;
        meta
    }

    fn set_parent(&self, ino: u64) {
        if let Kind::Directory { parent, .. } = &self.kind {
            parent.store(ino, Ordering::Relaxed);
        }
    }

    pub(super) fn parent_ino(&self) -> u64 {
        match &self.kind {
            Kind::Directory { parent, .. } => parent.load(Ordering::Relaxed),
            _ => self.ino,
        }
    }

    fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Directory { .. })
    }

    fn set_size(&self, size: u64) -> Result<()> {
        let content = self.content()?;
        let _io = content.lock_io();
        let (seals, old) = (self.seal_bits(), content.size());
        if (size < old && seals.contains(Seals::SHRINK)) || (size > old && seals.contains(Seals::GROW)) {
            return Err(Errno::EPERM);
        }
        if i64::try_from(size).is_err() {
            return Err(Errno::EFBIG);
        }
        content.set_size(size);
        Ok(())
    }

    fn size_and_blocks(&self) -> (u64, u64) {
        match &self.kind {
            Kind::Regular { content, .. } => {
                let (size, pages) = content.size_and_pages();
                (size, pages * (PAGE_SIZE / 512))
            }
            // What Linux says: 20 bytes per name.
            Kind::Directory { names, .. } => (20 * (names.read().len() as u64 + 2), 0),
            Kind::Symlink(target) => (target.len() as u64, 0),
            Kind::Special(_) => (0, 0),
        }
    }

    /// This inode as the concrete type that all inodes of the file system have.
    fn downcast(inode: &Arc<dyn Inode>) -> Result<Arc<Self>> {
        let any: Arc<dyn std::any::Any + Send + Sync> = inode.clone();
        any.downcast().map_err(|_| Errno::EXDEV)
    }

    /// A name of this inode went away.
    fn lose_name(&self) {
        let mut meta = self.touch_changed();
        // A directory's own `.` goes with its name.
        meta.nlink = meta.nlink.saturating_sub(if self.is_dir() { 2 } else { 1 });
    }
}

impl Inode for TmpInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        let (size, blocks) = self.size_and_blocks();
        let meta = self.meta.lock();
        Ok(Attr {
            ino: self.ino,
            mode: self.mode.load(Ordering::Relaxed),
            nlink: meta.nlink,
            uid: meta.uid,
            gid: meta.gid,
            rdev: if let Kind::Special(rdev) = self.kind { rdev } else { DeviceId::default() },
            size,
            blocks,
            blksize: PAGE_SIZE as u32,
            atime: meta.atime,
            mtime: meta.mtime,
            ctime: meta.ctime,
            btime: Some(self.btime),
        })
    }

    fn mode(&self) -> Result<u32> {
        Ok(self.mode.load(Ordering::Relaxed))
    }

    fn set_attr(&self, _caller: &Caller<'_>, change: &SetAttr) -> Result<()> {
        if let Some(size) = change.size {
            self.set_size(size)?;
        }
        let now = self.shared.timekeeper.now();
        let time = |value: SetTime| match value {
            SetTime::Now => now,
            SetTime::At(at) => at,
        };
        let mut meta = self.meta.lock();
        if let Some(mode) = change.mode {
            let file_type = self.file_type() as u32;
            self.mode.store(file_type | mode & 0o7777, Ordering::Relaxed);
        }
        meta.uid = change.uid.unwrap_or(meta.uid);
        meta.gid = change.gid.unwrap_or(meta.gid);
        if change.size.is_some() {
            meta.mtime = now;
        }
        meta.atime = change.atime.map_or(meta.atime, time);
        meta.mtime = change.mtime.map_or(meta.mtime, time);
        meta.ctime = now;
        Ok(())
    }

    fn lookup(&self, _caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let found = self.names()?.read().get(name).cloned();
        found.map(|inode| inode as Arc<dyn Inode>).ok_or(Errno::ENOENT)
    }

    fn create(&self, _caller: &Caller<'_>, name: &[u8], node: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        let mut names = self.names()?.write();
        names.check_alive()?;
        if names.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        let inode = TmpInode::new(&self.shared, node, self.ino)?;
        names.put(name, inode.clone());
        let mut meta = self.touch_modified();
        if inode.is_dir() {
            meta.nlink += 1;
        }
        Ok(inode)
    }

    fn create_unnamed(&self, _caller: &Caller<'_>, node: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        let inode = TmpInode::new(&self.shared, node, self.ino)?;
        inode.meta.lock().nlink = 0;
        if let (true, Kind::Regular { seals, .. }) = (self.shared.is_sealable, &inode.kind) {
            seals.store(0, Ordering::Release);
        }
        Ok(inode)
    }

    fn link(&self, _caller: &Caller<'_>, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        heap::room_for(name.len() as u64, Purpose::Lasting).map_err(|_| Errno::ENOSPC)?;
        let target = Self::downcast(target)?;
        let mut names = self.names()?.write();
        names.check_alive()?;
        if names.get(name).is_some() {
            return Err(Errno::EEXIST);
        }
        {
            let mut meta = target.touch_changed();
            meta.nlink = meta.nlink.checked_add(1).ok_or(Errno::EMLINK)?;
        }
        names.put(name, target);
        drop(self.touch_modified());
        Ok(())
    }

    fn unlink(&self, _caller: &Caller<'_>, name: &[u8], _child: &Arc<dyn Inode>) -> Result<()> {
        let mut names = self.names()?.write();
        match names.get(name) {
            None => return Err(Errno::ENOENT),
            Some(inode) if inode.is_dir() => return Err(Errno::EISDIR),
            Some(_) => {}
        }
        let gone = names.remove(name);
        drop(self.touch_modified());
        drop(names);
        if let Some(inode) = gone {
            inode.lose_name();
        }
        Ok(())
    }

    fn rmdir(&self, _caller: &Caller<'_>, name: &[u8], child: &Arc<dyn Inode>) -> Result<()> {
        let child = Self::downcast(child)?;
        let (mut names, below) = lock_names(self, &child)?;
        if !names.get(name).is_some_and(|found| Arc::ptr_eq(found, &child)) {
            return Err(Errno::ENOENT);
        }
        below.ok_or(Errno::EINVAL)?.kill()?;
        names.remove(name);
        self.touch_modified().nlink -= 1;
        drop(names);
        child.lose_name();
        Ok(())
    }

    fn rename(&self, _caller: &Caller<'_>, rename: &Rename<'_>) -> Result<()> {
        let Rename { name, new_dir, new_name, flags, .. } = *rename;
        let new_dir = Self::downcast(new_dir)?;
        let (mut own, mut other) = lock_names(self, &new_dir)?;
        let is_exchange = flags.contains(RenameFlags::EXCHANGE);
        let source = own.get(name).cloned().ok_or(Errno::ENOENT)?;
        let target = other.as_ref().unwrap_or(&own).get(new_name).cloned();
        other.as_ref().unwrap_or(&own).check_alive()?;
        check_replacement(&source, target.as_ref(), flags)?;
        let whiteout = if flags.contains(RenameFlags::WHITEOUT) { Some(self.whiteout()?) } else { None };
        if !is_exchange
            && let Some(target) = &target
            && target.is_dir()
        {
            target.names()?.write().kill()?;
        }
        if is_exchange && let Some(target) = &target {
            own.put(name, target.clone());
            target.set_parent(self.ino);
        } else if let Some(whiteout) = whiteout {
            own.put(name, whiteout);
        } else {
            own.remove(name);
        }
        other.as_mut().unwrap_or(&mut own).put(new_name, source.clone());
        source.set_parent(new_dir.ino);
        drop(own);
        drop(other);
        settle_links(self, &new_dir, &source, target.as_ref(), is_exchange);
        Ok(())
    }

    fn readlink(&self, _caller: &Caller<'_>) -> Result<Vec<u8>> {
        match &self.kind {
            Kind::Symlink(target) => Ok(target.to_vec()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(self: Arc<Self>, _caller: &Caller<'_>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(self)
    }

    fn access_acl(&self) -> Result<Option<Arc<[u8]>>> {
        if !self.has_acl.load(Ordering::Acquire) {
            return Ok(None);
        }
        Ok(self.meta.lock().xattrs.get(&b"system.posix_acl_access"[..]).cloned())
    }

    fn default_acl(&self) -> Result<Option<Arc<[u8]>>> {
        if !self.has_acl.load(Ordering::Acquire) {
            return Ok(None);
        }
        Ok(self.meta.lock().xattrs.get(&b"system.posix_acl_default"[..]).cloned())
    }

    fn xattr(&self) -> Option<&dyn Xattr> {
        Some(self)
    }

    fn seals(&self) -> Result<Seals> {
        match self.kind {
            Kind::Regular { .. } => Ok(self.seal_bits()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn add_seals(&self, added: Seals) -> Result<()> {
        let Kind::Regular { content, seals } = &self.kind else { return Err(Errno::EINVAL) };
        let _io = content.lock_io();
        if self.seal_bits().contains(Seals::SEAL) {
            return Err(Errno::EPERM);
        }
        let add = || _ = seals.fetch_or(added.bits(), Ordering::AcqRel);
        if added.contains(Seals::WRITE) {
            return content.mappings().without_writable(add);
        }
        add();
        Ok(())
    }

    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        let content = self.content()?;
        let end = offset.checked_add(len).ok_or(Errno::EFBIG)?;
        let keeps_size = mode & falloc::KEEP_SIZE != 0;
        let _io = content.lock_io();
        let seals = self.seal_bits();
        match mode & !falloc::KEEP_SIZE {
            falloc::PUNCH_HOLE => {
                if seals.intersects(Seals::WRITE | Seals::FUTURE_WRITE) {
                    return Err(Errno::EPERM);
                }
                content.punch(offset, end);
            }
            0 => {
                if !keeps_size && end > content.size() && seals.contains(Seals::GROW) {
                    return Err(Errno::EPERM);
                }
                content.preallocate(offset, end)?;
                if !keeps_size {
                    content.extend(end);
                }
            }
            _ => return Err(Errno::EOPNOTSUPP),
        }
        drop(self.touch_modified());
        Ok(())
    }
}

impl TmpInode {
    /// What overlay file systems leave where a name of a lower layer was removed.
    fn whiteout(&self) -> Result<Arc<Self>> {
        let node = NewNode {
            file_type: FileType::Char,
            mode: 0,
            uid: 0,
            gid: 0,
            rdev: DeviceId::default(),
            target: b"",
        };
        Self::new(&self.shared, &node, self.ino)
    }
}

type NamesGuard<'a> = RwLockWriteGuard<'a, Names>;

/// Locks the names of both directories, the one at the lower address first; the second is `None` where they are the
/// same.
fn lock_names<'a>(
    own: &'a TmpInode,
    other: &'a TmpInode,
) -> Result<(NamesGuard<'a>, Option<NamesGuard<'a>>)> {
    let (own_names, other_names) = (own.names()?, other.names()?);
    if std::ptr::eq(own, other) {
        return Ok((own_names.write(), None));
    }
    if std::ptr::from_ref(own) < std::ptr::from_ref(other) {
        let own = own_names.write();
        return Ok((own, Some(other_names.write())));
    }
    let other = other_names.write();
    Ok((own_names.write(), Some(other)))
}

fn check_replacement(source: &TmpInode, target: Option<&Arc<TmpInode>>, flags: RenameFlags) -> Result<()> {
    match target {
        None if flags.contains(RenameFlags::EXCHANGE) => Err(Errno::ENOENT),
        Some(_) if flags.contains(RenameFlags::NOREPLACE) => Err(Errno::EEXIST),
        Some(target) if !flags.contains(RenameFlags::EXCHANGE) => match (source.is_dir(), target.is_dir()) {
            (true, false) => Err(Errno::ENOTDIR),
            (false, true) => Err(Errno::EISDIR),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Link counts and times after a rename.
fn settle_links(
    from: &TmpInode,
    to: &TmpInode,
    source: &TmpInode,
    target: Option<&Arc<TmpInode>>,
    is_exchange: bool,
) {
    let is_other_dir = !std::ptr::eq(from, to);
    {
        let mut meta = from.touch_modified();
        if is_other_dir && source.is_dir() {
            meta.nlink -= 1;
        }
        if is_other_dir && is_exchange && target.is_some_and(|target| target.is_dir()) {
            meta.nlink += 1;
        }
    }
    {
        let mut meta = to.touch_modified();
        if is_other_dir && source.is_dir() {
            meta.nlink += 1;
        }
        let loses_dir = target.is_some_and(|target| target.is_dir());
        if loses_dir && (is_other_dir || !is_exchange) {
            meta.nlink -= 1;
        }
    }
    drop(source.touch_changed());
    match target {
        Some(target) if is_exchange => drop(target.touch_changed()),
        Some(target) => target.lose_name(),
        None => {}
    }
}

impl Drop for TmpInode {
    /// Ends a tree of directories without recursion: a guest can nest them deeper than our stack.
    fn drop(&mut self) {
        self.shared.usage.uncharge_inode();
        let Kind::Directory { names, .. } = &mut self.kind else { return };
        let mut left = names.get_mut().drain();
        while let Some(inode) = left.pop() {
            if let Some(mut inode) = Arc::into_inner(inode)
                && let Kind::Directory { names, .. } = &mut inode.kind
            {
                left.append(&mut names.get_mut().drain());
            }
        }
    }
}
