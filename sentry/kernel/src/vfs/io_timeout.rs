//! How long a call waits for a file that is not ready, and what it tells where it waited in vain.
//!
//! Most files make their callers wait for ever. Sockets have time-outs (`SO_RCVTIMEO`, `SO_SNDTIMEO`), which hold for all
//! calls that move bytes, and whose presence makes every signal end the call (signal(7)).

use abi::{Errno, Result};
use waiter::{Events, WaitQueue};

use super::File;
use crate::error::{Restart, SysError, SysResult};
use crate::socket::SocketOptions;
use crate::task::Task;
use crate::time::MonotonicTime;

/// What one call has, in one direction, however often it waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IoTimeout {
    deadline: Option<MonotonicTime>,
    /// The file has a time-out: the call is not restarted after a signal.
    has_timeout: bool,
}

impl IoTimeout {
    /// Of a call that begins now to take something from `file`: bytes, or a connection.
    pub(crate) fn to_read(task: &Task, file: &File) -> Self {
        Self::of(task, file, SocketOptions::receive_timeout_ns)
    }

    /// Of a call that begins now to write to `file`, or to connect it.
    pub(crate) fn to_write(task: &Task, file: &File) -> Self {
        Self::of(task, file, SocketOptions::send_timeout_ns)
    }

    fn of(task: &Task, file: &File, timeout_ns: fn(&SocketOptions) -> Option<i64>) -> Self {
        let timeout_ns = file.ops().socket().and_then(|socket| timeout_ns(socket.options()));
        let deadline = timeout_ns.map(|ns| task.kernel().timekeeper.deadline_in(ns));
        Self { deadline, has_timeout: deadline.is_some() }
    }

    /// Ends at `deadline` at the latest.
    pub(crate) fn until(mut self, deadline: Option<MonotonicTime>) -> Self {
        self.deadline = self.deadline.into_iter().chain(deadline).min();
        self
    }

    /// As [`Task::block_on`].
    ///
    /// # Errors
    /// What `attempt` says, or as [`Self::sleep`].
    pub(crate) fn block_on<T>(
        self,
        task: &Task,
        queue: &WaitQueue,
        mask: Events,
        attempt: &mut dyn FnMut() -> Result<T>,
    ) -> SysResult<T> {
        // Kept apart from the ends of a sleep: a connection can fail with the same numbers.
        let outcome = task.block_on(queue, mask, self.deadline, &mut || match attempt() {
            Err(Errno::EAGAIN) => Err(Errno::EAGAIN),
            outcome => Ok(outcome),
        });
        Ok(self.told(outcome)??)
    }

    /// As [`Task::sleep`].
    ///
    /// # Errors
    /// `EAGAIN` when the time is over; where a signal comes first, `EINTR` if there is a time-out, else `Restart::Sys`.
    pub(crate) fn sleep(self, task: &Task) -> SysResult<()> {
        self.told(task.sleep(self.deadline))
    }

    fn told<T>(self, outcome: SysResult<T>) -> SysResult<T> {
        outcome.map_err(|end| match end {
            SysError::Errno(Errno::ETIMEDOUT) => Errno::EAGAIN.into(),
            SysError::Restart(Restart::Sys) if self.has_timeout => Errno::EINTR.into(),
            other => other,
        })
    }
}
