//! `man 2 timerfd_create`.

use abi::time::TIMER_ABSTIME;
use abi::{Errno, OpenFlags, UserAddr};

use super::{fd_flags, install};
use crate::syscalls::table::Args;
use crate::syscalls::time::{check_alarm_clock, read_setting, write_setting};
use crate::time::{Clock, ClockId};
use crate::vfs::TimerFd;
use crate::{CurrentTask, SysResult};

const TFD_TIMER_CANCEL_ON_SET: u64 = 2;

pub(super) fn timerfd_create(task: &mut CurrentTask, args: Args) -> SysResult {
    let raw = args.int(0);
    let (flags, close_on_exec) = fd_flags(args[1], OpenFlags::NONBLOCK).ok_or(Errno::EINVAL)?;
    match ClockId::from_raw(raw) {
        Some(
            ClockId::Realtime
            | ClockId::Monotonic
            | ClockId::Boottime
            | ClockId::RealtimeAlarm
            | ClockId::BoottimeAlarm,
        ) => check_alarm_clock(task, raw)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    let ops = TimerFd::new(task.kernel(), raw, Clock::resolve(task, raw)?);
    install(task, "[timerfd]", ops, flags, close_on_exec)
}

pub(super) fn timerfd_settime(task: &mut CurrentTask, args: Args) -> SysResult {
    let [fd, _, new, old, ..] = args.0;
    let flags = u64::from(args.uint(1));
    if flags & !(TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (first, interval) = read_setting(task, UserAddr(new), flags & TIMER_ABSTIME != 0)?;
    let file = task.fd_table().get(fd as i32)?;
    let before = file.ops_as::<TimerFd>().ok_or(Errno::EINVAL)?.set(first, interval);
    if old != 0 {
        write_setting(task, UserAddr(old), before)?;
    }
    Ok(0)
}

pub(super) fn timerfd_gettime(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = task.fd_table().get(args.int(0))?;
    let setting = file.ops_as::<TimerFd>().ok_or(Errno::EINVAL)?.get();
    write_setting(task, args.addr(1), setting)?;
    Ok(0)
}
