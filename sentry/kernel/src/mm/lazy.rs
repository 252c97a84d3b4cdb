//! Whether the stub is told of a new right at once, or when the guest first wants to use it.
//!
//! To tell it at once costs a hand-over; to be told by a fault costs a hand-over more. A right that is taken away again
//! unused need never be told. What was done with the last ones decides; now and then one is left to a fault to see.

/// Rights granted at once before one is left to a fault, at least and at most.
const FEWEST: u32 = 16;
const MOST: u32 = 1 << 12;

/// The history of one kind of right in one address space.
#[derive(Clone, Debug)]
pub(crate) struct Eagerness {
    /// So many are granted at once before the next is left to a fault; 0 while all are.
    left: u32,
    interval: u32,
}

impl Default for Eagerness {
    fn default() -> Self {
        Self { left: FEWEST, interval: FEWEST }
    }
}

impl Eagerness {
    /// A right is granted: whether it is left to a fault.
    pub(super) fn may_wait(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left == 0
    }

    /// A right that was left to a fault was used.
    pub(super) fn note_used(&mut self) {
        self.interval = self.interval.saturating_mul(4).min(MOST);
        self.left = self.interval;
    }

    /// A right that was left to a fault was taken away unused.
    pub(super) fn note_unused(&mut self) {
        *self = Self { left: 0, interval: FEWEST };
    }
}

#[cfg(test)]
mod tests {
    use super::{Eagerness, FEWEST, MOST};

    #[test]
    fn rights_that_are_used_are_rarely_left_to_a_fault() {
        let mut used = Eagerness::default();
        let mut waited = 0;
        for _ in 0..100_000 {
            if used.may_wait() {
                waited += 1;
                used.note_used();
            }
        }
        assert!(waited < 100_000 / MOST + 8, "{waited}");
    }

    #[test]
    fn rights_that_nobody_uses_all_wait() {
        let mut unused = Eagerness::default();
        assert!((1..FEWEST).all(|_| !unused.may_wait()));
        for _ in 0..1000 {
            assert!(unused.may_wait());
            unused.note_unused();
        }
        unused.note_used();
        assert!(!unused.may_wait());
    }
}
