//! Scheduling: `man 7 sched`.

use abi::sched::{SchedAttr, policy};
use abi::{Errno, Result, Timespec, UserAddr};
use zerocopy::IntoBytes;

use super::args::task_or_self;
use crate::syscalls::table::Args;
use crate::task::MAX_PRIORITY;
use crate::{CurrentTask, SysResult};

/// The size of `struct sched_attr` in its first version.
const ATTR_SIZE_VER0: u32 = 48;
const FLAG_RESET_ON_FORK: u64 = 1;
const FLAG_KEEP_POLICY: u64 = 8;
const FLAG_KEEP_PARAMS: u64 = 16;

/// What the round-robin interval is for real-time tasks.
const RR_INTERVAL_NS: i64 = 100_000_000;

fn positive(tid: u64) -> Result<i32> {
    let tid = tid as i32;
    if tid < 0 { Err(Errno::EINVAL) } else { Ok(tid) }
}

pub(super) fn setscheduler(task: &mut CurrentTask, args: Args) -> SysResult {
    let target = task_or_self(task, positive(args[0])?)?;
    let policy = args.uint(1);
    if policy as i32 <= -1 || args[2] == 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority: u32 = task.mm().read_object(args.addr(2))?;
    task.reschedule(&target, |new| {
        new.policy = policy & !policy::RESET_ON_FORK;
        new.reset_on_fork = policy & policy::RESET_ON_FORK != 0;
        new.priority = priority;
    })?;
    Ok(0)
}

pub(super) fn getscheduler(task: &mut CurrentTask, args: Args) -> SysResult {
    let target = task_or_self(task, positive(args[0])?)?;
    let scheduling = target.details.lock().scheduling;
    let reset = if scheduling.reset_on_fork { policy::RESET_ON_FORK } else { 0 };
    Ok(u64::from(scheduling.policy | reset))
}

pub(super) fn setparam(task: &mut CurrentTask, args: Args) -> SysResult {
    let target = task_or_self(task, positive(args[0])?)?;
    if args[1] == 0 {
        return Err(Errno::EINVAL.into());
    }
    let priority: u32 = task.mm().read_object(args.addr(1))?;
    task.reschedule(&target, |new| {
        new.priority = priority;
    })?;
    Ok(0)
}

pub(super) fn getparam(task: &mut CurrentTask, args: Args) -> SysResult {
    if args[1] == 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = task_or_self(task, positive(args[0])?)?;
    let priority = target.details.lock().scheduling.priority;
    task.mm().write_object(args.addr(1), &priority)?;
    Ok(0)
}

