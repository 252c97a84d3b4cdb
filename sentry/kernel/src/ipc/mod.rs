//! System V IPC: shared memory, semaphores, message queues (`man 7 sysvipc`).
//!
//! Each IPC name space has a set of each kind; [`IpcNamespace`] is what the task's name space holds.

mod perm;
mod shm;

use std::sync::Arc;

use crate::Task;

pub use perm::{Access, IpcIds, IpcObject, Perm};
pub use shm::{ShmSegment, ShmSet};

/// The objects of one IPC name space.
#[derive(Debug)]
pub struct IpcNamespace {
    /// Shared memory.
    pub shm: Arc<ShmSet>,
}

impl IpcNamespace {
    /// The name space that `task` is in.
    #[must_use]
    pub fn of(task: &Task) -> Arc<Self> {
        let kernel = task.kernel();
        let make = || Arc::new(Self { shm: ShmSet::new(&kernel.memory, &kernel.timekeeper) });
        // Nobody else puts anything into an IPC name space; a set of its own does no harm if somebody did.
        task.namespaces().ipc.content(make).unwrap_or_else(make)
    }
}
