//! Priority-inheriting locks (`man 2 futex`, "Priority-inheritance futexes").
//!
//! The host schedules our threads, so there is no priority to inherit: what remains is the protocol. The word holds the
//! owner's thread number; the kernel hands the lock over to the first waiter, so that ownership never is in doubt. Each
//! waiter knows who it waits for, as Linux's `futex_pi_state` does: the word is the guest's to spoil.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use abi::futex::{FUTEX_BITSET_MATCH_ANY, FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};
use abi::{Errno, Result};
use parking_lot::Mutex;

use super::FutexTable;
use super::table::{Bucket, NOBODY, PiLock, PiWait, Waiter};
use super::wait::{WaitTarget, is_interruption};
use crate::error::{Restart, SysError, SysResult};
use crate::mm::{FutexKey, FutexWord, MemoryManager, WordResult, Words};
use crate::task::Task;
use crate::time::MonotonicTime;

/// What trying to take a lock gave.
enum Attempt {
    Taken,
    /// It is to be had from the task with this id.
    Busy(u64),
}

/// Somebody who queues at `key` to get `lock`.
fn pi_waiter(task: &Arc<Task>, key: FutexKey, lock: PiLock) -> Arc<Waiter> {
    Arc::new(Waiter {
        key: Mutex::new(key),
        bitset: FUTEX_BITSET_MATCH_ANY,
        is_woken: AtomicBool::new(false),
        index: 0,
        pi: Some(PiWait { task: task.clone(), lock, owner: AtomicU64::new(NOBODY) }),
        parker: task.wake().parker().clone(),
    })
}

/// Tries to make `task` the owner, with `flags` in the word besides; otherwise sets the waiters' bit. The bucket is the
/// lock's, and locked.
fn try_take(
    words: &Words<'_>,
    bucket: &Bucket,
    lock: &PiLock,
    task: &Task,
    flags: u32,
) -> WordResult<Attempt> {
    let tid = task.tid().unsigned_abs();
    let mut word = words.load_u32(lock.addr)?;
    loop {
        let holder = word & FUTEX_TID_MASK;
        if holder == tid {
            return Err(Errno::EDEADLK.into());
        }
        if let Some(owner) = bucket.awaited_owner(&lock.key)? {
            // One that is dying has marked it already, and will hand it on.
            let is_left = holder == 0 && word & FUTEX_OWNER_DIED != 0;
            let is_meant = is_left || find(task, holder).is_some_and(|task| task.id() == owner);
            return if is_meant { Ok(Attempt::Busy(owner)) } else { Err(Errno::EINVAL.into()) };
        }
        let (attempt, new) = if holder == 0 {
            (Attempt::Taken, (word & FUTEX_OWNER_DIED) | flags | tid)
        } else if let Some(owner) = find(task, holder).filter(|owner| !owner.has_released_futexes()) {
            (Attempt::Busy(owner.id()), word | FUTEX_WAITERS)
        } else {
            // Corrupted, or its owner died without a robust list; or it has let go since the word was read.
            let now = words.load_u32(lock.addr)?;
            if now == word {
                return Err(Errno::ESRCH.into());
            }
            word = now;
            continue;
        };
        let seen = words.compare_exchange_u32(lock.addr, word, new)?;
        if seen == word {
            return Ok(attempt);
        }
        word = seen;
    }
}

/// Who has the number `tid` for `task`.
fn find(task: &Task, tid: u32) -> Option<Arc<Task>> {
    i32::try_from(tid).ok().and_then(|tid| task.pid_ns().task(tid))
}

impl FutexTable {
    /// FUTEX_LOCK_PI.
    ///
    /// # Errors
    /// `EDEADLK`, `ESRCH`, `EFAULT`, `EINVAL`, `ETIMEDOUT`.
    pub fn lock_pi(
        &self,
        task: &Arc<Task>,
        word: FutexWord,
        deadline: Option<MonotonicTime>,
    ) -> SysResult<()> {
        let mm = task.mm();
        let key = mm.futex_key(word)?;
        let lock = PiLock { key, addr: word.addr };
        let waiter = pi_waiter(task, key, lock);
        self.begin_pi_interest(&key);
        let result = (|| {
            let attempt = mm.with_words(|words| {
                let mut bucket = self.bucket(&key);
                let attempt = try_take(words, &bucket, &lock, task, 0)?;
                if let Attempt::Busy(owner) = attempt {
                    bucket.push_behind(owner, &lock, waiter.clone());
                }
                Ok(attempt)
            })?;
            match attempt {
                Attempt::Taken => Ok(()),
                Attempt::Busy(_) => self.sleep_for_lock(task, &waiter, deadline),
            }
        })();
        self.forget(&waiter);
        self.end_pi_interest(&waiter.key.lock());
        match result {
            // A signal does not end the wait for a lock: the call is always made again.
            Err(error) if is_interruption(&error) => Err(SysError::Restart(Restart::NoIntr)),
            other => other,
        }
    }

