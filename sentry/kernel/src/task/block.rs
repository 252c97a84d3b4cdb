//! Waiting: the only places where a system call sleeps.

use std::sync::Arc;

use abi::{Errno, Result, SigSet};
use waiter::{Events, Notify, ParkResult, WaitQueue};

use super::cpu_time::Activity;
use super::{Task, Work};
use crate::error::{Restart, SysError, SysResult};
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
        match attempt() {
            Err(Errno::EAGAIN) => {}
            other => return other.map_err(SysError::from),
        }
        let _registration = queue.register(mask, self.notifier());
        self.block_until(deadline, attempt)
    }

    /// As [`Self::block_on`] for a caller that has registered [`Self::notifier`] wherever it needs to.
    ///
    /// # Errors
    /// As [`Self::block_on`].
    pub fn block_until<T>(
        &self,
        deadline: Option<MonotonicTime>,
        attempt: &mut dyn FnMut() -> Result<T>,
    ) -> SysResult<T> {
        loop {
            match attempt() {
                Err(Errno::EAGAIN) => {}
                other => return other.map_err(SysError::from),
            }
            if let Err(end) = self.sleep(deadline) {
                // What is there by now goes before the signal or the time-out that came with it, as with wait_event(9).
                return match attempt() {
                    Err(Errno::EAGAIN) => Err(end),
                    other => other.map_err(SysError::from),
                };
            }
        }
    }

    /// Sleeps until somebody notifies [`Self::notifier`], perhaps for no reason.
    ///
    /// # Errors
    /// `Restart::Sys` where a signal comes first; `ETIMEDOUT` at the deadline.
    pub fn sleep(&self, deadline: Option<MonotonicTime>) -> SysResult<()> {
        if self.wake().is_interrupted() {
            return Err(SysError::Restart(Restart::Sys));
        }
        let instant = deadline.map(|deadline| self.kernel().timekeeper.instant_of(deadline));
        self.fall_asleep();
        let result = self.wake().sleep(instant);
        self.wake_up();
        if self.wake().is_interrupted() {
            return Err(SysError::Restart(Restart::Sys));
        }
        match result {
            ParkResult::Woken => Ok(()),
            ParkResult::TimedOut => Err(Errno::ETIMEDOUT.into()),
        }
    }

    /// As [`Self::sleep`], for a caller that takes the signals in `wanted` itself: those do not count as interruption.
    ///
    /// # Errors
    /// As [`Self::sleep`].
    pub(crate) fn sleep_for_signal(&self, deadline: Option<MonotonicTime>, wanted: SigSet) -> SysResult<()> {
        let result = self.sleep(deadline);
        if !matches!(result, Err(SysError::Restart(_))) || self.is_killed() {
            return result;
        }
        // What woke it may be a wanted signal, or one that somebody else has taken.
        self.wake().clear(Work::SIGNAL);
        let deliverable = self.pending_signals().without(self.blocked()).without(wanted);
        let must_stop = self.signals.lock().must_stop;
        if deliverable.is_empty() && !must_stop && !self.is_killed() && !self.wake().is_interrupted() {
            return Ok(());
        }
        self.wake().add(Work::SIGNAL);
        result
    }

    /// Sleeps until notified, whatever signals come (for states that only a kill or the kernel itself ends).
    pub(crate) fn park(&self) {
        self.fall_asleep();
        self.wake().sleep(None);
        self.wake_up();
    }

    fn fall_asleep(&self) {
        let now_ns = self.clock().switch(Activity::Asleep);
        self.kernel().tasks.note_load(now_ns);
    }

    fn wake_up(&self) {
        let now_ns = self.clock().switch(Activity::Kernel);
        self.kernel().tasks.note_load(now_ns);
    }

    /// As [`Self::park`] in a call that Linux shows in state D: only what it waits for ends it, or a kill.
    pub(crate) fn park_killable(&self) {
        self.clock().switch(Activity::AsleepKillable);
        self.wake().sleep(None);
        self.clock().switch(Activity::Kernel);
    }

    /// What to register with a [`WaitQueue`] to be woken in [`Self::sleep`].
    #[must_use]
    pub fn notifier(&self) -> Arc<dyn Notify> {
        self.wake().parker().clone()
    }
}
