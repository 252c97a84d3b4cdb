//! The chunk pool: two sizes of buffers, counted against one budget; and buffers for frames, which are counted while a
//! stream shares them.
//!
//! An idle connection holds no chunk. Freed chunks are kept for reuse up to a bound; what data they held is
//! overwritten before anyone can read it, because readers see only what was filled.

use super::budget::Account;
use parking_lot::Mutex;
use std::sync::Arc;

/// Size of a chunk for small amounts.
pub(crate) const SMALL: usize = 2048;
/// Size of a chunk for bulk data.
pub(crate) const LARGE: usize = 16_384;
/// Bytes of each size that are kept for reuse at least; more where more is in use.
const KEEP: usize = 2 << 20;
/// The same of buffers for frames: bulk data comes in bursts, and what the host copies into fresh memory it has to zero
/// first.
const KEEP_FRAMES: usize = 8 << 20;

/// A buffer that frames are received into. Streams share it instead of copying what is large; who receives must use
/// another as long as they do ([`crate::Budget::frame_buffer`]).
pub type FrameBuffer = Arc<Box<[u8]>>;

type List = Mutex<Vec<Box<[u8]>>>;

/// The pool of a sandbox's stacks. Leaf locks.
#[derive(Debug)]
pub(crate) struct Pool {
    small: List,
    large: List,
    frames: List,
    account: Account,
}

impl Pool {
    pub(crate) fn new(limit: usize) -> Self {
        let list = || Mutex::new(Vec::new());
        Self { small: list(), large: list(), frames: list(), account: Account::new(limit) }
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
        self.keep(if chunk.len() == LARGE { &self.large } else { &self.small }, KEEP, chunk);
    }

    /// A buffer for frames, which is not charged.
    pub(crate) fn frame_buffer(&self, len: usize) -> FrameBuffer {
        let kept = self.frames.lock().pop().filter(|kept| kept.len() == len);
        Arc::new(kept.unwrap_or_else(|| vec![0; len].into_boxed_slice()))
    }

    /// Charges a buffer that a stream shares; `None` where the budget does not allow it.
    pub(crate) fn share(&self, buffer: &FrameBuffer) -> Option<FrameBuffer> {
        self.charge(buffer.len()).then(|| Arc::clone(buffer))
    }

    /// Takes back what [`Pool::share`] gave.
    pub(crate) fn unshare(&self, buffer: FrameBuffer) {
        self.uncharge(buffer.len());
        if let Some(buffer) = Arc::into_inner(buffer) {
            self.keep(&self.frames, KEEP_FRAMES, buffer);
        }
    }

    /// Keeps a buffer for reuse: as many bytes as are in use, and `least` at least.
    fn keep(&self, list: &List, least: usize, buffer: Box<[u8]>) {
        let most = least.max(self.used());
        let mut list = list.lock();
        let kept = list.len() * buffer.len();
        if kept < most {
            list.push(buffer);
        } else if kept > least {
            let surplus = list.pop();
            drop(list);
            drop(surplus);
        }
    }
}
