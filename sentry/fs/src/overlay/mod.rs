//! overlay: a writable tree over read-only ones (`Documentation/filesystems/overlayfs.rst` in Linux's tree).
//!
//! A directory shows the names of its upper directory and of the lower ones below it; a name in a higher layer covers
//! those under it. What is changed is first *copied up*. A removed name is covered by a *whiteout* (a character device
//! 0/0); a directory that covers those below it entirely is *opaque* (an attribute); one that was renamed says in an
//! attribute where its lower part is (*redirect*).
//!
//! Layers are used as inodes, without their dentries: this file system's own names are cached by the VFS, so a layer is
//! asked once for each name. Layers must not change by themselves.
//!
//! A file that was opened for reading before it is copied up reads the copy afterwards; a mapping made before goes on
//! showing the lower file, as on Linux.

mod change;
mod copy_up;
mod file;
mod inode;
mod listing;
mod lookup;
mod options;
#[cfg(test)]
mod tests;
mod work;

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use abi::fs::Statfs;
use abi::{DeviceId, Errno, FileType, Result};
use kernel::Kernel;
use kernel::mm::MemoryFile;
use kernel::task::Credentials;
use kernel::vfs::{Caller, FileSystem, FileSystemType, Inode, Mount, Vfs, VfsPath};
use parking_lot::Mutex;

use inode::OvlInode;
use work::Work;

const OVERLAY_MAGIC: i64 = 0x794c_7630;
/// Most overlays on each other (`FILESYSTEM_MAX_STACK_DEPTH`).
const MAX_DEPTH: usize = 2;
/// Attributes of ours on upper files; guests do not see them.
const PRIVATE: &[u8] = b"trusted.overlay.";
const OPAQUE: &[u8] = b"trusted.overlay.opaque";
const REDIRECT: &[u8] = b"trusted.overlay.redirect";
/// The inode number that a copied-up file shows.
const ORIGIN: &[u8] = b"trusted.overlay.origin";

/// A directory tree that takes part.
#[derive(Clone)]
struct Layer {
    /// Keeps the file system in use; files of the layer are opened through it.
    mount: Arc<Mount>,
    root: Arc<dyn Inode>,
}

impl Layer {
    fn new(path: &VfsPath) -> Self {
        Self { mount: path.mount.clone(), root: path.inode().clone() }
    }
}

/// What the inodes of one overlay share.
pub(crate) struct Shared {
    vfs: Weak<Vfs>,
    memory: Arc<MemoryFile>,
    /// The kernel's own, with which layers are changed: the VFS has checked the caller's.
    creds: Arc<Credentials>,
    upper: Option<Layer>,
    /// Where there is an upper layer.
    work: Option<Work>,
    /// The highest first.
    lowers: Vec<Layer>,
    /// Files with several names, by layer and inode number there. Locked with no other lock held but by its user's.
    links: Mutex<HashMap<(usize, u64), Link>>,
}

/// How a file with several names is remembered.
enum Link {
    /// While somebody uses it.
    Weak(Weak<OvlInode>),
    /// For good: it was copied up under one name, and the others lead to it only here.
    Strong(Arc<OvlInode>),
}

impl Shared {
    fn caller(&self) -> Caller<'_> {
        Caller { creds: &self.creds, task: None }
    }

    fn vfs(&self) -> Result<Arc<Vfs>> {
        self.vfs.upgrade().ok_or(Errno::ESTALE)
    }

    fn upper(&self) -> Result<&Layer> {
        self.upper.as_ref().ok_or(Errno::EROFS)
    }

    fn work(&self) -> Result<&Work> {
        self.work.as_ref().ok_or(Errno::EROFS)
    }

    /// The number under which inodes of a layer are known: lower layers first, the upper one last.
    fn upper_index(&self) -> usize {
        self.lowers.len()
    }
}

/// What an overlay is made of.
#[derive(Clone, Debug)]
pub struct OverlayConfig {
    /// `st_dev`.
    pub device: DeviceId,
    /// The read-only trees, the highest first; at least one. Directories.
    pub lowers: Vec<VfsPath>,
    /// The writable tree; `None` makes the overlay read-only.
    pub upper: Option<VfsPath>,
    /// Where changes are prepared: a directory beside `upper`. Without one, the file system of `upper` must have
    /// directories without a name.
    pub work: Option<VfsPath>,
    /// Credentials of the kernel itself.
    pub creds: Arc<Credentials>,
    /// What `/proc/mounts` shows.
    pub options: String,
}

