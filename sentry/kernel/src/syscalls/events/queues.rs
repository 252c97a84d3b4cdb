//! Descriptors for events: `man 2 eventfd`, `man 2 signalfd`, `man 2 timerfd_create`.

use std::any::Any;
use std::sync::Arc;

use abi::time::TIMER_ABSTIME;
use abi::{Errno, OpenFlags, Result, SigSet, UserAddr};

use super::fd_flags;
use crate::syscalls::table::Args;
use crate::syscalls::time::{check_alarm_clock, read_setting, write_setting};
use crate::time::{Clock, ClockId};
use crate::vfs::{AnonKind, EventFd, File, FileOps, SignalFd, TimerFd};
use crate::{CurrentTask, SysResult, Task};

const EFD_SEMAPHORE: u64 = 1;

fn install(
    task: &Task,
    name: &'static str,
    ops: Arc<dyn FileOps>,
    flags: OpenFlags,
    close_on_exec: bool,
) -> SysResult {
    let kind = AnonKind::Named(name);
    let file = task.kernel().vfs.anon_file(kind, ops, flags | OpenFlags::RDWR, &task.creds());
    Ok(task.install_fd(file, close_on_exec)? as u64)
}

/// The behaviour of `file`, if it is of this kind.
fn ops_as<T: FileOps>(file: &File) -> Result<&T> {
    let ops: &dyn Any = file.ops().as_ref();
    ops.downcast_ref().ok_or(Errno::EINVAL)
}

pub(super) fn eventfd(task: &mut CurrentTask, args: Args) -> SysResult {
    make_eventfd(task, args.0[0], 0)
}

pub(super) fn eventfd2(task: &mut CurrentTask, args: Args) -> SysResult {
    make_eventfd(task, args.0[0], args.0[1])
}

fn make_eventfd(task: &Task, count: u64, flags: u64) -> SysResult {
    let is_semaphore = flags & EFD_SEMAPHORE != 0;
    let (flags, close_on_exec) =
        fd_flags(flags & !EFD_SEMAPHORE, OpenFlags::NONBLOCK).ok_or(Errno::EINVAL)?;
    let ops = EventFd::new(u64::from(count as u32), is_semaphore);
    install(task, "[eventfd]", ops, flags, close_on_exec)
}

pub(super) fn signalfd(task: &mut CurrentTask, args: Args) -> SysResult {
    make_signalfd(task, args, 0)
}

pub(super) fn signalfd4(task: &mut CurrentTask, args: Args) -> SysResult {
    make_signalfd(task, args, args.0[3])
}

fn make_signalfd(task: &Task, args: Args, flags: u64) -> SysResult {
    let [fd, mask, size, ..] = args.0;
    if size != 8 {
        return Err(Errno::EINVAL.into());
    }
    let mask: SigSet = task.mm().read_object(UserAddr(mask))?;
    let (flags, close_on_exec) = fd_flags(flags, OpenFlags::NONBLOCK).ok_or(Errno::EINVAL)?;
    if fd as i32 == -1 {
        return install(task, "[signalfd]", SignalFd::new(task.thread_group(), mask), flags, close_on_exec);
    }
    let file = task.fd_table().get(fd as i32)?;
    ops_as::<SignalFd>(&file)?.set_mask(mask);
    Ok(fd)
}

pub(super) fn timerfd_create(task: &mut CurrentTask, args: Args) -> SysResult {
    let raw = args.0[0] as i32;
    let (flags, close_on_exec) = fd_flags(args.0[1], OpenFlags::NONBLOCK).ok_or(Errno::EINVAL)?;
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

const TFD_TIMER_CANCEL_ON_SET: u64 = 2;

pub(super) fn timerfd_settime(task: &mut CurrentTask, args: Args) -> SysResult {
    let [fd, flags, new, old, ..] = args.0;
    if flags & !(TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let (first, interval) = read_setting(task, UserAddr(new), flags & TIMER_ABSTIME != 0)?;
    let file = task.fd_table().get(fd as i32)?;
    let before = ops_as::<TimerFd>(&file)?.set(first, interval);
    if old != 0 {
        write_setting(task, UserAddr(old), before)?;
    }
    Ok(0)
}

pub(super) fn timerfd_gettime(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = task.fd_table().get(args.0[0] as i32)?;
    let setting = ops_as::<TimerFd>(&file)?.get();
    write_setting(task, UserAddr(args.0[1]), setting)?;
    Ok(0)
}
