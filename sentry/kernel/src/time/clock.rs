//! The clocks that a guest can name by number, resolved: time of day, monotonic time, processor time of a process or a
//! thread (`man 2 clock_gettime`, `man 3 clock_getcpuclockid`).

use std::sync::{Arc, Weak};

use abi::{Errno, Result};

use super::{ClockId, MonotonicTime, Timekeeper};
use crate::Task;
use crate::task::{CpuTimes, ThreadGroup};

/// Which part of processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpuKind {
    /// User and system time (`CPUCLOCK_PROF`, `CPUCLOCK_SCHED`).
    Total,
    /// User time (`CPUCLOCK_VIRT`).
    User,
}

impl CpuKind {
    fn of(self, times: CpuTimes) -> i64 {
        let ns = if self == Self::User { times.user_ns } else { times.total_ns() };
        i64::try_from(ns).unwrap_or(i64::MAX)
    }
}

/// A clock.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The time of day.
    Wall,
    /// Time since the start. Sleeping sandboxes do not exist: CLOCK_BOOTTIME is the same.
    Monotonic,
    /// Processor time of a process.
    Process(Weak<ThreadGroup>, CpuKind),
    /// Processor time of a thread.
    Thread(Weak<Task>, CpuKind),
}

impl Clock {
    /// The clock that `task` calls `raw`.
    ///
    /// # Errors
    /// `EINVAL` where there is none.
    pub fn resolve(task: &Task, raw: i32) -> Result<Self> {
        if raw < 0 {
            return Self::resolve_dynamic(task, raw);
        }
        Ok(match ClockId::from_raw(raw).ok_or(Errno::EINVAL)? {
            id if id.is_wall() => Self::Wall,
            ClockId::ProcessCpu => Self::Process(Arc::downgrade(task.thread_group()), CpuKind::Total),
            ClockId::ThreadCpu => Self::Thread(this_task(task)?, CpuKind::Total),
            _ => Self::Monotonic,
        })
    }

    /// A negative number holds a process or thread number and which part of its time is meant
    /// (`linux/posix-timers.h`).
    fn resolve_dynamic(task: &Task, raw: i32) -> Result<Self> {
        const PER_THREAD: i32 = 4;
        let (number, is_thread) = (!(raw >> 3), raw & PER_THREAD != 0);
        let kind = match raw & 3 {
            0 | 2 => CpuKind::Total,
            1 => CpuKind::User,
            _ => return Err(Errno::EINVAL),
        };
        if is_thread {
            if number == 0 {
                return Ok(Self::Thread(this_task(task)?, kind));
            }
            let other = task.pid_ns().task(number).ok_or(Errno::EINVAL)?;
            if !Arc::ptr_eq(other.thread_group(), task.thread_group()) {
                return Err(Errno::EINVAL);
            }
            return Ok(Self::Thread(Arc::downgrade(&other), kind));
        }
        let group = match number {
            0 => task.thread_group().clone(),
            _ => task.pid_ns().thread_group(number).ok_or(Errno::EINVAL)?,
        };
        Ok(Self::Process(Arc::downgrade(&group), kind))
    }

    /// What it reads now, nanoseconds. A dead process's clock stands still at the end of time.
    #[must_use]
    pub fn now(&self, timekeeper: &Timekeeper) -> i64 {
        match self {
            Self::Wall => timekeeper.realtime_ns(),
            Self::Monotonic => timekeeper.monotonic().0,
            Self::Process(group, kind) => {
                group.upgrade().map_or(i64::MAX, |group| kind.of(group.cpu_times()))
            }
            Self::Thread(task, kind) => task.upgrade().map_or(i64::MAX, |task| kind.of(task.clock().times())),
        }
    }

    /// Whether it counts processor time.
    #[must_use]
    pub fn is_cpu(&self) -> bool {
        matches!(self, Self::Process(..) | Self::Thread(..))
    }

    /// When to look again whether it has reached `target`. For the processor time of a process that is the earliest
    /// moment at which all its threads together can have used it up.
    #[must_use]
    pub fn when(&self, timekeeper: &Timekeeper, target: i64) -> MonotonicTime {
        const SHORTEST_LOOK_NS: i64 = 1_000_000;
        let now = timekeeper.monotonic();
        let left = target.saturating_sub(self.now(timekeeper));
        let threads = match self {
            Self::Wall | Self::Monotonic => return now.saturating_add(left),
            Self::Process(group, _) => group.upgrade().map_or(1, |group| group.thread_count().max(1)),
            Self::Thread(..) => 1,
        };
        now.saturating_add((left / i64::try_from(threads).unwrap_or(1)).max(SHORTEST_LOOK_NS))
    }
}

/// A handle to the calling task itself.
fn this_task(task: &Task) -> Result<Weak<Task>> {
    let found = task.pid().task().filter(|found| found.id() == task.id());
    found.map(|task| Arc::downgrade(&task)).ok_or(Errno::EINVAL)
}
