//! Scheduling attributes (`man 7 sched`, `man 2 setpriority`). They are kept, checked and shown; the host schedules.

use abi::resource::Resource;
use abi::sched::policy;
use abi::{Errno, Result};

use super::{Capability, Task};

/// The highest real-time priority.
pub const MAX_PRIORITY: u32 = 99;

/// Scheduling attributes of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduling {
    /// `SCHED_*` without flags.
    pub policy: u32,
    /// Real-time priority, 0 for the ordinary policies.
    pub priority: u32,
    /// -20 to 19.
    pub nice: i32,
    /// `SCHED_RESET_ON_FORK`.
    pub reset_on_fork: bool,
    /// ioprio_set(2)'s class and level, 0 where never set.
    pub io_priority: u16,
}

impl Default for Scheduling {
    fn default() -> Self {
        Self { policy: policy::NORMAL, priority: 0, nice: 0, reset_on_fork: false, io_priority: 0 }
    }
}

impl Scheduling {
    /// Whether the policy is one with priorities.
    #[must_use]
    pub const fn is_realtime(&self) -> bool {
        matches!(self.policy, policy::FIFO | policy::RR)
    }

    /// `EINVAL` for a policy and a priority that do not go together.
    fn check(&self) -> Result<()> {
        let fits = match self.policy {
            policy::FIFO | policy::RR => (1..=MAX_PRIORITY).contains(&self.priority),
            policy::NORMAL | policy::BATCH | policy::IDLE => self.priority == 0,
            _ => false,
        };
        if fits { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Whether a task with these attributes and a limit of `limit` (`RLIMIT_NICE`) may be given `nice` by somebody
    /// without privilege: who may not become nicer to itself.
    fn allows_nice(&self, nice: i32, limit: u64) -> bool {
        nice >= self.nice || limit >= u64::from((20 - nice).unsigned_abs())
    }
}

impl Task {
    /// Whether this task owns `target` or has `CAP_SYS_NICE` over it: what changing its scheduling takes.
    #[must_use]
    pub fn may_schedule(&self, target: &Self) -> bool {
        let (own, other) = (self.creds(), target.creds());
        own.euid == other.euid || own.euid == other.uid || own.has_in(&other.user_ns, Capability::SysNice)
    }

    /// Has `change` done to `target`'s attributes, if this task may: all under one lock, so that a change made meanwhile
    /// is not lost.
    ///
    /// # Errors
    /// As sched_setattr(2).
    pub fn reschedule(&self, target: &Self, change: impl FnOnce(&mut Scheduling)) -> Result<()> {
        let is_privileged = self.creds().has_in(&target.creds().user_ns, Capability::SysNice);
        let may_schedule = self.may_schedule(target);
        let (rt_limit, nice_limit) = (target.limit(Resource::Rtprio), target.limit(Resource::Nice));
        let mut details = target.details.lock();
        let old = details.scheduling;
        let mut new = old;
        change(&mut new);
        new.check()?;
        if !is_privileged {
            if !may_schedule || (old.reset_on_fork && !new.reset_on_fork) {
                return Err(Errno::EPERM);
            }
            let raises = new.priority > old.priority && u64::from(new.priority) > rt_limit;
            if new.is_realtime() && (raises || (new.policy != old.policy && rt_limit == 0)) {
                return Err(Errno::EPERM);
            }
            if !old.allows_nice(new.nice, nice_limit) {
                return Err(Errno::EACCES);
            }
        }
        details.scheduling = new;
        Ok(())
    }

    /// Gives `target` another nice value.
    ///
    /// # Errors
    /// As setpriority(2).
    pub fn set_nice(&self, target: &Self, nice: i32) -> Result<()> {
        if !self.may_schedule(target) {
            return Err(Errno::EPERM);
        }
        let is_privileged = self.creds().has_in(&target.creds().user_ns, Capability::SysNice);
        let limit = target.limit(Resource::Nice);
        let mut details = target.details.lock();
        if !is_privileged && !details.scheduling.allows_nice(nice, limit) {
            return Err(Errno::EACCES);
        }
        details.scheduling.nice = nice;
        Ok(())
    }
}
