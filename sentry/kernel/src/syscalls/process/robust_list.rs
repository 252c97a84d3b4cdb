//! `man 2 set_robust_list`, `get_robust_list`.

use abi::Errno;

use super::args::task_or_self;
use crate::security::AccessIds;
use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

/// The size of `struct robust_list_head`.
const HEAD_SIZE: u64 = 24;

pub(super) fn set_robust_list(task: &mut CurrentTask, args: Args) -> SysResult {
    if args[1] != HEAD_SIZE {
        return Err(Errno::EINVAL.into());
    }
    task.details.lock().robust_list = args.addr(0);
    Ok(0)
}

pub(super) fn get_robust_list(task: &mut CurrentTask, args: Args) -> SysResult {
    let target = task_or_self(task, args.int(0))?;
    let head = task.inspect(&target, AccessIds::Real, || Ok(target.details.lock().robust_list))?;
    task.mm().write_object(args.addr(2), &HEAD_SIZE)?;
    task.mm().write_object(args.addr(1), &head.0)?;
    Ok(0)
}
