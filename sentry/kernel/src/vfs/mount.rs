//! [`Mount`]: a file system at a place.
//!
//! A parent holds the mounts on it; a mount refers to its parent weakly. Changes of the tree are made with
//! `Vfs::mount_lock` held. Locks, after that one: `state`, then `children`; the path walk takes each by itself.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::mount::MountFlags;
use parking_lot::RwLock;

use super::{Dentry, FileSystem, MountNamespace, Superblock, VfsPath};

/// A file system at a place.
pub struct Mount {
    id: u64,
    sb: Arc<Superblock>,
    root: Arc<Dentry>,
    source: Box<[u8]>,
    flags: AtomicU64,
    state: RwLock<MountState>,
    /// Nobody has used it since `MNT_EXPIRE` was tried.
    is_expiring: AtomicBool,
    /// Mounts on dentries seen through this one, by the dentry's address (which their places keep valid).
    children: RwLock<HashMap<usize, Arc<Mount>>>,
}

/// Where a mount is, and with whom it shares changes.
#[derive(Debug)]
pub(super) struct MountState {
    pub(super) place: Option<Place>,
    pub(super) namespace: Weak<MountNamespace>,
    /// It was made for a descriptor, and is in no name space until it is attached (Linux's anonymous name spaces).
    /// The kernel's own mounts and those that have been taken off are in none either, and belong to nobody.
    pub(super) is_loose: bool,
    /// Peer group: mounts of one group tell each other of mounts below them. 0 is none.
    pub(super) group: u64,
    /// The peer group that this one only listens to. 0 is none.
    pub(super) master: u64,
    /// It cannot be bind-mounted.
    pub(super) is_unbindable: bool,
    /// It came with a less privileged name space and cannot be taken off by itself.
    pub(super) is_locked: bool,
    /// The flags that cannot be changed, for the same reason.
    pub(super) locked_flags: MountFlags,
}

/// What a mount sits on.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) parent: Weak<Mount>,
    pub(super) mountpoint: Arc<Dentry>,
}

/// A mount's relations, for `/proc/[pid]/mountinfo`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Propagation {
    /// `shared:N`, 0 for none.
    pub group: u64,
    /// `master:N`, 0 for none.
    pub master: u64,
    /// `unbindable`.
    pub is_unbindable: bool,
}

impl Mount {
    /// A mount of `root`, in no tree yet.
    pub(super) fn new(id: u64, root: Arc<Dentry>, source: &[u8], flags: MountFlags) -> Arc<Self> {
        let sb = root.superblock().clone();
        sb.add_mount();
        Arc::new(Self {
            id,
            sb,
            root,
            source: source.into(),
            flags: AtomicU64::new((flags & MountFlags::PER_MOUNT).bits()),
            state: RwLock::new(MountState {
                place: None,
                namespace: Weak::new(),
                is_loose: false,
                group: 0,
                master: 0,
                is_unbindable: false,
                is_locked: false,
                locked_flags: MountFlags::empty(),
            }),
            is_expiring: AtomicBool::new(false),
            children: RwLock::default(),
        })
    }

