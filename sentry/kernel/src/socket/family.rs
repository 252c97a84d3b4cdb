//! Socket families, and the register of them.

use std::sync::Arc;

use abi::socket::SocketType;
use abi::{Errno, Result};
use parking_lot::RwLock;

use crate::Task;
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
}

/// All families of a kernel. Filled at start.
#[derive(Default)]
pub struct SocketFamilies(RwLock<Vec<Arc<dyn SocketFamily>>>);

impl SocketFamilies {
    /// Adds a family.
    pub fn register(&self, family: Arc<dyn SocketFamily>) {
        self.0.write().push(family);
    }

    /// The family with number `family`.
    ///
    /// # Errors
    /// `EAFNOSUPPORT`.
    pub fn get(&self, family: i32) -> Result<Arc<dyn SocketFamily>> {
        let families = self.0.read();
        families.iter().find(|entry| i32::from(entry.family()) == family).cloned().ok_or(Errno::EAFNOSUPPORT)
    }
}

impl std::fmt::Debug for SocketFamilies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.read().iter().map(|family| family.family())).finish()
    }
}
