//! One mount of a gofer: its inodes, and the file system that the VFS sees.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use abi::fs::Statfs;
use abi::{DeviceId, Result};
use gofer_protocol::{Attr as WireAttr, MountFlags, MountInfo, NodeId, OVERLAYFS, StatFs};
use kernel::vfs::{Caching, FileSystem, Inode};
use parking_lot::{Mutex, MutexGuard};

use super::attr::Moment;
use super::connection::{Connection, Reason};
use super::habit::Habit;
use super::inode::{GoferInode, Origin};

/// Host device and inode number: what makes two names one file.
pub(super) type Key = (u64, u64);

/// Host devices below a root whose numbers are told apart; a gofer that claims more is not believed.
const MAX_DEVICES: usize = 1024;

/// The inodes of one mount. Locks: leaves.
#[derive(Debug)]
pub struct Volume {
    connection: Arc<Connection>,
    device: DeviceId,
    flags: MountFlags,
    fs_kind: u64,
    /// The root's, of which `fs_kind` is told.
    root_dev: u64,
    inodes: Mutex<HashMap<Key, Weak<GoferInode>>>,
    /// Directories by node, where the gofer reports changes by it.
    by_node: Mutex<HashMap<NodeId, Weak<GoferInode>>>,
    pub(super) habit: Habit,
    /// Held while a directory is placed below another, so that none gets below itself.
    places: Mutex<()>,
    /// Host devices below the root, which is the first: a guest sees one device, so numbers of the others are moved
    /// out of the way.
    devices: Mutex<Vec<u64>>,
}

impl Volume {
    pub(super) fn new(connection: Arc<Connection>, info: &MountInfo, device: DeviceId) -> Arc<Self> {
        Arc::new(Self {
            connection,
            device,
            flags: info.flags,
            fs_kind: info.fs_kind,
            root_dev: info.attr.dev,
            inodes: Mutex::default(),
            by_node: Mutex::default(),
            habit: Habit::default(),
            places: Mutex::default(),
            devices: Mutex::new(vec![info.attr.dev]),
        })
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) fn is_shared(&self) -> bool {
        self.flags.contains(MountFlags::SHARED)
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.flags.contains(MountFlags::READ_ONLY)
    }

    /// Whether directories may be numbered anew.
    pub(super) fn is_stacked(&self) -> bool {
        self.fs_kind == OVERLAYFS
    }

    /// Whether a file of this device keeps its time of birth, as far as is known.
    pub(super) fn has_births(&self, dev: u64) -> bool {
        !self.is_stacked() && dev == self.root_dev
    }

    /// Whether the files of this device are on a host file system of one of these kinds, as far as is known.
    pub(super) fn is_of_kind(&self, dev: u64, kinds: &[u64]) -> bool {
        dev == self.root_dev && kinds.contains(&self.fs_kind)
    }

    /// The inode number that the guest sees.
    pub(super) fn guest_ino(&self, attr: &WireAttr) -> u64 {
        let mut devices = self.devices.lock();
        let index = match devices.iter().position(|dev| *dev == attr.dev) {
            Some(index) => index,
            None if devices.len() < MAX_DEVICES => {
                devices.push(attr.dev);
                devices.len() - 1
            }
            // Files may show the same number then.
            None => 0,
        };
        attr.ino.wrapping_add((index as u64) << 48)
    }

    /// The one inode of a file that was found as `origin`, with what the host said of it when it was asked at `asked`.
    pub(super) fn inode(self: &Arc<Self>, attr: WireAttr, asked: Moment, origin: Origin) -> Arc<GoferInode> {
        let ino = self.guest_ino(&attr);
        let (inode, other) = {
            let mut inodes = self.inodes.lock();
            let slot = inodes.entry((attr.dev, attr.ino)).or_default();
            match slot.upgrade() {
                Some(known) if known.is_alike(&attr) => (known, None),
                other => {
                    let is_root = matches!(origin, Origin::Root(_));
                    let inode = GoferInode::new(self.clone(), attr, asked, ino, is_root);
                    *slot = Arc::downgrade(&inode);
                    (inode, other)
                }
            }
        };
        // Outside of the lock: it may be the last of a file that is gone.
        drop(other);
        inode.attrs.told(asked, attr);
        inode.take_origin(origin);
        inode
    }

