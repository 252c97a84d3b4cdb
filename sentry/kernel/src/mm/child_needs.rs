//! Which mapped files the children of fork(2) look at before they execute a program or end.
//!
//! A shell has a dozen files mapped, and its children look at two of them: showing the others to each child costs more
//! than a fault now and then. So a process that forks again and again learns it: what its children had to ask for is
//! shown to later ones, and from time to time it is learnt anew. All of a family share what they know.

use std::sync::Arc;

use parking_lot::Mutex;

/// After so many forks what was learnt is learnt anew.
const FORGET_AFTER: u32 = 64;
/// Files that are remembered, at most.
const MOST_FILES: usize = 16;

/// What a process and those forked from it know of what children need. A leaf lock.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChildNeeds(Arc<Mutex<Needs>>);

#[derive(Debug, Default)]
struct Needs {
    forks: u32,
    /// By their identity.
    files: Vec<usize>,
}

/// Which files a child is shown at once.
#[derive(Clone, Debug)]
pub(super) enum Shown {
    /// All that have to do with code, and what is shared: nothing is known yet, and a process that forks once shall not pay
    /// for learning.
    Programs,
    /// These.
    Files(Vec<usize>),
}

impl ChildNeeds {
    /// What the next child is to be shown.
    pub(super) fn next_child(&self) -> Shown {
        let mut needs = self.0.lock();
        let forks = needs.forks;
        needs.forks += 1;
        if needs.forks > FORGET_AFTER {
            *needs = Needs { forks: 1, files: Vec::new() };
        }
        if forks == 0 { Shown::Programs } else { Shown::Files(needs.files.clone()) }
    }

    /// A child had to ask for this file.
    pub(super) fn note(&self, file: usize) {
        let mut needs = self.0.lock();
        if needs.files.len() < MOST_FILES && !needs.files.contains(&file) {
            needs.files.push(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ChildNeeds, FORGET_AFTER, MOST_FILES, Shown};

    #[test]
    fn what_children_ask_for_is_shown_to_later_ones_and_forgotten_in_time() {
        let parent = ChildNeeds::default();
        assert!(matches!(parent.next_child(), Shown::Programs));
        let child = parent.clone();
        for file in (0..2 * MOST_FILES).chain(0..3) {
            child.note(file);
        }
        let Shown::Files(files) = parent.next_child() else { panic!("it is known by now") };
        assert_eq!(files, (0..MOST_FILES).collect::<Vec<_>>());
        for _ in 2..FORGET_AFTER {
            assert!(matches!(child.next_child(), Shown::Files(files) if files.len() == MOST_FILES));
        }
        assert!(matches!(parent.next_child(), Shown::Files(files) if files.is_empty()));
    }
}
