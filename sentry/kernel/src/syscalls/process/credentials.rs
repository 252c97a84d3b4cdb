//! User and group ids: `man 2 getuid`, `setuid`, `setresuid`, `setfsuid`, `setgroups` and their kin.

use std::sync::Arc;

use abi::{Errno, Result, UserAddr};
use zerocopy::FromBytes;

use crate::syscalls::table::Args;
use crate::task::{Capability, Credentials};
use crate::{CurrentTask, SysResult};

/// The most supplementary groups (Linux's `NGROUPS_MAX`).
const MAX_GROUPS: u64 = 65536;
fn uid(creds: &Credentials, raw: u64) -> Result<u32> {
    creds.user_ns.to_kernel_uid(raw as u32).ok_or(Errno::EINVAL)
}

fn gid(creds: &Credentials, raw: u64) -> Result<u32> {
    creds.user_ns.to_kernel_gid(raw as u32).ok_or(Errno::EINVAL)
}

/// Makes `change` of the caller's credentials its new ones.
fn change(task: &CurrentTask, change: impl FnOnce(&Credentials) -> Result<Credentials>) -> SysResult {
    let old = task.creds();
    let new = change(&old)?;
    task.commit_creds(&old, new);
    Ok(0)
}

pub(super) fn getuid(task: &mut CurrentTask, _args: Args) -> SysResult {
    let creds = task.creds();
    Ok(creds.user_ns.from_kernel_uid(creds.uid).into())
}

pub(super) fn geteuid(task: &mut CurrentTask, _args: Args) -> SysResult {
    let creds = task.creds();
    Ok(creds.user_ns.from_kernel_uid(creds.euid).into())
}

pub(super) fn getgid(task: &mut CurrentTask, _args: Args) -> SysResult {
    let creds = task.creds();
    Ok(creds.user_ns.from_kernel_gid(creds.gid).into())
}

pub(super) fn getegid(task: &mut CurrentTask, _args: Args) -> SysResult {
    let creds = task.creds();
    Ok(creds.user_ns.from_kernel_gid(creds.egid).into())
}

pub(super) fn setuid(task: &mut CurrentTask, args: Args) -> SysResult {
    change(task, |creds| creds.set_uid(uid(creds, args[0])?))
}

pub(super) fn setgid(task: &mut CurrentTask, args: Args) -> SysResult {
    change(task, |creds| creds.set_gid(gid(creds, args[0])?))
}

pub(super) fn setreuid(task: &mut CurrentTask, args: Args) -> SysResult {
    change(task, |creds| {
        creds
            .set_reuid(creds.user_ns.uid_or_keep(args[0] as u32)?, creds.user_ns.uid_or_keep(args[1] as u32)?)
    })
}

pub(super) fn setregid(task: &mut CurrentTask, args: Args) -> SysResult {
    change(task, |creds| {
        creds
            .set_regid(creds.user_ns.gid_or_keep(args[0] as u32)?, creds.user_ns.gid_or_keep(args[1] as u32)?)
    })
}

pub(super) fn setresuid(task: &mut CurrentTask, args: Args) -> SysResult {
    change(task, |creds| {
        let id = |index: usize| creds.user_ns.uid_or_keep(args[index] as u32);
        creds.set_resuid([id(0)?, id(1)?, id(2)?])
    })
}

pub(super) fn setresgid(task: &mut CurrentTask, args: Args) -> SysResult {
    change(task, |creds| {
        let id = |index: usize| creds.user_ns.gid_or_keep(args[index] as u32);
        creds.set_resgid([id(0)?, id(1)?, id(2)?])
    })
}

fn store_three(task: &CurrentTask, addrs: [u64; 6], ids: [u32; 3]) -> SysResult {
    for (addr, id) in addrs.into_iter().zip(ids) {
        task.mm().write_object(UserAddr(addr), &id)?;
    }
    Ok(0)
}

pub(super) fn getresuid(task: &mut CurrentTask, args: Args) -> SysResult {
    let creds = task.creds();
    let ids = [creds.uid, creds.euid, creds.suid].map(|id| creds.user_ns.from_kernel_uid(id));
    store_three(task, args.0, ids)
}

pub(super) fn getresgid(task: &mut CurrentTask, args: Args) -> SysResult {
    let creds = task.creds();
    let ids = [creds.gid, creds.egid, creds.sgid].map(|id| creds.user_ns.from_kernel_gid(id));
    store_three(task, args.0, ids)
}

pub(super) fn setfsuid(task: &mut CurrentTask, args: Args) -> SysResult {
    let old = task.creds();
    let former = old.user_ns.from_kernel_uid(old.fsuid);
    if let Ok(id) = uid(&old, args[0]) {
        task.commit_creds(&old, old.set_fsuid(id));
    }
    Ok(former.into())
}

pub(super) fn setfsgid(task: &mut CurrentTask, args: Args) -> SysResult {
    let old = task.creds();
    let former = old.user_ns.from_kernel_gid(old.fsgid);
    if let Ok(id) = gid(&old, args[0]) {
        task.commit_creds(&old, old.set_fsgid(id));
    }
    Ok(former.into())
}

pub(super) fn getgroups(task: &mut CurrentTask, args: Args) -> SysResult {
    let creds = task.creds();
    let room = args.int(0);
    if room < 0 {
        return Err(Errno::EINVAL.into());
    }
    if room > 0 {
        if creds.groups.len() > room as usize {
            return Err(Errno::EINVAL.into());
        }
        let ids = creds.groups.iter().map(|id| creds.user_ns.from_kernel_gid(*id));
        let bytes: Vec<u8> = ids.flat_map(u32::to_ne_bytes).collect();
        task.mm().write(args.addr(1), &bytes)?;
    }
    Ok(creds.groups.len() as u64)
}

pub(super) fn setgroups(task: &mut CurrentTask, args: Args) -> SysResult {
    let count = args[0] & 0xffff_ffff;
    let old = task.creds();
    if !old.has_in_own(Capability::Setgid) || !old.user_ns.can_set_groups() {
        return Err(Errno::EPERM.into());
    }
    if count > MAX_GROUPS {
        return Err(Errno::EINVAL.into());
    }
    let mut bytes = vec![0; count as usize * 4];
    task.mm().read(args.addr(1), &mut bytes)?;
    let ids = bytes.chunks_exact(4).map(|at| u32::read_from_bytes(at).map_err(|_| Errno::EINVAL));
    let ids: Result<Vec<u32>> = ids.map(|id| gid(&old, id?.into())).collect();
    let mut ids = ids?;
    ids.sort_unstable();
    let mut new = (*old).clone();
    new.groups = Arc::from(ids);
    task.commit_creds(&old, new);
    Ok(0)
}
