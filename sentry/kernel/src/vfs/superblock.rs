//! The [`Superblock`]: a file system with the state that the VFS keeps for it while it is in use.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::dcache::DentryCache;
use super::inotify::{self, WatchCounter};
use super::{Caching, Dentry, FileSystem};
use crate::task::{Capability, Credentials, UserNamespace};

/// A file system in use, shared by all mounts of it.
pub struct Superblock {
    fs: Arc<dyn FileSystem>,
    pub(super) caching: Caching,
    pub(super) dcache: Arc<DentryCache>,
    pub(super) watches: Arc<WatchCounter>,
    /// Held while directories move, so that nobody can make a loop. Taken before any directory's lock.
    pub(super) rename_lock: Mutex<()>,
    mounts: AtomicUsize,
    is_read_only: AtomicBool,
    /// The user name space that it was mounted in, where that is not the initial one: capabilities there are rights
    /// over the file system as a whole.
    user_ns: Option<Arc<UserNamespace>>,
    /// The one root dentry, while anything uses it. A leaf lock.
    root: Mutex<Weak<Dentry>>,
}

impl Superblock {
    pub(super) fn new(
        fs: Arc<dyn FileSystem>,
        dcache: Arc<DentryCache>,
        watches: Arc<WatchCounter>,
        user_ns: Option<Arc<UserNamespace>>,
    ) -> Arc<Self> {
        let caching = fs.caching();
        Arc::new(Self {
            fs,
            caching,
            dcache,
            watches,
            rename_lock: Mutex::new(()),
            mounts: AtomicUsize::new(0),
            is_read_only: AtomicBool::new(false),
            user_ns,
            root: Mutex::new(Weak::new()),
        })
    }

    /// The file system.
    #[must_use]
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        &self.fs
    }

    /// Whether nothing in the file system may be changed, through any mount.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.is_read_only.load(Ordering::Relaxed)
    }

    /// Changes that (mount(2) with `MS_RDONLY`, or remounting).
    pub fn set_read_only(&self, is_read_only: bool) {
        self.is_read_only.store(is_read_only, Ordering::Relaxed);
    }

    /// Whether `creds` have `capability` over the file system as a whole: to change its options, or attributes that
    /// only the kernel understands.
    #[must_use]
    pub fn is_capable(&self, creds: &Credentials, capability: Capability) -> bool {
        self.user_ns.as_ref().map_or_else(|| creds.capable(capability), |ns| creds.has_in(ns, capability))
    }

    /// The root directory.
    pub(super) fn root(self: &Arc<Self>) -> Arc<Dentry> {
        let mut root = self.root.lock();
        root.upgrade().unwrap_or_else(|| {
            let dentry = Dentry::root(self.clone(), self.fs.root());
            *root = Arc::downgrade(&dentry);
            dentry
        })
    }

    pub(super) fn add_mount(&self) {
        self.mounts.fetch_add(1, Ordering::AcqRel);
    }

    /// The last mount lets go of everything cached, so that the file system ends when its last user does.
    pub(super) fn drop_mount(self: &Arc<Self>) {
        if self.mounts.fetch_sub(1, Ordering::AcqRel) == 1 {
            inotify::on_unmount(self);
            self.dcache.forget_superblock(self);
            // Errors have no one to go to, as in Linux's umount.
            let _ = self.fs.sync();
        }
    }
}

impl fmt::Debug for Superblock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Superblock({})", self.fs.type_name())
    }
}
