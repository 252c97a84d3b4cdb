//! A timer on any clock, once or periodic: what itimers, POSIX timers and timerfds have in common.
//!
//! Locks: `state` is a leaf but for the timer queue's.

use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::{Clock, MonotonicTime, Timekeeper, Timer, TimerHandler};
use crate::Kernel;

/// A periodic timer is looked at no more often than this; what it missed counts as overruns.
const SHORTEST_PERIOD_NS: i64 = 100_000;

/// Who hears of expirations.
pub trait Expiry: Send + Sync {
    /// The timer has expired `count` times since it was last heard of. Called from the timer thread.
    fn expired(&self, count: u64);
}

/// Time left and period, nanoseconds; 0 left means disarmed, period 0 once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerSetting {
    /// Until it expires next.
    pub left_ns: i64,
    /// Between expirations.
    pub interval_ns: i64,
}

/// When a timer is to expire first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstExpiry {
    /// Never.
    Disarmed,
    /// At this reading of its clock.
    At(i64),
    /// After so many nanoseconds of its clock.
    In(i64),
}

#[derive(Debug, Default)]
struct State {
    /// The reading of the clock at which it expires.
    target: Option<i64>,
    interval_ns: i64,
}

/// A timer on a clock.
pub struct ClockTimer {
    clock: Clock,
    timekeeper: Arc<Timekeeper>,
    /// Held while it expires, until its owner has been told, and while it is set: nothing of an old setting comes after a
    /// new one has been made. Above `state` and what the owner locks.
    settling: Mutex<()>,
    state: Mutex<State>,
    timer: Arc<Timer>,
    owner: Weak<dyn Expiry>,
}

impl ClockTimer {
    /// A disarmed timer on `clock` that tells `owner`.
    #[must_use]
    pub fn new(kernel: &Kernel, clock: Clock, owner: Weak<dyn Expiry>) -> Arc<Self> {
        Arc::new_cyclic(|this: &Weak<Self>| Self {
            clock,
            timekeeper: kernel.timekeeper.clone(),
            settling: Mutex::default(),
            state: Mutex::default(),
            timer: kernel.timers.timer(this.clone()),
            owner,
        })
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Sets it anew; returns what it was set to.
    pub fn set(&self, first: FirstExpiry, interval_ns: i64) -> TimerSetting {
        self.set_afresh(first, interval_ns, || ())
    }

    /// As [`Self::set`]; `forget` drops what expirations of the old setting have left.
    pub fn set_afresh(&self, first: FirstExpiry, interval_ns: i64, forget: impl FnOnce()) -> TimerSetting {
        let target = match first {
            FirstExpiry::Disarmed => None,
            FirstExpiry::At(target) => Some(target),
            FirstExpiry::In(left) => Some(self.clock.now(&self.timekeeper).saturating_add(left)),
        };
        let _settling = self.settling.lock();
        forget();
        let mut state = self.state.lock();
        let old = self.setting(&state);
        *state = State { target, interval_ns };
        self.timer.set(target.map(|target| self.clock.when(&self.timekeeper, target)));
        old
    }

    /// What it is set to.
    #[must_use]
    pub fn get(&self) -> TimerSetting {
        self.setting(&self.state.lock())
    }

    /// An expired one-shot timer is disarmed; one that is late shows the shortest time there is.
    fn setting(&self, state: &State) -> TimerSetting {
        let left_ns =
            state.target.map_or(0, |target| target.saturating_sub(self.clock.now(&self.timekeeper)).max(1));
        TimerSetting { left_ns, interval_ns: state.interval_ns }
    }

    /// Moves the target behind `now`; returns how often it has expired.
    fn advance(&self, now: i64) -> u64 {
        let mut state = self.state.lock();
        let Some(target) = state.target.filter(|&target| target <= now) else { return 0 };
        if state.interval_ns <= 0 {
            state.target = None;
            return 1;
        }
        let count = (now.saturating_sub(target)) / state.interval_ns + 1;
        state.target = Some(target.saturating_add(count.saturating_mul(state.interval_ns)));
        count.unsigned_abs()
    }
}

impl TimerHandler for ClockTimer {
    fn fire(&self, _due: MonotonicTime) -> Option<MonotonicTime> {
        let settling = self.settling.lock();
        let count = self.advance(self.clock.now(&self.timekeeper));
        if count > 0 {
            self.owner.upgrade()?.expired(count);
        }
        drop(settling);
        let target = self.state.lock().target?;
        let earliest = self.timekeeper.deadline_in(SHORTEST_PERIOD_NS);
        let next = self.clock.when(&self.timekeeper, target);
        Some(if count > 0 { next.max(earliest) } else { next })
    }
}

impl fmt::Debug for ClockTimer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClockTimer")
            .field("clock", &self.clock)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
