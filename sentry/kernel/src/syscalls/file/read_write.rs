//! read(2), write(2) and their many relatives.

use abi::fcntl::RwFlags;
use abi::{Errno, Result};

use super::args::{check_user_range, file, uint};
use crate::mm::{IoDst, IoSrc, MAX_RW_COUNT};
use crate::syscalls::table::Args;
use crate::vfs::File;
use crate::vfs::transfer::{read_at_position, read_from, write_at_position, write_from};
use crate::{CurrentTask, SysResult, Task};

pub(super) fn read(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args[0])?;
    file.check_readable()?;
    let len = buffer(args[1], args[2])?;
    let mm = task.mm();
    let mut dst = IoDst::user(&mm, args.addr(1), len);
    count_read(task, read_at_position(task, &file, &mut dst, RwFlags::empty()))
}

pub(super) fn write(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args[0])?;
    file.check_writable()?;
    let len = buffer(args[1], args[2])?;
    let mm = task.mm();
    let mut src = IoSrc::user(&mm, args.addr(1), len);
    count_write(task, write_at_position(task, &file, &mut src, RwFlags::empty()))
}

pub(super) fn pread64(task: &mut CurrentTask, args: Args) -> SysResult {
    let offset = offset(args[3])?;
    let file = file(task, args[0])?;
    check_positioned(&file)?;
    file.check_readable()?;
    let len = buffer(args[1], args[2])?;
    let mm = task.mm();
    let mut dst = IoDst::user(&mm, args.addr(1), len);
    count_read(task, read_from(task, &file, offset, &mut dst, RwFlags::empty()))
}

pub(super) fn pwrite64(task: &mut CurrentTask, args: Args) -> SysResult {
    let offset = offset(args[3])?;
    let file = file(task, args[0])?;
    check_positioned(&file)?;
    file.check_writable()?;
    let len = buffer(args[1], args[2])?;
    let mm = task.mm();
    let mut src = IoSrc::user(&mm, args.addr(1), len);
    let result = write_from(task, &file, offset, &mut src, RwFlags::empty());
    count_write(task, result.map(|(count, _)| count))
}

pub(super) fn readv(task: &mut CurrentTask, args: Args) -> SysResult {
    vectored_read(task, args, None, RwFlags::empty())
}

pub(super) fn writev(task: &mut CurrentTask, args: Args) -> SysResult {
    vectored_write(task, args, None, RwFlags::empty())
}

pub(super) fn preadv(task: &mut CurrentTask, args: Args) -> SysResult {
    vectored_read(task, args, Some(offset(args[3])?), RwFlags::empty())
}

pub(super) fn pwritev(task: &mut CurrentTask, args: Args) -> SysResult {
    vectored_write(task, args, Some(offset(args[3])?), RwFlags::empty())
}

pub(super) fn preadv2(task: &mut CurrentTask, args: Args) -> SysResult {
    let at = if args[3] == u64::MAX { None } else { Some(offset(args[3])?) };
    vectored_read(task, args, at, rw_flags(args[5])?)
}

pub(super) fn pwritev2(task: &mut CurrentTask, args: Args) -> SysResult {
    let at = if args[3] == u64::MAX { None } else { Some(offset(args[3])?) };
    vectored_write(task, args, at, rw_flags(args[5])?)
}

fn vectored_read(task: &Task, args: Args, at: Option<u64>, flags: RwFlags) -> SysResult {
    let file = file(task, args[0])?;
    if at.is_some() {
        check_positioned(&file)?;
    }
    file.check_readable()?;
    let mm = task.mm();
    let ranges = mm.read_iovec(args.addr(1), args[2])?;
    let mut dst = IoDst::user_vec(&mm, &ranges);
    let result = match at {
        Some(offset) => read_from(task, &file, offset, &mut dst, flags),
        None => read_at_position(task, &file, &mut dst, flags),
    };
    count_read(task, result)
}

fn vectored_write(task: &Task, args: Args, at: Option<u64>, flags: RwFlags) -> SysResult {
    let file = file(task, args[0])?;
    if at.is_some() {
        check_positioned(&file)?;
    }
    file.check_writable()?;
    let mm = task.mm();
    let ranges = mm.read_iovec(args.addr(1), args[2])?;
    let mut src = IoSrc::user_vec(&mm, &ranges);
    let result = match at {
        Some(offset) => write_from(task, &file, offset, &mut src, flags).map(|(count, _)| count),
        None => write_at_position(task, &file, &mut src, flags),
    };
    count_write(task, result)
}

/// Counts a call that reads.
pub(super) fn count_read(task: &Task, result: SysResult) -> SysResult {
    task.io().count_read(*result.as_ref().unwrap_or(&0));
    result
}

/// Counts a call that writes.
pub(super) fn count_write(task: &Task, result: SysResult) -> SysResult {
    task.io().count_write(*result.as_ref().unwrap_or(&0));
    result
}

/// Checks a buffer and cuts its length to what one call moves.
pub(super) fn buffer(addr: u64, len: u64) -> Result<usize> {
    if i64::try_from(len).is_err() {
        return Err(Errno::EINVAL);
    }
    check_user_range(addr, len)?;
    Ok(usize::try_from(len).map_or(MAX_RW_COUNT, |len| len.min(MAX_RW_COUNT)))
}

fn offset(arg: u64) -> Result<u64> {
    i64::try_from(arg).map_err(|_| Errno::EINVAL)?;
    Ok(arg)
}

fn check_positioned(file: &File) -> Result<()> {
    if file.ops().is_seekable() { Ok(()) } else { Err(Errno::ESPIPE) }
}

pub(super) fn rw_flags(arg: u64) -> Result<RwFlags> {
    let flags = RwFlags::from_bits(uint(arg)).ok_or(Errno::EOPNOTSUPP)?;
    if flags.contains(RwFlags::APPEND | RwFlags::NOAPPEND) { Err(Errno::EINVAL) } else { Ok(flags) }
}
