//! sendfile(2), copy_file_range(2), splice(2), tee(2), vmsplice(2).
//!
//! Bytes go through a buffer of ours. What a pipe gives stays in it until it has been written, and what is put into one
//! has room there before it is read: nothing is lost, and others neither overtake nor see less.

use abi::fcntl::RwFlags;
use abi::{Errno, FileType, OpenFlags, Result, Signal, UserAddr};
use waiter::Events;

use super::args::file;
use super::fcntl::pipe_end;
use super::read_write::{count_read, count_write};
use crate::error::SysError;
use crate::mm::{IoDst, IoSrc, MAX_RW_COUNT};
use crate::syscalls::table::Args;
use crate::vfs::File;
use crate::vfs::pipe::Pipe;
use crate::vfs::transfer::{read_from, write_from};
use crate::{CurrentTask, SysResult, Task};

/// Bytes moved at a time.
const CHUNK: usize = 256 << 10;

const SPLICE_F_NONBLOCK: u32 = 2;
const SPLICE_F_ALL: u32 = 15;

/// A position in a file: the one behind a pointer of the guest's, or the file's own.
struct Cursor<'a> {
    task: &'a Task,
    file: &'a File,
    addr: u64,
    at: u64,
}

/// The position behind a pointer of the guest's, if it gave one.
fn given_offset(task: &Task, addr: u64) -> Result<Option<i64>> {
    if addr == 0 { Ok(None) } else { task.mm().read_object(UserAddr(addr)).map(Some) }
}

impl<'a> Cursor<'a> {
    fn new(task: &'a Task, file: &'a File, addr: u64) -> Result<Self> {
        Self::at_offset(task, file, addr, given_offset(task, addr)?)
    }

    /// As [`Self::new`], with what is at `addr` read already.
    fn at_offset(task: &'a Task, file: &'a File, addr: u64, given: Option<i64>) -> Result<Self> {
        let at = if let Some(at) = given {
            if !file.ops().is_seekable() {
                return Err(Errno::ESPIPE);
            }
            u64::try_from(at).map_err(|_| Errno::EINVAL)?
        } else if file.ops().is_seekable() {
            *file.position()
        } else {
            0
        };
        Ok(Self { task, file, addr, at })
    }

    /// Stores where the call got to.
    fn finish(self) -> Result<()> {
        if self.addr != 0 {
            return self.task.mm().write_object(UserAddr(self.addr), &(self.at as i64));
        }
        if self.file.ops().is_seekable() {
            *self.file.position() = self.at;
        }
        Ok(())
    }
}

pub(super) fn sendfile(task: &mut CurrentTask, args: Args) -> SysResult {
    // A bad pointer is found before a bad descriptor.
    let given = given_offset(task, args[2])?;
    let (out, input) = (file(task, args[0])?, file(task, args[1])?);
    input.check_readable()?;
    out.check_writable()?;
    if out.flags().contains(OpenFlags::APPEND) && out.ops().is_seekable() {
        return Err(Errno::EINVAL.into());
    }
    if !input.ops().is_seekable() {
        return Err(Errno::EINVAL.into());
    }
    let mut from = Cursor::at_offset(task, &input, args[2], given)?;
    let mut to = Cursor::new(task, &out, 0)?;
    let moved = count_write(task, count_read(task, copy(task, &mut from, &mut to, args[3])))?;
    from.finish()?;
    to.finish()?;
    Ok(moved)
}

pub(super) fn copy_file_range(task: &mut CurrentTask, args: Args) -> SysResult {
    let (input, out) = (file(task, args[0])?, file(task, args[2])?);
    if args.uint(5) != 0 {
        return Err(Errno::EINVAL.into());
    }
    for file in [&input, &out] {
        match FileType::from_mode(file.inode().mode()?) {
            Some(FileType::Regular) => {}
            Some(FileType::Directory) => return Err(Errno::EISDIR.into()),
            _ => return Err(Errno::EINVAL.into()),
        }
    }
    input.check_readable()?;
    out.check_writable()?;
    if out.flags().contains(OpenFlags::APPEND) {
        return Err(Errno::EBADF.into());
    }
    let (mut from, mut to) = (Cursor::new(task, &input, args[1])?, Cursor::new(task, &out, args[3])?);
    let len = args[4].min(MAX_RW_COUNT as u64);
    // What lies behind the file's end is not copied, and overlaps nothing.
    let there = len.min(input.ops().size()?.saturating_sub(from.at));
    let overlaps = from.at < to.at.saturating_add(there) && to.at < from.at.saturating_add(there);
    if overlaps && std::sync::Arc::ptr_eq(input.inode(), out.inode()) {
        return Err(Errno::EINVAL.into());
    }
    let moved = count_write(task, count_read(task, copy(task, &mut from, &mut to, len)))?;
    from.finish()?;
    to.finish()?;
    Ok(moved)
}

