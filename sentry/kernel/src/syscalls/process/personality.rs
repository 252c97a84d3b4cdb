//! `man 2 personality`.

use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

/// What it is asked with to change nothing.
const QUERY: u32 = u32::MAX;

pub(super) fn personality(task: &mut CurrentTask, args: Args) -> SysResult {
    let group = task.thread_group();
    let old = group.personality();
    let new = args.uint(0);
    if new != QUERY {
        group.set_personality(new);
    }
    Ok(old.into())
}
