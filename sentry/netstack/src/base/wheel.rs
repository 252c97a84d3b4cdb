//! A hierarchical timer wheel: arming and firing are O(1), the next deadline is found from bit maps.
//!
//! Ticks are 2^20 ns (about a millisecond). Level `n` has 64 slots of 64^n ticks. A timer fires at or after its
//! deadline, never before; entries are never cancelled, their owner ignores a firing that it no longer wants.

use super::time::Instant;

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 6;
const TICK_SHIFT: u32 = 20;

/// A wheel of entries `T`.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    /// The tick up to which everything has fired.
    now: u64,
    levels: [Level<T>; LEVELS],
    len: usize,
}

#[derive(Debug)]
struct Level<T> {
    occupied: u64,
    slots: [Vec<(u64, T)>; SLOTS],
}

impl<T> Wheel<T> {
    pub(crate) fn new(now: Instant) -> Self {
        let level = |_| Level { occupied: 0, slots: std::array::from_fn(|_| Vec::new()) };
        Self { now: now.nanos() >> TICK_SHIFT, levels: std::array::from_fn(level), len: 0 }
    }

    /// How many entries are armed.
    #[cfg(test)]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Arms an entry.
    pub(crate) fn insert(&mut self, deadline: Instant, entry: T) {
        // Rounded up, so that it never fires early; one tick ahead at least, since this tick has fired.
        let tick = (deadline.nanos() >> TICK_SHIFT) + 1;
        self.place(tick.max(self.now + 1), entry);
        self.len += 1;
    }

    fn place(&mut self, tick: u64, entry: T) {
        let delta = tick - self.now;
        let top = 1u64 << (BITS * LEVELS as u32);
        // Beyond the horizon (two years): parked in the last slot reachable, and placed anew from there.
        let at = if delta >= top { self.now + top - 1 } else { tick };
        let differing = (at ^ self.now) | 1;
        let level = (((63 - differing.leading_zeros()) / BITS) as usize).min(LEVELS - 1);
        let slot = (at >> (BITS * level as u32)) as usize % SLOTS;
        self.levels[level].occupied |= 1 << slot;
        self.levels[level].slots[slot].push((tick, entry));
    }

    /// When [`Wheel::advance`] should next be called.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_tick().map(|tick| Instant::from_nanos(tick.saturating_mul(1 << TICK_SHIFT)))
    }

    /// The first tick at which a slot must be looked at.
    fn next_tick(&self) -> Option<u64> {
        (0..LEVELS)
            .filter_map(|level| {
                let shift = BITS * level as u32;
                let here = (self.now >> shift) % SLOTS as u64;
                let occupied = self.levels[level].occupied;
                if occupied == 0 {
                    return None;
                }
                // Rotate so that bit 0 is the slot after the current one.
                let ahead = occupied.rotate_right(((here + 1) % SLOTS as u64) as u32).trailing_zeros();
                Some(((self.now >> shift) + u64::from(ahead) + 1) << shift)
            })
            .min()
    }

    /// Fires everything that is due into `due`.
    pub(crate) fn advance(&mut self, now: Instant, due: &mut Vec<T>) {
        let target = now.nanos() >> TICK_SHIFT;
        while let Some(tick) = self.next_tick().filter(|tick| *tick <= target) {
            self.now = tick;
            // From the top down, so that entries that move down a level are seen in the same tick.
            for level in (0..LEVELS).rev() {
                let shift = BITS * level as u32;
                if tick & ((1 << shift) - 1) == 0 {
                    self.empty_slot(level, (tick >> shift) as usize % SLOTS, due);
                }
            }
        }
        self.now = self.now.max(target);
    }

    fn empty_slot(&mut self, level: usize, slot: usize, due: &mut Vec<T>) {
        self.levels[level].occupied &= !(1 << slot);
        for (tick, entry) in std::mem::take(&mut self.levels[level].slots[slot]) {
            if tick <= self.now {
                self.len -= 1;
                due.push(entry);
            } else {
                self.place(tick, entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn far_timer_fires_after_the_horizon() {
        let mut wheel = Wheel::new(Instant::ZERO);
        let far = Instant::from_nanos(1 << 60);
        wheel.insert(far, 1);
        let mut due = Vec::new();
        wheel.advance(far - Duration::from_secs(1), &mut due);
        assert!(due.is_empty());
        wheel.advance(far + Duration::from_millis(3), &mut due);
        assert_eq!(due, [1]);
        assert_eq!(wheel.len(), 0);
    }

    proptest! {
        #[test]
        fn fires_each_once_and_in_time(
            start in 0u64..1 << 50,
            delays in prop::collection::vec(0u64..1 << 44, 1..40),
            steps in prop::collection::vec(1u64..1 << 42, 1..40),
        ) {
            let mut now = Instant::from_nanos(start);
            let mut wheel = Wheel::new(now);
            for (index, delay) in delays.iter().enumerate() {
                wheel.insert(now + Duration::from_nanos(*delay), index);
            }
            let mut fired = vec![false; delays.len()];
            for step in steps {
                now += Duration::from_nanos(step);
                let mut due = Vec::new();
                wheel.advance(now, &mut due);
                for index in due {
                    prop_assert!(!fired[index]);
                    fired[index] = true;
                    prop_assert!(start + delays[index] <= now.nanos());
                }
                let slack = 2 << TICK_SHIFT;
                for (index, delay) in delays.iter().enumerate() {
                    prop_assert!(fired[index] || start + delay + slack > now.nanos());
                }
                if let Some(next) = wheel.next_deadline() {
                    prop_assert!(next.nanos() >> TICK_SHIFT > now.nanos() >> TICK_SHIFT);
                    let first = delays.iter().enumerate().filter(|d| !fired[d.0]).map(|d| start + d.1).min();
                    prop_assert!(next.nanos() <= first.unwrap_or(u64::MAX) + slack);
                }
            }
        }
    }
}
