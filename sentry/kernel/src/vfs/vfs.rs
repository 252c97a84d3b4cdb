//! [`Vfs`]: what is one per sandbox: file-system types, device drivers, hidden mounts, numbers.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use abi::mount::MountFlags;
use abi::{DeviceId, Errno, OpenFlags, Result};
use parking_lot::{Mutex, RwLock};

use super::anon::AnonMounts;
use super::dcache::DentryCache;
use super::inotify::WatchCounter;
use super::locks::LockWaits;
use super::path_walk::Walk;
use super::propagation::PeerGroups;
use super::{
    AnonKind, Caller, Dentry, DeviceDriver, DeviceKind, EpollNesting, File, FileOps, FileSystem,
    FileSystemType, Inode, Mount, MountNamespace, Origin, Superblock, VfsPath, WalkFlags,
};
use crate::task::{Credentials, NamespaceIds, UserNamespace};
use crate::time::Timekeeper;

/// A sandbox's virtual file system.
///
/// Locks: `mount_lock` comes before all others of the VFS; the registries are leaves.
pub struct Vfs {
    timekeeper: Arc<Timekeeper>,
    types: RwLock<BTreeMap<&'static str, Arc<dyn FileSystemType>>>,
    drivers: RwLock<HashMap<(DeviceKind, u32), Arc<dyn DeviceDriver>>>,
    superblocks: Mutex<Vec<Weak<Superblock>>>,
    dcache: Arc<DentryCache>,
    pub(super) watches: Arc<WatchCounter>,
    anon: AnonMounts,
    /// Where memfd_create(2) makes its files.
    pub(super) memfds: OnceLock<Arc<Mount>>,
    /// Held while the mount tree changes.
    pub(super) mount_lock: Mutex<()>,
    /// Who shares mounts with whom. A mount's `state` comes after it.
    pub(super) peers: Mutex<PeerGroups>,
    next_mount_id: AtomicU64,
    namespace_ids: NamespaceIds,
    next_device: AtomicU32,
    /// Serialises checks of who watches whom.
    pub epoll_nesting: EpollNesting,
    /// Who waits for locks on files.
    pub lock_waits: LockWaits,
}

impl Vfs {
    /// A virtual file system without types, drivers or mounts.
    #[must_use]
    pub fn new(timekeeper: Arc<Timekeeper>, namespace_ids: NamespaceIds) -> Arc<Self> {
        let dcache = Arc::new(DentryCache::new());
        let watches = Arc::new(WatchCounter::default());
        let anon = AnonMounts::new(timekeeper.clone(), |fs| {
            Superblock::new(fs, dcache.clone(), watches.clone(), None)
        });
        Arc::new(Self {
            timekeeper,
            types: RwLock::default(),
            drivers: RwLock::default(),
            superblocks: Mutex::default(),
            dcache,
            watches,
            anon,
            memfds: OnceLock::new(),
            mount_lock: Mutex::default(),
            peers: Mutex::default(),
            next_mount_id: AtomicU64::new(u64::from(AnonMounts::FIRST_FREE)),
            namespace_ids,
            next_device: AtomicU32::new(AnonMounts::FIRST_FREE),
            epoll_nesting: EpollNesting::default(),
            lock_waits: LockWaits::default(),
        })
    }

    /// The clocks, for file systems to stamp their files with.
    #[must_use]
    pub fn timekeeper(&self) -> &Arc<Timekeeper> {
        &self.timekeeper
    }

    /// Lets mount(2) find a type by its name.
    pub fn register_type(&self, fs_type: Arc<dyn FileSystemType>) {
        self.types.write().insert(fs_type.name(), fs_type);
    }

