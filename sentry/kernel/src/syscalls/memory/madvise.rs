//! madvise(2), process_madvise(2).

use std::ops::Range;

use abi::mman::advice;
use abi::{Errno, PAGE_SIZE, Result, page_ceil};

use crate::mm::{Access, DiscardFlags, MemoryManager, VmaFlags};
use crate::security::AccessIds;
use crate::syscalls::process::args::task_of_pidfd;
use crate::syscalls::table::Args;
use crate::task::Capability;
use crate::{CurrentTask, SysResult};

/// fallocate(2): keep the size, make a hole.
const PUNCH_KEEP_SIZE: u32 = 3;

/// The pages that `addr` and `len` name.
fn range(addr: u64, len: u64) -> Result<Range<u64>> {
    if !addr.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let len = page_ceil(len).ok_or(Errno::EINVAL)?;
    Ok(addr..addr.checked_add(len).ok_or(Errno::EINVAL)?)
}

/// madvise(2).
pub(super) fn madvise(task: &mut CurrentTask, args: Args) -> SysResult {
    let [addr, len, advice, ..] = args.0;
    check_advice(advice as i32)?;
    let range = range(addr, len)?;
    if !range.is_empty() {
        advise(&task.mm(), range, advice as i32)?;
    }
    Ok(0)
}

fn check_advice(number: i32) -> Result<()> {
    match number {
        0..=4 | 8..=25 => Ok(()),
        advice::HWPOISON | advice::SOFT_OFFLINE => Err(Errno::EPERM),
        _ => Err(Errno::EINVAL),
    }
}

fn advise(mm: &MemoryManager, range: Range<u64>, number: i32) -> Result<()> {
    let any = |_| true;
    let plain = |flags: VmaFlags| !flags.contains(VmaFlags::SPECIAL);
    let flag = |add, remove| mm.change_flags(range.clone(), add, remove, &any);
    let none = VmaFlags::empty();
    match number {
        advice::NORMAL => flag(none, VmaFlags::RANDOM | VmaFlags::SEQUENTIAL),
        advice::RANDOM => flag(VmaFlags::RANDOM, VmaFlags::SEQUENTIAL),
        advice::SEQUENTIAL => flag(VmaFlags::SEQUENTIAL, VmaFlags::RANDOM),
        advice::DONTNEED => mm.discard(range, DiscardFlags::empty()),
        advice::DONTNEED_LOCKED => mm.discard(range, DiscardFlags::EVEN_LOCKED),
        advice::FREE => mm.discard(range, DiscardFlags::ANON_ONLY),
        advice::REMOVE => remove(mm, range),
        advice::DONTFORK => flag(VmaFlags::DONTFORK, none),
        advice::DOFORK => mm.change_flags(range, none, VmaFlags::DONTFORK, &plain),
        advice::MERGEABLE => flag(VmaFlags::MERGEABLE, none),
        advice::UNMERGEABLE => flag(none, VmaFlags::MERGEABLE),
        advice::HUGEPAGE => flag(VmaFlags::HUGEPAGE, VmaFlags::NOHUGEPAGE),
        advice::NOHUGEPAGE => flag(VmaFlags::NOHUGEPAGE, VmaFlags::HUGEPAGE),
        advice::DONTDUMP => flag(VmaFlags::DONTDUMP, none),
        advice::DODUMP => mm.change_flags(range, none, VmaFlags::DONTDUMP, &plain),
        advice::WIPEONFORK => {
            mm.check_anonymous(range.clone())?;
            flag(VmaFlags::WIPEONFORK, none)
        }
        advice::KEEPONFORK => flag(none, VmaFlags::WIPEONFORK),
        advice::POPULATE_READ => mm.populate(range, Access::READ),
        advice::POPULATE_WRITE => mm.populate(range, Access::WRITE),
        // Hints about paging, of which there is none; but the range must be mapped.
        _ => flag(none, none),
    }
}

/// `MADV_REMOVE`: makes a hole in what is mapped.
fn remove(mm: &MemoryManager, range: Range<u64>) -> Result<()> {
    let (objects, result) = mm.shared_objects(range)?;
    for object in objects {
        object.punch(|file, range| {
            if !file.flags().is_writable() {
                return Err(Errno::EACCES);
            }
            file.inode().fallocate(PUNCH_KEEP_SIZE, range.start, range.end - range.start)
        })?;
    }
    result
}

/// process_madvise(2).
pub(super) fn process_madvise(task: &mut CurrentTask, args: Args) -> SysResult {
    if args.uint(4) != 0 {
        return Err(Errno::EINVAL.into());
    }
    let advice = args.int(3);
    let ranges = task.mm().read_iovec(args.addr(1), args[2])?;
    let target = task_of_pidfd(task, args.int(0))?;
    let is_self = std::sync::Arc::ptr_eq(target.thread_group(), task.thread_group());
    let is_hint = matches!(advice, advice::COLD | advice::PAGEOUT | advice::WILLNEED | advice::COLLAPSE);
    if !is_self && !is_hint {
        return Err(Errno::EINVAL.into());
    }
    let mm = task.inspect(&target, AccessIds::FileSystem, || target.try_mm().ok_or(Errno::ESRCH))?;
    if !is_self && !task.creds().capable(Capability::SysNice) {
        return Err(Errno::EPERM.into());
    }
    check_advice(advice)?;
    let mut done = 0;
    for (addr, len) in ranges {
        let result = range(addr.0, len as u64).and_then(|range| advise(&mm, range, advice));
        match result {
            Ok(()) => done += len as u64,
            Err(_) if done > 0 => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(done)
}
