//! Asynchronous I/O: io_setup(2), io_submit(2), io_getevents(2) and their kin.
//!
//! A request is carried out while it is submitted, as Linux does with files that are not opened for direct I/O; its
//! completion waits in the context until it is fetched.

use abi::aio::{
    IOCB_CMD_FDSYNC, IOCB_CMD_FSYNC, IOCB_CMD_PREAD, IOCB_CMD_PREADV, IOCB_CMD_PWRITE, IOCB_CMD_PWRITEV,
    IOCB_FLAG_IOPRIO, IOCB_FLAG_RESFD, IoEvent, Iocb,
};
use abi::{Errno, Result, UserAddr};
use waiter::Events;

use super::args::file;
use super::read_write::{buffer, rw_flags};
use crate::error::SysError;
use crate::mm::{AioContext, IoDst, IoSrc};
use crate::syscalls::signal::{read_mask, with_mask};
use crate::syscalls::table::Args;
use crate::syscalls::time::read_timespec;
use crate::vfs::transfer::{read_from, write_from};
use crate::vfs::{EventFd, File, SyncScope};
use crate::{CurrentTask, SysResult, Task};

/// Where `aio_key` stands in a request.
const KEY_OFFSET: u64 = 8;

pub(super) fn io_setup(task: &mut CurrentTask, args: Args) -> SysResult {
    let at = args.addr(1);
    let mm = task.mm();
    if mm.read_object::<u64>(at)? != 0 {
        return Err(Errno::EINVAL.into());
    }
    let context = mm.new_aio_context(args.uint(0))?;
    if let Err(errno) = mm.write_object(at, &context.0) {
        mm.destroy_aio_context(context)?;
        return Err(errno.into());
    }
    Ok(0)
}

pub(super) fn io_destroy(task: &mut CurrentTask, args: Args) -> SysResult {
    task.mm().destroy_aio_context(args.addr(0))?;
    Ok(0)
}

/// Submits one after the other; an error ends it, and is told only where it is the first one's.
pub(super) fn io_submit(task: &mut CurrentTask, args: Args) -> SysResult {
    let [context, count, pointers, ..] = args.0;
    let count = u64::try_from(count as i64).map_err(|_| Errno::EINVAL)?;
    let context = task.mm().aio_context(UserAddr(context))?;
    for index in 0..count {
        let submitted = index
            .checked_mul(8)
            .and_then(|offset| UserAddr(pointers).checked_add(offset))
            .ok_or(Errno::EFAULT)
            .and_then(|at| task.mm().read_object::<u64>(at))
            .and_then(|at| submit_one(task, &context, UserAddr(at)));
        match submitted {
            Ok(()) => {}
            Err(errno) if index == 0 => return Err(errno.into()),
            Err(_) => return Ok(index),
        }
    }
    Ok(count)
}

fn submit_one(task: &Task, context: &AioContext, at: UserAddr) -> Result<()> {
    let request: Iocb = task.mm().read_object(at)?;
    if request.aio_reserved2 != 0 || i64::try_from(request.aio_nbytes).is_err() {
        return Err(Errno::EINVAL);
    }
    if request.aio_flags & !(IOCB_FLAG_RESFD | IOCB_FLAG_IOPRIO) != 0 {
        return Err(Errno::EINVAL);
    }
    let file = file(task, u64::from(request.aio_fildes))?;
    let event_file = if request.aio_flags & IOCB_FLAG_RESFD == 0 {
        None
    } else {
        Some(task.fd_table().get(request.aio_resfd as i32)?)
    };
    let event_fd =
        event_file.as_ref().map(|file| file.ops_as::<EventFd>().ok_or(Errno::EINVAL)).transpose()?;
    context.reserve()?;
    let started = task
        .mm()
        .write_object(at.checked_add(KEY_OFFSET).ok_or(Errno::EFAULT)?, &0_u32)
        .and_then(|()| carry_out(task, &file, &request));
    let result = match started {
        Ok(result) => result,
        Err(errno) => {
            context.complete(None);
            return Err(errno);
        }
    };
    let res = match result {
        Ok(count) => i64::try_from(count).unwrap_or(i64::MAX),
        Err(SysError::Errno(errno)) => -i64::from(errno.raw()),
        Err(SysError::Restart(_)) => -i64::from(Errno::EINTR.raw()),
    };
    context.complete(Some(IoEvent { data: request.aio_data, obj: at.0, res, res2: 0 }));
    if let Some(event_fd) = event_fd {
        event_fd.signal(1);
    }
    Ok(())
}

