//! The timers of a process: the three of setitimer(2), and POSIX timers (`man 2 timer_create`).
//!
//! Neither is inherited by fork(2); execve(2) keeps the former and deletes the latter. Locks: `state`, then a timer's
//! own, then the signal lock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use abi::signal::{SI_KERNEL, SI_TIMER};
use abi::{Errno, Result, SigInfo, Signal};
use parking_lot::Mutex;

use super::{Clock, ClockTimer, CpuKind, Expiry, FirstExpiry, TimerSetting};
use crate::signal::Sender;
use crate::task::ThreadGroup;
use crate::{Kernel, Task};

/// The timers of setitimer(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalTimer {
    /// Counts time; `SIGALRM`.
    Real = 0,
    /// Counts user time; `SIGVTALRM`.
    Virtual = 1,
    /// Counts user and system time; `SIGPROF`.
    Prof = 2,
}

impl IntervalTimer {
    /// The timer with this number.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn from_raw(raw: u64) -> Result<Self> {
        Ok(match raw {
            0 => Self::Real,
            1 => Self::Virtual,
            2 => Self::Prof,
            _ => return Err(Errno::EINVAL),
        })
    }

    fn signal(self) -> Signal {
        [Signal::ALRM, Signal::VTALRM, Signal::PROF][self as usize]
    }

    fn clock(self, group: &Weak<ThreadGroup>) -> Clock {
        match self {
            Self::Real => Clock::Monotonic,
            Self::Virtual => Clock::Process(group.clone(), CpuKind::User),
            Self::Prof => Clock::Process(group.clone(), CpuKind::Total),
        }
    }
}

/// Sends an interval timer's signal.
struct IntervalAlarm {
    which: IntervalTimer,
    group: Weak<ThreadGroup>,
}

impl Expiry for IntervalAlarm {
    fn expired(&self, _count: u64) {
        if let Some(group) = self.group.upgrade() {
            group.send_signal(SigInfo::new(self.which.signal(), SI_KERNEL));
        }
    }
}

/// How a POSIX timer tells of its expiration.
#[derive(Clone, Debug)]
pub enum Notification {
    /// Not at all (`SIGEV_NONE`).
    None,
    /// By a signal to the process.
    Process(Signal),
    /// By a signal to this thread (`SIGEV_THREAD_ID`).
    Thread(Signal, Weak<Task>),
}

/// A POSIX timer.
pub struct PosixTimer {
    id: i32,
    group: Weak<ThreadGroup>,
    notification: Notification,
    value: u64,
    overruns: AtomicU32,
    timer: Arc<ClockTimer>,
}

/// Most overruns that are counted (`DELAYTIMER_MAX`).
const MAX_OVERRUNS: u64 = i32::MAX as u64;

impl PosixTimer {
    /// The timer itself.
    #[must_use]
    pub fn timer(&self) -> &ClockTimer {
        &self.timer
    }

    /// How it tells of expirations, for `/proc/[pid]/timers`.
    #[must_use]
    pub fn notification(&self) -> (&Notification, u64) {
        (&self.notification, self.value)
    }

    /// Expirations beyond the one whose signal was sent last.
    #[must_use]
    pub fn overruns(&self) -> u32 {
        self.overruns.load(Ordering::Relaxed)
    }

    /// Sets it anew; a signal of the former setting that is still pending is taken back.
    pub fn set(&self, first: FirstExpiry, interval_ns: i64) -> TimerSetting {
        self.timer.set_afresh(first, interval_ns, || self.discard_pending())
    }

    fn is_own(&self, info: &SigInfo) -> bool {
        info.code == SI_TIMER && info.fields[..4] == self.id.to_ne_bytes()
    }

    /// Where its signals go, while that exists.
    fn target(&self) -> Option<(Signal, Arc<ThreadGroup>, Option<Arc<Task>>)> {
        let group = self.group.upgrade()?;
        match &self.notification {
            Notification::None => None,
            Notification::Process(signal) => Some((*signal, group, None)),
            Notification::Thread(signal, task) => Some((*signal, group, Some(task.upgrade()?))),
        }
    }

    fn discard_pending(&self) {
        let Some((signal, group, task)) = self.target() else { return };
        let mut state = group.signal.lock();
        match task {
            Some(task) => {
                task.signals.lock().pending.discard_matching(signal, &|info| self.is_own(info));
            }
            None => state.shared.discard_matching(signal, &|info| self.is_own(info)),
        }
    }

    /// Adds to the overrun count of its pending signal, if there is one.
    fn add_to_pending(&self, group: &ThreadGroup, task: Option<&Task>, more: u32) -> bool {
        let mut change = |info: &mut SigInfo| {
            let is_own = self.is_own(info);
            if is_own {
                let before =
                    u32::from_ne_bytes([info.fields[4], info.fields[5], info.fields[6], info.fields[7]]);
                let now = before.saturating_add(more).min(i32::MAX as u32);
                info.fields[4..8].copy_from_slice(&now.to_ne_bytes());
                self.overruns.store(now, Ordering::Relaxed);
            }
            is_own
        };
        let mut state = group.signal.lock();
        match task {
            Some(task) => task.signals.lock().pending.update(&mut change),
            None => state.shared.update(&mut change),
        }
    }
}

