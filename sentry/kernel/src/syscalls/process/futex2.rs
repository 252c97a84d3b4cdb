//! futex_waitv(2), futex_wait(2), futex_wake(2), futex_requeue(2): the calls that name a word's size and sharing with it
//! (`kernel/futex/syscalls.c` in Linux's tree).

use abi::futex::{FUTEX_BITSET_MATCH_ANY, FUTEX_WAITV_MAX, FUTEX2_PRIVATE, FUTEX2_SIZE_U32, FutexWaitv};
use abi::{Errno, Result, UserAddr};

use super::futex::{Timeout, count, deadline, wake_count};
use crate::mm::FutexWord;
use crate::syscalls::table::Args;
use crate::task::{FutexWait, WaitTarget};
use crate::time::MonotonicTime;
use crate::{CurrentTask, SysResult};

const CLOCK_REALTIME: i32 = 0;
const CLOCK_MONOTONIC: i32 = 1;

/// The word at `addr` with these flags. Words have 32 bits.
///
/// # Errors
/// `EINVAL` for other sizes and unknown flags.
fn word(addr: u64, flags: u32) -> Result<FutexWord> {
    if flags & !FUTEX2_PRIVATE == FUTEX2_SIZE_U32 {
        Ok(FutexWord { addr: UserAddr(addr), is_shared: flags & FUTEX2_PRIVATE == 0 })
    } else {
        Err(Errno::EINVAL)
    }
}

/// A value or mask of a word.
fn word_sized(value: u64) -> Result<u32> {
    u32::try_from(value).map_err(|_| Errno::EINVAL)
}

/// An absolute time-out of the clock `clock`; without a time-out the clock does not matter.
fn due(task: &CurrentTask, timeout: u64, clock: u64) -> Result<Option<MonotonicTime>> {
    let from = match clock as i32 {
        CLOCK_REALTIME => Timeout::Realtime,
        CLOCK_MONOTONIC => Timeout::Monotonic,
        _ if timeout != 0 => return Err(Errno::EINVAL),
        _ => Timeout::Monotonic,
    };
    deadline(task, timeout, from)
}

/// One entry of the vector at `waiters`.
fn target(task: &CurrentTask, waiters: u64, index: u64) -> Result<WaitTarget> {
    let at = waiters.checked_add(index * size_of::<FutexWaitv>() as u64).ok_or(Errno::EFAULT)?;
    let entry: FutexWaitv = task.mm().read_object(UserAddr(at))?;
    if entry.reserved != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(WaitTarget { word: word(entry.uaddr, entry.flags)?, expected: word_sized(entry.val)? })
}

pub(super) fn futex_waitv(task: &mut CurrentTask, args: Args) -> SysResult {
    let [waiters, number, flags, timeout, clock, _] = args.0;
    let number = number & 0xffff_ffff;
    if flags as u32 != 0 || waiters == 0 || !(1..=FUTEX_WAITV_MAX).contains(&number) {
        return Err(Errno::EINVAL.into());
    }
    let deadline = due(task, timeout, clock)?;
    let targets = (0..number).map(|index| target(task, waiters, index)).collect::<Result<_>>()?;
    let wait = FutexWait { targets, bitset: FUTEX_BITSET_MATCH_ANY, deadline };
    task.kernel().futexes.wait(task, &wait).map(|index| index as u64)
}

pub(super) fn futex_wait(task: &mut CurrentTask, args: Args) -> SysResult {
    let [addr, value, mask, flags, timeout, clock] = args.0;
    let word = word(addr, flags as u32)?;
    let (expected, bitset) = (word_sized(value)?, word_sized(mask)?);
    let deadline = due(task, timeout, clock)?;
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let targets = vec![WaitTarget { word, expected }];
    // The time-out is absolute, so that the call can start over as it is.
    task.kernel().futexes.wait(task, &FutexWait { targets, bitset, deadline }).map(|_| 0)
}

pub(super) fn futex_wake(task: &mut CurrentTask, args: Args) -> SysResult {
    let [addr, mask, number, flags, ..] = args.0;
    let word = word(addr, flags as u32)?;
    let bitset = word_sized(mask)?;
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let mm = task.mm();
    mm.futex_key(word)?;
    if number as i32 == 0 {
        return Ok(0);
    }
    let woken = task.kernel().futexes.wake(&mm, word, wake_count(number as u32), bitset)?;
    Ok(woken as u64)
}

pub(super) fn futex_requeue(task: &mut CurrentTask, args: Args) -> SysResult {
    let [waiters, flags, wake, requeue, ..] = args.0;
    if flags as u32 != 0 || waiters == 0 {
        return Err(Errno::EINVAL.into());
    }
    let (from, to) = (target(task, waiters, 0)?, target(task, waiters, 1)?);
    let counts = (count(wake)?, count(requeue)?);
    let table = &task.kernel().futexes;
    Ok(table.requeue(&task.mm(), (from.word, to.word), counts, Some(from.expected))? as u64)
}