    /// The type called `name`.
    ///
    /// # Errors
    /// `ENODEV`.
    pub fn fs_type(&self, name: &[u8]) -> Result<Arc<dyn FileSystemType>> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENODEV)?;
        self.types.read().get(name).cloned().ok_or(Errno::ENODEV)
    }

    /// All types, by name: `/proc/filesystems`.
    #[must_use]
    pub fn fs_types(&self) -> Vec<Arc<dyn FileSystemType>> {
        self.types.read().values().cloned().collect()
    }

    /// Makes `driver` answer for device nodes with major number `major`.
    pub fn register_device(&self, kind: DeviceKind, major: u32, driver: Arc<dyn DeviceDriver>) {
        self.drivers.write().insert((kind, major), driver);
    }

    /// The driver of a device node.
    ///
    /// # Errors
    /// `ENXIO`.
    pub fn device(&self, kind: DeviceKind, id: DeviceId) -> Result<Arc<dyn DeviceDriver>> {
        self.drivers.read().get(&(kind, id.major)).cloned().ok_or(Errno::ENXIO)
    }

    /// A device number for a new file system's `st_dev`: major 0, as Linux has it for file systems without a device.
    pub fn allocate_device(&self) -> DeviceId {
        DeviceId { major: 0, minor: self.next_device.fetch_add(1, Ordering::Relaxed) }
    }

    pub(super) fn allocate_mount_id(&self) -> u64 {
        self.next_mount_id.fetch_add(1, Ordering::Relaxed)
    }

    /// An open file that is in no directory.
    #[must_use]
    pub fn anon_file(
        &self,
        kind: AnonKind,
        ops: Arc<dyn FileOps>,
        flags: OpenFlags,
        creds: &Arc<Credentials>,
    ) -> Arc<File> {
        File::new(self.anon_path(kind, creds), ops, flags, creds.clone())
    }

    /// A place for several open files on one anonymous inode: the two ends of a pipe.
    #[must_use]
    pub fn anon_path(&self, kind: AnonKind, creds: &Credentials) -> VfsPath {
        self.anon.place(kind, creds)
    }

    /// The hidden mount that shows the files of name spaces.
    pub(crate) fn namespace_files(&self) -> &Arc<Mount> {
        &self.anon.namespaces
    }

    /// The VFS's state of `fs`, made where this is its first mount, which is made in `user_ns`. Only who makes it may
    /// make it read-only: others use it, too.
    fn superblock(
        &self,
        fs: &Arc<dyn FileSystem>,
        user_ns: Option<&Arc<UserNamespace>>,
        is_read_only: bool,
    ) -> Arc<Superblock> {
        let mut list = self.superblocks.lock();
        list.retain(|sb| sb.strong_count() > 0);
        if let Some(known) = list.iter().filter_map(Weak::upgrade).find(|sb| Arc::ptr_eq(sb.fs(), fs)) {
            return known;
        }
        let owner = user_ns.filter(|ns| ns.parent().is_some()).cloned();
        let sb = Superblock::new(fs.clone(), self.dcache.clone(), self.watches.clone(), owner);
        sb.set_read_only(is_read_only);
        list.push(Arc::downgrade(&sb));
        sb
    }

    /// All file systems in use: sync(2).
    #[must_use]
    pub fn superblocks(&self) -> Vec<Arc<Superblock>> {
        self.superblocks.lock().iter().filter_map(Weak::upgrade).collect()
    }

    /// A mount of `fs` that is in no tree yet. [`Vfs::attach`] puts it at a place.
    #[must_use]
    pub fn new_mount(&self, fs: &Arc<dyn FileSystem>, source: &[u8], flags: MountFlags) -> Arc<Mount> {
        Mount::new(self.allocate_mount_id(), self.superblock(fs, None, false).root(), source, flags)
    }

    /// As [`Vfs::new_mount`], by a task of `user_ns`: if nobody has mounted `fs` before, it belongs to that, and is
    /// read-only as a whole where `is_read_only`.
    #[must_use]
    pub fn new_mount_in(
        &self,
        user_ns: &Arc<UserNamespace>,
        fs: &Arc<dyn FileSystem>,
        source: &[u8],
        flags: MountFlags,
        is_read_only: bool,
    ) -> Arc<Mount> {
        let sb = self.superblock(fs, Some(user_ns), is_read_only);
        Mount::new(self.allocate_mount_id(), sb.root(), source, flags)
    }

    /// A mount of a file or directory of `fs` other than its root, in no tree yet.
    #[must_use]
    pub fn new_mount_of(&self, path: &VfsPath, source: &[u8], flags: MountFlags) -> Arc<Mount> {
        Mount::new(self.allocate_mount_id(), path.dentry.clone(), source, flags)
    }

    /// A mount name space of `user_ns` with `root` at its bottom: one per container.
    #[must_use]
    pub fn new_namespace(&self, root: Arc<Mount>, user_ns: &Arc<UserNamespace>) -> Arc<MountNamespace> {
        MountNamespace::new(self.namespace_ids.next(), root, user_ns.clone())
    }

    /// Puts `mount` at `place`, above whatever is mounted there. Propagation is the caller's (mount(2)).
    pub fn attach(&self, mount: &Arc<Mount>, place: &VfsPath) {
        let _tree = self.mount_lock.lock();
        self.attach_locked(mount, place);
    }

    pub(super) fn attach_locked(&self, mount: &Arc<Mount>, place: &VfsPath) {
        let mut place = place.clone();
        while let Some(upper) = place.mount.mounted_on(&place.dentry) {
            place = upper.root_path();
        }
        mount.attach(&place);
        let namespace = place.mount.state().read().namespace.clone();
        for below in mount.subtree() {
            let mut state = below.state().write();
            (state.namespace, state.is_loose) = (namespace.clone(), false);
        }
        if let Some(namespace) = namespace.upgrade() {
            namespace.note_change();
        }
    }

    /// Finds what `path` names, following links as `flags` say.
    ///
    /// # Errors
    /// As path_resolution(7).
    pub fn lookup(
        &self,
        caller: &Caller<'_>,
        origin: &Origin,
        path: &[u8],
        flags: WalkFlags,
    ) -> Result<VfsPath> {
        Walk::new(*caller, origin, path, flags)?.finish()
    }

    /// An unnamed file on `inode` of the file system that `mount` shows: `O_TMPFILE`, memfd_create(2).
    #[must_use]
    pub fn unattached_path(&self, mount: &Arc<Mount>, inode: Arc<dyn Inode>, name: &[u8]) -> VfsPath {
        VfsPath { mount: mount.clone(), dentry: Dentry::unattached(mount.superblock().clone(), inode, name) }
    }
}

impl fmt::Debug for Vfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vfs").field("types", &self.types.read().keys()).finish_non_exhaustive()
    }
}
