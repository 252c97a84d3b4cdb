//! Open files whose reads and writes are promised to a thread ahead of its calls, which it then *posts*
//! (`task/posted.rs`): for as long as that lasts the thread *holds* the file.
//!
//! Everybody else who is about to use the file has the holder's calls carried out first. Whoever looks a descriptor up
//! does that ([`super::FdTable`]); what is held has no other user at that moment, which the table's lock and the file's
//! reference count tell.

use std::fmt;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use parking_lot::Mutex;

/// What can be done with a file now, without waiting. Nothing by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Promise {
    /// Bytes that can be read: all that there are.
    pub input: usize,
    /// Bytes that can be written.
    pub credit: usize,
}

/// A file whose calls can be promised. Between a promise and what is said of it nobody else uses the file.
pub trait Promising {
    /// Copies what can be read into `buffer`, if all of it fits, and says how much could be written.
    fn promise(&self, buffer: &mut [u8]) -> Promise;

    /// The first `len` of the promised bytes were read.
    fn keep_read(&self, len: usize);

    /// `data` was written, which is no more than was promised.
    fn keep_written(&self, data: &[u8]);
}

/// Whoever holds files.
pub(crate) trait Settle: Send + Sync {
    /// Carries out what was posted to all of them, and gives them back; `how` says why where nothing else does.
    fn settle(&self, how: Use);
}

/// How a file was given back by its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// The thread has posted calls.
    Good,
    /// It has not.
    None,
    /// Somebody else wanted the file.
    Shared,
    /// Nobody came for what the thread had written: it had other things to do.
    Late,
}

impl Use {
    /// How many times the file is not promised when it could be.
    const fn pause(self) -> i32 {
        match self {
            Self::Good => 0,
            Self::None => 4,
            Self::Shared => 32,
            Self::Late => 128,
        }
    }
}

/// Who holds an open file. Locks: `by` is a leaf.
#[derive(Default)]
pub(crate) struct Holder {
    is_held: AtomicBool,
    by: Mutex<Option<Weak<dyn Settle>>>,
    pause: AtomicI32,
}

impl Holder {
    /// Whether the file should be promised now; counts the times that it should not.
    pub(crate) fn is_worth_it(&self) -> bool {
        let left = self.pause.load(Ordering::Relaxed);
        if left > 0 {
            self.pause.store(left - 1, Ordering::Relaxed);
        }
        left <= 0
    }

    /// The file is held from now on. The caller makes sure that nobody else uses it or is about to.
    pub(super) fn hold(&self, by: Weak<dyn Settle>) {
        *self.by.lock() = Some(by);
        self.is_held.store(true, Ordering::SeqCst);
    }

    /// The holder has no further claim.
    pub(crate) fn release(&self, how: Use) {
        self.pause.store(how.pause(), Ordering::Relaxed);
        self.is_held.store(false, Ordering::SeqCst);
    }

    /// Has the holder's calls carried out, if there is one. Takes locks of tasks and files.
    pub(super) fn settle(&self) {
        if !self.is_held() {
            return;
        }
        let by = self.by.lock().as_ref().and_then(Weak::upgrade);
        match by {
            Some(by) => by.settle(Use::Shared),
            None => self.release(Use::None),
        }
    }

    /// Whether somebody holds it.
    pub(super) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Holder(held: {})", self.is_held.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Weak};

    use super::{Holder, Settle, Use};

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Settle for Counter {
        fn settle(&self, _how: Use) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn others_settle_while_a_file_is_held_and_no_longer() {
        let (holder, counter) = (Holder::default(), Arc::new(Counter::default()));
        let weak: Weak<Counter> = Arc::downgrade(&counter);
        holder.settle();
        holder.hold(weak);
        holder.settle();
        holder.release(Use::Good);
        holder.settle();
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_was_of_no_use_is_not_promised_for_a_while() {
        let holder = Holder::default();
        holder.release(Use::None);
        let refused = (0..100).take_while(|_| !holder.is_worth_it()).count();
        assert_eq!(refused, 4);
        holder.release(Use::Good);
        assert!(holder.is_worth_it());
    }
}