pub(super) fn priority_max(_task: &mut CurrentTask, args: Args) -> SysResult {
    match args.uint(0) {
        policy::FIFO | policy::RR => Ok(MAX_PRIORITY.into()),
        policy::NORMAL | policy::BATCH | policy::IDLE | policy::DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

pub(super) fn priority_min(_task: &mut CurrentTask, args: Args) -> SysResult {
    match args.uint(0) {
        policy::FIFO | policy::RR => Ok(1),
        policy::NORMAL | policy::BATCH | policy::IDLE | policy::DEADLINE => Ok(0),
        _ => Err(Errno::EINVAL.into()),
    }
}

pub(super) fn rr_get_interval(task: &mut CurrentTask, args: Args) -> SysResult {
    let target = task_or_self(task, positive(args[0])?)?;
    let policy = target.details.lock().scheduling.policy;
    let interval = if policy == policy::RR { RR_INTERVAL_NS } else { 0 };
    task.mm().write_object(args.addr(1), &Timespec::from_ns(interval))?;
    Ok(0)
}

fn read_attr(task: &CurrentTask, addr: UserAddr) -> Result<SchedAttr> {
    let mm = task.mm();
    let size = match mm.read_object(addr)? {
        0 => ATTR_SIZE_VER0,
        size => size,
    };
    let attr = match mm.read_extensible(addr, size.into(), ATTR_SIZE_VER0 as usize) {
        Err(Errno::EINVAL) => Err(Errno::E2BIG),
        other => other,
    };
    if attr.is_err_and(|errno| errno == Errno::E2BIG) {
        // Tells which size would do.
        mm.write_object(addr, &(size_of::<SchedAttr>() as u32))?;
    }
    attr
}

pub(super) fn setattr(task: &mut CurrentTask, args: Args) -> SysResult {
    let tid = positive(args[0])?;
    if args[1] == 0 || args.uint(2) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let attr = read_attr(task, args.addr(1))?;
    if attr.sched_flags & !(FLAG_RESET_ON_FORK | FLAG_KEEP_POLICY | FLAG_KEEP_PARAMS) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = task_or_self(task, tid)?;
    task.reschedule(&target, |new| {
        if attr.sched_flags & FLAG_KEEP_POLICY == 0 {
            new.policy = attr.sched_policy;
        }
        if attr.sched_flags & FLAG_KEEP_PARAMS == 0 {
            new.priority = attr.sched_priority;
            if !new.is_realtime() {
                new.nice = attr.sched_nice.clamp(-20, 19);
            }
        }
        new.reset_on_fork = attr.sched_flags & FLAG_RESET_ON_FORK != 0;
    })?;
    Ok(0)
}

pub(super) fn getattr(task: &mut CurrentTask, args: Args) -> SysResult {
    let tid = positive(args[0])?;
    let size = args.uint(2);
    let fits = (ATTR_SIZE_VER0..=abi::PAGE_SIZE as u32).contains(&size);
    if args[1] == 0 || !fits || args.uint(3) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = task_or_self(task, tid)?;
    let scheduling = target.details.lock().scheduling;
    let size = size.min(size_of::<SchedAttr>() as u32);
    let attr = SchedAttr {
        size,
        sched_policy: scheduling.policy,
        sched_flags: if scheduling.reset_on_fork { FLAG_RESET_ON_FORK } else { 0 },
        sched_nice: scheduling.nice,
        sched_priority: scheduling.priority,
        ..SchedAttr::default()
    };
    task.mm().write(args.addr(1), &attr.as_bytes()[..size as usize])?;
    Ok(0)
}

pub(super) fn sched_yield(_task: &mut CurrentTask, _args: Args) -> SysResult {
    std::thread::yield_now();
    Ok(0)
}

pub(super) fn setaffinity(task: &mut CurrentTask, args: Args) -> SysResult {
    let target = task_or_self(task, args.int(0))?;
    let cpus = task.kernel().cpu_count();
    let words = cpus.div_ceil(64);
    let mut mask = vec![0_u64; words];
    let len = (args[1] as usize & 0xffff_ffff).min(words * 8);
    task.mm().read(args.addr(2), &mut mask.as_mut_bytes()[..len])?;
    if !task.may_schedule(&target) {
        return Err(Errno::EPERM.into());
    }
    if let Some(last) = mask.last_mut()
        && !cpus.is_multiple_of(64)
    {
        *last &= (1 << (cpus % 64)) - 1;
    }
    if mask.iter().all(|word| *word == 0) {
        return Err(Errno::EINVAL.into());
    }
    target.details.lock().affinity = mask;
    Ok(0)
}

pub(super) fn getaffinity(task: &mut CurrentTask, args: Args) -> SysResult {
    let len = args[1] & 0xffff_ffff;
    let cpus = task.kernel().cpu_count();
    let words = cpus.div_ceil(64);
    if !len.is_multiple_of(8) || len < words as u64 * 8 {
        return Err(Errno::EINVAL.into());
    }
    let target = task_or_self(task, args.int(0))?;
    let mask = target.details.lock().allowed_cpus(cpus);
    task.mm().write(args.addr(2), mask.as_bytes())?;
    Ok(words as u64 * 8)
}

pub(super) fn getcpu(task: &mut CurrentTask, args: Args) -> SysResult {
    if args[0] != 0 {
        let cpu = task.details.lock().shown_cpu(task.kernel().cpu_count());
        task.mm().write_object(args.addr(0), &cpu)?;
    }
    if args[1] != 0 {
        task.mm().write_object(args.addr(1), &0_u32)?;
    }
    Ok(0)
}
