//! `man 2 sigaction`, `man 2 sigreturn`, `man 2 sigaltstack`.

use abi::signal::{KernelSigaction, SaFlags, StackT};
use abi::{Errno, SigInfo, SigSet, Signal, UserAddr};

use super::SIGSET_SIZE;
use crate::signal::SigAction;
use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

pub(super) fn rt_sigaction(task: &mut CurrentTask, args: Args) -> SysResult {
    let [number, new_at, old_at, size, ..] = args.0;
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let new =
        if new_at == 0 { None } else { Some(task.mm().read_object::<KernelSigaction>(UserAddr(new_at))?) };
    let signal = Signal::new(number as i32).ok_or(Errno::EINVAL)?;
    if new.is_some() && SigSet::UNBLOCKABLE.contains(signal) {
        return Err(Errno::EINVAL.into());
    }
    task.take_set_actions();
    // Whether the platform may answer is looked at again, too: others may have shared the actions.
    task.note_new_answers();
    let group = task.thread_group();
    let old = match new {
        None => group.actions().get(signal),
        Some(new) => group.set_action(signal, from_guest(&new)),
    };
    if old_at != 0 {
        task.mm().write_object(UserAddr(old_at), &to_guest(&old))?;
    }
    Ok(0)
}

/// Flags that Linux does not know are dropped, so that a program can find out what it does know.
fn from_guest(action: &KernelSigaction) -> SigAction {
    SigAction {
        handler: action.sa_handler,
        flags: SaFlags::from_bits_truncate(action.sa_flags),
        restorer: UserAddr(action.sa_restorer),
        mask: action.sa_mask.without(SigSet::UNBLOCKABLE),
    }
}

fn to_guest(action: &SigAction) -> KernelSigaction {
    KernelSigaction {
        sa_handler: action.handler,
        sa_flags: action.flags.bits(),
        sa_restorer: action.restorer.0,
        sa_mask: action.mask,
    }
}

pub(super) fn rt_sigreturn(task: &mut CurrentTask, _args: Args) -> SysResult {
    match task.pop_signal_frame() {
        Ok(rax) => Ok(rax),
        Err(_) => {
            task.force_signal(SigInfo::from_fault(Signal::SEGV, abi::signal::SI_KERNEL, 0));
            task.regs.orig_rax = u64::MAX;
            Ok(0)
        }
    }
}

pub(super) fn sigaltstack(task: &mut CurrentTask, args: Args) -> SysResult {
    let [new_at, old_at, ..] = args.0;
    let new = if new_at == 0 { None } else { Some(task.mm().read_object::<StackT>(UserAddr(new_at))?) };
    let old = task.signals.lock().alt_stack.to_guest(task.regs.rsp);
    if let Some(new) = new {
        task.set_alt_stack(new, task.min_alt_stack())?;
    }
    if old_at != 0 {
        task.mm().write_object(UserAddr(old_at), &old)?;
    }
    Ok(0)
}
