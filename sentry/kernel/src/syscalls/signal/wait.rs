//! `man 2 pause`, `man 2 sigsuspend`, `man 2 sigtimedwait`.

use abi::{Errno, SigInfo, SigSet, Timespec, UserAddr};

use super::read_set;
use crate::error::{Restart, SysError};
use crate::syscalls::table::Args;
use crate::time::MonotonicTime;
use crate::{CurrentTask, SysResult};

/// Sleeps until a signal is taken that runs a handler; the call is made again after one that does not.
fn sleep_for_handler(task: &CurrentTask) -> SysResult {
    loop {
        if let Err(SysError::Restart(_)) = task.sleep(None) {
            return Err(SysError::Restart(Restart::NoHand));
        }
    }
}

pub(super) fn pause(task: &mut CurrentTask, _args: Args) -> SysResult {
    sleep_for_handler(task)
}

pub(super) fn rt_sigsuspend(task: &mut CurrentTask, args: Args) -> SysResult {
    let mask = read_set(task, args[0], args[1])?;
    let former = task.blocked();
    task.signals.lock().saved_mask = Some(former);
    task.set_blocked(mask);
    sleep_for_handler(task)
}

pub(super) fn rt_sigtimedwait(task: &mut CurrentTask, args: Args) -> SysResult {
    let [set_at, info_at, timeout_at, size, ..] = args.0;
    let wanted = read_set(task, set_at, size)?.without(SigSet::UNBLOCKABLE);
    let deadline = if timeout_at == 0 {
        None
    } else {
        let timeout: Timespec = task.mm().read_object(UserAddr(timeout_at))?;
        if !timeout.is_valid() {
            return Err(Errno::EINVAL.into());
        }
        Some(task.kernel().timekeeper.deadline_in(timeout.to_ns()))
    };
    let info = wait_for(task, wanted, deadline)?;
    if info_at != 0 {
        task.mm().write_object(UserAddr(info_at), &info)?;
    }
    Ok(info.signo as u64)
}

fn wait_for(task: &CurrentTask, wanted: SigSet, deadline: Option<MonotonicTime>) -> SysResult<SigInfo> {
    task.signals.lock().waiting_for = wanted;
    let result = loop {
        // Announced above, looked for here: what is queued in between wakes the sleep.
        if let Some(info) = task.take_signal(wanted) {
            break Ok(info);
        }
        match task.sleep_for_signal(deadline, wanted) {
            Ok(()) => {}
            Err(SysError::Errno(_)) => break Err(Errno::EAGAIN.into()),
            Err(_) => break task.take_signal(wanted).ok_or(Errno::EINTR.into()),
        }
    };
    task.signals.lock().waiting_for = SigSet::EMPTY;
    result
}
