//! Waiting with another signal mask: ppoll(2), pselect(2), epoll_pwait(2).

use abi::{Errno, Result, SigSet, UserAddr};

use crate::error::SysError;
use crate::{SysResult, Task};

/// Reads the mask at `addr`, if there is one.
pub(crate) fn read_mask(task: &Task, addr: UserAddr, size: u64) -> Result<Option<SigSet>> {
    if addr.is_null() {
        return Ok(None);
    }
    if size != 8 {
        return Err(Errno::EINVAL);
    }
    task.mm().read_object(addr).map(Some)
}

/// Runs `wait` with `mask` blocked. A signal that ends it is delivered with that mask still in place; the run loop
/// restores the former one from [`crate::signal::TaskSignals::saved_mask`].
pub(crate) fn with_mask<T>(
    task: &Task,
    mask: Option<SigSet>,
    wait: impl FnOnce() -> SysResult<T>,
) -> SysResult<T> {
    let Some(mask) = mask else { return wait() };
    let former = task.blocked();
    task.signals.lock().saved_mask = Some(former);
    task.set_blocked(mask);
    let result = wait();
    if !matches!(result, Err(SysError::Restart(_) | SysError::Errno(Errno::EINTR))) {
        task.signals.lock().saved_mask = None;
        task.set_blocked(former);
    }
    result
}
