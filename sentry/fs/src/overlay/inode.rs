//! The overlay's inode: one file, with what stands for it in the upper and lower layers.
//!
//! Locks: `copying` (held while the file is copied up; a parent's before a child's is never needed, because parents are
//! copied up first), then `place`, a leaf.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use abi::{DeviceId, Errno, FileType, OpenFlags, Result};
use kernel::vfs::{
    Attr, Caller, FileOps, Inode, InodeCommon, NewNode, Rename, SetAttr, SetXattrFlags, VfsPath, Xattr,
};
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::file::{OvlDir, OvlFile};
use super::{Link, ORIGIN, PRIVATE, Shared};

/// A file in a lower layer.
#[derive(Clone)]
pub(super) struct LowerFile {
    /// Which layer.
    pub(super) layer: usize,
    pub(super) inode: Arc<dyn Inode>,
}

pub(super) type Lowers = SmallVec<[LowerFile; 1]>;

/// Where a file hangs in the overlay.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) parent: Arc<OvlInode>,
    pub(super) name: Box<[u8]>,
}

/// A file of the overlay.
pub(crate) struct OvlInode {
    pub(super) common: InodeCommon,
    pub(super) shared: Arc<Shared>,
    /// Itself: the VFS calls it by reference, and copying up needs something to keep.
    self_ref: Weak<OvlInode>,
    /// As shown to guests, whatever layer the file is in.
    pub(super) ino: u64,
    pub(super) file_type: FileType,
    pub(super) upper: OnceLock<Arc<dyn Inode>>,
    /// Of a directory, all that it shows, the highest first; of another file, the one copied up from or shown.
    pub(super) lowers: Lowers,
    /// For directories with lower ones: their path in the lower layers, for redirects.
    pub(super) lower_path: Box<[u8]>,
    /// The upper directory has become opaque: the lower ones show no more.
    pub(super) is_cut_off: AtomicBool,
    pub(super) copying: Mutex<()>,
    /// `None` for the root, and for a file whose name was removed.
    pub(super) place: Mutex<Option<Place>>,
    /// How it is known in [`Shared::links`].
    pub(super) link_key: Option<(usize, u64)>,
}

/// What a new [`OvlInode`] is made of.
pub(super) struct Parts {
    pub(super) upper: Option<Arc<dyn Inode>>,
    pub(super) lowers: Lowers,
    pub(super) lower_path: Box<[u8]>,
    pub(super) place: Option<Place>,
}

impl OvlInode {
    /// The overlay's root.
    pub(super) fn root(shared: &Arc<Shared>) -> Result<Arc<Self>> {
        let lowers = (0..)
            .zip(&shared.lowers)
            .map(|(layer, lower)| LowerFile { layer, inode: lower.root.clone() })
            .collect();
        let upper = shared.upper.as_ref().map(|layer| layer.root.clone());
        Self::new(shared, Parts { upper, lowers, lower_path: Box::from(&b""[..]), place: None })
    }

    pub(super) fn new(shared: &Arc<Shared>, parts: Parts) -> Result<Arc<Self>> {
        let Parts { upper, lowers, lower_path, place } = parts;
        let real = upper.as_ref().or(lowers.first().map(|lower| &lower.inode)).ok_or(Errno::EIO)?;
        let attr = real.attr()?;
        let ino = stable_ino(shared, upper.as_ref(), &lowers, &attr)?;
        let has_links = attr.nlink > 1 && attr.file_type() != FileType::Directory;
        let layer = if upper.is_some() {
            shared.upper_index()
        } else {
            lowers.first().map_or(0, |lower| lower.layer)
        };
        let inode = Arc::new_cyclic(|self_ref| Self {
            self_ref: self_ref.clone(),
            common: InodeCommon::default(),
            shared: shared.clone(),
            ino,
            file_type: attr.file_type(),
            upper: upper.map_or_else(OnceLock::new, OnceLock::from),
            lowers,
            lower_path,
            is_cut_off: AtomicBool::new(false),
            copying: Mutex::new(()),
            place: Mutex::new(place),
            link_key: has_links.then_some((layer, attr.ino)),
        });
        if let Some(key) = inode.link_key {
            shared.links.lock().insert(key, Link::Weak(Arc::downgrade(&inode)));
        }
        Ok(inode)
    }

    /// What the file is really.
    pub(super) fn real(&self) -> &Arc<dyn Inode> {
        // A file is made with one or the other, and neither goes away.
        self.upper.get().unwrap_or_else(|| &self.lowers[0].inode)
    }

    /// The lower directories that show through.
    pub(super) fn shown_lowers(&self) -> &[LowerFile] {
        if self.is_cut_off.load(Ordering::Acquire) { &[] } else { &self.lowers }
    }

