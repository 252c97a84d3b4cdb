//! Priority-inheriting locks (`man 2 futex`, "Priority-inheritance futexes").
//!
//! The host schedules our threads, so there is no priority to inherit: what remains is the protocol. The word holds the
//! owner's thread number; the kernel hands the lock over to the first waiter, so that ownership never is in doubt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::futex::{FUTEX_BITSET_MATCH_ANY, FUTEX_OWNER_DIED, FUTEX_TID_MASK, FUTEX_WAITERS};
use abi::{Errno, Result, UserAddr};
use parking_lot::Mutex;

use super::FutexTable;
use super::table::{Bucket, Waiter};
use super::wait::{WaitTarget, is_interruption};
use crate::error::{Restart, SysError, SysResult};
use crate::mm::{FutexKey, FutexWord, MemoryManager, WordResult, Words};
use crate::task::Task;
use crate::time::MonotonicTime;

/// What trying to take a lock gave.
enum Attempt {
    Taken,
    Busy,
}

fn pi_waiter(task: &Arc<Task>, key: FutexKey, is_requeue_pi: bool) -> Arc<Waiter> {
    Arc::new(Waiter {
        key: Mutex::new(key),
        bitset: FUTEX_BITSET_MATCH_ANY,
        is_woken: AtomicBool::new(false),
        index: 0,
        task: Some(task.clone()),
        is_requeue_pi,
        was_requeued: AtomicBool::new(false),
        parker: task.wake().parker().clone(),
    })
}

/// Whether others wait for the lock at `key`.
fn has_waiters(bucket: &Bucket, key: &FutexKey) -> bool {
    bucket.waiters.iter().any(|(at, _)| at == key)
}

/// Tries to make `task` the owner; otherwise sets the waiters' bit. The key's bucket is locked.
fn try_take(
    words: &Words<'_>,
    addr: UserAddr,
    task: &Task,
    others_wait: bool,
    mark: bool,
) -> WordResult<Attempt> {
    let tid = task.tid().unsigned_abs();
    let waiters = if others_wait { FUTEX_WAITERS } else { 0 };
    let mut word = words.load_u32(addr)?;
    loop {
        let owner = word & FUTEX_TID_MASK;
        let new = if owner == tid {
            return Err(Errno::EDEADLK.into());
        } else if owner == 0 {
            (word & FUTEX_OWNER_DIED) | waiters | tid
        } else if !mark || word & FUTEX_WAITERS != 0 {
            check_owner(task, owner)?;
            return Ok(Attempt::Busy);
        } else {
            check_owner(task, owner)?;
            word | FUTEX_WAITERS
        };
        let seen = words.compare_exchange_u32(addr, word, new)?;
        if seen == word {
            return Ok(if owner == 0 { Attempt::Taken } else { Attempt::Busy });
        }
        word = seen;
    }
}

/// A lock whose owner does not exist was corrupted, or its owner died without a robust list.
fn check_owner(task: &Task, owner: u32) -> Result<()> {
    let exists = i32::try_from(owner).ok().and_then(|tid| task.pid_ns().task(tid));
    exists.filter(|owner| !owner.has_exited()).map(|_| ()).ok_or(Errno::ESRCH)
}

impl FutexTable {
    /// FUTEX_LOCK_PI, and FUTEX_TRYLOCK_PI with `only_try`.
    ///
    /// # Errors
    /// `EAGAIN` where only trying and busy, `EDEADLK`, `ESRCH`, `EFAULT`, `EINVAL`, `ETIMEDOUT`.
    pub fn lock_pi(
        &self,
        task: &Arc<Task>,
        word: FutexWord,
        deadline: Option<MonotonicTime>,
        only_try: bool,
    ) -> SysResult<()> {
        let mm = task.mm();
        let key = mm.futex_key(word)?;
        let waiter = pi_waiter(task, key, false);
        self.begin_pi_interest(&key);
        let result = (|| {
            let attempt = mm.with_words(|words| {
                let mut bucket = self.bucket(&key);
                let others = has_waiters(&bucket, &key);
                let attempt = try_take(words, word.addr, task, others, !only_try)?;
                if matches!(attempt, Attempt::Busy) && !only_try {
                    bucket.push(key, waiter.clone());
                }
                Ok(attempt)
            })?;
            match attempt {
                Attempt::Taken => return Ok(()),
                Attempt::Busy if only_try => return Err(Errno::EAGAIN.into()),
                Attempt::Busy => {}
            }
            self.sleep_for_lock(task, &waiter, deadline)
        })();
        self.forget(&waiter);
        self.end_pi_interest(&waiter.key.lock());
        match result {
            // A signal does not end the wait for a lock: the call is always made again.
            Err(error) if is_interruption(&error) => Err(SysError::Restart(Restart::NoIntr)),
            other => other,
        }
    }

    fn sleep_for_lock(
        &self,
        task: &Task,
        waiter: &Arc<Waiter>,
        deadline: Option<MonotonicTime>,
    ) -> SysResult<()> {
        loop {
            if waiter.is_woken() {
                return Ok(());
            }
            if let Err(error) = task.sleep(deadline) {
                // Handed over at the last moment?
                self.forget(waiter);
                return if waiter.is_woken() { Ok(()) } else { Err(error) };
            }
        }
    }