/// Says `Err` where the request cannot be begun, else what came of it.
fn carry_out(task: &Task, file: &File, request: &Iocb) -> Result<SysResult> {
    let mm = task.mm();
    let flags = rw_flags(u64::from(request.aio_rw_flags))?;
    let at = u64::try_from(request.aio_offset).map_err(|_| Errno::EINVAL);
    let (addr, len) = (request.aio_buf, request.aio_nbytes);
    match request.aio_lio_opcode {
        IOCB_CMD_PREAD => {
            file.check_readable()?;
            let len = buffer(addr, len)?;
            Ok(read_from(task, file, at?, &mut IoDst::user(&mm, UserAddr(addr), len), flags))
        }
        IOCB_CMD_PREADV => {
            file.check_readable()?;
            let ranges = mm.read_iovec(UserAddr(addr), len)?;
            Ok(read_from(task, file, at?, &mut IoDst::user_vec(&mm, &ranges), flags))
        }
        IOCB_CMD_PWRITE => {
            file.check_writable()?;
            let len = buffer(addr, len)?;
            let mut src = IoSrc::user(&mm, UserAddr(addr), len);
            Ok(write_from(task, file, at?, &mut src, flags).map(|(count, _)| count))
        }
        IOCB_CMD_PWRITEV => {
            file.check_writable()?;
            let ranges = mm.read_iovec(UserAddr(addr), len)?;
            let mut src = IoSrc::user_vec(&mm, &ranges);
            Ok(write_from(task, file, at?, &mut src, flags).map(|(count, _)| count))
        }
        IOCB_CMD_FSYNC => Ok(file.ops().sync(SyncScope::All).map(|()| 0).map_err(SysError::from)),
        IOCB_CMD_FDSYNC => Ok(file.ops().sync(SyncScope::Data).map(|()| 0).map_err(SysError::from)),
        _ => Err(Errno::EINVAL),
    }
}

/// Nothing is ever under way that could be cancelled.
pub(super) fn io_cancel(task: &mut CurrentTask, args: Args) -> SysResult {
    task.mm().aio_context(args.addr(0))?;
    Err(Errno::EINVAL.into())
}

pub(super) fn io_getevents(task: &mut CurrentTask, args: Args) -> SysResult {
    get_events(task, args)
}

pub(super) fn io_pgetevents(task: &mut CurrentTask, args: Args) -> SysResult {
    let (mask_at, size) = if args[5] == 0 {
        (0, 0)
    } else {
        let pair: [u64; 2] = task.mm().read_object(args.addr(5))?;
        (pair[0], pair[1])
    };
    let mask = read_mask(task, UserAddr(mask_at), size)?;
    with_mask(task, mask, || get_events(task, args))
}

fn get_events(task: &Task, args: Args) -> SysResult {
    let [context, least, most, events, timeout, ..] = args.0;
    let context = task.mm().aio_context(UserAddr(context))?;
    let (least, most) = (least as i64, most as i64);
    if least < 0 || least > most {
        return Err(Errno::EINVAL.into());
    }
    let deadline = if timeout == 0 {
        None
    } else {
        let left = read_timespec(task, UserAddr(timeout))?;
        Some(task.kernel().timekeeper.deadline_in(left.to_ns()))
    };
    let most = usize::try_from(most).map_err(|_| Errno::EINVAL)?;
    let mut done = 0_usize;
    let mut at = UserAddr(events);
    while done < most {
        let mut attempt = || context.take(most - done);
        let got = if (done as u64) < least.unsigned_abs() {
            task.block_on(context.waiters(), Events::READABLE, deadline, &mut attempt)
        } else {
            attempt().map_err(SysError::from)
        };
        let got = match got {
            Ok(got) => got,
            Err(SysError::Errno(Errno::EAGAIN | Errno::ETIMEDOUT)) => break,
            Err(_) if done > 0 => break,
            // Never restarted (signal(7)).
            Err(SysError::Restart(_)) => return Err(Errno::EINTR.into()),
            Err(error) => return Err(error),
        };
        match store_events(task, at, &got) {
            Ok(next) => at = next,
            Err(errno) => {
                context.put_back(got);
                return if done > 0 { Ok(done as u64) } else { Err(errno.into()) };
            }
        }
        done += got.len();
    }
    Ok(done as u64)
}

/// Returns the place behind them.
fn store_events(task: &Task, mut at: UserAddr, events: &[IoEvent]) -> Result<UserAddr> {
    for event in events {
        task.mm().write_object(at, event)?;
        at = at.checked_add(size_of::<IoEvent>() as u64).ok_or(Errno::EFAULT)?;
    }
    Ok(at)
}
