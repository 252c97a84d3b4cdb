//! Sleeping: `man 2 nanosleep`, `man 2 clock_nanosleep`.

use abi::time::TIMER_ABSTIME;
use abi::{Errno, Timespec, UserAddr};

use super::clocks::check_alarm_clock;
use crate::error::{Restart, SysError};
use crate::syscalls::table::Args;
use crate::task::{RestartBlock, RestartCall};
use crate::time::{Clock, ClockId};
use crate::{CurrentTask, SysResult, Task};

pub(super) fn nanosleep(task: &mut CurrentTask, args: Args) -> SysResult {
    let length = super::read_timespec(task, args.addr(0))?;
    sleep_for(task, ClockId::Monotonic as i32, length, args.addr(1))
}

pub(super) fn clock_nanosleep(task: &mut CurrentTask, args: Args) -> SysResult {
    let [raw, flags, request, remaining, ..] = args.0;
    let raw = raw as i32;
    let clock = Clock::resolve(task, raw)?;
    match ClockId::from_raw(raw) {
        Some(ClockId::ThreadCpu) => return Err(Errno::EINVAL.into()),
        Some(ClockId::MonotonicRaw | ClockId::RealtimeCoarse | ClockId::MonotonicCoarse) => {
            return Err(Errno::EOPNOTSUPP.into());
        }
        _ => check_alarm_clock(task, raw)?,
    }
    let request = super::read_timespec(task, UserAddr(request))?;
    if flags & TIMER_ABSTIME == 0 {
        return sleep_for(task, raw, request, UserAddr(remaining));
    }
    sleep_until(task, &clock, request.to_ns()).map_err(|error| match error {
        SysError::Restart(_) => SysError::Restart(Restart::NoHand),
        other => other,
    })
}

/// Sleeps for `length` of a clock. The clock's number stands for it in the restart block; a relative sleep by the time
/// of day does not notice when that is set, so it is one by the monotonic clock.
fn sleep_for(task: &CurrentTask, raw: i32, length: Timespec, remaining: UserAddr) -> SysResult {
    let clock = match Clock::resolve(task, raw)? {
        Clock::Wall => Clock::Monotonic,
        clock => clock,
    };
    let raw = if clock.is_cpu() { raw } else { ClockId::Monotonic as i32 };
    let target = clock.now(&task.kernel().timekeeper).saturating_add(length.to_ns());
    finish_sleep(task, raw, &clock, target, remaining)
}

fn finish_sleep(task: &CurrentTask, raw: i32, clock: &Clock, target: i64, remaining: UserAddr) -> SysResult {
    let result = sleep_until(task, clock, target);
    let Err(SysError::Restart(_)) = result else { return result };
    let left = target.saturating_sub(clock.now(&task.kernel().timekeeper));
    if left <= 0 {
        return Ok(0);
    }
    if !remaining.is_null() {
        task.mm().write_object(remaining, &Timespec::from_ns(left))?;
    }
    let args = Args([raw as u64, target as u64, remaining.0, 0, 0, 0]);
    task.details.lock().restart = Some(RestartBlock { call: RestartCall::Sleep, args });
    Err(SysError::Restart(Restart::Block))
}

/// Goes on sleeping after a stop: what restart_syscall(2) runs.
pub(in crate::syscalls) fn restart_sleep(task: &mut CurrentTask, args: Args) -> SysResult {
    let [raw, target, remaining, ..] = args.0;
    let raw = raw as i32;
    let clock = Clock::resolve(task, raw)?;
    finish_sleep(task, raw, &clock, target as i64, UserAddr(remaining))
}

fn sleep_until(task: &Task, clock: &Clock, target: i64) -> SysResult {
    let timekeeper = &task.kernel().timekeeper;
    while clock.now(timekeeper) < target {
        match task.sleep(Some(clock.when(timekeeper, target))) {
            Ok(()) | Err(SysError::Errno(_)) => {}
            Err(restart) => return Err(restart),
        }
    }
    Ok(0)
}
