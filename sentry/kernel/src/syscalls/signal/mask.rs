//! `man 2 sigprocmask`, `man 2 sigpending`.

use abi::{Errno, SigSet, UserAddr};
use zerocopy::IntoBytes;

use super::{SIGSET_SIZE, read_set};
use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

const SIG_BLOCK: i32 = 0;
const SIG_UNBLOCK: i32 = 1;
const SIG_SETMASK: i32 = 2;

pub(super) fn rt_sigprocmask(task: &mut CurrentTask, args: Args) -> SysResult {
    let [how, new_at, old_at, size, ..] = args.0;
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let old = task.blocked();
    if new_at != 0 {
        let set = read_set(task, new_at, size)?;
        let blocked = match how as i32 {
            SIG_BLOCK => SigSet(old.0 | set.0),
            SIG_UNBLOCK => old.without(set),
            SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL.into()),
        };
        task.set_blocked(blocked);
    }
    if old_at != 0 {
        task.mm().write_object(UserAddr(old_at), &old)?;
    }
    Ok(0)
}

pub(super) fn rt_sigpending(task: &mut CurrentTask, args: Args) -> SysResult {
    if args[1] > SIGSET_SIZE {
        return Err(Errno::EINVAL.into());
    }
    let pending = SigSet(task.pending_signals().0 & task.blocked().0);
    task.mm().write(args.addr(0), &pending.as_bytes()[..args[1] as usize])?;
    Ok(0)
}
