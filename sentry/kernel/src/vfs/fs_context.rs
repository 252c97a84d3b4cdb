//! What path names are relative to: Linux's `fs_struct`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::RwLock;

use super::VfsPath;

/// Root, working directory and umask (`CLONE_FS` shares them). Locks: `places` is a leaf.
#[derive(Debug)]
pub struct FsContext {
    places: RwLock<Places>,
    umask: AtomicU32,
}

#[derive(Clone, Debug)]
struct Places {
    root: VfsPath,
    cwd: VfsPath,
}

impl FsContext {
    /// A context for the first task of a container.
    #[must_use]
    pub fn new(root: VfsPath, cwd: VfsPath, umask: u32) -> Arc<Self> {
        Arc::new(Self { places: RwLock::new(Places { root, cwd }), umask: AtomicU32::new(umask & 0o777) })
    }

    /// A copy for a child that does not share it.
    #[must_use]
    pub fn duplicate(&self) -> Arc<Self> {
        Arc::new(Self {
            places: RwLock::new(self.places.read().clone()),
            umask: AtomicU32::new(self.umask.load(Ordering::Relaxed)),
        })
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> VfsPath {
        self.places.read().root.clone()
    }

    /// The working directory.
    #[must_use]
    pub fn cwd(&self) -> VfsPath {
        self.places.read().cwd.clone()
    }

    /// Both at once: what a path walk needs.
    #[must_use]
    pub fn root_and_cwd(&self) -> (VfsPath, VfsPath) {
        let places = self.places.read();
        (places.root.clone(), places.cwd.clone())
    }

    /// chroot(2), once permitted.
    pub fn set_root(&self, root: VfsPath) {
        let old = std::mem::replace(&mut self.places.write().root, root);
        drop(old);
    }

    /// chdir(2), once permitted.
    pub fn set_cwd(&self, cwd: VfsPath) {
        let old = std::mem::replace(&mut self.places.write().cwd, cwd);
        drop(old);
    }

    /// Applies `f` to both: pivot_root(2), setns(2).
    pub fn map_places(&self, f: &dyn Fn(&VfsPath) -> Option<VfsPath>) {
        let mut places = self.places.write();
        let new = (f(&places.root), f(&places.cwd));
        if let Some(root) = new.0 {
            places.root = root;
        }
        if let Some(cwd) = new.1 {
            places.cwd = cwd;
        }
    }

    /// The file mode creation mask.
    #[must_use]
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// Sets the mask (umask(2)); returns the old one.
    pub fn set_umask(&self, mask: u32) -> u32 {
        self.umask.swap(mask & 0o777, Ordering::Relaxed)
    }
}