impl Expiry for PosixTimer {
    fn expired(&self, count: u64) {
        let count = u32::try_from(count.min(MAX_OVERRUNS)).unwrap_or(u32::MAX);
        let Some((signal, group, task)) = self.target() else { return };
        if self.add_to_pending(&group, task.as_deref(), count) {
            return;
        }
        let overruns = count - 1;
        self.overruns.store(overruns, Ordering::Relaxed);
        let mut info = SigInfo::new(signal, SI_TIMER);
        info.fields[..4].copy_from_slice(&self.id.to_ne_bytes());
        info.fields[4..8].copy_from_slice(&overruns.to_ne_bytes());
        info.fields[8..16].copy_from_slice(&self.value.to_ne_bytes());
        // The kernel's own signals are never refused.
        let _ = group.queue_signal(task.as_deref(), signal, info, Sender::Kernel);
    }
}

impl fmt::Debug for PosixTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PosixTimer({}, {:?})", self.id, self.timer)
    }
}

#[derive(Default)]
struct State {
    intervals: [Option<(Arc<IntervalAlarm>, Arc<ClockTimer>)>; 3],
    posix: BTreeMap<i32, Arc<PosixTimer>>,
    next_id: i32,
}

/// All timers of a process.
#[derive(Default)]
pub struct ProcessTimers {
    state: Mutex<State>,
}

impl ProcessTimers {
    /// Sets an interval timer; returns what it was set to.
    pub fn set_interval(
        &self,
        kernel: &Kernel,
        group: &Arc<ThreadGroup>,
        which: IntervalTimer,
        setting: TimerSetting,
    ) -> TimerSetting {
        let mut state = self.state.lock();
        let slot = &mut state.intervals[which as usize];
        if slot.is_none() && setting.left_ns == 0 {
            return TimerSetting::default();
        }
        let (_, timer) = slot.get_or_insert_with(|| {
            let group = Arc::downgrade(group);
            let alarm = Arc::new(IntervalAlarm { which, group: group.clone() });
            let owner: Arc<dyn Expiry> = alarm.clone();
            (alarm, ClockTimer::new(kernel, which.clock(&group), Arc::downgrade(&owner)))
        });
        match setting.left_ns {
            0 => timer.set(FirstExpiry::Disarmed, 0),
            left => timer.set(FirstExpiry::In(left), setting.interval_ns),
        }
    }

    /// What an interval timer is set to.
    #[must_use]
    pub fn interval(&self, which: IntervalTimer) -> TimerSetting {
        let state = self.state.lock();
        state.intervals[which as usize].as_ref().map_or_else(TimerSetting::default, |(_, timer)| timer.get())
    }

    /// Makes a POSIX timer, disarmed; returns its number. `None` for `value` means that number.
    ///
    /// # Errors
    /// `EAGAIN` where there are `limit` of them.
    pub fn create(
        &self,
        kernel: &Kernel,
        group: &Arc<ThreadGroup>,
        clock: Clock,
        notification: Notification,
        value: Option<u64>,
        limit: u64,
    ) -> Result<i32> {
        let mut state = self.state.lock();
        if state.posix.len() as u64 >= limit {
            return Err(Errno::EAGAIN);
        }
        while state.posix.contains_key(&state.next_id) {
            state.next_id = state.next_id.checked_add(1).unwrap_or(0);
        }
        let id = state.next_id;
        state.next_id = id.checked_add(1).unwrap_or(0);
        let timer = Arc::new_cyclic(|this: &Weak<PosixTimer>| PosixTimer {
            id,
            group: Arc::downgrade(group),
            notification,
            value: value.unwrap_or(u64::from(id.unsigned_abs())),
            overruns: AtomicU32::new(0),
            timer: ClockTimer::new(kernel, clock, this.clone()),
        });
        state.posix.insert(id, timer);
        Ok(id)
    }

    /// The POSIX timer with this number.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn posix(&self, id: i32) -> Result<Arc<PosixTimer>> {
        self.state.lock().posix.get(&id).cloned().ok_or(Errno::EINVAL)
    }

    /// All POSIX timers by number, for `/proc/[pid]/timers`.
    #[must_use]
    pub fn all_posix(&self) -> Vec<(i32, Arc<PosixTimer>)> {
        self.state.lock().posix.iter().map(|(id, timer)| (*id, timer.clone())).collect()
    }

    /// How many POSIX timers there are.
    pub(crate) fn posix_count(&self) -> usize {
        self.state.lock().posix.len()
    }

    /// Deletes a POSIX timer.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn delete(&self, id: i32) -> Result<()> {
        let timer = self.state.lock().posix.remove(&id).ok_or(Errno::EINVAL)?;
        timer.set(FirstExpiry::Disarmed, 0);
        Ok(())
    }

    /// Deletes all POSIX timers: execve(2).
    pub fn delete_posix(&self) {
        let timers = std::mem::take(&mut self.state.lock().posix);
        for timer in timers.into_values() {
            timer.set(FirstExpiry::Disarmed, 0);
        }
    }

    /// Deletes everything: the process has ended.
    pub fn clear(&self) {
        self.delete_posix();
        let intervals = std::mem::take(&mut self.state.lock().intervals);
        drop(intervals);
    }
}

impl fmt::Debug for ProcessTimers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProcessTimers({} POSIX)", self.state.lock().posix.len())
    }
}
