//! `man 2 kill`, `tkill`, `tgkill`, `rt_sigqueueinfo`.

use std::sync::Arc;

use abi::signal::SI_TKILL;
use abi::{Errno, Result, SigInfo, Signal, UserAddr};

use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult, Task};

/// A signal number; 0 only asks whether the call would be allowed.
fn signal(number: u64) -> Result<Option<Signal>> {
    match number as i32 {
        0 => Ok(None),
        number => Signal::new(number).map(Some).ok_or(Errno::EINVAL),
    }
}

pub(super) fn kill(task: &mut CurrentTask, args: Args) -> SysResult {
    let pid = args.int(0);
    let signal = signal(args[1]);
    let ns = task.pid_ns();
    match pid {
        1.. => {
            let target = ns.task(pid).ok_or(Errno::ESRCH)?;
            task.signal_process(target.thread_group(), signal?, None)?;
        }
        -1 => {
            let own = task.thread_group().id();
            let others = || {
                let groups = ns.thread_groups().into_iter();
                let others = groups.filter(|(tgid, group)| *tgid != 1 && group.id() != own);
                others.map(|(_, group)| group).collect()
            };
            task.signal_many(others, signal?, None)?;
        }
        i32::MIN => return Err(Errno::ESRCH.into()),
        _ => {
            let group = match pid {
                0 => Some(task.thread_group().process_group()),
                pgid => ns.process_group(-pgid),
            };
            let members = || group.map(|group| group.members()).unwrap_or_default();
            task.signal_many(members, signal?, None)?;
        }
    }
    Ok(0)
}

/// The thread `tid`, which must be of process `tgid` unless that is `None`.
fn thread(task: &CurrentTask, tgid: Option<i32>, tid: i32) -> Result<Arc<Task>> {
    if tid <= 0 || tgid.is_some_and(|tgid| tgid <= 0) {
        return Err(Errno::EINVAL);
    }
    let ns = task.pid_ns();
    let target = ns.task(tid).ok_or(Errno::ESRCH)?;
    let fits = tgid.is_none_or(|tgid| target.thread_group().tgid_in(&ns) == tgid);
    if fits { Ok(target) } else { Err(Errno::ESRCH) }
}

fn send_to_thread(task: &CurrentTask, target: &Arc<Task>, signal: Option<Signal>) -> Result<()> {
    task.check_may_signal(target, signal)?;
    let Some(signal) = signal else { return Ok(()) };
    let info = task.user_signal(signal, SI_TKILL, target);
    target.thread_group().queue_signal(Some(target), signal, info, task.sender_to(target))
}

pub(super) fn tkill(task: &mut CurrentTask, args: Args) -> SysResult {
    let target = thread(task, None, args.int(0))?;
    send_to_thread(task, &target, signal(args[1])?)?;
    Ok(0)
}

pub(super) fn tgkill(task: &mut CurrentTask, args: Args) -> SysResult {
    let target = thread(task, Some(args.int(0)), args.int(1))?;
    send_to_thread(task, &target, signal(args[2])?)?;
    Ok(0)
}

/// Reads the information of a queued signal, which must not pretend to come from the kernel or from kill(2).
fn queued_info(task: &CurrentTask, addr: u64, number: u64, target: &Task) -> Result<SigInfo> {
    let mut info: SigInfo = task.mm().read_object(UserAddr(addr))?;
    info.signo = number as i32;
    let is_self = target.thread_group().id() == task.thread_group().id();
    if !is_self && (info.code >= 0 || info.code == SI_TKILL) {
        return Err(Errno::EPERM);
    }
    Ok(info)
}

pub(super) fn rt_sigqueueinfo(task: &mut CurrentTask, args: Args) -> SysResult {
    let [pid, number, info_at, ..] = args.0;
    let target = task.pid_ns().task(pid as i32).ok_or(Errno::ESRCH)?;
    let info = queued_info(task, info_at, number, &target)?;
    let signal = signal(number)?;
    task.check_may_signal(&target, signal)?;
    if let Some(signal) = signal {
        target.thread_group().queue_signal(None, signal, info, task.sender_to(&target))?;
    }
    Ok(0)
}

pub(super) fn rt_tgsigqueueinfo(task: &mut CurrentTask, args: Args) -> SysResult {
    let [tgid, tid, number, info_at, ..] = args.0;
    let target = thread(task, Some(tgid as i32), tid as i32)?;
    let info = queued_info(task, info_at, number, &target)?;
    let signal = signal(number)?;
    task.check_may_signal(&target, signal)?;
    if let Some(signal) = signal {
        target.thread_group().queue_signal(Some(&target), signal, info, task.sender_to(&target))?;
    }
    Ok(0)
}
