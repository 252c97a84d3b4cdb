//! [`MountNamespace`]: a tree of mounts (`man 7 mount_namespaces`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use waiter::{Events, WaitQueue};

use super::{Mount, VfsPath};
use crate::task::{NamespaceId, UserNamespace};

/// A tree of mounts. Locks: `root` is a leaf.
#[derive(Debug)]
pub struct MountNamespace {
    id: NamespaceId,
    user_ns: Arc<UserNamespace>,
    root: RwLock<Arc<Mount>>,
    /// Goes up with each change: pollers of `/proc/[pid]/mounts` compare.
    generation: AtomicU64,
    changed: WaitQueue,
}

impl MountNamespace {
    pub(super) fn new(id: NamespaceId, root: Arc<Mount>, user_ns: Arc<UserNamespace>) -> Arc<Self> {
        let namespace = Arc::new(Self {
            id,
            user_ns,
            root: RwLock::new(root.clone()),
            generation: AtomicU64::new(0),
            changed: WaitQueue::new(),
        });
        for mount in root.subtree() {
            mount.state().write().namespace = Arc::downgrade(&namespace);
        }
        namespace
    }

    /// Its number, as in `/proc/[pid]/ns/mnt`.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// Whose capabilities allow changes of the tree.
    #[must_use]
    pub fn user_ns(&self) -> &Arc<UserNamespace> {
        &self.user_ns
    }

    /// The mount at the bottom of the tree.
    #[must_use]
    pub fn root(&self) -> Arc<Mount> {
        self.root.read().clone()
    }

    /// Where a path walk from `/` starts for a new member: on top of whatever is stacked on the root.
    #[must_use]
    pub fn root_path(&self) -> VfsPath {
        let mut mount = self.root();
        while let Some(upper) = mount.mounted_on(mount.root()) {
            mount = upper;
        }
        mount.root_path()
    }

    pub(super) fn set_root(&self, root: Arc<Mount>) {
        let old = std::mem::replace(&mut *self.root.write(), root);
        drop(old);
    }

    /// All mounts, parents first.
    #[must_use]
    pub fn mounts(&self) -> Vec<Arc<Mount>> {
        self.root().subtree()
    }

    /// Goes up with each change of the tree.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Notified with `ERR | PRI` at each change.
    #[must_use]
    pub fn changes(&self) -> &WaitQueue {
        &self.changed
    }

    pub(super) fn note_change(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.changed.notify(Events::ERR | Events::PRI);
    }
}
