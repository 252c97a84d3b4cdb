//! `man 2 getpriority`, `man 2 ioprio_set`.

use std::sync::Arc;

use abi::{Errno, Result};

use super::args::task_or_self;
use crate::syscalls::table::Args;
use crate::task::Capability;
use crate::{CurrentTask, SysResult, Task};

const PRIO_PROCESS: i32 = 0;
const PRIO_PGRP: i32 = 1;
const PRIO_USER: i32 = 2;

/// The tasks that getpriority(2) and ioprio_get(2) mean; `kind` counts from 0.
fn selected(task: &CurrentTask, kind: i32, who: i32) -> Result<Vec<Arc<Task>>> {
    let tasks = match kind {
        PRIO_PROCESS => return task_or_self(task, who).map(|task| vec![task]),
        PRIO_PGRP => {
            let group = match who {
                0 => Some(task.thread_group().process_group()),
                pgid => task.pid_ns().process_group(pgid),
            };
            let members = group.map(|group| group.members()).unwrap_or_default();
            members.iter().flat_map(|member| member.tasks()).collect::<Vec<_>>()
        }
        PRIO_USER => {
            let creds = task.creds();
            let uid = if who == 0 { Some(creds.uid) } else { creds.user_ns.to_kernel_uid(who as u32) };
            let uid = uid.ok_or(Errno::ESRCH)?;
            let tasks = task.pid_ns().tasks().into_iter().map(|(_, task)| task);
            tasks.filter(|task| task.creds().uid == uid).collect()
        }
        _ => return Err(Errno::EINVAL),
    };
    if tasks.is_empty() { Err(Errno::ESRCH) } else { Ok(tasks) }
}

pub(super) fn getpriority(task: &mut CurrentTask, args: Args) -> SysResult {
    let tasks = selected(task, args.int(0), args.int(1))?;
    let best = tasks.iter().map(|task| task.details.lock().scheduling.nice).min().ok_or(Errno::ESRCH)?;
    // The call itself returns 1 to 40, so that no result looks like an error.
    Ok((20 - best) as u64)
}

pub(super) fn setpriority(task: &mut CurrentTask, args: Args) -> SysResult {
    let nice = (args.int(2)).clamp(-20, 19);
    let tasks = selected(task, args.int(0), args.int(1))?;
    let mut result = Ok(0);
    for target in tasks {
        if let Err(error) = task.set_nice(&target, nice) {
            result = Err(error);
        }
    }
    Ok(result?)
}

/// `IOPRIO_WHO_*` counts from 1, and the class stands in the upper bits.
const CLASS_SHIFT: u16 = 13;
const CLASS_REALTIME: u16 = 1;
const CLASS_IDLE: u16 = 3;
const MAX_LEVEL: u16 = 7;

pub(super) fn ioprio_set(task: &mut CurrentTask, args: Args) -> SysResult {
    let value = u16::try_from(args.uint(2)).map_err(|_| Errno::EINVAL)?;
    let (class, level) = (value >> CLASS_SHIFT, value & ((1 << CLASS_SHIFT) - 1));
    match class {
        CLASS_REALTIME if !task.creds().capable(Capability::SysNice) => return Err(Errno::EPERM.into()),
        1 | 2 if level > MAX_LEVEL => return Err(Errno::EINVAL.into()),
        0 if level != 0 => return Err(Errno::EINVAL.into()),
        0..=CLASS_IDLE => {}
        _ => return Err(Errno::EINVAL.into()),
    }
    for target in selected(task, (args.int(0)).wrapping_sub(1), args.int(1))? {
        if !task.may_schedule(&target) {
            return Err(Errno::EPERM.into());
        }
        target.details.lock().scheduling.io_priority = value;
    }
    Ok(0)
}

pub(super) fn ioprio_get(task: &mut CurrentTask, args: Args) -> SysResult {
    let tasks = selected(task, (args.int(0)).wrapping_sub(1), args.int(1))?;
    let values = tasks.iter().map(|task| task.details.lock().scheduling.io_priority);
    Ok(values.filter(|value| *value != 0).min().unwrap_or(0).into())
}
