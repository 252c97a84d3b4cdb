//! POSIX timers: `man 2 timer_create` and its kin.

use std::sync::Arc;

use abi::resource::Resource;
use abi::signal::{SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SIGEV_THREAD_ID, SigEvent};
use abi::time::{Itimerspec, TIMER_ABSTIME, Timespec};
use abi::{Errno, Result, Signal, UserAddr};

use super::clocks::check_alarm_clock;
use crate::syscalls::table::Args;
use crate::time::{Clock, ClockId, FirstExpiry, Notification, TimerSetting};
use crate::{CurrentTask, SysResult, Task};

fn notification(task: &Task, event: &SigEvent) -> Result<Notification> {
    if event.notify == SIGEV_NONE {
        return Ok(Notification::None);
    }
    let signal = Signal::new(event.signo).ok_or(Errno::EINVAL)?;
    match event.notify {
        SIGEV_SIGNAL | SIGEV_THREAD => Ok(Notification::Process(signal)),
        SIGEV_THREAD_ID => {
            let target = task.pid_ns().task(event.tid).ok_or(Errno::EINVAL)?;
            if !Arc::ptr_eq(target.thread_group(), task.thread_group()) {
                return Err(Errno::EINVAL);
            }
            Ok(Notification::Thread(signal, Arc::downgrade(&target)))
        }
        _ => Err(Errno::EINVAL),
    }
}

pub(super) fn timer_create(task: &mut CurrentTask, args: Args) -> SysResult {
    let [raw, event, id_addr, ..] = args.0;
    let raw = raw as i32;
    let clock = Clock::resolve(task, raw)?;
    if matches!(
        ClockId::from_raw(raw),
        Some(ClockId::MonotonicRaw | ClockId::RealtimeCoarse | ClockId::MonotonicCoarse)
    ) {
        return Err(Errno::EOPNOTSUPP.into());
    }
    check_alarm_clock(task, raw)?;
    let (notification, value) = if event == 0 {
        (Notification::Process(Signal::ALRM), None)
    } else {
        let event: SigEvent = task.mm().read_object(UserAddr(event))?;
        (notification(task, &event)?, Some(event.value))
    };
    let group = task.thread_group();
    let limit = task.limit(Resource::Sigpending);
    let id = group.timers().create(task.kernel(), group, clock, notification, value, limit)?;
    if let Err(errno) = task.mm().write_object(UserAddr(id_addr), &id) {
        group.timers().delete(id)?;
        return Err(errno.into());
    }
    Ok(0)
}

fn to_itimerspec(setting: TimerSetting) -> Itimerspec {
    Itimerspec {
        it_interval: Timespec::from_ns(setting.interval_ns),
        it_value: Timespec::from_ns(setting.left_ns),
    }
}

/// Reads a setting for timer_settime(2) and timerfd_settime(2).
pub(crate) fn read_setting(task: &Task, addr: UserAddr, is_absolute: bool) -> Result<(FirstExpiry, i64)> {
    let new: Itimerspec = task.mm().read_object(addr)?;
    if !new.it_value.is_valid() || !new.it_interval.is_valid() {
        return Err(Errno::EINVAL);
    }
    let first = match new.it_value.to_ns() {
        0 => FirstExpiry::Disarmed,
        at if is_absolute => FirstExpiry::At(at),
        left => FirstExpiry::In(left),
    };
    Ok((first, new.it_interval.to_ns()))
}

/// Writes a setting for timer_gettime(2) and timerfd_gettime(2).
pub(crate) fn write_setting(task: &Task, addr: UserAddr, setting: TimerSetting) -> Result<()> {
    task.mm().write_object(addr, &to_itimerspec(setting))
}

pub(super) fn timer_settime(task: &mut CurrentTask, args: Args) -> SysResult {
    let [id, flags, new, old, ..] = args.0;
    if new == 0 {
        return Err(Errno::EINVAL.into());
    }
    let (first, interval) = read_setting(task, UserAddr(new), flags & TIMER_ABSTIME != 0)?;
    let before = task.thread_group().timers().posix(id as i32)?.set(first, interval);
    if old != 0 {
        write_setting(task, UserAddr(old), before)?;
    }
    Ok(0)
}

pub(super) fn timer_gettime(task: &mut CurrentTask, args: Args) -> SysResult {
    let setting = task.thread_group().timers().posix(args.int(0))?.timer().get();
    write_setting(task, args.addr(1), setting)?;
    Ok(0)
}

pub(super) fn timer_getoverrun(task: &mut CurrentTask, args: Args) -> SysResult {
    let timer = task.thread_group().timers().posix(args.int(0))?;
    Ok(u64::from(timer.overruns()))
}

pub(super) fn timer_delete(task: &mut CurrentTask, args: Args) -> SysResult {
    task.thread_group().timers().delete(args.int(0))?;
    Ok(0)
}
