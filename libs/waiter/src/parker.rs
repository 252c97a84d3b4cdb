//! A thread's own place to sleep.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::{Events, Notify};

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkResult {
    /// [`Parker::unpark`] was called; the reason is for the sleeper to find out.
    Woken,
    /// The deadline passed.
    TimedOut,
}

const EMPTY: u32 = 0;
const NOTIFIED: u32 = 1;

/// A binary semaphore that one thread sleeps on: an `unpark` before the `park` is not lost, several count as one.
#[derive(Default)]
pub struct Parker {
    state: AtomicU32,
    lock: Mutex<()>,
    condvar: Condvar,
}

impl Parker {
    /// A parker that nobody has notified.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sleeps until unparked, or until `deadline` (host monotonic time).
    pub fn park(&self, deadline: Option<Instant>) -> ParkResult {
        if self.state.swap(EMPTY, Ordering::Acquire) == NOTIFIED {
            return ParkResult::Woken;
        }
        let mut guard = self.lock.lock();
        loop {
            if self.state.swap(EMPTY, Ordering::Acquire) == NOTIFIED {
                return ParkResult::Woken;
            }
            match deadline {
                None => self.condvar.wait(&mut guard),
                Some(deadline) => {
                    if self.condvar.wait_until(&mut guard, deadline).timed_out() {
                        let woken = self.state.swap(EMPTY, Ordering::Acquire) == NOTIFIED;
                        return if woken { ParkResult::Woken } else { ParkResult::TimedOut };
                    }
                }
            }
        }
    }

    /// Whether the next [`Self::park`] will not sleep.
    #[must_use]
    pub fn is_notified(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NOTIFIED
    }

    /// Wakes the sleeper, now or at its next `park`.
    pub fn unpark(&self) {
        if self.state.swap(NOTIFIED, Ordering::Release) == EMPTY {
            drop(self.lock.lock());
            self.condvar.notify_one();
        }
    }
}

impl Notify for Parker {
    fn notify(&self, _events: Events) -> bool {
        self.unpark();
        true
    }
}

impl fmt::Debug for Parker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parker(notified: {})", self.is_notified())
    }
}
