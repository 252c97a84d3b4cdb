//! `man 2 futex`. The calls that came later are in [`super::futex2`].

use abi::futex::{FUTEX_BITSET_MATCH_ANY, FUTEX_CLOCK_REALTIME, FUTEX_PRIVATE_FLAG, op};
use abi::{Errno, Result, Timespec, UserAddr};

use crate::error::{Restart, SysError};
use crate::mm::FutexWord;
use crate::syscalls::table::Args;
use crate::task::{FutexWait, RestartBlock, RestartCall, WaitTarget};
use crate::time::MonotonicTime;
use crate::{CurrentTask, SysResult};

/// A count of waiters: an int that must not be negative.
pub(super) fn count(arg: u64) -> Result<usize> {
    usize::try_from(arg as i32).map_err(|_| Errno::EINVAL)
}

/// What a time-out is counted from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Timeout {
    /// Now.
    Relative,
    /// The start of the monotonic clock.
    Monotonic,
    /// The start of the real-time clock.
    Realtime,
}

impl Timeout {
    /// That of calls with an absolute one.
    pub(super) fn absolute(is_realtime: bool) -> Self {
        if is_realtime { Self::Realtime } else { Self::Monotonic }
    }
}

/// When the time-out stored at `addr` is due by the monotonic clock; never without one.
///
/// # Errors
/// `EFAULT`, `EINVAL`.
pub(super) fn deadline(task: &CurrentTask, addr: u64, from: Timeout) -> Result<Option<MonotonicTime>> {
    if addr == 0 {
        return Ok(None);
    }
    let at: Timespec = task.mm().read_object(UserAddr(addr))?;
    if !at.is_valid() {
        return Err(Errno::EINVAL);
    }
    let (ns, clock) = (at.to_ns(), &task.kernel().timekeeper);
    Ok(Some(match from {
        Timeout::Relative => clock.deadline_in(ns),
        Timeout::Monotonic => MonotonicTime(ns),
        Timeout::Realtime => clock.monotonic_of_realtime(ns),
    }))
}

fn wait_once(task: &CurrentTask, wait: &FutexWait) -> SysResult {
    task.kernel().futexes.wait(task, wait).map(|_| 0)
}

fn wait(task: &CurrentTask, target: WaitTarget, bitset: u32, deadline: Option<MonotonicTime>) -> SysResult {
    if bitset == 0 {
        return Err(Errno::EINVAL.into());
    }
    let result = wait_once(task, &FutexWait { targets: vec![target], bitset, deadline });
    match (result, deadline) {
        (Err(SysError::Restart(_)), Some(due)) => {
            let shared = u64::from(target.word.is_shared);
            let args = [target.word.addr.0, target.expected.into(), due.0 as u64, bitset.into(), shared, 0];
            let block = RestartBlock { call: RestartCall::Futex, args: Args(args) };
            task.details.lock().restart = Some(block);
            Err(SysError::Restart(Restart::Block))
        }
        (result, _) => result,
    }
}

/// Goes on with a wait with a time-out: what restart_syscall(2) runs.
pub(in crate::syscalls) fn restart_wait(task: &mut CurrentTask, args: Args) -> SysResult {
    let [addr, expected, due, bitset, shared, _] = args.0;
    let word = FutexWord { addr: UserAddr(addr), is_shared: shared != 0 };
    let target = WaitTarget { word, expected: expected as u32 };
    wait(task, target, bitset as u32, Some(MonotonicTime(due as i64)))
}

pub(super) fn futex(task: &mut CurrentTask, args: Args) -> SysResult {
    let [addr, operation, value, fourth, second, last] = args.0;
    let (operation, value, last) = (operation as u32, value as u32, last as u32);
    let word = |addr| FutexWord { addr: UserAddr(addr), is_shared: operation & FUTEX_PRIVATE_FLAG == 0 };
    let (first, second) = (word(addr), word(second));
    let is_realtime = operation & FUTEX_CLOCK_REALTIME != 0;
    let command = operation & !(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME);
    let takes_clock = matches!(command, op::WAIT_BITSET | op::WAIT_REQUEUE_PI | op::LOCK_PI2);
    if is_realtime && !takes_clock && command != op::WAIT {
        return Err(Errno::ENOSYS.into());
    }
    let (kernel, mm) = (task.kernel().clone(), task.mm());
    let table = &kernel.futexes;
    let target = WaitTarget { word: first, expected: value };
    match command {
        op::WAIT => wait(task, target, FUTEX_BITSET_MATCH_ANY, deadline(task, fourth, Timeout::Relative)?),
        op::WAIT_BITSET => wait(task, target, last, deadline(task, fourth, Timeout::absolute(is_realtime))?),
        op::WAKE => {
            let max = wake_count(value);
            Ok(table.wake(&mm, first, max, FUTEX_BITSET_MATCH_ANY)? as u64)
        }
        op::WAKE_BITSET if last == 0 => Err(Errno::EINVAL.into()),
        op::WAKE_BITSET => Ok(table.wake(&mm, first, wake_count(value), last)? as u64),
        op::REQUEUE | op::CMP_REQUEUE => {
            let expected = (command == op::CMP_REQUEUE).then_some(last);
            let counts = (count(value.into())?, count(fourth)?);
            Ok(table.requeue(&mm, (first, second), counts, expected)? as u64)
        }
        op::WAKE_OP => {
            let counts = (wake_count(value), wake_count(fourth as u32));
            Ok(table.wake_op(&mm, (first, second), counts, last)? as u64)
        }
        op::LOCK_PI | op::LOCK_PI2 => {
            // LOCK_PI's time-out is of the real-time clock whatever the flag says.
            let due = deadline(task, fourth, Timeout::absolute(command == op::LOCK_PI || is_realtime))?;
            table.lock_pi(task.task(), first, due).map(|()| 0)
        }
        op::TRYLOCK_PI => {
            table.trylock_pi(task, first)?;
            Ok(0)
        }
        op::UNLOCK_PI => {
            table.unlock_pi(task, first)?;
            Ok(0)
        }
        op::WAIT_REQUEUE_PI => {
            let due = deadline(task, fourth, Timeout::absolute(is_realtime))?;
            table.wait_requeue_pi(task.task(), target, second, due).map(|()| 0)
        }
        op::CMP_REQUEUE_PI => {
            if value != 1 {
                return Err(Errno::EINVAL.into());
            }
            Ok(table.requeue_pi(&mm, (first, second), count(fourth)?, last)? as u64)
        }
        _ => Err(Errno::ENOSYS.into()),
    }
}

/// How many waiters to wake. Linux wakes one where it is told zero or fewer.
pub(super) fn wake_count(value: u32) -> usize {
    usize::try_from(value as i32).unwrap_or(1).max(1)
}
