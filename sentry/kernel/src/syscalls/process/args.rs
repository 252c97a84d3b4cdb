//! Arguments that the calls on processes share.

use std::sync::Arc;

use abi::{Errno, Result};

use crate::mm::MemoryManager;
use crate::security::AccessIds;
use crate::task::{ThreadGroup, Tid};
use crate::{CurrentTask, Task};

/// The task numbered `tid` as the caller sees it; the caller itself for 0.
///
/// # Errors
/// `ESRCH`.
pub(crate) fn task_or_self(task: &Task, tid: Tid) -> Result<Arc<Task>> {
    let tid = if tid == 0 { task.tid() } else { tid };
    task.pid_ns().task(tid).ok_or(Errno::ESRCH)
}

/// The process numbered `tgid` as the caller sees it; the caller's own for 0.
///
/// # Errors
/// `ESRCH`.
pub(crate) fn group_or_self(task: &Task, tgid: Tid) -> Result<Arc<ThreadGroup>> {
    if tgid == 0 {
        return Ok(task.thread_group().clone());
    }
    task.pid_ns().thread_group(tgid).ok_or(Errno::ESRCH)
}

/// The address space of `target`, if the caller may look into it.
///
/// # Errors
/// `EPERM`; `ESRCH` where it has exited.
pub(crate) fn memory_of(task: &Task, target: &Arc<Task>) -> Result<Arc<MemoryManager>> {
    task.inspect(target, AccessIds::Real, || target.try_mm().ok_or(Errno::ESRCH))
}

/// The process that a pidfd stands for.
///
/// # Errors
/// `EBADF`, `ESRCH`.
pub(crate) fn task_of_pidfd(task: &CurrentTask, fd: i32) -> Result<Arc<Task>> {
    task.with_pidfd(fd, |pidfd| pidfd.thread_group()?.leader().ok_or(Errno::ESRCH))
}
