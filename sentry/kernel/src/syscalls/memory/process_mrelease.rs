//! `man 2 process_mrelease`.

use std::sync::Arc;

use abi::Errno;

use crate::mm::DiscardFlags;
use crate::syscalls::process::args::task_of_pidfd;
use crate::syscalls::table::Args;
use crate::task::ThreadGroup;
use crate::{CurrentTask, SysResult};

/// Takes the memory of a process that has been killed before it gets to give it back itself.
pub(super) fn process_mrelease(task: &mut CurrentTask, args: Args) -> SysResult {
    let [pidfd, flags, ..] = args.0;
    if flags as u32 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = task_of_pidfd(task, pidfd as i32)?;
    let mm = target.try_mm().ok_or(Errno::ESRCH)?;
    let uses_it = |group: &Arc<ThreadGroup>| {
        group.leader().and_then(|leader| leader.try_mm()).is_some_and(|other| Arc::ptr_eq(&other, &mm))
    };
    let is_ending = |group: &Arc<ThreadGroup>| group.leader().is_none_or(|leader| leader.is_killed());
    if !task.kernel().tasks.thread_groups().iter().filter(|group| uses_it(group)).all(is_ending) {
        return Err(Errno::EINVAL.into());
    }
    for range in mm.mapped_ranges() {
        // What is not anonymous is refused, and stays.
        let _ = mm.discard(range, DiscardFlags::all());
    }
    Ok(0)
}
