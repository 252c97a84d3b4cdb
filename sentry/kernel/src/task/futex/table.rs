//! The table of waiters.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use abi::{Errno, Result, UserAddr};
use parking_lot::{Mutex, MutexGuard};
use waiter::Parker;

use crate::mm::FutexKey;
use crate::task::Task;

const BUCKETS: usize = 256;

/// One sleeper on one word.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Where it queues now: requeueing changes it, under both buckets' locks.
    pub(super) key: Mutex<FutexKey>,
    /// A wake-up with none of these bits passes by.
    pub(super) bitset: u32,
    /// Set, under the bucket's lock, when it is taken out of the queue and may go on.
    pub(super) is_woken: AtomicBool,
    /// Which of several words (futex_waitv(2)).
    pub(super) index: usize,
    /// Where it waits for a priority-inheriting lock.
    pub(super) pi: Option<PiWait>,
    pub(super) parker: Arc<Parker>,
}

/// A priority-inheriting lock as one task names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PiLock {
    pub(super) key: FutexKey,
    pub(super) addr: UserAddr,
}

/// Waits for a priority-inheriting lock, or in FUTEX_WAIT_REQUEUE_PI for CMP_REQUEUE_PI to move it to one.
#[derive(Debug)]
pub(super) struct PiWait {
    pub(super) task: Arc<Task>,
    pub(super) lock: PiLock,
    /// The [`Task::id`] of who has the lock, itself when it was handed over; [`NOBODY`] until it queues for the lock.
    /// Changes under the bucket's lock.
    pub(super) owner: AtomicU64,
}

/// No task's id.
pub(super) const NOBODY: u64 = 0;

impl PiWait {
    pub(super) fn owner(&self) -> u64 {
        self.owner.load(Ordering::SeqCst)
    }

    pub(super) fn set_owner(&self, task_id: u64) {
        self.owner.store(task_id, Ordering::SeqCst);
    }
}

impl Waiter {
    /// Makes it the owner, with the task id `owner`, of the lock that it waits for. It is out of the queue.
    pub(super) fn give(&self, owner: u64) {
        if let Some(pi) = &self.pi {
            pi.set_owner(owner);
        }
        self.is_woken.store(true, Ordering::SeqCst);
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

    /// Queues somebody who awaits `lock` from `owner`.
    pub(super) fn push_behind(&mut self, owner: u64, lock: &PiLock, waiter: Arc<Waiter>) {
        if let Some(pi) = &waiter.pi {
            pi.set_owner(owner);
        }
        self.push(lock.key, waiter);
    }

    /// Who awaits the lock at `key` awaits it from `owner` now.
    pub(super) fn change_owner(&self, key: &FutexKey, owner: u64) {
        for pi in self.waiters.iter().filter(|(at, _)| at == key).filter_map(|(_, waiter)| waiter.pi.as_ref())
        {
            pi.set_owner(owner);
        }
    }

    /// Takes a waiter out; says whether it was there.
    pub(super) fn remove(&mut self, waiter: &Arc<Waiter>) -> bool {
        let at = self.waiters.iter().position(|(_, other)| Arc::ptr_eq(other, waiter));
        at.is_some_and(|at| self.waiters.remove(at).is_some())
    }

    /// Takes a waiter out, which may go on as soon as it is unparked; says whether it was there.
    pub(super) fn release(&mut self, waiter: &Arc<Waiter>) -> bool {
        let was_queued = self.remove(waiter);
        if was_queued {
            waiter.is_woken.store(true, Ordering::SeqCst);
        }
        was_queued
    }

    /// Whether somebody waits at `key` for a priority-inheriting lock, or to be moved to one: not for plain wake-ups.
    pub(super) fn has_pi_waiter(&self, key: &FutexKey) -> bool {
        self.waiters.iter().any(|(at, waiter)| at == key && waiter.pi.is_some())
    }

    /// From whom those who wait at `key` for a priority-inheriting lock await it.
    ///
    /// # Errors
    /// `EINVAL` where the word is awaited as something else.
    pub(super) fn awaited_owner(&self, key: &FutexKey) -> Result<Option<u64>> {
        let Some((_, first)) = self.waiters.iter().find(|(at, _)| at == key) else { return Ok(None) };
        let owner = first.pi.as_ref().map_or(NOBODY, PiWait::owner);
        if owner == NOBODY { Err(Errno::EINVAL) } else { Ok(Some(owner)) }
    }

    /// The first who awaits the lock at `key` from `owner`.
    pub(super) fn first_behind(&self, key: &FutexKey, owner: u64) -> Option<&Arc<Waiter>> {
        let is_behind = |waiter: &Waiter| waiter.pi.as_ref().is_some_and(|pi| pi.owner() == owner);
        self.waiters.iter().find(|(at, waiter)| at == key && is_behind(waiter)).map(|(_, waiter)| waiter)
    }

    /// As [`Self::take`], of waiters that may go on as soon as they are unparked.
    pub(super) fn wake(&mut self, key: &FutexKey, max: usize, bitset: u32) -> Vec<Arc<Waiter>> {
        let woken = self.take(key, max, bitset);
        for waiter in &woken {
            waiter.is_woken.store(true, Ordering::SeqCst);
        }
        woken
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
    /// Waiters for priority-inheriting locks: where there are none, a thread that ends has no locks to look for.
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

    /// As [`Self::begin_interest`], for who waits for a priority-inheriting lock.
    pub(super) fn begin_pi_interest(&self, key: &FutexKey) {
        self.pi_waiters.fetch_add(1, Ordering::SeqCst);
        self.begin_interest(key);
    }

    /// As [`Self::end_interest`], for who waits for a priority-inheriting lock.
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

    /// The priority-inheriting locks that somebody awaits from `owner`.
    pub(super) fn locks_awaited_from(&self, owner: u64) -> Vec<FutexKey> {
        let mut locks = Vec::new();
        if self.pi_waiters.load(Ordering::SeqCst) == 0 {
            return locks;
        }
        for slot in &self.buckets {
            if slot.interest.load(Ordering::SeqCst) == 0 {
                continue;
            }
            for (key, waiter) in &slot.bucket.lock().waiters {
                let is_behind = waiter.pi.as_ref().is_some_and(|pi| pi.owner() == owner);
                if is_behind && !locks.contains(key) {
                    locks.push(*key);
                }
            }
        }
        locks
    }
}
