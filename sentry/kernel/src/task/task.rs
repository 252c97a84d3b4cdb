//! The [`Task`]: one guest thread, as everybody but its own sentry thread sees it.

use std::sync::Arc;

use super::{Credentials, ThreadGroup, Tid};
use crate::Kernel;
use crate::mm::MemoryManager;
use crate::vfs::{FdTable, FsContext};

/// A guest thread.
#[derive(Debug)]
pub struct Task;

impl Task {
    /// The kernel it belongs to.
    #[must_use]
    pub fn kernel(&self) -> &Arc<Kernel> {
        unimplemented!()
    }

    /// Its number in its own pid name space.
    #[must_use]
    pub fn tid(&self) -> Tid {
        unimplemented!()
    }

    /// Its process.
    #[must_use]
    pub fn thread_group(&self) -> &Arc<ThreadGroup> {
        unimplemented!()
    }

    /// Its address space; `None` once it has exited.
    #[must_use]
    pub fn try_mm(&self) -> Option<Arc<MemoryManager>> {
        unimplemented!()
    }

    /// The address space of a task that is running, as the caller's own is.
    #[must_use]
    pub fn mm(&self) -> Arc<MemoryManager> {
        self.try_mm().expect("a task that makes a system call has not exited")
    }

    /// Its credentials as of now.
    #[must_use]
    pub fn creds(&self) -> Arc<Credentials> {
        unimplemented!()
    }

    /// Its descriptors. Empty once it has exited.
    #[must_use]
    pub fn fd_table(&self) -> Arc<FdTable> {
        unimplemented!()
    }

    /// Its root, working directory and umask.
    #[must_use]
    pub fn fs(&self) -> Arc<FsContext> {
        unimplemented!()
    }
}
