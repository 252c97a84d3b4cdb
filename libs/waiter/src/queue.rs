//! The wait queue: who wants to hear of which events.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::Events;

/// Somebody who wants to hear of events. Called with the queue's lock held: set a flag, wake a thread, return.
pub trait Notify: Send + Sync {
    /// `events` have happened, as far as the notifier knows; re-check before relying on it.
    /// Returns whether this waiter consumed the event (see [`WaitQueue::notify_one`]).
    fn notify(&self, events: Events) -> bool;
}

struct Entry {
    mask: Events,
    waiter: Arc<dyn Notify>,
}

/// Who waits. A guest decides how many there are, so that leaving costs no walk over the others.
#[derive(Default)]
struct Entries {
    next_id: u64,
    /// By number, which is the order of arrival.
    list: BTreeMap<u64, Entry>,
    /// For each bit of a mask, how many entries have it.
    wanted: [usize; u32::BITS as usize],
}

impl Entries {
    fn insert(&mut self, entry: Entry) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        for bit in bits_of(entry.mask) {
            self.wanted[bit] += 1;
        }
        self.list.insert(id, entry);
        id
    }

    fn remove(&mut self, id: u64) -> Option<Entry> {
        let entry = self.list.remove(&id)?;
        for bit in bits_of(entry.mask) {
            self.wanted[bit] -= 1;
        }
        Some(entry)
    }

    /// The union of all masks.
    fn interest(&self) -> u32 {
        (0..u32::BITS).filter(|bit| self.wanted[*bit as usize] > 0).fold(0, |all, bit| all | 1 << bit)
    }
}

/// The numbers of the bits that are set.
fn bits_of(mask: Events) -> impl Iterator<Item = usize> {
    let mut rest = mask.bits();
    std::iter::from_fn(move || {
        let bit = (rest != 0).then(|| rest.trailing_zeros())?;
        rest &= rest - 1;
        Some(bit as usize)
    })
}

#[derive(Default)]
struct Shared {
    /// The union of all masks, readable without the lock: notifying a queue without listeners costs one load.
    interest: AtomicU32,
    entries: Mutex<Entries>,
}

/// A queue of waiters. Cloning makes another handle to the same queue.
#[derive(Clone, Default)]
pub struct WaitQueue(Arc<Shared>);

impl WaitQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells `waiter` of `mask` (and of errors and hang-ups) until the registration is dropped.
    #[must_use = "dropping the registration ends it"]
    pub fn register(&self, mask: Events, waiter: Arc<dyn Notify>) -> Registration {
        let mask = mask | Events::ALWAYS;
        let mut entries = self.0.entries.lock();
        let id = entries.insert(Entry { mask, waiter });
        // SeqCst pairs with the load in `notify`: either the notifier sees the interest, or the waiter, which checks
        // its condition after this store, sees what the notifier changed.
        self.0.interest.fetch_or(mask.bits(), Ordering::SeqCst);
        Registration { queue: self.0.clone(), id }
    }

    /// Tells everyone who asked for any of `events`.
    pub fn notify(&self, events: Events) {
        self.deliver(events, usize::MAX);
    }

    /// Tells waiters in order of arrival until one says that it consumed the event (exclusive wake-ups).
    pub fn notify_one(&self, events: Events) {
        self.deliver(events, 1);
    }

    /// Whether anybody is registered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.interest.load(Ordering::SeqCst) == 0
    }

    fn deliver(&self, events: Events, mut limit: usize) {
        std::sync::atomic::fence(Ordering::SeqCst);
        if self.0.interest.load(Ordering::SeqCst) & events.bits() == 0 {
            return;
        }
        for entry in self.0.entries.lock().list.values() {
            let hit = entry.mask & events;
            if !hit.is_empty() && entry.waiter.notify(hit) {
                limit -= 1;
                if limit == 0 {
                    break;
                }
            }
        }
    }
}

impl fmt::Debug for WaitQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WaitQueue({} waiters)", self.0.entries.lock().list.len())
    }
}

/// A waiter's place in a queue; dropping it leaves the queue.
pub struct Registration {
    queue: Arc<Shared>,
    id: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut entries = self.queue.entries.lock();
        let left = entries.remove(self.id);
        self.queue.interest.store(entries.interest(), Ordering::SeqCst);
        drop(entries);
        // What the waiter holds may want the queue when it goes.
        drop(left);
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registration({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::{Notify, WaitQueue};
    use crate::Events;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Notify for Count {
        fn notify(&self, _events: Events) -> bool {
            self.0.fetch_add(1, Ordering::SeqCst);
            true
        }
    }

    #[test]
    fn registered_waiters_hear_only_their_events() {
        let (queue, reader, writer) =
            (WaitQueue::new(), Arc::new(Count::default()), Arc::new(Count::default()));
        let _read = queue.register(Events::READABLE, reader.clone());
        let write = queue.register(Events::WRITABLE, writer.clone());
        queue.notify(Events::IN);
        queue.notify(Events::HUP);
        drop(write);
        queue.notify(Events::OUT);
        assert_eq!((reader.0.load(Ordering::SeqCst), writer.0.load(Ordering::SeqCst)), (2, 1));
    }

    #[test]
    fn notify_one_stops_at_the_first_consumer() {
        let (queue, a, b) = (WaitQueue::new(), Arc::new(Count::default()), Arc::new(Count::default()));
        let _ra = queue.register(Events::IN, a.clone());
        let _rb = queue.register(Events::IN, b.clone());
        queue.notify_one(Events::IN);
        assert_eq!((a.0.load(Ordering::SeqCst), b.0.load(Ordering::SeqCst)), (1, 0));
    }

    #[test]
    fn interest_lasts_as_long_as_the_last_who_has_it() {
        let (queue, waiter) = (WaitQueue::new(), Arc::new(Count::default()));
        let first = queue.register(Events::IN, waiter.clone());
        let second = queue.register(Events::IN | Events::OUT, waiter.clone());
        drop(first);
        queue.notify(Events::IN);
        drop(second);
        assert!(queue.is_empty());
        queue.notify(Events::IN);
        assert_eq!(waiter.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_hundred_thousand_leave_in_any_order() {
        let (queue, waiter) = (WaitQueue::new(), Arc::new(Count::default()));
        let all: Vec<_> = (0..100_000).map(|_| queue.register(Events::IN, waiter.clone())).collect();
        let (even, odd): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|registration| registration.id % 2 == 0);
        drop(odd);
        queue.notify(Events::IN);
        assert_eq!(waiter.0.load(Ordering::SeqCst), 50_000);
        even.into_iter().rev().for_each(drop);
        assert!(queue.is_empty());
    }
}
