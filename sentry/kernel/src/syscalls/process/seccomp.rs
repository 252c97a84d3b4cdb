//! `man 2 seccomp`.

use abi::filter::SockFprog;
use abi::seccomp::{
    FilterFlags, Notif, NotifResp, NotifSizes, SECCOMP_MODE_FILTER, SECCOMP_MODE_STRICT, SeccompData, op, ret,
};
use abi::{Errno, OpenFlags, UserAddr};

use crate::security::{ListenerFile, read_program};
use crate::syscalls::table::Args;
use crate::task::Capability;
use crate::vfs::AnonKind;
use crate::{CurrentTask, SysResult};

const ACTIONS: [u32; 8] = [
    ret::KILL_PROCESS,
    ret::KILL_THREAD,
    ret::TRAP,
    ret::ERRNO,
    ret::USER_NOTIF,
    ret::TRACE,
    ret::LOG,
    ret::ALLOW,
];

fn install(task: &CurrentTask, flags: FilterFlags, program: u64) -> SysResult {
    let wants_listener = flags.contains(FilterFlags::NEW_LISTENER);
    if flags.contains(FilterFlags::TSYNC) && wants_listener && !flags.contains(FilterFlags::TSYNC_ESRCH) {
        return Err(Errno::EINVAL.into());
    }
    if flags.contains(FilterFlags::WAIT_KILLABLE_RECV) && !wants_listener {
        return Err(Errno::EINVAL.into());
    }
    let program: SockFprog = task.mm().read_object(UserAddr(program))?;
    let program = read_program(task, &program)?;
    if !task.details.lock().no_new_privs && !task.creds().has_in_own(Capability::SysAdmin) {
        return Err(Errno::EACCES.into());
    }
    let _no_exec = match flags.contains(FilterFlags::TSYNC) {
        // A thread must not gain privileges by execve(2) that it would not have gained under the filter.
        true => Some(task.thread_group().guard_exec(task)?),
        false => None,
    };
    if !wants_listener {
        return Ok(task.install_filter(program, flags, None)? as u64);
    }
    let (listener, ops) = ListenerFile::new(flags.contains(FilterFlags::WAIT_KILLABLE_RECV));
    let flags_of_file = OpenFlags::RDWR | OpenFlags::CLOEXEC;
    let file =
        task.kernel().vfs.anon_file(AnonKind::Named("seccomp notify"), ops, flags_of_file, &task.creds());
    let reserved = task.reserve_fds(1)?;
    match task.install_filter(program, flags, Some(listener))? {
        0 => {
            let fd = reserved.numbers()[0];
            reserved.commit([file], true);
            Ok(fd as u64)
        }
        other => Ok(other as u64),
    }
}

/// `PR_SET_SECCOMP`.
pub(super) fn set_by_prctl(task: &CurrentTask, mode: u64, filter: u64) -> SysResult {
    match mode {
        SECCOMP_MODE_STRICT => Ok(task.enter_strict_seccomp().map(|()| 0)?),
        SECCOMP_MODE_FILTER => install(task, FilterFlags::empty(), filter),
        _ => Err(Errno::EINVAL.into()),
    }
}

pub(super) fn seccomp(task: &mut CurrentTask, args: Args) -> SysResult {
    let [operation, flags, addr, ..] = args.0;
    let flags = flags as u32;
    match operation as u32 {
        op::SET_MODE_STRICT if flags == 0 && addr == 0 => Ok(task.enter_strict_seccomp().map(|()| 0)?),
        op::SET_MODE_FILTER => {
            let flags = FilterFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
            install(task, flags, addr)
        }
        op::GET_ACTION_AVAIL if flags == 0 => {
            let action: u32 = task.mm().read_object(UserAddr(addr))?;
            if ACTIONS.contains(&action) { Ok(0) } else { Err(Errno::EOPNOTSUPP.into()) }
        }
        op::GET_NOTIF_SIZES if flags == 0 => {
            let sizes = NotifSizes {
                notif: size_of::<Notif>() as u16,
                notif_resp: size_of::<NotifResp>() as u16,
                data: size_of::<SeccompData>() as u16,
            };
            task.mm().write_object(UserAddr(addr), &sizes)?;
            Ok(0)
        }
        _ => Err(Errno::EINVAL.into()),
    }
}
