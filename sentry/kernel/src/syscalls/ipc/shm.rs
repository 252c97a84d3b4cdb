//! System V shared memory: shmget(2), shmat(2), shmdt(2), shmctl(2).

use abi::ipc::{
    IPC_64, IPC_INFO, IPC_RMID, IPC_SET, IPC_STAT, SHM_EXEC, SHM_HUGETLB, SHM_INFO, SHM_LOCK, SHM_RDONLY,
    SHM_REMAP, SHM_RND, SHM_STAT, SHM_STAT_ANY, SHM_UNLOCK, ShmidDs,
};
use abi::{Errno, UserAddr};

use super::pid;
use crate::ipc::{IpcAccess, IpcNamespace, IpcObject};
use crate::syscalls::table::Args;
use crate::task::Capability;
use crate::{CurrentTask, SysResult};

/// shmget(2).
pub(super) fn shmget(task: &mut CurrentTask, args: Args) -> SysResult {
    let [key, size, flags, ..] = args.0;
    let flags = flags as u32;
    if flags & SHM_HUGETLB != 0 {
        return Err(Errno::ENOMEM.into());
    }
    let set = &IpcNamespace::of(task).shm;
    Ok(set.find_or_make(key as i32, size, flags, &task.creds(), pid(task))? as u64)
}

/// shmat(2).
pub(super) fn shmat(task: &mut CurrentTask, args: Args) -> SysResult {
    let [id, addr, flags, ..] = args.0;
    let flags = flags as u32;
    let mut addr = UserAddr(addr);
    if !addr.is_page_aligned() {
        if flags & SHM_RND == 0 {
            return Err(Errno::EINVAL.into());
        }
        addr = addr.page_floor();
    }
    if addr.is_null() && flags & SHM_REMAP != 0 {
        return Err(Errno::EINVAL.into());
    }
    let segment = IpcNamespace::of(task).shm.get(id as i32)?;
    let write = if flags & SHM_RDONLY == 0 { 0o222 } else { 0 };
    let execute = if flags & SHM_EXEC != 0 { 0o111 } else { 0 };
    segment.perm().check(&task.creds(), IpcAccess::Bits(0o444 | write | execute))?;
    let attached = task.mm().attach_segment(segment.clone(), segment.len(), addr, flags)?;
    segment.touch(pid(task));
    Ok(attached.0)
}

/// shmdt(2).
pub(super) fn shmdt(task: &mut CurrentTask, args: Args) -> SysResult {
    task.mm().detach_segment(args.addr(0))?;
    Ok(0)
}

/// shmctl(2).
pub(super) fn shmctl(task: &mut CurrentTask, args: Args) -> SysResult {
    let [id, command, buffer, ..] = args.0;
    let (id, command, buffer) = (id as i32, command as i32 & !IPC_64, UserAddr(buffer));
    let set = &IpcNamespace::of(task).shm;
    let (mm, creds) = (task.mm(), task.creds());
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    match command {
        IPC_INFO => {
            let (limits, highest) = set.limits();
            mm.write_object(buffer, &limits)?;
            return Ok(highest as u64);
        }
        SHM_INFO => {
            let (usage, highest) = set.usage();
            mm.write_object(buffer, &usage)?;
            return Ok(highest as u64);
        }
        IPC_STAT => mm.write_object(buffer, &set.get(id)?.stat(&creds, false)?)?,
        SHM_STAT | SHM_STAT_ANY => {
            let (id, segment) = set.at_index(id)?;
            mm.write_object(buffer, &segment.stat(&creds, command == SHM_STAT_ANY)?)?;
            return Ok(id as u64);
        }
        IPC_SET => {
            let new: ShmidDs = mm.read_object(buffer)?;
            set.get(id)?.set(&creds, &new.shm_perm)?;
        }
        IPC_RMID => {
            set.get(id)?.perm().check_owner(&creds)?;
            set.remove(id);
        }
        SHM_LOCK | SHM_UNLOCK => {
            let segment = set.get(id)?;
            if !creds.has_in(&segment.perm().user_ns, Capability::IpcLock) {
                segment.perm().check_owner(&creds)?;
                if command == SHM_LOCK && task.limit(abi::resource::Resource::Memlock) == 0 {
                    return Err(Errno::EPERM.into());
                }
            }
            segment.set_locked(command == SHM_LOCK);
        }
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}
