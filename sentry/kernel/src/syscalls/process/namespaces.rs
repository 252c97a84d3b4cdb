//! `man 2 unshare`, `man 2 setns`.

use abi::Errno;
use abi::sched::CloneFlags;

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

pub(super) fn setns(task: &mut CurrentTask, args: Args) -> SysResult {
    task.enter_namespaces(args.int(0), args.uint(1))?;
    Ok(0)
}