    pub(super) fn is_dir(&self) -> bool {
        self.file_type == FileType::Directory
    }

    /// The upper directory, copied up where needed.
    pub(super) fn upper_dir(self: &Arc<Self>) -> Result<&Arc<dyn Inode>> {
        self.copy_up(true)
    }

    /// Another inode of this file system.
    pub(super) fn downcast(inode: &Arc<dyn Inode>) -> Result<Arc<Self>> {
        let any: Arc<dyn std::any::Any + Send + Sync> = inode.clone();
        any.downcast().map_err(|_| Errno::EXDEV)
    }

    /// Where it hangs.
    pub(super) fn place(&self) -> Option<Place> {
        self.place.lock().clone()
    }

    pub(super) fn set_place(&self, place: Option<Place>) {
        let old = std::mem::replace(&mut *self.place.lock(), place);
        drop(old);
    }

    /// The number of a listed file. That of a copied-up one is its copy's: finding out more would take a look-up each.
    pub(super) fn listed_ino(&self, layer: usize, ino: u64) -> u64 {
        tagged_ino(&self.shared, layer, ino)
    }

    /// The parent's number, for `..`.
    pub(super) fn parent_ino(&self) -> u64 {
        self.place.lock().as_ref().map_or(self.ino, |place| place.parent.ino)
    }

    /// This inode as something to keep.
    fn this(&self) -> Result<Arc<Self>> {
        self.self_ref.upgrade().ok_or(Errno::ESTALE)
    }
}

/// Numbers of different layers are told apart in the upper bits; the lowest layer, usually the only one, keeps its own.
fn tagged_ino(shared: &Shared, layer: usize, ino: u64) -> u64 {
    const LAYER_SHIFT: u32 = 48;
    let height = shared.lowers.len() as u64 - 1;
    let tag = if layer == shared.upper_index() { height + 1 } else { height - layer as u64 };
    ino ^ (tag << LAYER_SHIFT)
}

/// The number that guests see. It must not change when the file is copied up: the copy remembers it.
fn stable_ino(
    shared: &Shared,
    upper: Option<&Arc<dyn Inode>>,
    lowers: &[LowerFile],
    attr: &Attr,
) -> Result<u64> {
    let tagged = |layer, ino| tagged_ino(shared, layer, ino);
    if attr.file_type() == FileType::Directory
        && let Some(lower) = lowers.first()
    {
        return Ok(tagged(lower.layer, lower.inode.attr()?.ino));
    }
    let Some(upper) = upper else {
        return Ok(tagged(lowers.first().map_or(0, |lower| lower.layer), attr.ino));
    };
    let origin = upper.xattr().and_then(|xattr| xattr.get(ORIGIN).ok());
    match origin.and_then(|bytes| bytes.try_into().ok()) {
        Some(bytes) => Ok(u64::from_le_bytes(bytes)),
        None => Ok(tagged(shared.upper_index(), attr.ino)),
    }
}

