//! Inter-process communication: System V's (`man 7 sysvipc`) and POSIX message queues (`man 7 mq_overview`).
//!
//! Each IPC name space has a set of each kind and limits of its own; [`IpcNamespace`] is what the task's name space
//! holds.

mod common;
mod mqueue;
mod msg;
mod perm;
mod sem;
mod shm;
mod sysctl;

use std::sync::Arc;

use common::IpcCommon;

use crate::task::{OtherNamespace, UserNamespace};
use crate::{Kernel, Task};

pub use mqueue::{MessageQueues, Notice, Queue, QueueFsType, QueueMessage, QueueOpen, queue_of};
pub use msg::{Message, MsgQueue, MsgQueues, Wanted};
pub use perm::{IpcAccess, IpcIds, IpcObject, IpcSet, Perm};
pub use sem::{Pending, SemSet, SemSets, UndoList};
pub use shm::{ShmSegment, ShmSet};
pub use sysctl::{IpcLimit, IpcLimits};

/// The objects of one IPC name space.
#[derive(Debug)]
pub struct IpcNamespace {
    /// What sets bounds to them.
    pub limits: Arc<IpcLimits>,
    /// Shared memory.
    pub shm: Arc<ShmSet>,
    /// Semaphores.
    pub sem: Arc<SemSets>,
    /// System V message queues.
    pub msg: Arc<MsgQueues>,
    /// POSIX message queues.
    pub queues: MessageQueues,
}

impl IpcNamespace {
    fn new(kernel: &Kernel, user_ns: &Arc<UserNamespace>) -> Arc<Self> {
        let (limits, timekeeper) = (Arc::new(IpcLimits::default()), &kernel.timekeeper);
        let common = IpcCommon::new(timekeeper, &limits, user_ns);
        Arc::new(Self {
            shm: ShmSet::new(&kernel.memory, &common),
            sem: SemSets::new(&common),
            msg: MsgQueues::new(&common),
            queues: MessageQueues::new(&kernel.vfs, &limits),
            limits,
        })
    }

    /// The name space that `task` is in.
    #[must_use]
    pub fn of(task: &Task) -> Arc<Self> {
        Self::inside(task.kernel(), &task.namespaces().ipc)
    }

    /// The objects of `namespace`, made when they are first asked for.
    #[must_use]
    pub fn inside(kernel: &Kernel, namespace: &OtherNamespace) -> Arc<Self> {
        let make = || Self::new(kernel, namespace.user_ns());
        // Nobody else puts anything into an IPC name space; a set of its own does no harm if somebody did.
        namespace.content(make).unwrap_or_else(make)
    }
}

impl Task {
    /// The list of what its end takes back from semaphores, made when it is first needed.
    #[must_use]
    pub fn undo_list(&self) -> Arc<UndoList> {
        self.sem_undo().lock().get_or_insert_with(|| UndoList::new(self)).clone()
    }
}
