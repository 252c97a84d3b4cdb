//! Timers: one thread that sleeps until the earliest is due, and no wake-up where there is none.

use std::sync::{Arc, Weak};

use super::MonotonicTime;

/// What happens when a timer fires. Called from the timer thread: set state, wake somebody, return.
pub trait TimerHandler: Send + Sync {
    /// The timer was due at `due`. Returns when it is due next, `None` for never.
    fn fire(&self, due: MonotonicTime) -> Option<MonotonicTime>;
}

/// Keeps all armed timers.
#[derive(Debug, Default)]
pub struct TimerService;

impl TimerService {
    /// A service without timers; its thread starts with the first.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A timer that calls `handler`; disarmed.
    #[must_use]
    pub fn timer(&self, handler: Weak<dyn TimerHandler>) -> Arc<Timer> {
        let _ = handler;
        unimplemented!()
    }
}

/// One timer; dropping it disarms it.
#[derive(Debug)]
pub struct Timer;

impl Timer {
    /// Arms it for `due`, replacing an earlier setting; `None` disarms it.
    pub fn set(&self, due: Option<MonotonicTime>) {
        let _ = due;
        unimplemented!()
    }
}
