//! FUTEX_WAKE, FUTEX_REQUEUE, FUTEX_WAKE_OP. All fail with EINVAL where somebody awaits the word whose waiters they wake
//! or move as a priority-inheriting lock.

use abi::futex::FUTEX_BITSET_MATCH_ANY;
use abi::{Errno, Result, UserAddr};

use super::FutexTable;
use super::table::Bucket;
use crate::mm::{FutexWord, MemoryManager, WordResult, Words};

impl FutexTable {
    /// Wakes up to `count` waiters whose bits match; returns how many.
    ///
    /// # Errors
    /// `EINVAL` for a misaligned address, `EFAULT`.
    pub fn wake(&self, mm: &MemoryManager, word: FutexWord, count: usize, bitset: u32) -> Result<usize> {
        let key = mm.futex_key(word)?;
        if !self.has_interest(&key) {
            return Ok(0);
        }
        let mut bucket = self.bucket(&key);
        if bucket.has_pi_waiter(&key) {
            return Err(Errno::EINVAL);
        }
        let taken = bucket.wake(&key, count, bitset);
        drop(bucket);
        for waiter in &taken {
            waiter.parker.unpark();
        }
        Ok(taken.len())
    }

    /// Wakes up to `wake` waiters of `from` and moves up to `moved` others to `to`. With `expected`, only if `from`
    /// holds that. Returns how many were woken or moved.
    ///
    /// # Errors
    /// `EAGAIN` where the word differs, `EINVAL`, `EFAULT`.
    pub fn requeue(
        &self,
        mm: &MemoryManager,
        (from, to): (FutexWord, FutexWord),
        (wake, moved): (usize, usize),
        expected: Option<u32>,
    ) -> Result<usize> {
        let (from_key, to_key) = (mm.futex_key(from)?, mm.futex_key(to)?);
        let step = |words: &Words<'_>, source: &mut Bucket, target: Option<&mut Bucket>| {
            if let Some(expected) = expected
                && words.load_u32(from.addr)? != expected
            {
                return Err(Errno::EAGAIN.into());
            }
            if source.has_pi_waiter(&from_key) {
                return Err(Errno::EINVAL.into());
            }
            let woken = source.wake(&from_key, wake, FUTEX_BITSET_MATCH_ANY);
            if from_key == to_key {
                let rest = source.waiters.iter().filter(|(at, _)| *at == from_key).count();
                return Ok((woken, rest.min(moved)));
            }
            let movers = source.take(&from_key, moved, FUTEX_BITSET_MATCH_ANY);
            let count = movers.len();
            let target = target.unwrap_or(source);
            for waiter in movers {
                *waiter.key.lock() = to_key;
                self.move_interest(&from_key, &to_key);
                target.push(to_key, waiter);
            }
            Ok((woken, count))
        };
        let (woken, moved) = mm.with_words(|words| {
            self.with_both(&from_key, &to_key, |source, target| step(words, source, target))
        })?;
        for waiter in &woken {
            waiter.parker.unpark();
        }
        Ok(woken.len() + moved)
    }

    /// FUTEX_WAKE_OP: changes the word at `second`, wakes waiters of `first`, and of `second` if its old value
    /// compares as asked. Returns how many were woken.
    ///
    /// # Errors
    /// `ENOSYS` for an unknown operation, `EINVAL`, `EFAULT`.
    pub fn wake_op(
        &self,
        mm: &MemoryManager,
        (first, second): (FutexWord, FutexWord),
        (wake_first, wake_second): (usize, usize),
        encoded: u32,
    ) -> Result<usize> {
        let (first_key, second_key) = (mm.futex_key(first)?, mm.futex_key(second)?);
        let woken = mm.with_words(|words| {
            self.with_both(&first_key, &second_key, |bucket, other| {
                let matches = apply(words, second.addr, encoded)?;
                let has_other = matches && other.as_deref().unwrap_or(bucket).has_pi_waiter(&second_key);
                if has_other || bucket.has_pi_waiter(&first_key) {
                    return Err(Errno::EINVAL.into());
                }
                let mut woken = bucket.wake(&first_key, wake_first, FUTEX_BITSET_MATCH_ANY);
                if matches {
                    let other = other.unwrap_or(bucket);
                    woken.extend(other.wake(&second_key, wake_second, FUTEX_BITSET_MATCH_ANY));
                }
                Ok(woken)
            })
        })?;
        for waiter in &woken {
            waiter.parker.unpark();
        }
        Ok(woken.len())
    }
}

/// Carries out the operation that FUTEX_WAKE_OP encodes; says whether the old value compares as asked.
fn apply(words: &Words<'_>, addr: UserAddr, encoded: u32) -> WordResult<bool> {
    let (op, compare) = (encoded >> 28 & 0xf, encoded >> 24 & 0xf);
    let sign_extend = |value: u32| ((value << 20) as i32 >> 20) as u32;
    let (mut operand, against) = (sign_extend(encoded >> 12 & 0xfff), sign_extend(encoded & 0xfff));
    if op & 8 != 0 {
        operand = 1_u32.wrapping_shl(operand);
    }
    let mut old = words.load_u32(addr)?;
    loop {
        let new = match op & 7 {
            0 => operand,
            1 => old.wrapping_add(operand),
            2 => old | operand,
            3 => old & !operand,
            4 => old ^ operand,
            _ => return Err(Errno::ENOSYS.into()),
        };
        let seen = words.compare_exchange_u32(addr, old, new)?;
        if seen == old {
            break;
        }
        old = seen;
    }
    let (old, against) = (old as i32, against as i32);
    match compare {
        0 => Ok(old == against),
        1 => Ok(old != against),
        2 => Ok(old < against),
        3 => Ok(old <= against),
        4 => Ok(old > against),
        5 => Ok(old >= against),
        _ => Err(Errno::ENOSYS.into()),
    }
}
