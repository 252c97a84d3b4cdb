//! The load averages of `/proc/loadavg` and sysinfo(2): how many tasks ran or were ready, averaged exponentially over one,
//! five and fifteen minutes.
//!
//! Nothing wakes up to sample them. What has happened since the last look follows from the processor time used since
//! then; looks are taken when a task falls asleep, wakes up or asks, five seconds apart at least. So a sandbox that works
//! is looked at often, and one that sleeps needs no look: its average falls by the time that has passed.

use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::Mutex;

use super::TaskSet;

/// Linux looks as often (`LOAD_FREQ`).
const INTERVAL_NS: i64 = 5_000_000_000;
/// What is averaged over, seconds.
const SPANS: [f64; 3] = [60.0, 300.0, 900.0];

#[derive(Debug, Default)]
struct State {
    at_ns: i64,
    busy_ns: u64,
    loads: [f64; 3],
}

impl State {
    /// Takes in that `busy_ns` have been used in all, at `now_ns`.
    fn advance(&mut self, now_ns: i64, busy_ns: u64) {
        let passed_ns = now_ns.saturating_sub(self.at_ns);
        if passed_ns <= 0 {
            return;
        }
        let running = busy_ns.saturating_sub(self.busy_ns) as f64 / passed_ns as f64;
        for (load, span) in self.loads.iter_mut().zip(SPANS) {
            let kept = (-(passed_ns as f64) / 1e9 / span).exp();
            *load = *load * kept + running * (1.0 - kept);
        }
        (self.at_ns, self.busy_ns) = (now_ns, busy_ns);
    }
}

/// The averages. The lock is a leaf.
#[derive(Debug, Default)]
pub(super) struct LoadAverage {
    /// When the next look is due.
    next_ns: AtomicI64,
    state: Mutex<State>,
}

impl TaskSet {
    /// Looks at the load, where that is due at `now_ns` on the host's monotonic clock.
    pub(super) fn note_load(&self, now_ns: i64) {
        let load = &self.load;
        if now_ns < load.next_ns.load(Ordering::Relaxed) {
            return;
        }
        // Before the others are asked: one look is enough.
        load.next_ns.store(now_ns.saturating_add(INTERVAL_NS), Ordering::Relaxed);
        let busy_ns = self.cpu_times().total_ns();
        load.state.lock().advance(now_ns, busy_ns);
    }

    /// The averages over one, five and fifteen minutes.
    #[must_use]
    pub fn load_averages(&self) -> [f64; 3] {
        self.note_load(host::time::monotonic_ns());
        self.load.state.lock().loads
    }
}

#[cfg(test)]
mod tests {
    use abi::time::NSEC_PER_SEC as SECOND;

    use super::State;

    #[test]
    fn work_counts_by_how_long_ago_it_was() {
        let mut state = State::default();
        // Two tasks run for a minute.
        for at in (5..=60).step_by(5) {
            state.advance(at * SECOND, (2 * at * SECOND).unsigned_abs());
        }
        let [one, five, fifteen] = state.loads;
        assert!((one - 2.0 * 0.632).abs() < 0.01 && (five - 2.0 * 0.181).abs() < 0.01 && fifteen < 0.14);
        // Then nothing, looked at once: a minute later a third of it is left of the first, nearly all of the others.
        state.advance(120 * SECOND, (120 * SECOND).unsigned_abs());
        assert!((state.loads[0] / one - 0.368).abs() < 0.01);
        assert!((state.loads[1] / five - 0.819).abs() < 0.01);
        // A clock that stands still, or a sum that shrinks, changes nothing.
        let before = state.loads;
        state.advance(120 * SECOND, 0);
        assert_eq!(state.loads, before);
    }
}
