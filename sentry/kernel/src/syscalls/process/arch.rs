//! Calls on a thread's own state: `man 2 arch_prctl`, `personality`, `kcmp`, `set_robust_list`,
//! `restart_syscall`.

use std::sync::Arc;

use abi::prctl::{ARCH_GET_CPUID, ARCH_GET_FS, ARCH_GET_GS, ARCH_SET_CPUID, ARCH_SET_FS, ARCH_SET_GS};
use abi::{Errno, UserAddr};

use super::args::task_or_self;
use crate::security::AccessIds;
use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

/// Addresses from here on are not canonical or not the guest's.
const TASK_SIZE: u64 = 0x7fff_ffff_f000;
/// The size of `struct robust_list_head`.
const ROBUST_HEAD_SIZE: u64 = 24;
/// What personality(2) is asked with to change nothing.
const PERSONALITY_QUERY: u32 = u32::MAX;

pub(super) fn arch_prctl(task: &mut CurrentTask, args: Args) -> SysResult {
    let [code, arg, ..] = args.0;
    match code {
        ARCH_SET_FS | ARCH_SET_GS => {
            if arg >= TASK_SIZE {
                return Err(Errno::EPERM.into());
            }
            if code == ARCH_SET_FS {
                task.regs.fs_base = arg;
            } else {
                task.regs.gs_base = arg;
            }
            Ok(0)
        }
        ARCH_GET_FS | ARCH_GET_GS => {
            let base = if code == ARCH_GET_FS { task.regs.fs_base } else { task.regs.gs_base };
            task.mm().write_object(UserAddr(arg), &base)?;
            Ok(0)
        }
        ARCH_GET_CPUID => Ok(1),
        // Faulting on cpuid is not offered.
        ARCH_SET_CPUID => Err(Errno::ENODEV.into()),
        _ => Err(Errno::EINVAL.into()),
    }
}

pub(super) fn personality(task: &mut CurrentTask, args: Args) -> SysResult {
    let group = task.thread_group();
    let old = group.personality();
    let new = args.uint(0);
    if new != PERSONALITY_QUERY {
        group.set_personality(new);
    }
    Ok(old.into())
}

pub(super) fn set_robust_list(task: &mut CurrentTask, args: Args) -> SysResult {
    if args[1] != ROBUST_HEAD_SIZE {
        return Err(Errno::EINVAL.into());
    }
    task.details.lock().robust_list = args.addr(0);
    Ok(0)
}

pub(super) fn get_robust_list(task: &mut CurrentTask, args: Args) -> SysResult {
    let target = task_or_self(task, args.int(0))?;
    let head = task.inspect(&target, AccessIds::Real, || Ok(target.details.lock().robust_list))?;
    task.mm().write_object(args.addr(2), &ROBUST_HEAD_SIZE)?;
    task.mm().write_object(args.addr(1), &head.0)?;
    Ok(0)
}

pub(super) fn restart_syscall(task: &mut CurrentTask, _args: Args) -> SysResult {
    let restart = task.details.lock().restart.take();
    match restart {
        Some(block) => (block.handler)(task, block.args),
        None => Err(Errno::EINTR.into()),
    }
}

const KCMP_FILE: i32 = 0;
const KCMP_VM: i32 = 1;
const KCMP_FILES: i32 = 2;
const KCMP_FS: i32 = 3;
const KCMP_SIGHAND: i32 = 4;
const KCMP_IO: i32 = 5;
const KCMP_SYSVSEM: i32 = 6;

/// How two addresses compare; the addresses themselves stay secret by a multiplier that is odd.
fn compare(a: usize, b: usize) -> u64 {
    let hide = |at: usize| at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    match hide(a).cmp(&hide(b)) {
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Less => 1,
        std::cmp::Ordering::Greater => 2,
    }
}

fn address<T: ?Sized>(of: &Arc<T>) -> usize {
    Arc::as_ptr(of).cast::<u8>().addr()
}

pub(super) fn kcmp(task: &mut CurrentTask, args: Args) -> SysResult {
    let [first, second, kind, a, b, _] = args.0;
    let (first, second) = (task_or_self(task, first as i32)?, task_or_self(task, second as i32)?);
    if !task.may_inspect(&first, AccessIds::Real) || !task.may_inspect(&second, AccessIds::Real) {
        return Err(Errno::EPERM.into());
    }
    let mm = |task: &crate::Task| task.try_mm().ok_or(Errno::ESRCH);
    let order = match kind as i32 {
        KCMP_FILE => {
            compare(address(&first.fd_table().get(a as i32)?), address(&second.fd_table().get(b as i32)?))
        }
        KCMP_VM => compare(address(&mm(&first)?), address(&mm(&second)?)),
        KCMP_FILES => compare(address(&first.fd_table()), address(&second.fd_table())),
        KCMP_FS => compare(address(&first.fs()), address(&second.fs())),
        KCMP_SIGHAND => {
            compare(address(&first.thread_group().actions()), address(&second.thread_group().actions()))
        }
        // Nobody has an I/O context: the host schedules.
        KCMP_IO => 0,
        KCMP_SYSVSEM => {
            let list = |task: &crate::Task| task.sem_undo().lock().as_ref().map_or(0, address);
            compare(list(&first), list(&second))
        }
        _ => return Err(Errno::EINVAL.into()),
    };
    Ok(order)
}
