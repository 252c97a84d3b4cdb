//! `man 2 restart_syscall`.

use abi::Errno;

use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

pub(super) fn restart_syscall(task: &mut CurrentTask, _args: Args) -> SysResult {
    let restart = task.details.lock().restart.take();
    match restart {
        Some(block) => (block.handler)(task, block.args),
        None => Err(Errno::EINTR.into()),
    }
}
