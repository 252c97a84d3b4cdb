//! The cores there are, against the threads that want them: guest threads that run, and sentry threads that wait
//! without sleeping.
//!
//! Whoever waits so takes a core only while nobody else needs it. All counts are hints: a moment's error costs a moment
//! of a core.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::affinity::Affinity;
use super::place::Places;
use super::spin::HandOver;

/// The longest that a sentry thread lingers: what it costs to wake a core that has halted, on a virtual machine.
const LINGER: Duration = Duration::from_micros(50);
/// Looks between two offers of the core to whatever else the host has for it; a microsecond or two.
const LOOKS: u32 = 32;

/// How many threads want a core, against the cores there are.
#[derive(Debug)]
pub(super) struct Cores {
    hand_over: HandOver,
    usable: u32,
    /// Guest threads that run, sentry threads that watch for an event of theirs, and sentry threads that linger.
    busy: AtomicU32,
    /// For moving one side to another core.
    pub(super) affinity: Affinity,
    /// Where those run that hand over at the door.
    pub(super) places: Places,
}

impl Cores {
    /// Asks how many cores this process may use, by affinity and by cgroup quota.
    pub(super) fn detect(hand_over: HandOver) -> Self {
        let usable = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
        Self::new(hand_over, usable)
    }

    /// As if there were so many cores.
    pub(super) fn new(hand_over: HandOver, usable: u32) -> Self {
        let affinity = Affinity::detect();
        Self { hand_over, usable, busy: AtomicU32::new(0), places: Places::new(&affinity), affinity }
    }

    /// How guest threads are to be waited for.
    pub(super) const fn hand_over(&self) -> HandOver {
        self.hand_over
    }

    /// A guest thread starts to run. Says whether a second core is there for its sentry thread.
    pub(super) fn enter(&self) -> bool {
        let others = self.busy.fetch_add(1, Ordering::Relaxed);
        match self.hand_over {
            HandOver::Adaptive => others.saturating_add(2) <= self.usable,
            HandOver::Door => false,
            HandOver::Watch => true,
        }
    }

    /// Its sentry thread will watch for its next event, on that second core.
    pub(super) fn take_second(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// Its sentry thread watches no longer.
    pub(super) fn leave_second(&self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// A guest thread stopped.
    pub(super) fn leave(&self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// A sentry thread that has nothing to do keeps its core awake until `is_over`, as long as no guest thread needs
    /// the core, and not for long. Says whether it is over.
    pub(super) fn linger(&self, is_over: &dyn Fn() -> bool) -> bool {
        if self.hand_over != HandOver::Adaptive {
            return false;
        }
        self.busy.fetch_add(1, Ordering::Relaxed);
        let is_over = self.wait_awake(is_over);
        self.busy.fetch_sub(1, Ordering::Relaxed);
        is_over
    }

    fn wait_awake(&self, is_over: &dyn Fn() -> bool) -> bool {
        let start = Instant::now();
        while self.busy.load(Ordering::Relaxed) <= self.usable {
            for _ in 0..LOOKS {
                if is_over() {
                    return true;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() > LINGER {
                break;
            }
            std::thread::yield_now();
        }
        is_over()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::{Cores, HandOver};

    #[test]
    fn who_lingers_makes_way_for_guest_threads() {
        let two = Cores::new(HandOver::Adaptive, 2);
        let looks = Cell::new(0);
        let tenth = || {
            looks.set(looks.get() + 1);
            looks.get() == 10
        };
        assert!(two.linger(&tenth));
        assert!(!two.linger(&|| false), "not for ever");
        assert!(two.enter());
        looks.set(0);
        assert!(two.linger(&tenth), "beside one that runs");
        assert!(!two.enter());
        looks.set(0);
        assert!(!two.linger(&tenth) && looks.get() == 1, "both cores are taken");
        two.leave();
        two.leave();
        assert!(two.enter(), "nothing was left behind");
        two.take_second();
        looks.set(0);
        assert!(!two.linger(&tenth), "one that is watched takes both");
        two.leave_second();
        looks.set(0);
        assert!(two.linger(&tenth), "one that computes takes its own");
        two.leave();
    }

    #[test]
    fn nobody_lingers_where_hand_overs_are_at_the_door() {
        assert!(!Cores::new(HandOver::Door, 8).linger(&|| true));
    }
}