    /// FUTEX_UNLOCK_PI: hands the lock to the first waiter.
    ///
    /// # Errors
    /// `EPERM` where the caller does not own it, `EFAULT`, `EINVAL`.
    pub fn unlock_pi(&self, task: &Task, word: FutexWord) -> Result<()> {
        let mm = task.mm();
        let key = mm.futex_key(word)?;
        if mm.load_u32(word.addr)? & FUTEX_TID_MASK != task.tid().unsigned_abs() {
            return Err(Errno::EPERM);
        }
        let next = mm.with_words(|words| hand_over(words, &mut self.bucket(&key), &key, word.addr, 0))?;
        if let Some(next) = next {
            next.wake();
        }
        Ok(())
    }

    /// FUTEX_WAIT_REQUEUE_PI: sleeps on `from` until CMP_REQUEUE_PI has made the caller the owner of `lock`.
    ///
    /// # Errors
    /// `EAGAIN` where the word differs or a plain wake-up came, `ETIMEDOUT`, `EINVAL`, `EFAULT`.
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
        let waiter = pi_waiter(task, key, true);
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
                let moved = waiter.was_requeued.load(Ordering::SeqCst);
                Err(if moved { Errno::EAGAIN.into() } else { SysError::Restart(Restart::NoIntr) })
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
        let (from_key, lock_key) = (mm.futex_key(from)?, mm.futex_key(lock)?);
        if from_key == lock_key {
            return Err(Errno::EINVAL);
        }
        let step = |words: &Words<'_>, source: &mut Bucket, target: Option<&mut Bucket>| {
            if words.load_u32(from.addr)? != expected {
                return Err(Errno::EAGAIN.into());
            }
            let may_move =
                |waiter: &Waiter| waiter.is_requeue_pi && !waiter.was_requeued.load(Ordering::SeqCst);
            if source.waiters.iter().any(|(at, waiter)| *at == from_key && !may_move(waiter)) {
                return Err(Errno::EINVAL.into());
            }
            // The first gets the lock if that is free. Nobody moves before this has gone well: a bad word fails the call.
            let mut queued = source.waiters.iter().filter(|(at, _)| *at == from_key);
            let first_task = queued.next().and_then(|(_, waiter)| waiter.task.clone());
            let follows = moved > 0 && queued.next().is_some();
            let is_taken = match first_task {
                Some(task) => {
                    let others = follows || has_waiters(target.as_deref().unwrap_or(source), &lock_key);
                    matches!(try_take(words, lock.addr, &task, others, true)?, Attempt::Taken)
                }
                None => false,
            };
            let mut movers = source.take(&from_key, moved.saturating_add(1), FUTEX_BITSET_MATCH_ANY);
            for waiter in &movers {
                waiter.was_requeued.store(true, Ordering::SeqCst);
                *waiter.key.lock() = lock_key;
                self.move_interest(&from_key, &lock_key);
            }
            let count = movers.len();
            let target = target.unwrap_or(source);
            let owner = is_taken.then(|| movers.remove(0));
            for waiter in movers {
                target.push(lock_key, waiter);
            }
            Ok((owner, count))
        };
        let (owner, count) = mm.with_words(|words| {
            self.with_both(&from_key, &lock_key, |source, target| step(words, source, target))
        })?;
        if let Some(owner) = owner {
            owner.wake();
        }
        Ok(count)
    }
}

/// Gives a lock that its owner leaves to the first waiter, or frees it. `mark` is or-ed into the word.
fn hand_over(
    words: &Words<'_>,
    bucket: &mut Bucket,
    key: &FutexKey,
    addr: UserAddr,
    mark: u32,
) -> WordResult<Option<Arc<Waiter>>> {
    let first = bucket.waiters.iter().find(|(at, waiter)| at == key && waiter.task.is_some());
    let first = first.map(|(_, waiter)| waiter.clone());
    let rest = bucket.waiters.iter().filter(|(at, _)| at == key).count();
    let new = match &first {
        Some(waiter) => {
            let tid = waiter.task.as_ref().map_or(0, |task| task.tid().unsigned_abs());
            tid | mark | if rest > 1 { FUTEX_WAITERS } else { 0 }
        }
        None => mark,
    };
    let mut word = words.load_u32(addr)?;
    loop {
        let seen = words.compare_exchange_u32(addr, word, new)?;
        if seen == word {
            break;
        }
        word = seen;
    }
    if let Some(waiter) = &first {
        bucket.remove(waiter);
    }
    Ok(first)
}

impl Task {
    /// Hands on the priority-inheriting locks that a dying thread owns and others wait for.
    pub(super) fn release_pi_locks(&self, mm: &MemoryManager) {
        for (key, addr) in self.kernel().futexes.waited_pi_locks(mm) {
            self.bequeath_pi_lock(mm, &key, addr);
        }
    }

    /// Hands a lock of a dying thread to its first waiter. Says `false` where it does not own it, or nobody waits.
    pub(super) fn bequeath_pi_lock(&self, mm: &MemoryManager, key: &FutexKey, addr: UserAddr) -> bool {
        let table = &self.kernel().futexes;
        let next = mm.with_words(|words| {
            let mut bucket = table.bucket(key);
            let is_owned = words.load_u32(addr)? & FUTEX_TID_MASK == self.tid().unsigned_abs();
            if !is_owned || !has_waiters(&bucket, key) {
                return Ok(None);
            }
            hand_over(words, &mut bucket, key, addr, FUTEX_OWNER_DIED).map(Some)
        });
        let Ok(Some(first)) = next else { return false };
        if let Some(first) = first {
            first.wake();
        }
        true
    }
}
