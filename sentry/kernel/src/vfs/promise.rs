//! Open files whose reads and writes are promised to a thread ahead of its calls, which it then *posts*
//! (`task/posted.rs`): for as long as that lasts the thread *holds* the file.
//!
//! Everybody else who is about to use the file has the holder's calls carried out first. Whoever looks a descriptor up
//! does that ([`super::FdTable`]); what is held has no other user at that moment, which the table's lock and the file's
//! reference count tell.

use std::fmt;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;

use super::{Fd, File};

/// Files that a thread may soon want to use, and their numbers.
#[derive(Default)]
pub(crate) struct Candidates {
    pub(crate) files: Vec<(Fd, Weak<File>)>,
    /// The epoll instance that has told of them.
    pub(crate) epoll: Option<(Fd, Weak<File>)>,
}

/// What can be done with a file now, without waiting. Nothing by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Promise {
    /// Bytes that can be read: all that there are.
    pub input: usize,
    /// Bytes that can be written.
    pub credit: usize,
}

/// When what was written leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Push {
    /// At once.
    Now,
    /// With what follows at once, so that both may be one packet.
    WithNext,
}

/// A file whose calls can be promised. Between a promise and what is said of it nobody else uses the file.
pub trait Promising {
    /// Copies what can be read into `buffer`, if all of it fits, and says how much could be written.
    fn promise(&self, buffer: &mut [u8]) -> Promise;

    /// The first `len` of the promised bytes were read.
    fn keep_read(&self, len: usize);

    /// `data` was written, which is no more than was promised.
    fn keep_written(&self, data: &[u8], push: Push);
}

/// Whoever holds files.
pub(crate) trait Settle: Send + Sync {
    /// Carries out what was posted to all of them, and gives them back, since somebody else wants the one with this
    /// holder.
    fn settle_for(&self, wanted: &Holder);
}

/// What came of a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// The thread has posted calls.
    Good,
    /// It has, but the first answers waited for those that came after.
    Slow,
    /// It has not.
    None,
    /// Somebody else wanted the file.
    Shared,
    /// Nobody came for what the thread had written: it had other things to do.
    Late,
}

impl Use {
    /// How many times the file is not promised when it could be, for the first time.
    const fn pause(self) -> u32 {
        match self {
            Self::Good => 0,
            Self::None | Self::Slow => 4,
            // The host may just have had other things to run: it takes more of these to be sure.
            Self::Late => 8,
            Self::Shared => 32,
        }
    }
}

/// A pause is no longer than this.
const LONGEST_PAUSE: u32 = 4096;
/// A pause is doubled this often at most.
const MOST_DOUBLINGS: u32 = 10;

/// Who holds an open file. Locks: `by` is a leaf.
#[derive(Default)]
pub(crate) struct Holder {
    is_held: AtomicBool,
    by: Mutex<Option<Weak<dyn Settle>>>,
    pause: AtomicU32,
    /// Promises in succession that were of no use.
    failures: AtomicU32,
}

impl Holder {
    /// Whether the file should be promised now; counts the times that it should not.
    pub(crate) fn is_worth_it(&self) -> bool {
        let left = self.pause.load(Ordering::Relaxed);
        self.pause.store(left.saturating_sub(1), Ordering::Relaxed);
        left == 0
    }

    /// The file is held from now on. The caller makes sure that nobody else uses it or is about to.
    pub(super) fn hold(&self, by: Weak<dyn Settle>) {
        *self.by.lock() = Some(by);
        self.is_held.store(true, Ordering::SeqCst);
    }

    /// The holder has no further claim.
    pub(crate) fn release(&self) {
        self.is_held.store(false, Ordering::SeqCst);
    }

    /// Learns from what came of a promise. A program that never has a use for them is asked ever less often.
    pub(crate) fn learn(&self, how: Use) {
        let failures = match how {
            Use::Good => 0,
            _ => self.failures.load(Ordering::Relaxed).saturating_add(1),
        };
        self.failures.store(failures, Ordering::Relaxed);
        let doublings = failures.saturating_sub(1).min(MOST_DOUBLINGS);
        self.pause.store((how.pause() << doublings).min(LONGEST_PAUSE), Ordering::Relaxed);
    }

    /// Has the holder's calls carried out, if there is one. Takes locks of tasks and files.
    pub(super) fn settle(&self) {
        if !self.is_held() {
            return;
        }
        let by = self.by.lock().as_ref().and_then(Weak::upgrade);
        match by {
            Some(by) => by.settle_for(self),
            None => self.release(),
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

    use super::{Holder, LONGEST_PAUSE, Settle, Use};

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Settle for Counter {
        fn settle_for(&self, _wanted: &Holder) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn others_settle_while_a_file_is_held_and_no_longer() {
        let (holder, counter) = (Holder::default(), Arc::new(Counter::default()));
        let weak: Weak<Counter> = Arc::downgrade(&counter);
        holder.settle();
        holder.hold(weak.clone());
        holder.settle();
        holder.release();
        holder.settle();
        assert_eq!(counter.0.load(Ordering::SeqCst), 1);
        drop(counter);
        holder.hold(weak);
        holder.settle();
        assert!(!holder.is_held(), "a holder that is gone has no claim");
    }

    /// How often it is not promised.
    fn refusals(holder: &Holder) -> u32 {
        (0..).take_while(|_| !holder.is_worth_it()).count() as u32
    }

    #[test]
    fn what_was_of_no_use_is_promised_ever_less_often() {
        let holder = Holder::default();
        for expected in [4, 8, 16, 32] {
            holder.learn(Use::None);
            assert_eq!(refusals(&holder), expected);
        }
        (0..40).for_each(|_| holder.learn(Use::Late));
        assert_eq!(refusals(&holder), LONGEST_PAUSE);
        holder.learn(Use::Good);
        assert_eq!(refusals(&holder), 0);
        holder.learn(Use::Shared);
        assert_eq!(refusals(&holder), 32);
    }
}
