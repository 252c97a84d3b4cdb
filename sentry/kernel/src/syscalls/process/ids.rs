//! Numbers of processes, groups and sessions: `man 2 getpid`, `setpgid`, `setsid`.

use abi::{Errno, Result};

use super::args::group_or_self;
use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

pub(super) fn getpid(task: &mut CurrentTask, _args: Args) -> SysResult {
    Ok(task.thread_group().tgid() as u64)
}

pub(super) fn gettid(task: &mut CurrentTask, _args: Args) -> SysResult {
    Ok(task.tid() as u64)
}

pub(super) fn getppid(task: &mut CurrentTask, _args: Args) -> SysResult {
    let parent = task.thread_group().parent();
    Ok(parent.map_or(0, |parent| parent.tgid_in(&task.pid_ns())) as u64)
}

pub(super) fn getpgrp(task: &mut CurrentTask, _args: Args) -> SysResult {
    Ok(task.thread_group().process_group().number_in(&task.pid_ns()) as u64)
}

pub(super) fn getpgid(task: &mut CurrentTask, args: Args) -> SysResult {
    let target = super::args::task_or_self(task, args.int(0))?;
    Ok(target.thread_group().process_group().number_in(&task.pid_ns()) as u64)
}

pub(super) fn getsid(task: &mut CurrentTask, args: Args) -> SysResult {
    let target = super::args::task_or_self(task, args.int(0))?;
    Ok(target.thread_group().session().number_in(&task.pid_ns()) as u64)
}

pub(super) fn setsid(task: &mut CurrentTask, _args: Args) -> SysResult {
    task.thread_group().new_session(task)?;
    Ok(task.thread_group().session().number_in(&task.pid_ns()) as u64)
}

fn set_group(task: &CurrentTask, pid: i32, pgid: i32) -> Result<()> {
    if pgid < 0 {
        return Err(Errno::EINVAL);
    }
    let target = group_or_self(task, pid)?;
    target.join_process_group(task, pgid)
}

pub(super) fn setpgid(task: &mut CurrentTask, args: Args) -> SysResult {
    set_group(task, args.int(0), args.int(1))?;
    Ok(0)
}
