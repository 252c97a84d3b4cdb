//! The chunk pool: two sizes of buffers, counted against one budget; and buffers for frames, which are counted while a
//! stream shares them.
//!
//! An idle connection holds no chunk. Freed chunks are kept for reuse up to a bound; what data they held is
//! overwritten before anyone can read it, because readers see only what was filled.

use super::budget::Account;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Size of a chunk for small amounts.
pub(crate) const SMALL: usize = 2048;
/// Size of a chunk for bulk data.
pub(crate) const LARGE: usize = 16_384;
/// Size of the buffers for frames that are kept, as links ask for them: the largest frame with its headers.
const FRAME: usize = (64 << 10) + 128;
/// Bytes of each size that are kept for reuse at least; more where more is in use.
const KEEP: usize = 2 << 20;
/// The same of buffers for frames: bulk data comes in bursts, and what the host copies into fresh memory it has to zero
/// first.
const KEEP_FRAMES: usize = 8 << 20;

/// A buffer that frames are received into. Streams share it instead of copying what is large; who receives must use
/// another as long as they do ([`crate::Budget::frame_buffer`]).
pub type FrameBuffer = Arc<Box<[u8]>>;

/// Buffers of one size that wait to be used again.
#[derive(Debug)]
struct List {
    size: usize,
    /// Bytes that it keeps whatever is in use.
    least: usize,
    buffers: Mutex<Vec<Box<[u8]>>>,
}

impl List {
    fn new(size: usize, least: usize) -> Self {
        Self { size, least, buffers: Mutex::default() }
    }

    /// Takes some `bytes` out of it, as far as it has more than its least.
    fn surplus(&self, bytes: usize) -> Vec<Box<[u8]>> {
        let mut buffers = self.buffers.lock();
        let spare = buffers.len().saturating_sub(self.least / self.size);
        let rest = buffers.len() - spare.min(bytes.div_ceil(self.size));
        buffers.split_off(rest)
    }
}

/// The pool of a sandbox's stacks. Leaf locks.
#[derive(Debug)]
pub(crate) struct Pool {
    small: List,
    large: List,
    frames: List,
    /// Bytes in the three lists.
    kept: AtomicUsize,
    account: Account,
}

impl Pool {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            small: List::new(SMALL, KEEP),
            large: List::new(LARGE, KEEP),
            frames: List::new(FRAME, KEEP_FRAMES),
            kept: AtomicUsize::new(0),
            account: Account::new(limit),
        }
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
        let list = if want > SMALL { &self.large } else { &self.small };
        self.charge(list.size).then(|| self.take(list))
    }

    /// Whether the budget allows for so much more.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.account.has_room(bytes)
    }

    /// A small chunk, also beyond the budget.
    pub(crate) fn alloc_promised(&self) -> Box<[u8]> {
        self.account.charge_beyond(SMALL);
        self.take(&self.small)
    }

    /// Takes a chunk back.
    pub(crate) fn free(&self, chunk: Box<[u8]>) {
        self.uncharge(chunk.len());
        self.keep(if chunk.len() == LARGE { &self.large } else { &self.small }, chunk);
    }

    /// A buffer for frames, which is not charged.
    pub(crate) fn frame_buffer(&self, len: usize) -> FrameBuffer {
        Arc::new(if len == FRAME { self.take(&self.frames) } else { vec![0; len].into_boxed_slice() })
    }

    /// Charges a buffer that a stream shares; `None` where the budget does not allow it.
    pub(crate) fn share(&self, buffer: &FrameBuffer) -> Option<FrameBuffer> {
        self.charge(buffer.len()).then(|| Arc::clone(buffer))
    }

    /// Takes back what [`Pool::share`] gave.
    pub(crate) fn unshare(&self, buffer: FrameBuffer) {
        self.uncharge(buffer.len());
        if let Some(buffer) = Arc::into_inner(buffer).filter(|buffer| buffer.len() == FRAME) {
            self.keep(&self.frames, buffer);
        }
    }

    /// A buffer of a list's size.
    fn take(&self, list: &List) -> Box<[u8]> {
        let kept = list.buffers.lock().pop();
        if kept.is_some() {
            self.kept.fetch_sub(list.size, Ordering::Relaxed);
        }
        kept.unwrap_or_else(|| vec![0; list.size].into_boxed_slice())
    }

    /// Keeps a buffer for reuse: each list its least, and all together as many bytes more as are in use.
    fn keep(&self, list: &List, buffer: Box<[u8]>) {
        let used = self.used();
        let mut buffers = list.buffers.lock();
        if buffers.len() * list.size < list.least || self.kept.load(Ordering::Relaxed) < used {
            self.kept.fetch_add(list.size, Ordering::Relaxed);
            buffers.push(buffer);
            return;
        }
        drop(buffers);
        // Less is used than was: what is kept follows, of all sizes.
        for other in [&self.small, &self.large, &self.frames] {
            let surplus = other.surplus(list.size);
            self.kept.fetch_sub(surplus.len() * other.size, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::{FRAME, KEEP, KEEP_FRAMES, LARGE, Pool};

    #[test]
    fn what_is_kept_follows_what_is_used() {
        let pool = Pool::new(256 << 20);
        let in_use: Vec<_> = (0..64 << 20 >> 14).map(|_| pool.alloc(LARGE).unwrap()).collect();
        let frames: Vec<_> = (0..500).map(|_| pool.frame_buffer(FRAME)).collect();
        let shared: Vec<_> = frames.iter().map(|frame| pool.share(frame).unwrap()).collect();
        drop(frames);
        shared.into_iter().for_each(|frame| pool.unshare(frame));
        assert!(pool.kept.load(Ordering::Relaxed) > 2 * KEEP_FRAMES, "much is in use");
        in_use.into_iter().for_each(|chunk| pool.free(chunk));
        assert_eq!(pool.used(), 0);
        assert!(pool.kept.load(Ordering::Relaxed) <= KEEP_FRAMES + 2 * KEEP, "and nothing now");
    }
}
