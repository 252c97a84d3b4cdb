//! FUTEX_WAIT and futex_waitv(2).

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use abi::Errno;
use parking_lot::Mutex;

use super::table::{FutexTable, Waiter};
use crate::error::{Restart, SysError, SysResult};
use crate::mm::{FutexKey, FutexWord};
use crate::task::Task;
use crate::time::MonotonicTime;

/// A word and the value that it must have for the caller to sleep.
#[derive(Clone, Copy, Debug)]
pub struct WaitTarget {
    /// The word.
    pub word: FutexWord,
    /// What it must hold.
    pub expected: u32,
}

/// A wait on one word or several.
#[derive(Clone, Debug)]
pub struct FutexWait {
    /// The words.
    pub targets: Vec<WaitTarget>,
    /// Wake-ups with none of these bits pass by.
    pub bitset: u32,
    /// When to give up.
    pub deadline: Option<MonotonicTime>,
}

/// Gives a waiter's queue places back, however the wait ends.
struct Queued<'a> {
    table: &'a FutexTable,
    waiters: Vec<Arc<Waiter>>,
}

impl Queued<'_> {
    fn push(&mut self, waiter: Arc<Waiter>) {
        self.table.begin_interest(&waiter.key.lock());
        self.waiters.push(waiter);
    }

    /// Leaves the queues before its time; says which word was woken first all the same.
    fn leave(&self) -> Option<usize> {
        for waiter in &self.waiters {
            self.table.forget(waiter);
        }
        self.woken()
    }

    fn woken(&self) -> Option<usize> {
        self.waiters.iter().find(|waiter| waiter.is_woken()).map(|waiter| waiter.index)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        for waiter in &self.waiters {
            self.table.forget(waiter);
            let key = *waiter.key.lock();
            self.table.end_interest(&key);
        }
    }
}

impl FutexTable {
    /// Sleeps until one of the words is woken; returns which.
    ///
    /// # Errors
    /// `EAGAIN` where a word has another value, `EFAULT`, `EINVAL`, `ETIMEDOUT`; `Restart::Sys` where a signal comes.
    pub fn wait(&self, task: &Task, wait: &FutexWait) -> SysResult<usize> {
        let mm = task.mm();
        let mut queued = Queued { table: self, waiters: Vec::with_capacity(wait.targets.len()) };
        for (index, target) in wait.targets.iter().enumerate() {
            let key = mm.futex_key(target.word)?;
            let waiter = new_waiter(task, key, wait.bitset, index);
            queued.push(waiter.clone());
            let is_queued = mm.with_words(|words| {
                let mut bucket = self.bucket(&key);
                let is_expected = words.load_u32(target.word.addr)? == target.expected;
                if is_expected {
                    bucket.push(key, waiter.clone());
                }
                Ok(is_expected)
            })?;
            if !is_queued {
                // One that has been woken meanwhile wins over a later mismatch.
                return queued.leave().ok_or_else(|| Errno::EAGAIN.into());
            }
        }
        loop {
            if let Some(index) = queued.woken() {
                return Ok(index);
            }
            match task.sleep(wait.deadline) {
                Ok(()) => {}
                Err(error) => return queued.leave().ok_or(error),
            }
        }
    }
}

pub(super) fn new_waiter(task: &Task, key: FutexKey, bitset: u32, index: usize) -> Arc<Waiter> {
    Arc::new(Waiter {
        key: Mutex::new(key),
        bitset,
        is_woken: AtomicBool::new(false),
        index,
        pi: None,
        parker: task.wake().parker().clone(),
    })
}

/// Whether a wait ended because of a signal.
pub(super) fn is_interruption(error: &SysError) -> bool {
    matches!(error, SysError::Restart(Restart::Sys))
}
