//! The name spaces of a task other than user and own pid (Linux's `struct nsproxy`; `man 7 namespaces`).

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;

use super::{PidNamespace, UserNamespace};
use crate::vfs::MountNamespace;

/// The inode number by which `/proc/[pid]/ns/*` tells name spaces apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespaceId(pub u64);

/// Gives out the numbers of name spaces, each once, whatever the type. Clones count on together.
#[derive(Clone, Debug)]
pub struct NamespaceIds(Arc<AtomicU64>);

impl NamespaceIds {
    /// The number Linux gives to the first name space that is not built in.
    const FIRST: u64 = 0xf000_0000;

    /// A number that no name space has.
    pub(crate) fn next(&self) -> NamespaceId {
        NamespaceId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

impl Default for NamespaceIds {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(Self::FIRST)))
    }
}

/// A UTS name space: the names that uname(2) shows.
#[derive(Debug)]
pub struct UtsNamespace {
    id: NamespaceId,
    user_ns: Arc<UserNamespace>,
    names: RwLock<(String, String)>,
}

impl UtsNamespace {
    /// A name space with this host name and no NIS domain.
    #[must_use]
    pub fn new(id: NamespaceId, user_ns: Arc<UserNamespace>, host: &str, domain: &str) -> Arc<Self> {
        Arc::new(Self { id, user_ns, names: RwLock::new((host.to_owned(), domain.to_owned())) })
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// The owning user name space.
    #[must_use]
    pub fn user_ns(&self) -> &Arc<UserNamespace> {
        &self.user_ns
    }

    /// The host name.
    #[must_use]
    pub fn host_name(&self) -> String {
        self.names.read().0.clone()
    }

    /// The NIS domain name.
    #[must_use]
    pub fn domain_name(&self) -> String {
        self.names.read().1.clone()
    }

    /// Changes the host name.
    pub fn set_host_name(&self, name: &str) {
        name.clone_into(&mut self.names.write().0);
    }

    /// Changes the NIS domain name.
    pub fn set_domain_name(&self, name: &str) {
        name.clone_into(&mut self.names.write().1);
    }
}

/// A name space whose content belongs to a subsystem (IPC objects, a network stack, a cgroup root), which puts it in
/// when it first needs it.
pub struct OtherNamespace {
    id: NamespaceId,
    user_ns: Arc<UserNamespace>,
    content: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl OtherNamespace {
    /// An empty one.
    #[must_use]
    pub fn new(id: NamespaceId, user_ns: Arc<UserNamespace>) -> Arc<Self> {
        Arc::new(Self { id, user_ns, content: OnceLock::new() })
    }

    /// Its identity.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// The owning user name space.
    #[must_use]
    pub fn user_ns(&self) -> &Arc<UserNamespace> {
        &self.user_ns
    }

    /// The content as the subsystem's type, made by `make` at the first call; `None` where it has another type.
    pub fn content<T: Any + Send + Sync>(&self, make: impl FnOnce() -> Arc<T>) -> Option<Arc<T>> {
        let content = self.content.get_or_init(|| make() as Arc<dyn Any + Send + Sync>);
        content.clone().downcast::<T>().ok()
    }
}

impl std::fmt::Debug for OtherNamespace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OtherNamespace({})", self.id.0)
    }
}

/// The set a task is in. Immutable: unshare(2) and setns(2) make a new one.
#[derive(Clone, Debug)]
pub struct Namespaces {
    /// Host and domain name.
    pub uts: Arc<UtsNamespace>,
    /// System V IPC and POSIX message queues.
    pub ipc: Arc<OtherNamespace>,
    /// Mounts.
    pub mnt: Arc<MountNamespace>,
    /// Network.
    pub net: Arc<OtherNamespace>,
    /// The root that `/proc/[pid]/cgroup` is relative to.
    pub cgroup: Arc<OtherNamespace>,
    /// Clock offsets: only the initial one exists.
    pub time: Arc<OtherNamespace>,
    /// Where children are numbered.
    pub pid_for_children: Arc<PidNamespace>,
}
