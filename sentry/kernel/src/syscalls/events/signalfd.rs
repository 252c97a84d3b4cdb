//! `man 2 signalfd`.

use abi::{Errno, OpenFlags, SigSet, UserAddr};

use super::{fd_flags, install};
use crate::syscalls::table::Args;
use crate::vfs::SignalFd;
use crate::{CurrentTask, SysResult, Task};

pub(super) fn signalfd(task: &mut CurrentTask, args: Args) -> SysResult {
    make_signalfd(task, args, 0)
}

pub(super) fn signalfd4(task: &mut CurrentTask, args: Args) -> SysResult {
    make_signalfd(task, args, args[3])
}

fn make_signalfd(task: &Task, args: Args, flags: u64) -> SysResult {
    let [fd, mask, size, ..] = args.0;
    if size != 8 {
        return Err(Errno::EINVAL.into());
    }
    let mask: SigSet = task.mm().read_object(UserAddr(mask))?;
    let (flags, close_on_exec) = fd_flags(flags, OpenFlags::NONBLOCK).ok_or(Errno::EINVAL)?;
    if fd as i32 == -1 {
        return install(task, "[signalfd]", SignalFd::new(mask), flags, close_on_exec);
    }
    let file = task.fd_table().get(fd as i32)?;
    file.ops_as::<SignalFd>().ok_or(Errno::EINVAL)?.set_mask(mask);
    Ok(fd)
}
