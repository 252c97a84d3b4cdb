//! System V shared memory: shmget(2), shmat(2), shmdt(2), shmctl(2).

use abi::ipc::{
    IPC_64, IPC_INFO, SHM_EXEC, SHM_HUGETLB, SHM_INFO, SHM_LOCK, SHM_RDONLY, SHM_REMAP, SHM_RND, SHM_STAT,
    SHM_STAT_ANY, SHM_UNLOCK,
};
use abi::{Errno, UserAddr};

use super::{control, pid};
use crate::ipc::{IpcAccess, IpcNamespace, IpcObject, IpcSet};
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
    let set = &*IpcNamespace::of(task).shm;
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    match command {
        IPC_INFO => control::tell(task, buffer, set.limits()),
        SHM_INFO => control::tell(task, buffer, set.usage()),
        SHM_STAT => control::stat_at(task, set, id, buffer),
        SHM_STAT_ANY => control::stat_any_at(task, set, id, buffer),
        SHM_LOCK | SHM_UNLOCK => {
            let (segment, creds) = (set.get(id)?, task.creds());
            if !creds.has_in(&segment.perm().user_ns, Capability::IpcLock) {
                segment.perm().check_owner(&creds)?;
                if command == SHM_LOCK && task.limit(abi::resource::Resource::Memlock) == 0 {
                    return Err(Errno::EPERM.into());
                }
            }
            segment.set_locked(command == SHM_LOCK);
            Ok(0)
        }
        _ => control::common(task, set, id, command, buffer),
    }
}
