//! Socket families, and the register of them.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use abi::socket::SocketType;
use abi::{Errno, Result};
use parking_lot::RwLock;

use crate::Task;
use crate::task::Capability;
use crate::vfs::FileOps;

/// Makes sockets of one address family.
pub trait SocketFamily: Send + Sync {
    /// `AF_*`.
    fn family(&self) -> u16;

    /// socket(2).
    ///
    /// # Errors
    /// `ESOCKTNOSUPPORT`, `EPROTONOSUPPORT`, `EPERM`, `EACCES`.
    fn create(&self, task: &Task, kind: SocketType, protocol: i32) -> Result<Arc<dyn FileOps>>;

    /// socketpair(2).
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the family has none.
    fn create_pair(&self, task: &Task, kind: SocketType, protocol: i32) -> Result<[Arc<dyn FileOps>; 2]> {
        let _ = (task, kind, protocol);
        Err(Errno::EOPNOTSUPP)
    }

    /// The text of `/proc/net/NAME` as `task` sees it; `None` where it is another family's.
    fn table(&self, task: &Task, name: &str) -> Option<String> {
        let _ = (task, name);
        None
    }

    /// The family's settings: paths below `/proc/sys/net`.
    fn settings(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Directories below `/proc/sys/net` with one directory for each interface, and the files in each of those.
    fn interface_settings(&self) -> Vec<(&'static str, Vec<&'static str>)> {
        Vec::new()
    }

    /// The interfaces that the directory `tree` has for `task`; `None` where it is another family's.
    fn interfaces(&self, task: &Task, tree: &str) -> Option<Vec<String>> {
        let _ = (task, tree);
        None
    }

    /// The links of the name space of `task`; `None` where another family knows them.
    fn links(&self, task: &Task) -> Option<Vec<String>> {
        let _ = task;
        None
    }

    /// The text of `/sys/class/net/LINK/FILE`; `None` where there is none, or where it is another family's.
    fn link_file(&self, task: &Task, link: &str, file: &str) -> Option<String> {
        let _ = (task, link, file);
        None
    }

    /// The value of a setting for the name space of `task`; `None` where it is another family's.
    fn setting(&self, task: &Task, path: &str) -> Option<String> {
        let _ = (task, path);
        None
    }

    /// Changes a setting for the name space of `task`, whose rights were checked.
    ///
    /// # Errors
    /// `EINVAL` for a value that makes no sense, `ENOENT` where it is another family's.
    fn change_setting(&self, task: &Task, path: &str, value: &str) -> Result<()> {
        let _ = (task, path, value);
        Err(Errno::ENOENT)
    }
}

/// All families of a kernel. Filled at start.
#[derive(Default)]
pub struct SocketFamilies {
    list: RwLock<Vec<Arc<dyn SocketFamily>>>,
    shared: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl SocketFamilies {
    /// Adds a family.
    pub fn register(&self, family: Arc<dyn SocketFamily>) {
        self.list.write().push(family);
    }

    /// What their name spaces have in common, made by `make` at the first call: one thing of one type.
    pub fn shared<T: Any + Send + Sync>(&self, make: impl Fn() -> Arc<T>) -> Arc<T> {
        let shared = self.shared.get_or_init(|| make() as Arc<dyn Any + Send + Sync>);
        Arc::clone(shared).downcast::<T>().unwrap_or_else(|_| make())
    }

    /// The family with number `family`.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`.
    pub fn get(&self, family: i32) -> Result<Arc<dyn SocketFamily>> {
        let families = self.list.read();
        families.iter().find(|entry| i32::from(entry.family()) == family).cloned().ok_or(Errno::EAFNOSUPPORT)
    }

    fn all(&self) -> Vec<Arc<dyn SocketFamily>> {
        self.list.read().clone()
    }

    /// The text of `/proc/net/NAME` as `task` sees it; empty where no family has it.
    #[must_use]
    pub fn table(&self, task: &Task, name: &str) -> String {
        self.all().iter().find_map(|family| family.table(task, name)).unwrap_or_default()
    }

    /// The settings of all families: paths below `/proc/sys/net`.
    #[must_use]
    pub fn settings(&self) -> Vec<&'static str> {
        self.all().iter().flat_map(|family| family.settings()).collect()
    }

    /// The directories of interfaces of all families, with the files that each interface has.
    #[must_use]
    pub fn interface_settings(&self) -> Vec<(&'static str, Vec<&'static str>)> {
        self.all().iter().flat_map(|family| family.interface_settings()).collect()
    }

    /// The interfaces that the directory `tree` below `/proc/sys/net` has for `task`.
    #[must_use]
    pub fn interfaces(&self, task: &Task, tree: &str) -> Vec<String> {
        self.all().iter().find_map(|family| family.interfaces(task, tree)).unwrap_or_default()
    }

    /// The links of the name space of `task`.
    #[must_use]
    pub fn links(&self, task: &Task) -> Vec<String> {
        self.all().iter().find_map(|family| family.links(task)).unwrap_or_default()
    }

    /// The text of `/sys/class/net/LINK/FILE` for `task`, where the link has it.
    #[must_use]
    pub fn link_file(&self, task: &Task, link: &str, file: &str) -> Option<String> {
        self.all().iter().find_map(|family| family.link_file(task, link, file))
    }

    /// The value of a setting for the name space of `task`.
    ///
    /// # Errors
    /// `ENOENT` where no family has it.
    pub fn setting(&self, task: &Task, path: &str) -> Result<String> {
        self.all().iter().find_map(|family| family.setting(task, path)).ok_or(Errno::ENOENT)
    }

    /// Changes a setting for the name space of `task`.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_ADMIN over the name space; `EINVAL`, `ENOENT`.
    pub fn change_setting(&self, task: &Task, path: &str, value: &str) -> Result<()> {
        let namespaces = task.namespaces();
        if !task.creds().has_in(namespaces.net.user_ns(), Capability::NetAdmin) {
            return Err(Errno::EPERM);
        }
        let families = self.all();
        let owner =
            families.iter().find(|family| family.setting(task, path).is_some()).ok_or(Errno::ENOENT)?;
        owner.change_setting(task, path, value)
    }
}

impl std::fmt::Debug for SocketFamilies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.list.read().iter().map(|family| family.family())).finish()
    }
}
