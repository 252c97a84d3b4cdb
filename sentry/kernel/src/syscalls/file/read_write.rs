//! read(2), write(2) and their many relatives.
//!
//! A file never waits: `EAGAIN` comes back here, and the task sleeps on the file's queue unless it was opened
//! non-blocking. Bytes that were moved before a wait is interrupted are a short count, not an error.

use abi::fcntl::RwFlags;
use abi::resource::Resource;
use abi::{Errno, FileType, OpenFlags, Result, Signal};
use waiter::Events;

use super::args::{Identity, check_user_range, file, uint};
use crate::error::SysError;
use crate::mm::{IoDst, IoSrc, MAX_RW_COUNT};
use crate::syscalls::table::Args;
use crate::vfs::{File, WriteAt, drop_privileges_on_write, note_access, note_modify};
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
    let file = file(task, args[0])?;
    file.check_readable()?;
    let mm = task.mm();
    let ranges = mm.read_iovec(args.addr(1), args[2])?;
    let mut dst = IoDst::user_vec(&mm, &ranges);
    count_read(task, read_at_position(task, &file, &mut dst, RwFlags::empty()))
}

pub(super) fn writev(task: &mut CurrentTask, args: Args) -> SysResult {
    let file = file(task, args[0])?;
    file.check_writable()?;
    let mm = task.mm();
    let ranges = mm.read_iovec(args.addr(1), args[2])?;
    let mut src = IoSrc::user_vec(&mm, &ranges);
    count_write(task, write_at_position(task, &file, &mut src, RwFlags::empty()))
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

/// Reads where the file's position is, and moves it.
fn read_at_position(task: &Task, file: &File, dst: &mut IoDst<'_>, flags: RwFlags) -> SysResult {
    if !file.ops().is_seekable() {
        return read_from(task, file, 0, dst, flags);
    }
    let mut position = file.position();
    let count = read_from(task, file, *position, dst, flags)?;
    *position += count;
    Ok(count)
}

/// Writes where the file's position is, and moves it.
fn write_at_position(task: &Task, file: &File, src: &mut IoSrc<'_>, flags: RwFlags) -> SysResult {
    if !file.ops().is_seekable() {
        return write_from(task, file, 0, src, flags).map(|(count, _)| count);
    }
    let mut position = file.position();
    let (count, end) = write_from(task, file, *position, src, flags)?;
    *position = end;
    Ok(count)
}

/// Reads once from `offset` on, waiting until there is something.
pub(super) fn read_from(
    task: &Task,
    file: &File,
    offset: u64,
    dst: &mut IoDst<'_>,
    flags: RwFlags,
) -> SysResult {
    if dst.remaining() == 0 && file.ops().is_seekable() {
        return Ok(0);
    }
    let may_wait = !flags.contains(RwFlags::NOWAIT) && !file.is_nonblocking();
    let mut attempt = || file.ops().read(task, file, offset, dst);
    let count = match attempt() {
        Err(Errno::EAGAIN) if may_wait => match file.ops().wait_queue() {
            Some(queue) => task.block_on(queue, Events::READABLE, None, &mut attempt)?,
            None => return Err(Errno::EAGAIN.into()),
        },
        Err(Errno::EINVAL) if file.path().dentry.is_dir() => return Err(Errno::EISDIR.into()),
        other => other?,
    };
    if count > 0 {
        note_access(file);
    }
    Ok(count as u64)
}

/// Writes all of `src` from `offset` on, waiting for room. Returns the bytes written and the position behind them.
pub(super) fn write_from(
    task: &Task,
    file: &File,
    offset: u64,
    src: &mut IoSrc<'_>,
    flags: RwFlags,
) -> SysResult<(u64, u64)> {
    let appends = (file.flags().contains(OpenFlags::APPEND) || flags.contains(RwFlags::APPEND))
        && !flags.contains(RwFlags::NOAPPEND);
    let at = if appends { WriteAt::Append } else { WriteAt::Offset(offset) };
    let allowed = prepare_write(task, file, at, src)?;
    if allowed < src.remaining() {
        return write_clipped(task, file, at, src, allowed, flags);
    }
    let (mut total, mut end) = (0, offset);
    let failure: Option<SysError> = loop {
        let next = if appends { WriteAt::Append } else { WriteAt::Offset(end) };
        let before = src.remaining();
        match write_once(task, file, next, src, flags) {
            Ok((count, behind)) => {
                total += count as u64;
                end = behind;
                // Whoever takes nothing and says that it took something would be asked for ever.
                if src.remaining() == 0 || src.remaining() == before || task.is_killed() {
                    break None;
                }
            }
            Err(failure) => break Some(failure),
        }
    };
    // Who wrote a part to a socket hears of its end with the next call, who wrote to a pipe at once.
    let is_socket = || file.inode().attr().is_ok_and(|attr| attr.file_type() == FileType::Socket);
    if failure == Some(SysError::Errno(Errno::EPIPE)) && (total == 0 || !is_socket()) {
        task.raise(Signal::PIPE);
    }
    match failure {
        Some(failure) if total == 0 => return Err(failure),
        _ => {}
    }
    if total > 0 {
        note_modify(file);
    }
    sync_written(file, flags)?;
    Ok((total, end))
}

/// Writes back what a call with `RWF_SYNC` or `RWF_DSYNC` has written. What the file's own flags ask for it has done
/// itself, for every way of writing.
fn sync_written(file: &File, flags: RwFlags) -> Result<()> {
    if !flags.intersects(RwFlags::SYNC | RwFlags::DSYNC) {
        return Ok(());
    }
    match file.ops().sync(!flags.contains(RwFlags::SYNC)) {
        Err(Errno::EINVAL) => Ok(()),
        other => other,
    }
}

/// A write that RLIMIT_FSIZE cuts short.
fn write_clipped(
    task: &Task,
    file: &File,
    at: WriteAt,
    src: &mut IoSrc<'_>,
    allowed: usize,
    flags: RwFlags,
) -> SysResult<(u64, u64)> {
    const CHUNK: usize = 1 << 20;
    let mut bytes = vec![0; allowed.min(CHUNK)];
    let count = src.take(&mut bytes)?;
    let (count, end) = write_once(task, file, at, &mut IoSrc::kernel(&bytes[..count]), flags)?;
    note_modify(file);
    sync_written(file, flags)?;
    Ok((count as u64, end))
}

fn write_once(
    task: &Task,
    file: &File,
    at: WriteAt,
    src: &mut IoSrc<'_>,
    flags: RwFlags,
) -> SysResult<(usize, u64)> {
    let mut attempt = || file.ops().write(task, file, at, src);
    match attempt() {
        Err(Errno::EAGAIN) if !file.is_nonblocking() && !flags.contains(RwFlags::NOWAIT) => {
            match file.ops().wait_queue() {
                Some(queue) => task.block_on(queue, Events::WRITABLE, None, &mut attempt),
                None => Err(Errno::EAGAIN.into()),
            }
        }
        other => other.map_err(SysError::from),
    }
}

/// What writing to a regular file takes with it: RLIMIT_FSIZE, set-ID bits. Returns the bytes that may be written.
fn prepare_write(task: &Task, file: &File, at: WriteAt, src: &IoSrc<'_>) -> Result<usize> {
    if src.remaining() == 0 || !file.ops().is_seekable() {
        return Ok(usize::MAX);
    }
    let inode = file.inode();
    if FileType::from_mode(inode.mode()?) != Some(FileType::Regular) {
        return Ok(usize::MAX);
    }
    let limit = task.limit(Resource::Fsize).min(i64::MAX as u64);
    let start = match at {
        WriteAt::Offset(offset) => offset,
        WriteAt::Append if limit == i64::MAX as u64 => 0,
        WriteAt::Append => file.ops().size()?,
    };
    if start >= limit {
        task.check_file_size(start.saturating_add(1))?;
        return Err(Errno::EFBIG);
    }
    let identity = Identity::of(task);
    drop_privileges_on_write(&identity.caller(), &**inode)?;
    Ok(usize::try_from(limit - start).unwrap_or(usize::MAX))
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
