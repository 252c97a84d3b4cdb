//! What a vfork(2) parent waits for.

use std::sync::atomic::{AtomicBool, Ordering};

use waiter::{Events, WaitQueue};

/// Set when the child has executed a program or exited.
#[derive(Debug, Default)]
pub struct VforkDone {
    is_done: AtomicBool,
    queue: WaitQueue,
}

impl VforkDone {
    /// The child no longer uses the parent's memory.
    pub fn complete(&self) {
        self.is_done.store(true, Ordering::SeqCst);
        self.queue.notify(Events::IN);
    }

    /// Whether it has happened.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.is_done.load(Ordering::SeqCst)
    }

    /// Told when it happens.
    #[must_use]
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }
}
