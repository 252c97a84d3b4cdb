//! The table of waiters.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use abi::UserAddr;
use parking_lot::{Mutex, MutexGuard};
use waiter::Parker;

use crate::mm::{FutexKey, MemoryManager};
use crate::task::Task;

const BUCKETS: usize = 256;

/// One sleeper on one word.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Where it queues now: requeueing changes it, under both buckets' locks.
    pub(super) key: Mutex<FutexKey>,
    /// A wake-up with none of these bits passes by.
    pub(super) bitset: u32,
    /// Set once it is out of the queue and may go on.
    pub(super) is_woken: AtomicBool,
    /// Which of several words (futex_waitv(2)).
    pub(super) index: usize,
    /// For priority-inheriting locks: who waits.
    pub(super) task: Option<Arc<Task>>,
    /// A plain waiter that CMP_REQUEUE_PI may move to a lock.
    pub(super) is_requeue_pi: bool,
    /// Set, under the bucket's lock, once it has been moved to or given the lock.
    pub(super) was_requeued: AtomicBool,
    pub(super) parker: Arc<Parker>,
}

impl Waiter {
    /// Lets the sleeper go on; it is out of the queue already.
    pub(super) fn wake(&self) {
        self.is_woken.store(true, Ordering::SeqCst);
        self.parker.unpark();
    }

    pub(super) fn is_woken(&self) -> bool {
        self.is_woken.load(Ordering::SeqCst)
    }
}

/// The waiters of some keys, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) waiters: VecDeque<(FutexKey, Arc<Waiter>)>,
}

impl Bucket {
    pub(super) fn push(&mut self, key: FutexKey, waiter: Arc<Waiter>) {
        self.waiters.push_back((key, waiter));
    }

    /// Takes a waiter out; says whether it was there.
    pub(super) fn remove(&mut self, waiter: &Arc<Waiter>) -> bool {
        let at = self.waiters.iter().position(|(_, other)| Arc::ptr_eq(other, waiter));
        at.is_some_and(|at| self.waiters.remove(at).is_some())
    }

    /// Whether somebody waits at `key` for a priority-inheriting lock, or to be moved to one: not for plain wake-ups.
    pub(super) fn has_pi_waiter(&self, key: &FutexKey) -> bool {
        self.waiters.iter().any(|(at, waiter)| at == key && waiter.task.is_some())
    }

    /// Takes up to `max` waiters on `key` whose bits match out of the queue.
    pub(super) fn take(&mut self, key: &FutexKey, max: usize, bitset: u32) -> Vec<Arc<Waiter>> {
        let mut taken = Vec::new();
        let mut index = 0;
        while taken.len() < max && index < self.waiters.len() {
            let (at, waiter) = &self.waiters[index];
            if at == key && waiter.bitset & bitset != 0 {
                taken.extend(self.waiters.remove(index).map(|(_, waiter)| waiter));
            } else {
                index += 1;
            }
        }
        taken
    }
}

/// All waiters of the sandbox.
#[derive(Debug)]
pub struct FutexTable {
    buckets: Vec<Slot>,
    /// Waiters with a task: where there are none, a thread that ends has no locks to look for.
    pi_waiters: AtomicUsize,
}

#[derive(Debug, Default)]
struct Slot {
    /// Waiters queued or about to be: a wake-up of a futex without any costs one load.
    interest: AtomicUsize,
    bucket: Mutex<Bucket>,
}

impl Default for FutexTable {
    fn default() -> Self {
        Self { buckets: (0..BUCKETS).map(|_| Slot::default()).collect(), pi_waiters: AtomicUsize::new(0) }
    }
}

impl FutexTable {
    /// The bucket of a key. Guests could make keys meet in one with any hash that has so few values.
    fn index(key: &FutexKey) -> usize {
        let (within, place) = match *key {
            FutexKey::Private { space, addr } => (space, addr),
            FutexKey::Shared { object, offset } => (object, offset),
        };
        // Fibonacci hashing: the highest bits depend on all others.
        let mixed = (place ^ (within as u64).rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (u64::BITS - BUCKETS.ilog2())) as usize
    }

