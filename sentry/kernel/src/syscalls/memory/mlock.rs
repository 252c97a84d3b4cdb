//! mlock(2) and its family.

use std::ops::Range;

use abi::mman;
use abi::resource::Resource;
use abi::{Errno, Result, page_ceil, page_floor};

use crate::mm::{LockKind, VmaFlags};
use crate::syscalls::table::Args;
use crate::task::Capability;
use crate::{CurrentTask, SysResult, Task};

/// Any byte of a page names the page.
fn range(addr: u64, len: u64) -> Result<Range<u64>> {
    let end = addr.checked_add(len).and_then(page_ceil).ok_or(Errno::EINVAL)?;
    Ok(page_floor(addr)..end)
}

/// Whether the task may lock memory at all.
pub(super) fn check_may_lock(task: &Task) -> Result<()> {
    let may = task.limit(Resource::Memlock) > 0 || task.creds().capable(Capability::IpcLock);
    if may { Ok(()) } else { Err(Errno::EPERM) }
}

fn lock(task: &CurrentTask, addr: u64, len: u64, kind: LockKind) -> SysResult {
    check_may_lock(task)?;
    let range = range(addr, len)?;
    if !range.is_empty() {
        task.mm().lock(range, kind)?;
    }
    Ok(0)
}

/// mlock(2).
pub(super) fn mlock(task: &mut CurrentTask, args: Args) -> SysResult {
    lock(task, args[0], args[1], LockKind::Now)
}

/// mlock2(2).
pub(super) fn mlock2(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = args.uint(2);
    if flags & !mman::MLOCK_ONFAULT != 0 {
        return Err(Errno::EINVAL.into());
    }
    let kind = if flags & mman::MLOCK_ONFAULT != 0 { LockKind::OnFault } else { LockKind::Now };
    lock(task, args[0], args[1], kind)
}

/// munlock(2).
pub(super) fn munlock(task: &mut CurrentTask, args: Args) -> SysResult {
    let range = range(args[0], args[1])?;
    if !range.is_empty() {
        task.mm().unlock(range)?;
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
    check_may_lock(task)?;
    let mm = task.mm();
    let is_current = flags & mman::MCL_CURRENT != 0;
    let kind = if flags & mman::MCL_ONFAULT != 0 { LockKind::OnFault } else { LockKind::Now };
    let future = if flags & mman::MCL_FUTURE != 0 { kind.flags() } else { VmaFlags::empty() };
    mm.lock_all(is_current.then_some(kind.flags()), future)?;
    if is_current && kind == LockKind::Now {
        for range in mm.mapped_ranges() {
            // As in Linux, pages that cannot be had are passed over.
            let _ = mm.populate_locked(range);
        }
    }
    Ok(0)
}

/// munlockall(2).
pub(super) fn munlockall(task: &mut CurrentTask, _args: Args) -> SysResult {
    task.mm().lock_all(Some(VmaFlags::empty()), VmaFlags::empty())?;
    Ok(0)
}
