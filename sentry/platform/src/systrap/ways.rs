//! How guests come in: each context counts for itself and adds up where that costs nothing in comparison, when its
//! thread comes to the door.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use host::memory::VolatileSlice;
use stub::layout::AREA_ANSWERED;

use crate::{Event, WaysIn};

/// Events in a row that are watched for before they are added up all the same.
const MOST_UNTOLD: u64 = 1 << 12;

/// The sums of all contexts.
#[derive(Debug, Default)]
pub(super) struct Sums {
    answered: AtomicU64,
    rewritten: AtomicU64,
    trapped: AtomicU64,
    others: AtomicU64,
    watched: AtomicU64,
    asleep: AtomicU64,
}

impl Sums {
    /// The sums by now.
    pub(super) fn get(&self) -> WaysIn {
        let load = |sum: &AtomicU64| sum.load(Ordering::Relaxed);
        WaysIn {
            answered: load(&self.answered),
            rewritten: load(&self.rewritten),
            trapped: load(&self.trapped),
            others: load(&self.others),
            watched: load(&self.watched),
            asleep: load(&self.asleep),
        }
    }

    fn add(&self, ways: WaysIn) {
        for (sum, count) in [
            (&self.answered, ways.answered),
            (&self.rewritten, ways.rewritten),
            (&self.trapped, ways.trapped),
            (&self.others, ways.others),
            (&self.watched, ways.watched),
            (&self.asleep, ways.asleep),
        ] {
            if count > 0 {
                sum.fetch_add(count, Ordering::Relaxed);
            }
        }
    }
}

/// What one context has counted and not told yet.
#[derive(Debug)]
pub(super) struct Tally {
    sums: Arc<Sums>,
    untold: WaysIn,
    /// What the stub's own count was last. The guest can write that: it can lie about itself.
    answered: u64,
}

impl Tally {
    /// For a thread whose stub starts to count from 0.
    pub(super) fn new(sums: &Arc<Sums>) -> Self {
        Self { sums: Arc::clone(sums), untold: WaysIn::default(), answered: 0 }
    }

    /// Counts an event of the thread with this area; `was_watched` tells how it came.
    pub(super) fn count(&mut self, event: &Event, was_watched: bool, area: &VolatileSlice<'_>) {
        *match event {
            Event::RewrittenCall => &mut self.untold.rewritten,
            Event::Syscall => &mut self.untold.trapped,
            _ => &mut self.untold.others,
        } += 1;
        if was_watched {
            self.untold.watched += 1;
        } else {
            self.untold.asleep += 1;
        }
        if !was_watched || self.untold.watched >= MOST_UNTOLD {
            self.tell(area);
        }
    }

    /// Adds up.
    pub(super) fn tell(&mut self, area: &VolatileSlice<'_>) {
        let mut answered = [0; 8];
        if area.sub(AREA_ANSWERED as usize, 8).and_then(|count| count.read(&mut answered)).is_ok() {
            let answered = u64::from_le_bytes(answered);
            self.untold.answered = answered.wrapping_sub(mem::replace(&mut self.answered, answered));
        }
        self.sums.add(mem::take(&mut self.untold));
    }
}
