//! Changes of files in a directory of which no inode could hear.
//!
//! An answer that is under way, or attributes in a listing that is, may tell of a file as it was before such a change.

use std::collections::HashMap;

use super::attr::Moment;

/// Files whose changes are noted by name.
const MAX_NAMES: usize = 64;

/// When files of a directory changed last of which no inode was in use, or is to hear.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    by_name: HashMap<Box<[u8]>, Moment>,
    /// Any of them may have, until then.
    of_all: Moment,
}

impl Unheard {
    /// What is called `name` changed, by `at`.
    pub(super) fn note(&mut self, name: &[u8], at: Moment) {
        if at <= self.of_all {
            return;
        }
        if let Some(known) = self.by_name.get_mut(name) {
            *known = at.max(*known);
            return;
        }
        if self.by_name.len() >= MAX_NAMES {
            let latest = self.by_name.values().max().copied().unwrap_or_default();
            self.note_all(latest);
        }
        self.by_name.insert(name.into(), at);
    }

    /// Anything may have changed, by `at`.
    pub(super) fn note_all(&mut self, at: Moment) {
        self.of_all = self.of_all.max(at);
        let of_all = self.of_all;
        self.by_name.retain(|_, known| *known > of_all);
    }

    /// Whether `name` may have changed after `asked`.
    pub(super) fn has(&self, name: &[u8], asked: Moment) -> bool {
        self.of_all > asked || self.by_name.get(name).is_some_and(|at| *at > asked)
    }

    /// The names that may have changed after `asked`; `None` where any may.
    pub(super) fn since(&self, asked: Moment) -> Option<impl Iterator<Item = &[u8]>> {
        let names = self.by_name.iter().filter(move |(_, at)| **at > asked);
        (self.of_all <= asked).then(|| names.map(|(name, _)| &**name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::attr::Clock;
    use super::{MAX_NAMES, Unheard};

    #[test]
    fn a_change_is_news_of_its_file_alone() {
        let (clock, mut unheard) = (Clock::default(), Unheard::default());
        let before = clock.now();
        unheard.note(b"f", clock.tick());
        let after = clock.now();
        assert!(unheard.has(b"f", before) && !unheard.has(b"f", after) && !unheard.has(b"g", before));
        assert_eq!(unheard.since(before).unwrap().collect::<Vec<_>>(), [b"f"]);
        assert_eq!(unheard.since(after).unwrap().count(), 0);
    }

    #[test]
    fn of_too_many_nothing_older_is_believed() {
        let (clock, mut unheard) = (Clock::default(), Unheard::default());
        let before = clock.now();
        let mut note = |i: usize| unheard.note(&i.to_ne_bytes(), clock.tick());
        (0..MAX_NAMES).for_each(&mut note);
        let between = clock.now();
        note(MAX_NAMES);
        assert!(unheard.since(before).is_none() && unheard.has(b"other", before));
        assert_eq!(unheard.since(between).unwrap().count(), 1);
    }
}
