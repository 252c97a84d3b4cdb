//! `man 2 arch_prctl`.

use abi::prctl::{ARCH_GET_CPUID, ARCH_GET_FS, ARCH_GET_GS, ARCH_SET_CPUID, ARCH_SET_FS, ARCH_SET_GS};
use abi::{Errno, UserAddr};

use crate::syscalls::table::Args;
use crate::{CurrentTask, SysResult};

pub(super) fn arch_prctl(task: &mut CurrentTask, args: Args) -> SysResult {
    let (code, arg) = (u64::from(args.uint(0)), args[1]);
    match code {
        ARCH_SET_FS | ARCH_SET_GS => {
            if arg >= UserAddr::END.0 {
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