    /// FUTEX_TRYLOCK_PI.
    ///
    /// # Errors
    /// `EAGAIN` where somebody else has it; as [`Self::lock_pi`].
    pub fn trylock_pi(&self, task: &Task, word: FutexWord) -> Result<()> {
        let mm = task.mm();
        let lock = PiLock { key: mm.futex_key(word)?, addr: word.addr };
        let attempt = mm.with_words(|words| try_take(words, &self.bucket(&lock.key), &lock, task, 0))?;
        if matches!(attempt, Attempt::Taken) { Ok(()) } else { Err(Errno::EAGAIN) }
    }

    fn sleep_for_lock(
        &self,
        task: &Task,
        waiter: &Arc<Waiter>,
        deadline: Option<MonotonicTime>,
    ) -> SysResult<()> {
        loop {
            if waiter.is_woken() {
                // Woken without it: the word could not be written.
                let has_lock = waiter.pi.as_ref().is_some_and(|pi| pi.owner() == task.id());
                return if has_lock { Ok(()) } else { Err(Errno::EFAULT.into()) };
            }
            if let Err(error) = task.sleep(deadline) {
                // Handed over at the last moment?
                self.forget(waiter);
                if !waiter.is_woken() {
                    return Err(error);
                }
            }
        }
    }

    /// FUTEX_UNLOCK_PI: hands the lock to the first waiter.
    ///
    /// # Errors
    /// `EPERM` where the caller does not own it, `EFAULT`, `EINVAL`.
    pub fn unlock_pi(&self, task: &Task, word: FutexWord) -> Result<()> {
        let mm = task.mm();
        let lock = PiLock { key: mm.futex_key(word)?, addr: word.addr };
        if mm.load_u32(word.addr)? & FUTEX_TID_MASK != task.tid().unsigned_abs() {
            return Err(Errno::EPERM);
        }
        let next = mm.with_words(|words| {
            let mut bucket = self.bucket(&lock.key);
            if bucket.awaited_owner(&lock.key)?.is_some_and(|owner| owner != task.id()) {
                return Err(Errno::EINVAL.into());
            }
            hand_over(words, &mut bucket, &lock, 0)
        })?;
        if let Some(next) = next {
            next.parker.unpark();
        }
        Ok(())
    }

    /// FUTEX_WAIT_REQUEUE_PI: sleeps on `from` until CMP_REQUEUE_PI has made the caller the owner of `lock`.
    ///
    /// # Errors
    /// `EAGAIN` where the word differs, `ETIMEDOUT`, `EINVAL`, `EFAULT`.
    pub fn wait_requeue_pi(
        &self,
        task: &Arc<Task>,
        from: WaitTarget,
        lock: FutexWord,
        deadline: Option<MonotonicTime>,
    ) -> SysResult<()> {
        let mm = task.mm();
        let (key, lock_key) = (mm.futex_key(from.word)?, mm.futex_key(lock)?);
        if key == lock_key {
            return Err(Errno::EINVAL.into());
        }
        let waiter = pi_waiter(task, key, PiLock { key: lock_key, addr: lock.addr });
        self.begin_pi_interest(&key);
        let result = (|| {
            mm.with_words(|words| {
                let mut bucket = self.bucket(&key);
                if words.load_u32(from.word.addr)? != from.expected {
                    return Err(Errno::EAGAIN.into());
                }
                bucket.push(key, waiter.clone());
                Ok(())
            })?;
            self.sleep_for_lock(task, &waiter, deadline)
        })();
        self.forget(&waiter);
        self.end_pi_interest(&waiter.key.lock());
        match result {
            Err(error) if is_interruption(&error) => {
                // Moved to the lock already: as for LOCK_PI, but the first word cannot be waited on again.
                let was_moved = waiter.pi.as_ref().is_some_and(|pi| pi.owner() != NOBODY);
                Err(if was_moved { Errno::EAGAIN.into() } else { SysError::Restart(Restart::NoIntr) })
            }
            other => other,
        }
    }

