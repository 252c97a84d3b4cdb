//! `man 2 pidfd_open`, `pidfd_getfd`, `pidfd_send_signal`.

use abi::signal::{SI_TKILL, SI_USER};
use abi::{Errno, OpenFlags, SigInfo, Signal, UserAddr};

use crate::security::AccessIds;
use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

/// `PIDFD_THREAD` has the value of `O_EXCL`.
const PIDFD_THREAD: u32 = 0o200;

pub(super) fn pidfd_open(task: &mut CurrentTask, args: Args) -> SysResult {
    let (pid, flags) = (args.int(0), args.uint(1));
    let nonblock = OpenFlags::NONBLOCK.bits();
    if flags & !(nonblock | PIDFD_THREAD) != 0 || pid <= 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = task.pid_ns().task(pid).ok_or(Errno::ESRCH)?;
    let is_thread = flags & PIDFD_THREAD != 0;
    if !is_thread && !target.is_leader() {
        return Err(Errno::ENOENT.into());
    }
    let file = task.open_pidfd(&target.pid(), &target, is_thread, flags & nonblock != 0);
    Ok(task.install_fd(file, true)? as u64)
}

pub(super) fn pidfd_getfd(task: &mut CurrentTask, args: Args) -> SysResult {
    let [pidfd, fd, flags, ..] = args.0;
    if flags as u32 != 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = task.with_pidfd(pidfd as i32, |pidfd| pidfd.task().cloned())?;
    let file = task.inspect(&target, AccessIds::Real, || {
        if target.has_exited() { Err(Errno::ESRCH) } else { target.fd_table().get(fd as i32) }
    })?;
    Ok(task.install_fd(file, true)? as u64)
}

/// `PIDFD_SIGNAL_*`: a thread, its process, its process group.
const SIGNAL_THREAD: u32 = 1;
const SIGNAL_THREAD_GROUP: u32 = 2;
const SIGNAL_PROCESS_GROUP: u32 = 4;

pub(super) fn pidfd_send_signal(task: &mut CurrentTask, args: Args) -> SysResult {
    let [pidfd, number, info_at, flags, ..] = args.0;
    let (number, flags) = (number as i32, flags as u32);
    let scopes = SIGNAL_THREAD | SIGNAL_THREAD_GROUP | SIGNAL_PROCESS_GROUP;
    if flags & !scopes != 0 || flags.count_ones() > 1 {
        return Err(Errno::EINVAL.into());
    }
    let directory = task.fd_table().get(pidfd as i32)?.ops().process();
    let (target, is_thread) = match directory {
        Some(pid) => (pid?.task().ok_or(Errno::ESRCH)?, false),
        None => task.with_pidfd(pidfd as i32, |pidfd| Ok((pidfd.task()?.clone(), pidfd.is_thread())))?,
    };
    if !task.pid_ns().contains(&target.pid_ns()) {
        return Err(Errno::EINVAL.into());
    }
    let signal = match number {
        0 => None,
        number => Some(Signal::new(number).ok_or(Errno::EINVAL)?),
    };
    let to_thread = flags == SIGNAL_THREAD || (flags == 0 && is_thread);
    let info = if info_at == 0 {
        let code = if to_thread { SI_TKILL } else { SI_USER };
        signal.map(|signal| task.user_signal(signal, code, &target))
    } else {
        let info: SigInfo = task.mm().read_object(UserAddr(info_at))?;
        if info.signo != number {
            return Err(Errno::EINVAL.into());
        }
        let is_self = target.thread_group().id() == task.thread_group().id() && flags != SIGNAL_PROCESS_GROUP;
        if !is_self && (info.code >= 0 || info.code == SI_TKILL) {
            return Err(Errno::EPERM.into());
        }
        Some(info)
    };
    if flags == SIGNAL_PROCESS_GROUP {
        // The group with this number, whether or not its leader is still in it.
        let group = target.pid().process_group();
        task.signal_many(|| group.map(|group| group.members()).unwrap_or_default(), signal, info)?;
    } else if to_thread {
        task.check_may_signal(&target, signal)?;
        if let (Some(signal), Some(info)) = (signal, info) {
            target.thread_group().queue_signal(Some(&target), signal, info, task.sender_to(&target))?;
        }
    } else {
        task.signal_process(target.thread_group(), signal, info)?;
    }
    Ok(0)
}