/// Copies up to `len` bytes; an error or a signal after some is a short count. There are files without an end.
fn copy(task: &Task, from: &mut Cursor<'_>, to: &mut Cursor<'_>, len: u64) -> SysResult {
    let mut left = usize::try_from(len).map_or(MAX_RW_COUNT, |len| len.min(MAX_RW_COUNT));
    let mut buffer = vec![0; left.min(CHUNK)];
    let mut total = 0;
    while left > 0 && (total == 0 || !task.wake().is_interrupted()) {
        let want = left.min(buffer.len());
        let step = copy_step(task, from, to, &mut buffer[..want]);
        match step {
            Ok(0) => break,
            Ok(count) => {
                total += count;
                left -= count as usize;
                if (count as usize) < want {
                    break;
                }
            }
            Err(failure) if total == 0 => return Err(failure),
            Err(_) => break,
        }
    }
    Ok(total)
}

fn copy_step(task: &Task, from: &mut Cursor<'_>, to: &mut Cursor<'_>, buffer: &mut [u8]) -> SysResult {
    let count = read_from(task, from.file, from.at, &mut IoDst::kernel(buffer), RwFlags::empty())?;
    if count == 0 {
        return Ok(0);
    }
    let mut src = IoSrc::kernel(&buffer[..count as usize]);
    let (written, end) = write_from(task, to.file, to.at, &mut src, RwFlags::empty())?;
    from.at += written;
    to.at = end;
    Ok(written)
}

pub(super) fn splice(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = args.uint(5);
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = args[4].min(MAX_RW_COUNT as u64) as usize;
    let (input, out) = (file(task, args[0])?, file(task, args[2])?);
    input.check_readable()?;
    out.check_writable()?;
    if len == 0 {
        return Ok(0);
    }
    let no_wait = flags & SPLICE_F_NONBLOCK != 0;
    match (pipe_end(&input), pipe_end(&out)) {
        (Some(_), _) if args[1] != 0 => Err(Errno::ESPIPE.into()),
        (_, Some(_)) if args[3] != 0 => Err(Errno::ESPIPE.into()),
        (Some(from), Some(to)) => {
            let mut step = || with_broken_pipe(task, from.pipe().transfer(to.pipe(), len, true));
            move_between(task, &input, &out, no_wait, &mut step)
        }
        (Some(from), None) => from_pipe(task, &input, from.pipe(), &out, args[3], len, no_wait),
        (None, Some(to)) => into_pipe(task, &input, args[1], (&out, to.pipe()), len, no_wait),
        (None, None) => Err(Errno::EINVAL.into()),
    }
}

pub(super) fn tee(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = args.uint(3);
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let len = args[2].min(MAX_RW_COUNT as u64) as usize;
    let (input, out) = (file(task, args[0])?, file(task, args[1])?);
    input.check_readable()?;
    out.check_writable()?;
    let (Some(from), Some(to)) = (pipe_end(&input), pipe_end(&out)) else { return Err(Errno::EINVAL.into()) };
    if len == 0 {
        return Ok(0);
    }
    move_between(task, &input, &out, flags & SPLICE_F_NONBLOCK != 0, &mut || {
        with_broken_pipe(task, from.pipe().transfer(to.pipe(), len, false))
    })
}

