//! `man 2 exit`, `man 2 exit_group`.

use crate::syscalls::table::Args;
use crate::task::ExitStatus;
use crate::{CurrentTask, SysResult};

pub(super) fn exit(task: &mut CurrentTask, args: Args) -> SysResult {
    task.task().begin_exit(ExitStatus::Exited(args[0] as u8));
    Ok(0)
}

pub(super) fn exit_group(task: &mut CurrentTask, args: Args) -> SysResult {
    let group = task.thread_group().clone();
    let status = ExitStatus::Exited(args[0] as u8);
    group.kill(status);
    let decided = group.signal.lock().group_exit.unwrap_or(status);
    task.task().begin_exit(decided);
    Ok(0)
}
