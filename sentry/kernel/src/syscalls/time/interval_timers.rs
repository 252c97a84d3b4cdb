//! `man 2 getitimer`, `man 2 alarm`.

use abi::Errno;
use abi::time::{Itimerval, NSEC_PER_SEC, Timeval};

use crate::syscalls::table::Args;
use crate::time::{IntervalTimer, TimerSetting};
use crate::{CurrentTask, SysResult};

fn to_itimerval(setting: TimerSetting) -> Itimerval {
    // Rounded up: a timer that runs must not look disarmed.
    let left_ns = setting.left_ns.saturating_add(999);
    Itimerval { it_interval: Timeval::from_ns(setting.interval_ns), it_value: Timeval::from_ns(left_ns) }
}

pub(super) fn getitimer(task: &mut CurrentTask, args: Args) -> SysResult {
    let which = IntervalTimer::from_raw(args.uint(0).into())?;
    let setting = task.thread_group().timers().interval(which);
    let shown = if setting.left_ns == 0 { Itimerval::default() } else { to_itimerval(setting) };
    task.mm().write_object(args.addr(1), &shown)?;
    Ok(0)
}

pub(super) fn setitimer(task: &mut CurrentTask, args: Args) -> SysResult {
    let which = IntervalTimer::from_raw(args.uint(0).into())?;
    let new =
        if args[1] == 0 { Itimerval::default() } else { task.mm().read_object::<Itimerval>(args.addr(1))? };
    if !new.it_value.is_valid() || !new.it_interval.is_valid() {
        return Err(Errno::EINVAL.into());
    }
    let setting = TimerSetting { left_ns: new.it_value.to_ns(), interval_ns: new.it_interval.to_ns() };
    let group = task.thread_group();
    let old = group.timers().set_interval(task.kernel(), group, which, setting);
    if args[2] != 0 {
        let shown = if old.left_ns == 0 { Itimerval::default() } else { to_itimerval(old) };
        task.mm().write_object(args.addr(2), &shown)?;
    }
    Ok(0)
}

pub(super) fn alarm(task: &mut CurrentTask, args: Args) -> SysResult {
    let seconds = i64::from(args.uint(0));
    let setting = TimerSetting { left_ns: seconds * NSEC_PER_SEC, interval_ns: 0 };
    let group = task.thread_group();
    let old = group.timers().set_interval(task.kernel(), group, IntervalTimer::Real, setting);
    // To the nearest second, but never to none.
    let seconds =
        (old.left_ns.saturating_add(NSEC_PER_SEC / 2) / NSEC_PER_SEC).max(i64::from(old.left_ns > 0));
    Ok(seconds.unsigned_abs())
}