    /// FUTEX_CMP_REQUEUE_PI: makes one waiter of `from` the owner of `lock` if that is free, and queues up to `moved`
    /// others for it. Returns how many waiters that were.
    ///
    /// # Errors
    /// `EAGAIN` where the word differs, `EINVAL`, `EFAULT`, `ESRCH`, `EDEADLK`.
    pub fn requeue_pi(
        &self,
        mm: &MemoryManager,
        (from, lock): (FutexWord, FutexWord),
        moved: usize,
        expected: u32,
    ) -> Result<usize> {
        let from_key = mm.futex_key(from)?;
        let lock = PiLock { key: mm.futex_key(lock)?, addr: lock.addr };
        if from_key == lock.key {
            return Err(Errno::EINVAL);
        }
        let step = |words: &Words<'_>, source: &mut Bucket, target: Option<&mut Bucket>| {
            if words.load_u32(from.addr)? != expected {
                return Err(Errno::EAGAIN.into());
            }
            let may_move = |waiter: &Waiter| {
                waiter.pi.as_ref().is_some_and(|pi| pi.lock.key == lock.key && pi.owner() == NOBODY)
            };
            if source.waiters.iter().any(|(at, waiter)| *at == from_key && !may_move(waiter)) {
                return Err(Errno::EINVAL.into());
            }
            // The first gets the lock if that is free. Nobody moves before this has gone well: a bad word fails the call.
            let mut queued = source.waiters.iter().filter(|(at, _)| *at == from_key);
            let Some(first) = queued.next().and_then(|(_, waiter)| waiter.pi.as_ref()) else {
                return Ok((None, 0));
            };
            let follows = if moved > 0 && queued.next().is_some() { FUTEX_WAITERS } else { 0 };
            let bucket = target.as_deref().unwrap_or(source);
            let attempt = try_take(words, bucket, &lock, &first.task, follows)?;
            let owner = match attempt {
                Attempt::Taken => first.task.id(),
                Attempt::Busy(owner) => owner,
            };
            let mut movers = source.take(&from_key, moved.saturating_add(1), FUTEX_BITSET_MATCH_ANY);
            for waiter in &movers {
                *waiter.key.lock() = lock.key;
                self.move_interest(&from_key, &lock.key);
            }
            let count = movers.len();
            let target = target.unwrap_or(source);
            let taker = matches!(attempt, Attempt::Taken).then(|| movers.remove(0));
            for waiter in movers {
                target.push_behind(owner, &lock, waiter);
            }
            if let Some(taker) = &taker {
                taker.give(owner);
            }
            Ok((taker, count))
        };
        let (taker, count) = mm.with_words(|words| {
            self.with_both(&from_key, &lock.key, |source, target| step(words, source, target))
        })?;
        if let Some(taker) = taker {
            taker.parker.unpark();
        }
        Ok(count)
    }
}

/// Gives a lock that its owner leaves to the first waiter, to be unparked, or frees it. `mark` is or-ed into the word.
fn hand_over(
    words: &Words<'_>,
    bucket: &mut Bucket,
    lock: &PiLock,
    mark: u32,
) -> WordResult<Option<Arc<Waiter>>> {
    let queued = || bucket.waiters.iter().filter(|(at, _)| *at == lock.key).map(|(_, waiter)| waiter);
    let awaits = |waiter: &&Arc<Waiter>| waiter.pi.as_ref().is_some_and(|pi| pi.owner() != NOBODY);
    let first = queued().find(awaits).cloned();
    let waiters = if queued().nth(1).is_some() { FUTEX_WAITERS } else { 0 };
    let heir = first.as_ref().and_then(|first| first.pi.as_ref()).map(|pi| &pi.task);
    let new = mark | heir.map_or(0, |heir| heir.tid().unsigned_abs() | waiters);
    let mut word = words.load_u32(lock.addr)?;
    loop {
        let seen = words.compare_exchange_u32(lock.addr, word, new)?;
        if seen == word {
            break;
        }
        word = seen;
    }
    if let (Some(first), Some(heir)) = (&first, heir) {
        bucket.change_owner(&lock.key, heir.id());
        bucket.release(first);
    }
    Ok(first)
}

impl Task {
    /// Hands on the priority-inheriting locks that others await from this task, which ends or executes a program.
    pub(super) fn release_pi_locks(&self) {
        // Who looks at a lock after this does not queue, and who did before is found.
        self.set_futexes_released(true);
        let table = &self.kernel().futexes;
        for key in table.locks_awaited_from(self.id()) {
            loop {
                let heir = table.bucket(&key).first_behind(&key, self.id()).cloned();
                let Some(heir) = heir else { break };
                self.bequeath(&heir);
            }
        }
    }

    /// Hands a lock to `heir`, if that still is the first to await it.
    fn bequeath(&self, heir: &Arc<Waiter>) {
        let (table, Some(wait)) = (&self.kernel().futexes, &heir.pi) else { return };
        let PiWait { task, lock, .. } = wait;
        // The word as the heir sees it: this task may have unmapped it.
        let handed = task.try_mm().ok_or(Errno::EFAULT).and_then(|mm| {
            mm.with_words(|words| {
                let mut bucket = table.bucket(&lock.key);
                let first = bucket.first_behind(&lock.key, self.id());
                if !first.is_some_and(|first| Arc::ptr_eq(first, heir)) {
                    return Ok(None);
                }
                hand_over(words, &mut bucket, lock, FUTEX_OWNER_DIED)
            })
        });
        let woken = handed.unwrap_or_else(|_| {
            let was_queued = table.bucket(&lock.key).release(heir);
            was_queued.then(|| heir.clone())
        });
        if let Some(woken) = woken {
            woken.parker.unpark();
        }
    }
}
