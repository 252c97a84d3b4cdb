//! What keeps execve(2) apart from those who judge a process by its credentials: Linux's `cred_guard_mutex` and
//! `exec_update_lock`.
//!
//! The *guard* is held from before a program's credentials are computed until they are in force; who is about to get
//! lasting power over the process (a tracer, a filter for all threads) holds it meanwhile. Waiting for it is a sleep
//! that signals interrupt, since execve(2) itself may take its time. No other lock is held then.
//!
//! *update* is held for writing while memory, dumpability and credentials change to the new program's, and for reading
//! by who looks into the process once ([`Task::inspect`]). A task's own locks come after it.

use std::sync::Arc;

use abi::{Errno, Result};
use parking_lot::{Mutex, RwLock};
use waiter::{Events, WaitQueue};

use super::{Task, ThreadGroup};
use crate::error::{Restart, SysError, SysResult};
use crate::security::AccessIds;

/// A process's two locks.
#[derive(Debug, Default)]
pub(super) struct ExecLock {
    is_guarded: Mutex<bool>,
    /// Told when the guard is free.
    freed: WaitQueue,
    pub(super) update: RwLock<()>,
}

/// The guard of a process, held.
#[derive(Debug)]
pub(crate) struct ExecGuard(Arc<ThreadGroup>);

impl Drop for ExecGuard {
    fn drop(&mut self) {
        let lock = &self.0.exec_lock;
        *lock.is_guarded.lock() = false;
        lock.freed.notify(Events::IN);
    }
}

impl ThreadGroup {
    /// Takes the guard for `task`.
    ///
    /// # Errors
    /// `Restart::NoIntr` where a signal comes first.
    pub(crate) fn guard_exec(self: &Arc<Self>, task: &Task) -> SysResult<ExecGuard> {
        let lock = &self.exec_lock;
        let taken = task.block_on(&lock.freed, Events::IN, None, &mut || {
            let was_guarded = std::mem::replace(&mut *lock.is_guarded.lock(), true);
            if was_guarded { Err(Errno::EAGAIN) } else { Ok(()) }
        });
        taken.map_err(|_| SysError::Restart(Restart::NoIntr))?;
        Ok(ExecGuard(self.clone()))
    }
}

impl Task {
    /// Runs `look` on what belongs to `target`, if this task may inspect that; it executes no program meanwhile. `look`
    /// only takes references: it neither sleeps nor inspects.
    ///
    /// # Errors
    /// `EPERM`, or what `look` says.
    pub fn inspect<T>(&self, target: &Task, ids: AccessIds, look: impl FnOnce() -> Result<T>) -> Result<T> {
        let _no_change = target.thread_group().exec_lock.update.read();
        if self.may_inspect(target, ids) { look() } else { Err(Errno::EPERM) }
    }
}
