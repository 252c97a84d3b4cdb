//! Waiting: the only places where a system call sleeps.

use abi::Result;
use waiter::{Events, WaitQueue};

use super::Task;
use crate::error::SysResult;
use crate::time::MonotonicTime;

impl Task {
    /// Repeats `attempt` until it gives something other than `EAGAIN`, sleeping on `queue` for `mask` in between.
    ///
    /// # Errors
    /// What `attempt` says; `Restart::Sys` where a signal comes first; `ETIMEDOUT` at the deadline.
    pub fn block_on<T>(
        &self,
        queue: &WaitQueue,
        mask: Events,
        deadline: Option<MonotonicTime>,
        attempt: &mut dyn FnMut() -> Result<T>,
    ) -> SysResult<T> {
        let _ = (queue, mask, deadline, attempt);
        unimplemented!()
    }
}
