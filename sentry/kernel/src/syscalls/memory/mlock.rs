//! mlock(2) and its family. Guest memory is never paged out by us; locks are accounted, and pages are brought in.

use std::ops::Range;

use abi::mman;
use abi::resource::Resource;
use abi::{Errno, Result, page_ceil, page_floor};

use crate::mm::VmaFlags;
use crate::syscalls::table::Args;
use crate::task::Capability;
use crate::{CurrentTask, SysResult};

const LOCKS: VmaFlags = VmaFlags::LOCKED.union(VmaFlags::LOCK_ON_FAULT);

/// Any byte of a page names the page.
fn range(addr: u64, len: u64) -> Result<Range<u64>> {
    let end = addr.checked_add(len).and_then(page_ceil).ok_or(Errno::EINVAL)?;
    Ok(page_floor(addr)..end)
}

/// Whether the task may lock memory at all, and up to how much.
fn limit(task: &CurrentTask) -> Result<u64> {
    if task.creds().capable(Capability::IpcLock) {
        return Ok(u64::MAX);
    }
    match task.limit(Resource::Memlock) {
        0 => Err(Errno::EPERM),
        limit => Ok(limit),
    }
}

fn lock(task: &CurrentTask, addr: u64, len: u64, on_fault: bool) -> SysResult {
    let limit = limit(task)?;
    let range = range(addr, len)?;
    if range.is_empty() {
        return Ok(0);
    }
    let mm = task.mm();
    if mm.locked_bytes(range.clone()) > limit {
        return Err(Errno::ENOMEM.into());
    }
    let add = if on_fault { LOCKS } else { VmaFlags::LOCKED };
    mm.change_flags(range.clone(), add, LOCKS.difference(add), &|_| true)?;
    if !on_fault {
        // Linux: pages that cannot be had make the call fail, though the range is locked.
        mm.populate_locked(range)
            .map_err(|error| if error == Errno::EFAULT { Errno::ENOMEM } else { error })?;
    }
    Ok(0)
}

/// mlock(2).
pub(super) fn mlock(task: &mut CurrentTask, args: Args) -> SysResult {
    lock(task, args[0], args[1], false)
}

/// mlock2(2).
pub(super) fn mlock2(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = args.uint(2);
    if flags & !mman::MLOCK_ONFAULT != 0 {
        return Err(Errno::EINVAL.into());
    }
    lock(task, args[0], args[1], flags & mman::MLOCK_ONFAULT != 0)
}

/// munlock(2).
pub(super) fn munlock(task: &mut CurrentTask, args: Args) -> SysResult {
    let range = range(args[0], args[1])?;
    if !range.is_empty() {
        task.mm().change_flags(range, VmaFlags::empty(), LOCKS, &|_| true)?;
    }
    Ok(0)
}

/// mlockall(2).
pub(super) fn mlockall(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = args.uint(0);
    let known = mman::MCL_CURRENT | mman::MCL_FUTURE | mman::MCL_ONFAULT;
    if flags == 0 || flags & !known != 0 || flags == mman::MCL_ONFAULT {
        return Err(Errno::EINVAL.into());
    }
    let limit = limit(task)?;
    let mm = task.mm();
    let is_current = flags & mman::MCL_CURRENT != 0;
    if is_current && limit != u64::MAX && mm.totals().size > limit {
        return Err(Errno::ENOMEM.into());
    }
    let on_fault = flags & mman::MCL_ONFAULT != 0;
    let locks = if on_fault { LOCKS } else { VmaFlags::LOCKED };
    let future = if flags & mman::MCL_FUTURE != 0 { locks } else { VmaFlags::empty() };
    mm.lock_all(is_current.then_some(locks), future);
    if is_current && !on_fault {
        for range in mm.mapped_ranges() {
            // As in Linux, pages that cannot be had are passed over.
            let _ = mm.populate_locked(range);
        }
    }
    Ok(0)
}

/// munlockall(2).
pub(super) fn munlockall(task: &mut CurrentTask, _args: Args) -> SysResult {
    task.mm().lock_all(Some(VmaFlags::empty()), VmaFlags::empty());
    Ok(0)
}
