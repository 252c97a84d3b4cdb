//! `man 2 unshare`, `man 2 setns`.

use abi::sched::CloneFlags;
use abi::{Errno, Result};

use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

pub(super) fn unshare(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = CloneFlags::from_bits(args[0]).ok_or(Errno::EINVAL)?;
    let allowed = CloneFlags::NAMESPACES
        | CloneFlags::FS
        | CloneFlags::FILES
        | CloneFlags::SIGHAND
        | CloneFlags::VM
        | CloneFlags::THREAD
        | CloneFlags::SYSVSEM;
    if !allowed.contains(flags) || flags.contains(CloneFlags::NEWTIME) {
        return Err(Errno::EINVAL.into());
    }
    task.unshare(flags)?;
    Ok(0)
}

fn enter(task: &CurrentTask, fd: i32, kinds: u32) -> Result<()> {
    let kinds = CloneFlags::from_bits(kinds.into()).ok_or(Errno::EINVAL)?;
    if !CloneFlags::NAMESPACES.contains(kinds) {
        return Err(Errno::EINVAL);
    }
    task.enter_namespaces(fd, kinds)
}

pub(super) fn setns(task: &mut CurrentTask, args: Args) -> SysResult {
    enter(task, args.int(0), args.uint(1))?;
    Ok(0)
}