    pub(super) fn bucket(&self, key: &FutexKey) -> MutexGuard<'_, Bucket> {
        self.buckets[Self::index(key)].bucket.lock()
    }

    /// Announces a waiter, before it compares the word.
    pub(super) fn begin_interest(&self, key: &FutexKey) {
        self.buckets[Self::index(key)].interest.fetch_add(1, Ordering::SeqCst);
    }

    /// A waiter that queued under `key` last has gone.
    pub(super) fn end_interest(&self, key: &FutexKey) {
        self.buckets[Self::index(key)].interest.fetch_sub(1, Ordering::SeqCst);
    }

    /// As [`Self::begin_interest`], for a waiter with a task.
    pub(super) fn begin_pi_interest(&self, key: &FutexKey) {
        self.pi_waiters.fetch_add(1, Ordering::SeqCst);
        self.begin_interest(key);
    }

    /// As [`Self::end_interest`], for a waiter with a task.
    pub(super) fn end_pi_interest(&self, key: &FutexKey) {
        self.end_interest(key);
        self.pi_waiters.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether anybody may wait in the bucket of `key`.
    pub(super) fn has_interest(&self, key: &FutexKey) -> bool {
        std::sync::atomic::fence(Ordering::SeqCst);
        self.buckets[Self::index(key)].interest.load(Ordering::SeqCst) != 0
    }

    /// Runs `f` with the buckets of both keys locked; the second is `None` where they are the same bucket.
    pub(super) fn with_both<T>(
        &self,
        first: &FutexKey,
        second: &FutexKey,
        f: impl FnOnce(&mut Bucket, Option<&mut Bucket>) -> T,
    ) -> T {
        let (a, b) = (Self::index(first), Self::index(second));
        if a == b {
            return f(&mut self.buckets[a].bucket.lock(), None);
        }
        let (low, high) = (a.min(b), a.max(b));
        let (mut low_guard, mut high_guard) =
            (self.buckets[low].bucket.lock(), self.buckets[high].bucket.lock());
        if a == low {
            f(&mut low_guard, Some(&mut high_guard))
        } else {
            f(&mut high_guard, Some(&mut low_guard))
        }
    }

    /// Moves a waiter's place in the counts of interest along with its place in the queues.
    pub(super) fn move_interest(&self, from: &FutexKey, to: &FutexKey) {
        self.buckets[Self::index(to)].interest.fetch_add(1, Ordering::SeqCst);
        self.buckets[Self::index(from)].interest.fetch_sub(1, Ordering::SeqCst);
    }

    /// Takes a waiter out of wherever it queues now; says whether it was still queued.
    pub(super) fn forget(&self, waiter: &Arc<Waiter>) -> bool {
        loop {
            let key = *waiter.key.lock();
            let mut bucket = self.bucket(&key);
            // It may have been moved while the bucket was not locked.
            if *waiter.key.lock() == key {
                return bucket.remove(waiter);
            }
        }
    }

    /// The locks in `mm`'s own memory that somebody waits for as a priority-inheriting lock.
    pub(super) fn waited_pi_locks(&self, mm: &MemoryManager) -> Vec<(FutexKey, UserAddr)> {
        let mut locks = Vec::new();
        if self.pi_waiters.load(Ordering::SeqCst) == 0 {
            return locks;
        }
        for slot in &self.buckets {
            if slot.interest.load(Ordering::SeqCst) == 0 {
                continue;
            }
            for (key, waiter) in &slot.bucket.lock().waiters {
                let FutexKey::Private { addr, .. } = *key else { continue };
                let lock = (*key, UserAddr(addr));
                if waiter.task.is_some() && mm.owns_futex(key) && !locks.contains(&lock) {
                    locks.push(lock);
                }
            }
        }
        locks
    }
}