    /// `inode` stays what it was, if no other has its number.
    pub(super) fn restore(&self, key: Key, inode: &Weak<GoferInode>) {
        let mut inodes = self.inodes.lock();
        let slot = inodes.entry(key).or_default();
        if slot.strong_count() == 0 {
            *slot = inode.clone();
        }
    }

    /// `inode` is dropped, or its number may be given to another file.
    pub(super) fn remove(&self, key: Key, inode: *const GoferInode) {
        let mut inodes = self.inodes.lock();
        if inodes.get(&key).is_some_and(|known| std::ptr::eq(known.as_ptr(), inode)) {
            inodes.remove(&key);
        }
    }

    /// Keeps the places of all directories as they are.
    pub(super) fn lock_places(&self) -> MutexGuard<'_, ()> {
        self.places.lock()
    }

    pub(super) fn note_node(&self, node: NodeId, inode: &Weak<GoferInode>) {
        if self.is_shared() {
            self.by_node.lock().insert(node, inode.clone());
        }
    }

    /// `inode` gives back its look-ups of `node`, which may be another's by now.
    pub(super) fn forget_node(&self, node: NodeId, count: u32, inode: *const GoferInode, reason: Reason) {
        if self.is_shared() {
            let mut by_node = self.by_node.lock();
            if by_node.get(&node).is_some_and(|known| std::ptr::eq(known.as_ptr(), inode)) {
                by_node.remove(&node);
            }
        }
        self.connection.forget(node, count, reason);
    }

    pub(super) fn by_node(&self, node: NodeId) -> Option<Arc<GoferInode>> {
        self.by_node.lock().get(&node).and_then(Weak::upgrade)
    }

    /// All directories that the gofer could report changes of.
    pub(super) fn watched(&self) -> Vec<Arc<GoferInode>> {
        self.by_node.lock().values().filter_map(Weak::upgrade).collect()
    }

    #[cfg(test)]
    pub(super) fn inode_count(&self) -> usize {
        self.inodes.lock().len()
    }
}

/// A mount of a gofer as the VFS sees it.
#[derive(Debug)]
pub struct GoferFs {
    volume: Arc<Volume>,
    root: Arc<GoferInode>,
    root_node: NodeId,
}

impl GoferFs {
    pub(super) fn new(volume: Arc<Volume>, info: &MountInfo) -> Result<Arc<Self>> {
        let asked = volume.connection.clock().now();
        let root = volume.inode(info.attr, asked, Origin::Root(info.root));
        Ok(Arc::new(Self { volume, root, root_node: info.root }))
    }

    /// Its inodes.
    #[must_use]
    pub fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }
}

impl FileSystem for GoferFs {
    fn type_name(&self) -> &'static str {
        "9p"
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn device(&self) -> DeviceId {
        self.volume.device
    }

    fn statfs(&self) -> Result<Statfs> {
        let response = self.volume.connection.call(&StatFs { node: self.root_node })?;
        let stat = response.get()?;
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        Ok(Statfs {
            f_type: signed(self.volume.fs_kind),
            f_bsize: signed(stat.block_size),
            f_blocks: stat.blocks,
            f_bfree: stat.blocks_free,
            f_bavail: stat.blocks_available,
            f_files: stat.files,
            f_ffree: stat.files_free,
            f_namelen: signed(stat.name_max),
            f_frsize: signed(stat.block_size),
            ..Statfs::default()
        })
    }

    fn caching(&self) -> Caching {
        if self.volume.is_shared() { Caching::Revalidate } else { Caching::Exclusive }
    }

    fn revalidate(&self, dir: &Arc<dyn Inode>, name: &[u8], inode: Option<&Arc<dyn Inode>>) -> bool {
        let Ok(dir) = GoferInode::of(dir) else { return false };
        let inode = match inode.map(GoferInode::of) {
            None => None,
            Some(Ok(inode)) => Some(inode),
            Some(Err(_)) => return false,
        };
        dir.is_still(name, inode)
    }

    fn options(&self) -> String {
        let access = if self.volume.is_shared() { "shared" } else { "exclusive" };
        format!("trans=fd,access={access}")
    }
}
