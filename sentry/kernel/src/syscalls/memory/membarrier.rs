//! membarrier(2).

use abi::mman::membarrier as cmd;
use abi::{Errno, Result, UserAddr};

use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

const SUPPORTED: i32 = cmd::GLOBAL
    | cmd::GLOBAL_EXPEDITED
    | cmd::REGISTER_GLOBAL_EXPEDITED
    | cmd::PRIVATE_EXPEDITED
    | cmd::REGISTER_PRIVATE_EXPEDITED
    | cmd::PRIVATE_EXPEDITED_SYNC_CORE
    | cmd::REGISTER_PRIVATE_EXPEDITED_SYNC_CORE
    | cmd::GET_REGISTRATIONS;

/// membarrier(2). Private barriers take a page's write permission away and give it back: whichever way the host does
/// that, every processor that runs the process has passed a full, serializing barrier then.
pub(super) fn membarrier(task: &mut CurrentTask, args: Args) -> SysResult {
    let (command, flags) = (args.int(0), args.uint(1));
    if flags != 0 {
        return Err(Errno::EINVAL.into());
    }
    let mm = task.mm();
    match command {
        cmd::QUERY => return Ok(SUPPORTED as u64),
        cmd::REGISTER_GLOBAL_EXPEDITED
        | cmd::REGISTER_PRIVATE_EXPEDITED
        | cmd::REGISTER_PRIVATE_EXPEDITED_SYNC_CORE => mm.register_barriers(command as u32),
        cmd::PRIVATE_EXPEDITED => private(task, cmd::REGISTER_PRIVATE_EXPEDITED)?,
        cmd::PRIVATE_EXPEDITED_SYNC_CORE => private(task, cmd::REGISTER_PRIVATE_EXPEDITED_SYNC_CORE)?,
        cmd::GLOBAL | cmd::GLOBAL_EXPEDITED => global(task, command)?,
        cmd::GET_REGISTRATIONS => return Ok(u64::from(mm.registered_barriers())),
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

fn private(task: &CurrentTask, registration: i32) -> Result<()> {
    let mm = task.mm();
    if mm.registered_barriers() & registration as u32 == 0 {
        return Err(Errno::EPERM);
    }
    mm.barrier(Some(UserAddr(task.regs.rsp)))
}

/// Barriers in all processes, or in those that have registered.
fn global(task: &CurrentTask, command: i32) -> Result<()> {
    let own = task.mm();
    for group in task.kernel().tasks.thread_groups() {
        let Some(mm) = group.leader().and_then(|leader| leader.try_mm()) else { continue };
        let wanted =
            command == cmd::GLOBAL || mm.registered_barriers() & cmd::REGISTER_GLOBAL_EXPEDITED as u32 != 0;
        if wanted {
            let hint = std::sync::Arc::ptr_eq(&mm, &own).then_some(UserAddr(task.regs.rsp));
            // A process that is just ending needs no barrier.
            let _ = mm.barrier(hint);
        }
    }
    Ok(())
}
