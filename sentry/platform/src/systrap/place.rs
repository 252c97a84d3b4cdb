//! Which core a guest thread shares with its sentry thread while they hand over at the door.
//!
//! The two wake each other on one core, turn by turn. Where two such pairs have come to be on the same core, the host's
//! scheduler leaves them there for long, though another core is idle: it moves threads that wait for a core, and of
//! these there is none when it looks. So each guest thread that runs is counted at its core, and one that meets others
//! there for a while, with a core to spare elsewhere, is let go from that one next: its sentry thread goes there.

use std::sync::atomic::{AtomicU32, Ordering};

use super::affinity::Affinity;

/// Rounds in company before a pair moves, at least and at most: a move costs tens of microseconds.
const FEWEST: u32 = 32;
const MOST: u32 = 1 << 12;
/// Rounds alone after which the next move is cheap again.
const CALM: u32 = 1 << 10;

/// Guest threads that run, by the core on which they were let go. All counts are hints.
#[derive(Debug)]
pub(super) struct Places {
    counts: Box<[Count]>,
}

/// A cache line of its own for each core.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Count(AtomicU32);

impl Places {
    /// Nobody runs.
    pub(super) fn new(affinity: &Affinity) -> Self {
        Self { counts: (0..affinity.highest() + 1).map(|_| Count::default()).collect() }
    }

    /// A guest thread is let go on `core`. Says whether others are there.
    pub(super) fn enter(&self, core: usize) -> bool {
        self.counts.get(core).is_some_and(|count| count.0.fetch_add(1, Ordering::Relaxed) > 0)
    }

    /// It stopped.
    pub(super) fn leave(&self, core: usize) {
        if let Some(count) = self.counts.get(core) {
            count.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// A core of `affinity` on which nobody runs.
    fn vacant(&self, affinity: &Affinity) -> Option<usize> {
        let is_vacant = |(core, count): &(usize, &Count)| {
            count.0.load(Ordering::Relaxed) == 0 && affinity.contains(*core)
        };
        self.counts.iter().enumerate().find(is_vacant).map(|(core, _)| core)
    }
}

/// One pair's history.
#[derive(Debug)]
pub(super) struct Company {
    /// Rounds in a row with others on the core.
    crowded: u32,
    /// Rounds in a row without.
    alone: u32,
    /// How many crowded ones make it move.
    needed: u32,
}

impl Company {
    /// Nothing is known yet.
    pub(super) const fn new() -> Self {
        Self { crowded: 0, alone: 0, needed: FEWEST }
    }

    /// A round begins at the door. Says where to go, if that pays.
    pub(super) fn meet(&mut self, is_crowded: bool, places: &Places, affinity: &Affinity) -> Option<usize> {
        if !is_crowded {
            self.crowded = 0;
            self.alone += 1;
            if self.alone >= CALM {
                (self.alone, self.needed) = (0, FEWEST);
            }
            return None;
        }
        self.alone = 0;
        self.crowded += 1;
        if self.crowded < self.needed {
            return None;
        }
        self.crowded = 0;
        let vacant = places.vacant(affinity)?;
        // Whoever is brought back again and again stays.
        self.needed = (self.needed * 2).min(MOST);
        Some(vacant)
    }
}

#[cfg(test)]
mod tests {
    use super::{Affinity, CALM, Company, FEWEST, Places};

    fn rounds_until_move(company: &mut Company, places: &Places, affinity: &Affinity) -> u32 {
        (1..).find(|_| company.meet(true, places, affinity).is_some()).unwrap()
    }

    #[test]
    fn a_pair_in_company_moves_to_a_vacant_core() {
        let two = Affinity::of(&[0, 1]);
        let places = Places::new(&two);
        let mut company = Company::new();
        assert!(!places.enter(0) && places.enter(0), "the second meets the first");
        assert!((1..FEWEST).all(|_| company.meet(true, &places, &two).is_none()));
        assert_eq!(company.meet(true, &places, &two), Some(1));
        places.enter(1);
        assert!((0..10 * FEWEST).all(|_| company.meet(true, &places, &two).is_none()), "no core is vacant");
        places.leave(1);
        let one = Affinity::of(&[0]);
        assert!(
            (0..10 * FEWEST).all(|_| company.meet(true, &places, &one).is_none()),
            "none that it may use"
        );
    }

    #[test]
    fn moves_become_rare_unless_they_pay() {
        let two = Affinity::of(&[0, 1]);
        let places = Places::new(&two);
        let mut company = Company::new();
        places.enter(0);
        assert_eq!(rounds_until_move(&mut company, &places, &two), FEWEST);
        assert_eq!(rounds_until_move(&mut company, &places, &two), 2 * FEWEST);
        assert!((0..CALM).all(|_| company.meet(false, &places, &two).is_none()));
        assert_eq!(rounds_until_move(&mut company, &places, &two), FEWEST);
    }
}
