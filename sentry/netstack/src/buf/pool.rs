//! The chunk pool: two sizes of buffers, counted against one budget.
//!
//! An idle connection holds no chunk. Freed chunks are kept for reuse up to a bound; what data they held is
//! overwritten before anyone can read it, because readers see only what was filled.

use super::budget::Account;
use parking_lot::Mutex;

/// Size of a chunk for small amounts.
pub(crate) const SMALL: usize = 2048;
/// Size of a chunk for bulk data.
pub(crate) const LARGE: usize = 16_384;
/// Bytes of each size that are kept for reuse.
const KEEP: usize = 2 << 20;

/// The pool of a sandbox's stacks. Leaf locks.
#[derive(Debug)]
pub(crate) struct Pool {
    small: Mutex<Vec<Box<[u8]>>>,
    large: Mutex<Vec<Box<[u8]>>>,
    account: Account,
}

impl Pool {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { small: Mutex::new(Vec::new()), large: Mutex::new(Vec::new()), account: Account::new(limit) }
    }

    /// Bytes that are charged now.
    pub(crate) fn used(&self) -> usize {
        self.account.used()
    }

    /// Charges `bytes`; false, and nothing charged, where the budget does not allow it.
    pub(crate) fn charge(&self, bytes: usize) -> bool {
        self.account.charge(bytes)
    }

    /// Gives back what [`Pool::charge`] took.
    pub(crate) fn uncharge(&self, bytes: usize) {
        self.account.uncharge(bytes);
    }

    /// A chunk for `want` more bytes; `None` where the budget is used up.
    pub(crate) fn alloc(&self, want: usize) -> Option<Box<[u8]>> {
        let (size, list) = if want > SMALL { (LARGE, &self.large) } else { (SMALL, &self.small) };
        if !self.charge(size) {
            return None;
        }
        let kept = list.lock().pop();
        Some(kept.unwrap_or_else(|| vec![0; size].into_boxed_slice()))
    }

    /// Whether the budget allows for so much more.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.account.has_room(bytes)
    }

    /// A small chunk, also beyond the budget.
    pub(crate) fn alloc_promised(&self) -> Box<[u8]> {
        self.account.charge_beyond(SMALL);
        let kept = self.small.lock().pop();
        kept.unwrap_or_else(|| vec![0; SMALL].into_boxed_slice())
    }

    /// Takes a chunk back.
    pub(crate) fn free(&self, chunk: Box<[u8]>) {
        self.uncharge(chunk.len());
        let list = if chunk.len() == LARGE { &self.large } else { &self.small };
        let mut list = list.lock();
        if list.len() * chunk.len() < KEEP {
            list.push(chunk);
        }
    }
}
