//! Whether a task's thread waits a moment before it sleeps.
//!
//! Where tasks answer each other, each sleeps for a few microseconds at a time; to put a core to sleep and wake it again
//! takes longer than that. So a thread whose last sleeps were short stays awake for the next ([`Interrupter::linger`]
//! says for how long, and that no guest thread needs the core). Staying awake in vain makes it rarer.
//!
//! [`Interrupter::linger`]: platform::Interrupter::linger

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use waiter::ParkResult;

/// A sleep is short where something woke the thread within this, a halted core's waking included.
const SHORT: Duration = Duration::from_micros(120);
/// So many short sleeps in a row are needed, at least and at most.
const FEWEST: u32 = 2;
const MOST: u32 = 256;

/// A thread's last sleeps. Only the thread itself writes.
#[derive(Debug)]
pub(super) struct Sleeps {
    short: AtomicU32,
    needed: AtomicU32,
}

impl Sleeps {
    pub(super) const fn new() -> Self {
        Self { short: AtomicU32::new(0), needed: AtomicU32::new(FEWEST) }
    }

    /// Whether the next sleep will probably be short.
    pub(super) fn will_be_short(&self) -> bool {
        self.short.load(Ordering::Relaxed) >= self.needed.load(Ordering::Relaxed)
    }

    /// The thread stayed awake; says whether that spared it a sleep.
    pub(super) fn lingered(&self, was_worth_it: bool) {
        let needed = self.needed.load(Ordering::Relaxed);
        let needed = if was_worth_it { needed / 2 } else { needed.saturating_mul(4) };
        self.needed.store(needed.clamp(FEWEST, MOST), Ordering::Relaxed);
        if !was_worth_it {
            self.short.store(0, Ordering::Relaxed);
        }
    }

    /// The thread slept for so long.
    pub(super) fn slept(&self, time: Duration, end: ParkResult) {
        let is_short = end == ParkResult::Woken && time < SHORT;
        let before = self.short.load(Ordering::Relaxed);
        self.short.store(if is_short { before.saturating_add(1) } else { 0 }, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use waiter::ParkResult;

    use super::{FEWEST, MOST, Sleeps};

    fn sleep_until_short(sleeps: &Sleeps) -> u32 {
        (0..)
            .find(|_| {
                sleeps.slept(Duration::ZERO, ParkResult::Woken);
                sleeps.will_be_short()
            })
            .unwrap()
    }

    #[test]
    fn short_sleeps_foretell_short_ones() {
        let sleeps = Sleeps::new();
        assert!(!sleeps.will_be_short());
        assert_eq!(sleep_until_short(&sleeps), FEWEST - 1);
        sleeps.slept(Duration::ZERO, ParkResult::TimedOut);
        assert!(!sleeps.will_be_short());
        sleep_until_short(&sleeps);
        sleeps.slept(Duration::from_millis(1), ParkResult::Woken);
        assert!(!sleeps.will_be_short());
    }

    #[test]
    fn staying_awake_in_vain_makes_it_rarer() {
        let sleeps = Sleeps::new();
        for _ in 0..10 {
            sleep_until_short(&sleeps);
            sleeps.lingered(false);
            assert!(!sleeps.will_be_short());
        }
        assert_eq!(sleep_until_short(&sleeps), MOST - 1);
        for _ in 0..10 {
            sleeps.lingered(true);
            assert!(sleeps.will_be_short());
        }
        sleeps.slept(Duration::ZERO, ParkResult::TimedOut);
        assert_eq!(sleep_until_short(&sleeps), FEWEST - 1);
    }
}