    /// Its number in `mountinfo` and `statx`.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// What is mounted.
    #[must_use]
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        self.sb.fs()
    }

    /// The file system's state in the VFS.
    #[must_use]
    pub fn superblock(&self) -> &Arc<Superblock> {
        &self.sb
    }

    /// The directory (or file) of the file system that shows at the mount point.
    #[must_use]
    pub fn root(&self) -> &Arc<Dentry> {
        &self.root
    }

    /// Its root as a place.
    #[must_use]
    pub fn root_path(self: &Arc<Self>) -> VfsPath {
        VfsPath { mount: self.clone(), dentry: self.root.clone() }
    }

    /// What mount(2) called the source.
    #[must_use]
    pub fn source(&self) -> &[u8] {
        &self.source
    }

    /// `MS_RDONLY`, `MS_NOSUID` and so on.
    #[must_use]
    pub fn flags(&self) -> MountFlags {
        MountFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Changes `MS_RDONLY` and the other per-mount flags.
    pub fn set_flags(&self, flags: MountFlags) {
        self.flags.store((flags & MountFlags::PER_MOUNT).bits(), Ordering::Relaxed);
    }

    /// Whether nothing may be changed through it.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.flags().contains(MountFlags::RDONLY)
    }

    /// What it is mounted on; `None` for the root of a tree.
    #[must_use]
    pub fn mountpoint(&self) -> Option<VfsPath> {
        let place = self.state.read().place.clone()?;
        Some(VfsPath { mount: place.parent.upgrade()?, dentry: place.mountpoint })
    }

    /// The name space that it is in, unless it has been detached.
    #[must_use]
    pub fn namespace(&self) -> Option<Arc<MountNamespace>> {
        self.state.read().namespace.upgrade()
    }

    /// Whether it is part of a tree that open_tree(2) or fsmount(2) has made and nobody has attached.
    #[must_use]
    pub fn is_loose(&self) -> bool {
        let state = self.state.read();
        state.is_loose && state.namespace.strong_count() == 0
    }

    /// Makes this tree one that a descriptor stands for.
    pub(crate) fn set_loose(self: &Arc<Self>) {
        for mount in self.subtree() {
            mount.state.write().is_loose = true;
        }
    }

    /// With whom it shares changes.
    #[must_use]
    pub fn propagation(&self) -> Propagation {
        let state = self.state.read();
        Propagation { group: state.group, master: state.master, is_unbindable: state.is_unbindable }
    }

    /// The mount on `dentry` as seen through this one.
    #[must_use]
    pub fn mounted_on(&self, dentry: &Arc<Dentry>) -> Option<Arc<Mount>> {
        if !dentry.has_mounts() {
            return None;
        }
        self.children.read().get(&Arc::as_ptr(dentry).addr()).cloned()
    }

    /// The mounts directly on this one.
    #[must_use]
    pub fn children(&self) -> Vec<Arc<Mount>> {
        let mut list: Vec<_> = self.children.read().values().cloned().collect();
        list.sort_by_key(|mount| mount.id);
        list
    }

    /// This mount and all below it, parents first.
    #[must_use]
    pub fn subtree(self: &Arc<Self>) -> Vec<Arc<Mount>> {
        let mut list = vec![self.clone()];
        let mut next = 0;
        while let Some(mount) = list.get(next).cloned() {
            list.extend(mount.children());
            next += 1;
        }
        list
    }

    /// Notes an attempt at `MNT_EXPIRE`; says whether it was the first.
    pub(crate) fn mark_expiring(&self) -> bool {
        !self.is_expiring.swap(true, Ordering::Relaxed)
    }

    pub(super) fn state(&self) -> &RwLock<MountState> {
        &self.state
    }

    /// Puts this mount at `place`.
    pub(super) fn attach(self: &Arc<Self>, place: &VfsPath) {
        self.state.write().place =
            Some(Place { parent: Arc::downgrade(&place.mount), mountpoint: place.dentry.clone() });
        place.dentry.add_mount();
        place.mount.children.write().insert(Arc::as_ptr(&place.dentry).addr(), self.clone());
    }

    /// Takes this mount from its place, which is returned.
    pub(super) fn detach(self: &Arc<Self>) -> Option<VfsPath> {
        let place = self.state.write().place.take()?;
        place.mountpoint.remove_mount();
        let parent = place.parent.upgrade()?;
        let removed = parent.children.write().remove(&Arc::as_ptr(&place.mountpoint).addr());
        drop(removed);
        Some(VfsPath { mount: parent, dentry: place.mountpoint })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(place) = self.state.get_mut().place.take() {
            place.mountpoint.remove_mount();
        }
        // One by one: a guest can stack mounts deeper than our stack.
        let mut below: Vec<Arc<Mount>> = self.children.get_mut().drain().map(|(_, mount)| mount).collect();
        while let Some(mount) = below.pop() {
            if let Some(mut mount) = Arc::into_inner(mount) {
                below.extend(mount.children.get_mut().drain().map(|(_, child)| child));
            }
        }
        self.sb.drop_mount();
    }
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mount({}, {})", self.id, self.fs().type_name())
    }
}