/// A union of trees.
pub struct Overlay {
    device: DeviceId,
    root: Arc<OvlInode>,
    shared: Arc<Shared>,
    options: String,
    depth: usize,
}

impl Overlay {
    /// An overlay of these layers.
    ///
    /// # Errors
    /// `EINVAL` without a lower layer or for too many overlays on each other, `ENOTDIR` where a layer is no directory;
    /// as making a directory where the work directory cannot be made.
    pub fn new(vfs: &Arc<Vfs>, memory: &Arc<MemoryFile>, config: &OverlayConfig) -> Result<Arc<Self>> {
        if config.lowers.is_empty() {
            return Err(Errno::EINVAL);
        }
        let all = || config.lowers.iter().chain(&config.upper).chain(&config.work);
        if all().any(|path| !path.dentry.is_dir()) {
            return Err(Errno::ENOTDIR);
        }
        let depth = 1 + all().map(|path| path.mount.fs().stack_depth()).max().unwrap_or(0);
        if depth > MAX_DEPTH {
            return Err(Errno::EINVAL);
        }
        let caller = Caller { creds: &config.creds, task: None };
        let work = config.upper.as_ref().map(|upper| Work::new(&caller, upper, config.work.as_ref()));
        let shared = Arc::new(Shared {
            vfs: Arc::downgrade(vfs),
            memory: memory.clone(),
            creds: config.creds.clone(),
            upper: config.upper.as_ref().map(Layer::new),
            work: work.transpose()?,
            lowers: config.lowers.iter().map(Layer::new).collect(),
            links: Mutex::default(),
        });
        let root = OvlInode::root(&shared)?;
        Ok(Arc::new(Self { device: config.device, root, shared, options: config.options.clone(), depth }))
    }
}

impl FileSystem for Overlay {
    fn type_name(&self) -> &'static str {
        "overlay"
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn device(&self) -> DeviceId {
        self.device
    }

    fn statfs(&self) -> Result<Statfs> {
        let layer = self.shared.upper.as_ref().or(self.shared.lowers.first()).ok_or(Errno::ENOSYS)?;
        let of_layer = layer.mount.fs().statfs()?;
        // An upper layer in memory may be without a single block; programs doubt a root of which nothing is used.
        let free = of_layer.f_bfree.min(of_layer.f_blocks.saturating_sub(1));
        let available = of_layer.f_bavail.min(free);
        Ok(Statfs { f_type: OVERLAY_MAGIC, f_bfree: free, f_bavail: available, ..of_layer })
    }

    fn stack_depth(&self) -> usize {
        self.depth
    }

    fn options(&self) -> String {
        self.options.clone()
    }

    fn sync(&self) -> Result<()> {
        self.shared.upper.as_ref().map_or(Ok(()), |layer| layer.mount.fs().sync())
    }
}

impl Drop for Overlay {
    /// Files that were kept for their other names refer back to what keeps them.
    fn drop(&mut self) {
        let links = std::mem::take(&mut *self.shared.links.lock());
        drop(links);
    }
}

/// The type `overlay`. Not for user name spaces: layers are changed with the kernel's own credentials.
#[derive(Debug)]
pub struct OverlayType;

impl FileSystemType for OverlayType {
    fn name(&self) -> &'static str {
        "overlay"
    }

    fn mount(
        &self,
        kernel: &Arc<Kernel>,
        caller: &Caller<'_>,
        _source: &[u8],
        options: &[u8],
    ) -> Result<Arc<dyn FileSystem>> {
        let config = options::parse(kernel, caller, options)?;
        let fs = Overlay::new(&kernel.vfs, &kernel.memory, &config)?;
        Ok(fs)
    }
}

/// Whether `inode` covers a name of the layers below.
fn is_whiteout(inode: &Arc<dyn Inode>) -> bool {
    inode.file_type() == Some(FileType::Char)
        && inode.attr().is_ok_and(|attr| attr.rdev == DeviceId::default())
}

/// Whether the directory hides everything below it.
fn is_opaque(inode: &Arc<dyn Inode>) -> bool {
    inode.xattr().is_some_and(|xattr| xattr.get(OPAQUE).is_ok_and(|value| value == b"y"))
}
