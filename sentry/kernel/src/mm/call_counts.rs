//! How often calls have trapped at which place, which tells what is worth rewriting ([`super::call_sites`]).
//!
//! Of an address space, not of a thread: programs with a thread for each request use the same few places, each thread
//! once. Counts are hints, so they take no lock: two that count at once may lose one.

use std::sync::atomic::{AtomicU64, Ordering};

/// Traps from one site before it is rewritten: what a rewriting costs, in traps.
const HOT: u64 = 24;
/// Not to be tried again.
const HOPELESS: u64 = 0xff;
/// Bits of a count; the rest of a word is the site's address.
const COUNT_BITS: u32 = 8;
/// Sites that are counted at a time: so many rows of so many, a site in any place of its row. Where two sites that are
/// used in turn had to share a place, neither would ever be hot.
const ROWS: usize = 32;
const PLACES: usize = 4;

/// How often calls have trapped at which site, as far as is remembered.
#[derive(Debug)]
pub(crate) struct CallCounts([[AtomicU64; PLACES]; ROWS]);

impl Default for CallCounts {
    fn default() -> Self {
        Self([const { [const { AtomicU64::new(0) }; PLACES] }; ROWS])
    }
}

const fn count_in(word: u64) -> u64 {
    word & ((1 << COUNT_BITS) - 1)
}

impl CallCounts {
    /// Counts a trap of the call that returns to `ret`; says whether its site is to be rewritten now.
    pub(crate) fn count(&self, ret: u64) -> bool {
        let place = self.place(ret);
        let word = place.load(Ordering::Relaxed);
        let count = match (word >> COUNT_BITS == ret, count_in(word)) {
            (true, HOPELESS) => return false,
            (true, count) => (count + 1).min(HOT),
            (false, _) => 1,
        };
        place.store(ret << COUNT_BITS | count, Ordering::Relaxed);
        count == HOT
    }

    /// The site cannot be rewritten.
    pub(crate) fn give_up(&self, ret: u64) {
        self.place(ret).store(ret << COUNT_BITS | HOPELESS, Ordering::Relaxed);
    }

    /// The site cannot be rewritten now: it must be used as often again.
    pub(crate) fn start_over(&self, ret: u64) {
        self.place(ret).store(ret << COUNT_BITS, Ordering::Relaxed);
    }

    /// Where a site is counted; one that is not yet gets the place of the least used in its row.
    fn place(&self, ret: u64) -> &AtomicU64 {
        let row = &self.0[(ret ^ ret >> 6) as usize % ROWS];
        let word = |place: &AtomicU64| place.load(Ordering::Relaxed);
        let mut least = &row[0];
        for place in row {
            if word(place) >> COUNT_BITS == ret {
                return place;
            }
            if count_in(word(place)) < count_in(word(least)) {
                least = place;
            }
        }
        least
    }
}

#[cfg(test)]
mod tests {
    use super::{CallCounts, HOT};

    #[test]
    fn a_site_becomes_hot_and_stays_so_until_it_is_hopeless() {
        let counts = CallCounts::default();
        assert!((1..HOT).all(|_| !counts.count(0x1000)));
        assert!(counts.count(0x1000) && counts.count(0x1000));
        counts.give_up(0x1000);
        assert!((0..1000).all(|_| !counts.count(0x1000)));
        assert!(!counts.count(0x1000 + 64 * 64), "another site in the same row");
    }

    #[test]
    fn sites_in_turn_become_hot_wherever_they_are() {
        let counts = CallCounts::default();
        for hopeless in [0x1000, 0x2000, 0x3000] {
            counts.give_up(hopeless);
        }
        let is_hot = |ret: u64| {
            (0..HOT).fold(false, |_, _| {
                assert!([0x1000, 0x2000, 0x3000].into_iter().all(|hopeless| !counts.count(hopeless)));
                counts.count(ret)
            })
        };
        assert!([0x4000, 0x5000, 0x6000].into_iter().all(is_hot));
    }

    #[test]
    fn one_that_was_busy_is_tried_again() {
        let counts = CallCounts::default();
        assert_eq!((0..HOT).filter(|_| counts.count(0x1000)).count(), 1);
        counts.start_over(0x1000);
        assert!((1..HOT).all(|_| !counts.count(0x1000)) && counts.count(0x1000));
    }
}