/// Repeats `step` until it moves something, waiting for whichever pipe is not ready.
fn move_between(
    task: &Task,
    input: &File,
    out: &File,
    no_wait: bool,
    step: &mut dyn FnMut() -> Result<usize>,
) -> SysResult {
    let first = step();
    let may_wait = !no_wait && !input.is_nonblocking() && !out.is_nonblocking();
    if first != Err(Errno::EAGAIN) || !may_wait {
        return Ok(first? as u64);
    }
    let queues = (input.ops().wait_queue(), out.ops().wait_queue());
    let _readable = queues.0.map(|queue| queue.register(Events::READABLE, task.notifier()));
    let _writable = queues.1.map(|queue| queue.register(Events::WRITABLE, task.notifier()));
    Ok(task.block_until(None, step)? as u64)
}

/// A pipe into something else. What cannot be written goes back into the pipe.
fn from_pipe(
    task: &Task,
    input: &File,
    pipe: &Pipe,
    out: &File,
    offset_addr: u64,
    len: usize,
    no_wait: bool,
) -> SysResult {
    if out.flags().contains(OpenFlags::APPEND) && out.ops().is_seekable() {
        return Err(Errno::EINVAL.into());
    }
    let mut to = Cursor::new(task, out, offset_addr)?;
    let mut begin = || pipe.drain(len);
    let waits = !no_wait && !input.is_nonblocking();
    let drain = match begin() {
        Err(Errno::EAGAIN) if waits => match input.ops().wait_queue() {
            Some(queue) => task.block_on(queue, Events::READABLE, None, &mut begin)?,
            None => return Err(Errno::EAGAIN.into()),
        },
        other => other?,
    };
    if drain.bytes.is_empty() {
        return Ok(0);
    }
    let (written, end) = write_from(task, out, to.at, &mut IoSrc::kernel(&drain.bytes), RwFlags::empty())?;
    drain.finish(written as usize);
    to.at = end;
    to.finish()?;
    Ok(written)
}

/// Something else into a pipe: as much as the pipe has room for.
fn into_pipe(
    task: &Task,
    input: &File,
    offset_addr: u64,
    (out, pipe): (&File, &Pipe),
    len: usize,
    no_wait: bool,
) -> SysResult {
    let mut from = Cursor::new(task, input, offset_addr)?;
    let mut begin = || with_broken_pipe(task, pipe.reserve(len));
    let room = match begin() {
        Err(Errno::EAGAIN) if !no_wait && !out.is_nonblocking() => match out.ops().wait_queue() {
            Some(queue) => task.block_on(queue, Events::WRITABLE, None, &mut begin)?,
            None => return Err(Errno::EAGAIN.into()),
        },
        other => other?,
    };
    let mut bytes = vec![0; room.size()];
    let count = read_from(task, input, from.at, &mut IoDst::kernel(&mut bytes), nowait_flag(no_wait))?;
    room.store(&bytes[..count as usize]);
    from.at += count;
    from.finish()?;
    Ok(count)
}

fn nowait_flag(no_wait: bool) -> RwFlags {
    if no_wait { RwFlags::NOWAIT } else { RwFlags::empty() }
}

/// Sends `SIGPIPE` where a pipe has no readers.
fn with_broken_pipe<T>(task: &Task, result: Result<T>) -> Result<T> {
    if matches!(result, Err(Errno::EPIPE)) {
        task.raise(Signal::PIPE);
    }
    result
}

pub(super) fn vmsplice(task: &mut CurrentTask, args: Args) -> SysResult {
    let flags = args.uint(3);
    if flags & !SPLICE_F_ALL != 0 {
        return Err(Errno::EINVAL.into());
    }
    let file = file(task, args[0])?;
    if pipe_end(&file).is_none() {
        return Err(Errno::EBADF.into());
    }
    let mm = task.mm();
    let ranges = mm.read_iovec(args.addr(1), args[2])?;
    let flags = nowait_flag(flags & SPLICE_F_NONBLOCK != 0);
    if file.flags().is_writable() {
        return write_from(task, &file, 0, &mut IoSrc::user_vec(&mm, &ranges), flags).map(|(count, _)| count);
    }
    match read_from(task, &file, 0, &mut IoDst::user_vec(&mm, &ranges), flags) {
        Err(SysError::Errno(Errno::EINVAL)) => Err(Errno::EBADF.into()),
        other => other,
    }
}
