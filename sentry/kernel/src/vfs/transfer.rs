//! Moving bytes between a file and a caller's memory, for read(2), write(2) and all that does the same by other names.
//!
//! A file never waits: `EAGAIN` comes back here, and the task sleeps on the file's queue unless it was opened
//! non-blocking, for as long as the file lets it ([`IoTimeout`]). Bytes that were moved before a wait is interrupted are a short count, not an error.

use abi::fcntl::RwFlags;
use abi::resource::Resource;
use abi::{Errno, FileType, OpenFlags, Result, Signal};
use waiter::Events;

use super::io_timeout::IoTimeout;
use super::{Caller, File, SyncScope, WriteAt, drop_privileges_on_write, note_access, note_modify};
use crate::error::{SysError, SysResult};
use crate::mm::{IoDst, IoSrc};
use crate::task::Task;

/// Reads where the file's position is, and moves it.
pub(crate) fn read_at_position(task: &Task, file: &File, dst: &mut IoDst<'_>, flags: RwFlags) -> SysResult {
    if !file.ops().is_seekable() {
        return read_from(task, file, 0, dst, flags);
    }
    let mut position = file.position();
    let count = read_from(task, file, *position, dst, flags)?;
    *position += count;
    Ok(count)
}

/// Writes where the file's position is, and moves it.
pub(crate) fn write_at_position(task: &Task, file: &File, src: &mut IoSrc<'_>, flags: RwFlags) -> SysResult {
    if !file.ops().is_seekable() {
        return write_from(task, file, 0, src, flags).map(|(count, _)| count);
    }
    let mut position = file.position();
    let (count, end) = write_from(task, file, *position, src, flags)?;
    *position = end;
    Ok(count)
}

/// Reads once from `offset` on, waiting until there is something.
pub(crate) fn read_from(
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
            Some(queue) => {
                IoTimeout::to_read(task, file).block_on(task, queue, Events::READABLE, &mut attempt)?
            }
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
pub(crate) fn write_from(
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
    let (mut total, mut end, mut timeout) = (0, offset, None);
    let failure: Option<SysError> = loop {
        let next = if appends { WriteAt::Append } else { WriteAt::Offset(end) };
        let before = src.remaining();
        match write_once(task, file, next, src, flags, &mut timeout) {
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
    let scope = if flags.contains(RwFlags::SYNC) { SyncScope::All } else { SyncScope::Data };
    match file.ops().sync(scope) {
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
    let (count, end) = write_once(task, file, at, &mut IoSrc::kernel(&bytes[..count]), flags, &mut None)?;
    note_modify(file);
    sync_written(file, flags)?;
    Ok((count as u64, end))
}

/// Writes something. The call's `timeout` begins where it has to wait first.
fn write_once(
    task: &Task,
    file: &File,
    at: WriteAt,
    src: &mut IoSrc<'_>,
    flags: RwFlags,
    timeout: &mut Option<IoTimeout>,
) -> SysResult<(usize, u64)> {
    let mut attempt = || file.ops().write(task, file, at, src);
    match attempt() {
        Err(Errno::EAGAIN) if !file.is_nonblocking() && !flags.contains(RwFlags::NOWAIT) => {
            // It may be another socket that is full.
            let other = file.ops().socket().and_then(|socket| socket.send_queue(task, None));
            let queue = other.as_ref().or(file.ops().wait_queue()).ok_or(Errno::EAGAIN)?;
            let timeout = *timeout.get_or_insert_with(|| IoTimeout::to_write(task, file));
            timeout.block_on(task, queue, Events::WRITABLE, &mut attempt)
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
    let creds = task.creds();
    drop_privileges_on_write(&Caller { creds: &creds, task: Some(task) }, &**inode)?;
    Ok(usize::try_from(limit - start).unwrap_or(usize::MAX))
}