impl Inode for OvlInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        let mut attr = self.real().attr()?;
        attr.ino = self.ino;
        if self.is_dir() && !self.shown_lowers().is_empty() {
            // The layers' counts do not add up: 1 says "unknown" to those who count subdirectories by it.
            attr.nlink = 1;
        }
        Ok(attr)
    }

    fn mode(&self) -> Result<u32> {
        self.real().mode()
    }

    fn file_type(&self) -> Option<FileType> {
        self.real().file_type()
    }

    fn ownership(&self) -> Result<Attr> {
        self.real().ownership()
    }

    fn set_attr(&self, _caller: &Caller<'_>, change: &SetAttr) -> Result<()> {
        let this = self.this()?;
        let upper = this.copy_up(change.size != Some(0))?;
        upper.set_attr(&self.shared.caller(), change)
    }

    fn lookup(&self, _caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let found = self.this()?.find(name)?;
        found.map(|inode| inode as Arc<dyn Inode>).ok_or(Errno::ENOENT)
    }

    fn create(&self, _caller: &Caller<'_>, name: &[u8], node: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        if node.file_type == FileType::Char && node.rdev == DeviceId::default() {
            // It would be a whiteout: a name that is there and is not.
            return Err(Errno::EPERM);
        }
        Ok(self.this()?.make(name, node)?)
    }

    fn create_unnamed(&self, _caller: &Caller<'_>, node: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        let upper = self.shared.upper()?.root.create_unnamed(&self.shared.caller(), node)?;
        let lower_path = Box::from(&b""[..]);
        let parts = Parts { upper: Some(upper), lowers: Lowers::new(), lower_path, place: None };
        Ok(Self::new(&self.shared, parts)?)
    }

    fn link(&self, _caller: &Caller<'_>, name: &[u8], target: &Arc<dyn Inode>) -> Result<()> {
        self.this()?.add_link(name, &Self::downcast(target)?)
    }

    fn unlink(&self, _caller: &Caller<'_>, name: &[u8], child: &Arc<dyn Inode>) -> Result<()> {
        self.this()?.remove_file(name, &Self::downcast(child)?)
    }

    fn rmdir(&self, caller: &Caller<'_>, name: &[u8], child: &Arc<dyn Inode>) -> Result<()> {
        self.this()?.remove_dir(caller, name, &Self::downcast(child)?)
    }

    fn rename(&self, caller: &Caller<'_>, rename: &Rename<'_>) -> Result<()> {
        self.this()?.move_name(caller, rename)
    }

    fn readlink(&self, caller: &Caller<'_>) -> Result<Vec<u8>> {
        self.real().readlink(caller)
    }

    fn open(self: Arc<Self>, _caller: &Caller<'_>, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        if self.is_dir() {
            return Ok(Arc::new(OvlDir::new(self)));
        }
        let caller = self.shared.caller();
        if flags.is_writable() || flags.contains(OpenFlags::TRUNC) {
            return self.copy_up(!flags.contains(OpenFlags::TRUNC))?.clone().open(&caller, flags);
        }
        match self.upper.get() {
            Some(upper) => upper.clone().open(&caller, flags),
            None => {
                let lower = self.lowers[0].inode.clone().open(&caller, flags)?;
                Ok(Arc::new(OvlFile::new(self, lower, flags)))
            }
        }
    }

    fn permission(&self, caller: &Caller<'_>, mask: u32) -> Option<Result<()>> {
        self.real().permission(caller, mask)
    }

    fn access_acl(&self) -> Result<Option<Arc<[u8]>>> {
        self.real().access_acl()
    }

    fn default_acl(&self) -> Result<Option<Arc<[u8]>>> {
        self.real().default_acl()
    }

    fn xattr(&self) -> Option<&dyn Xattr> {
        self.real().xattr().is_some().then_some(self)
    }

    fn fallocate(&self, mode: u32, offset: u64, len: u64) -> Result<()> {
        self.this()?.copy_up(true)?.fallocate(mode, offset, len)
    }
}

impl Xattr for OvlInode {
    fn get(&self, name: &[u8]) -> Result<Vec<u8>> {
        if name.starts_with(PRIVATE) {
            return Err(Errno::ENODATA);
        }
        self.real().xattr().ok_or(Errno::EOPNOTSUPP)?.get(name)
    }

    fn set(&self, name: &[u8], value: &[u8], flags: SetXattrFlags) -> Result<()> {
        if name.starts_with(PRIVATE) {
            return Err(Errno::EPERM);
        }
        let this = self.this()?;
        this.copy_up(true)?.xattr().ok_or(Errno::EOPNOTSUPP)?.set(name, value, flags)
    }

    fn remove(&self, name: &[u8]) -> Result<()> {
        // Without copying a file up for an attribute that it does not have.
        self.get(name)?;
        let this = self.this()?;
        this.copy_up(true)?.xattr().ok_or(Errno::EOPNOTSUPP)?.remove(name)
    }

    fn list(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = self.real().xattr().ok_or(Errno::EOPNOTSUPP)?.list()?;
        names.retain(|name| !name.starts_with(PRIVATE));
        Ok(names)
    }
}

impl Drop for OvlInode {
    /// Forgets itself, and gives up the chain of parents one by one: it may be longer than our stack.
    fn drop(&mut self) {
        if let Some(key) = self.link_key {
            let mut links = self.shared.links.lock();
            if matches!(links.get(&key), Some(Link::Weak(weak)) if weak.strong_count() == 0) {
                links.remove(&key);
            }
        }
        let mut next = self.place.get_mut().take().map(|place| place.parent);
        while let Some(mut parent) = next.and_then(Arc::into_inner) {
            next = parent.place.get_mut().take().map(|place| place.parent);
        }
    }
}

impl fmt::Debug for OvlInode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OvlInode({}, copied up: {})", self.ino, self.upper.get().is_some())
    }
}

/// Where in a layer a path leads, for opening files of layers.
pub(super) fn layer_path(shared: &Shared, layer: usize, inode: &Arc<dyn Inode>) -> Result<VfsPath> {
    let mount = match shared.lowers.get(layer) {
        Some(lower) => &lower.mount,
        None => &shared.upper()?.mount,
    };
    Ok(shared.vfs()?.unattached_path(mount, inode.clone(), b"overlay"))
}
