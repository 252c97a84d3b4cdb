//! The chunk pool: two sizes of buffers, counted against one budget.
//!
//! An idle connection holds no chunk. Freed chunks are kept for reuse up to a bound; what data they held is
//! overwritten before anyone can read it, because readers see only what was filled.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Size of a chunk for small amounts.
pub(crate) const SMALL: usize = 2048;
/// Size of a chunk for bulk data.
pub(crate) const LARGE: usize = 16_384;
/// Bytes of each size that are kept for reuse.
const KEEP: usize = 2 << 20;

/// The pool of one stack. Leaf lock.
#[derive(Debug)]
pub(crate) struct Pool {
    small: Mutex<Vec<Box<[u8]>>>,
    large: Mutex<Vec<Box<[u8]>>>,
    used: AtomicUsize,
    limit: AtomicUsize,
}

impl Pool {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            small: Mutex::new(Vec::new()),
            large: Mutex::new(Vec::new()),
            used: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
        }
    }

    /// Changes the budget.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes that are charged now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Charges `bytes`; false, and nothing charged, where the budget does not allow it.
    pub(crate) fn charge(&self, bytes: usize) -> bool {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= self.limit.load(Ordering::Relaxed) {
            return true;
        }
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        false
    }

    /// Gives back what [`Pool::charge`] took.
    pub(crate) fn uncharge(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
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
