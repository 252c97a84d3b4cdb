//! `man 2 capget`.

use abi::capability::{
    CapData, CapHeader, LINUX_CAPABILITY_VERSION_1, LINUX_CAPABILITY_VERSION_2, LINUX_CAPABILITY_VERSION_3,
};
use abi::{Errno, Result, UserAddr};

use crate::syscalls::table::Args;
use crate::task::CapabilitySet;
use crate::{CurrentTask, SysResult};

/// Reads the header; returns it with the number of data structures. An unknown version is replaced by ours.
fn header(task: &CurrentTask, addr: u64) -> Result<(CapHeader, usize)> {
    let mut header: CapHeader = task.mm().read_object(UserAddr(addr))?;
    let words = match header.version {
        LINUX_CAPABILITY_VERSION_1 => 1,
        LINUX_CAPABILITY_VERSION_2 | LINUX_CAPABILITY_VERSION_3 => 2,
        _ => {
            header.version = LINUX_CAPABILITY_VERSION_3;
            task.mm().write_object(UserAddr(addr), &header)?;
            return Err(Errno::EINVAL);
        }
    };
    Ok((header, words))
}

pub(super) fn capget(task: &mut CurrentTask, args: Args) -> SysResult {
    let (header, words) = match header(task, args[0]) {
        // Asking for the version alone.
        Err(Errno::EINVAL) if args[1] == 0 => return Ok(0),
        other => other?,
    };
    if args[1] == 0 {
        return Ok(0);
    }
    if header.pid < 0 {
        return Err(Errno::EINVAL.into());
    }
    let target = super::args::task_or_self(task, header.pid)?;
    let creds = target.creds();
    for index in 0..words {
        let word = |set: CapabilitySet| (set.0 >> (32 * index)) as u32;
        let data = CapData {
            effective: word(creds.effective),
            permitted: word(creds.permitted),
            inheritable: word(creds.inheritable),
        };
        let at = args[1].checked_add((index * size_of::<CapData>()) as u64).ok_or(Errno::EFAULT)?;
        task.mm().write_object(UserAddr(at), &data)?;
    }
    Ok(0)
}

pub(super) fn capset(task: &mut CurrentTask, args: Args) -> SysResult {
    let (header, words) = header(task, args[0])?;
    if header.pid != 0 && header.pid != task.tid() {
        return Err(Errno::EPERM.into());
    }
    let (mut effective, mut permitted, mut inheritable) = (0, 0, 0);
    for index in 0..words {
        let at = args[1].checked_add((index * size_of::<CapData>()) as u64).ok_or(Errno::EFAULT)?;
        let data: CapData = task.mm().read_object(UserAddr(at))?;
        effective |= u64::from(data.effective) << (32 * index);
        permitted |= u64::from(data.permitted) << (32 * index);
        inheritable |= u64::from(data.inheritable) << (32 * index);
    }
    let known = |bits: u64| CapabilitySet(bits).and(CapabilitySet::FULL);
    let (effective, permitted, inheritable) = (known(effective), known(permitted), known(inheritable));
    let old = task.creds();
    task.commit_creds(&old, old.set_capabilities(effective, permitted, inheritable)?);
    Ok(0)
}
