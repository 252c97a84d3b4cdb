//! What path names are relative to: Linux's `fs_struct`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::{Errno, Result};
use parking_lot::{Mutex, RwLock};

use super::VfsPath;

/// Root, working directory and umask (`CLONE_FS` shares them). Locks: `places` and `users` are leaves.
#[derive(Debug)]
pub struct FsContext {
    places: RwLock<Places>,
    umask: AtomicU32,
    users: Mutex<Users>,
}

/// Who uses a context: one that changes it changes it for all.
#[derive(Debug)]
struct Users {
    /// How many tasks there are.
    count: usize,
    /// A program is being executed with privileges that it may have only while no stranger joins.
    is_closed: bool,
}

impl Users {
    const ONE: Self = Self { count: 1, is_closed: false };
}

/// Keeps a context from getting new users while a program is being executed.
#[derive(Debug)]
pub(crate) struct ClosedContext(Arc<FsContext>);

impl Drop for ClosedContext {
    fn drop(&mut self) {
        self.0.users.lock().is_closed = false;
    }
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
        Arc::new(Self {
            places: RwLock::new(Places { root, cwd }),
            umask: AtomicU32::new(umask & 0o777),
            users: Mutex::new(Users::ONE),
        })
    }

    /// A copy for a task that does not share it.
    #[must_use]
    pub fn duplicate(&self) -> Arc<Self> {
        Arc::new(Self {
            places: RwLock::new(self.places.read().clone()),
            umask: AtomicU32::new(self.umask.load(Ordering::Relaxed)),
            users: Mutex::new(Users::ONE),
        })
    }

    /// Another task uses it (`CLONE_FS`).
    ///
    /// # Errors
    /// `EAGAIN` while one of its users executes a program.
    pub(crate) fn share(&self) -> Result<()> {
        let mut users = self.users.lock();
        if users.is_closed {
            return Err(Errno::EAGAIN);
        }
        users.count += 1;
        Ok(())
    }

    /// A task no longer uses it.
    pub(crate) fn release(&self) {
        let mut users = self.users.lock();
        users.count = users.count.saturating_sub(1);
    }

    /// Whether more than one task uses it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.users.lock().count > 1
    }

    /// Closes it to new users while a program is executed; `None` where it has others than the `own` threads of
    /// the process: they could change the program's root directory.
    pub(crate) fn close(self: &Arc<Self>, own: usize) -> Option<ClosedContext> {
        let mut users = self.users.lock();
        if users.count > own {
            return None;
        }
        users.is_closed = true;
        Some(ClosedContext(self.clone()))
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
