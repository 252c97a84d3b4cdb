//! `man 2 restart_syscall`.

use abi::Errno;

use crate::syscalls::events::poll::restart_poll;
use crate::syscalls::process::futex::restart_wait;
use crate::syscalls::table::Args;
use crate::syscalls::time::sleep::restart_sleep;
use crate::task::RestartCall;
use crate::{CurrentTask, SysResult};

pub(super) fn restart_syscall(task: &mut CurrentTask, _args: Args) -> SysResult {
    let block = task.details.lock().restart.take().ok_or(Errno::EINTR)?;
    match block.call {
        RestartCall::Futex => restart_wait(task, block.args),
        RestartCall::Poll => restart_poll(task, block.args),
        RestartCall::Sleep => restart_sleep(task, block.args),
    }
}
