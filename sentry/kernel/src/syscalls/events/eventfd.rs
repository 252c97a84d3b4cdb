//! `man 2 eventfd`.

use abi::{Errno, OpenFlags};

use super::{fd_flags, install};
use crate::syscalls::table::Args;
use crate::vfs::EventFd;
use crate::{CurrentTask, SysResult, Task};

const EFD_SEMAPHORE: u64 = 1;

pub(super) fn eventfd(task: &mut CurrentTask, args: Args) -> SysResult {
    make_eventfd(task, args[0], 0)
}

pub(super) fn eventfd2(task: &mut CurrentTask, args: Args) -> SysResult {
    make_eventfd(task, args[0], args[1])
}

fn make_eventfd(task: &Task, count: u64, flags: u64) -> SysResult {
    let is_semaphore = flags & EFD_SEMAPHORE != 0;
    let (flags, close_on_exec) =
        fd_flags(flags & !EFD_SEMAPHORE, OpenFlags::NONBLOCK).ok_or(Errno::EINVAL)?;
    let ops = EventFd::new(u64::from(count as u32), is_semaphore);
    install(task, "[eventfd]", ops, flags, close_on_exec)
}
