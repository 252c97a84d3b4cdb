//! Device drivers: what opening a device node does.

use std::sync::Arc;

use abi::{DeviceId, OpenFlags, Result};

use super::FileOps;
use crate::Task;

/// The two name spaces of device numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// `S_IFCHR`.
    Char,
    /// `S_IFBLK`.
    Block,
}

/// Opens device nodes with certain numbers; registered with the kernel.
pub trait DeviceDriver: Send + Sync {
    /// Opens device `id`.
    ///
    /// # Errors
    /// `ENXIO` where there is no such minor, `EACCES`, `EBUSY`.
    fn open(&self, task: &Task, id: DeviceId, flags: OpenFlags) -> Result<Arc<dyn FileOps>>;
}
