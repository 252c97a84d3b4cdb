//! What the stacks of one sandbox may hold together: however many name spaces a guest makes, its buffers, the frames on
//! their way between them and the stations that their bridges know are bounded.

use super::pool::{FrameBuffer, Pool};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of buffers, where the owner does not say.
const BUFFERS: usize = 256 << 20;
/// Bytes of frames that were sent within the sandbox and not yet received.
const FRAMES: usize = 64 << 20;
/// Stations that all bridges know.
const STATIONS: usize = 1 << 18;

/// An amount that has a limit.
#[derive(Debug)]
pub(crate) struct Account {
    used: AtomicUsize,
    limit: usize,
}

impl Account {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { used: AtomicUsize::new(0), limit }
    }

    /// What is charged now.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Charges `amount`; false, and nothing charged, where the limit does not allow it.
    pub(crate) fn charge(&self, amount: usize) -> bool {
        let before = self.used.fetch_add(amount, Ordering::Relaxed);
        if before.saturating_add(amount) <= self.limit {
            return true;
        }
        self.used.fetch_sub(amount, Ordering::Relaxed);
        false
    }

    /// Whether the limit allows for so much more.
    pub(crate) fn has_room(&self, amount: usize) -> bool {
        self.used().saturating_add(amount) <= self.limit
    }

    /// Charges `amount`, also beyond the limit.
    pub(crate) fn charge_beyond(&self, amount: usize) {
        self.used.fetch_add(amount, Ordering::Relaxed);
    }

    /// Gives back what [`Account::charge`] took.
    pub(crate) fn uncharge(&self, amount: usize) {
        self.used.fetch_sub(amount, Ordering::Relaxed);
    }

    /// As [`Account::charge`], given back when the hold is dropped.
    pub(crate) fn hold(self: &Arc<Self>, amount: usize) -> Option<Hold> {
        self.charge(amount).then(|| Hold { account: Arc::clone(self), amount })
    }
}

/// An amount that is charged as long as this lives.
#[derive(Debug)]
pub struct Hold {
    account: Arc<Account>,
    amount: usize,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.account.uncharge(self.amount);
    }
}

/// Shared by the stacks of one sandbox ([`crate::Stack::sharing`]).
#[derive(Debug)]
pub struct Budget {
    pub(crate) pool: Arc<Pool>,
    pub(crate) frames: Arc<Account>,
    pub(crate) stations: Arc<Account>,
}

impl Budget {
    /// With room for so many bytes of buffers.
    #[must_use]
    pub fn new(buffers: usize) -> Arc<Self> {
        Arc::new(Self {
            pool: Arc::new(Pool::new(buffers)),
            frames: Arc::new(Account::new(FRAMES)),
            stations: Arc::new(Account::new(STATIONS)),
        })
    }

    /// Room for a frame of `len` bytes that a device keeps for somebody who is to fetch it.
    #[must_use]
    pub fn room_for_frame(&self, len: usize) -> Option<Hold> {
        self.frames.hold(len)
    }

    /// A buffer of `len` bytes for frames that are received: one that was in use, where there is.
    #[must_use]
    pub fn frame_buffer(&self, len: usize) -> FrameBuffer {
        self.pool.frame_buffer(len)
    }

    /// With the usual room.
    #[must_use]
    pub fn usual() -> Arc<Self> {
        Self::new(BUFFERS)
    }
}
