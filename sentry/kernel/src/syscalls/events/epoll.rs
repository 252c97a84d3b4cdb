//! `man 2 epoll_create`, `man 2 epoll_ctl`, `man 2 epoll_wait`.

use std::sync::Arc;

use abi::poll::{EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, EpollEvent};
use abi::{Errno, OpenFlags, SigSet, UserAddr};
use waiter::Events;
use zerocopy::IntoBytes;

use super::{deadline_in, deadline_in_ms, fd_flags};
use crate::error::SysError;
use crate::syscalls::signal::{read_mask, with_mask};
use crate::syscalls::table::Args;
use crate::syscalls::time::read_timespec;
use crate::time::MonotonicTime;
use crate::vfs::{AnonKind, Candidates, Epoll, Taken};
use crate::{CurrentTask, SysResult, Task};

/// Most events of one call.
const MAX_EVENTS: i32 = i32::MAX / size_of::<EpollEvent>() as i32;

pub(super) fn epoll_create(task: &mut CurrentTask, args: Args) -> SysResult {
    if args.int(0) <= 0 {
        return Err(Errno::EINVAL.into());
    }
    create(task, false)
}

pub(super) fn epoll_create1(task: &mut CurrentTask, args: Args) -> SysResult {
    let (_, close_on_exec) = fd_flags(args[0], OpenFlags::empty()).ok_or(Errno::EINVAL)?;
    create(task, close_on_exec)
}

fn create(task: &CurrentTask, close_on_exec: bool) -> SysResult {
    let kind = AnonKind::Named("[eventpoll]");
    let max_watches = crate::limits::epoll_watches(task.kernel().total_memory());
    let epoll = Epoll::new(task.account(), max_watches);
    let file = task.kernel().vfs.anon_file(kind, epoll, OpenFlags::RDWR, &task.creds());
    Ok(task.install_fd(file, close_on_exec)? as u64)
}

pub(super) fn epoll_ctl(task: &mut CurrentTask, args: Args) -> SysResult {
    let [epoll_fd, operation, fd, event, ..] = args.0;
    let (operation, fd) = (operation as i32, fd as i32);
    let event = if operation == EPOLL_CTL_DEL {
        EpollEvent::default()
    } else {
        task.mm().read_object(UserAddr(event))?
    };
    let table = task.fd_table();
    let epoll_file = table.get(epoll_fd as i32)?;
    let file = table.get(fd)?;
    if file.is_path_only() {
        return Err(Errno::EBADF.into());
    }
    if file.ops().wait_queue().is_none() {
        return Err(Errno::EPERM.into());
    }
    let epoll =
        epoll_file.ops_as::<Epoll>().filter(|_| !Arc::ptr_eq(&file, &epoll_file)).ok_or(Errno::EINVAL)?;
    match operation {
        EPOLL_CTL_ADD => epoll.add(&task.kernel().vfs.epoll_nesting, fd, &file, event)?,
        EPOLL_CTL_DEL => epoll.remove(fd, &file)?,
        EPOLL_CTL_MOD => epoll.modify(fd, &file, event)?,
        _ => return Err(Errno::EINVAL.into()),
    }
    Ok(0)
}

fn wait(
    task: &mut CurrentTask,
    args: &Args,
    deadline: Option<MonotonicTime>,
    mask: Option<SigSet>,
) -> SysResult {
    let [fd, addr, max, ..] = args.0;
    let (addr, max) = (UserAddr(addr), max as i32);
    if max <= 0 || max > MAX_EVENTS {
        return Err(Errno::EINVAL.into());
    }
    let file = task.fd_table().get(fd as i32)?;
    let epoll = file.ops_as::<Epoll>().ok_or(Errno::EINVAL)?;
    let taken = with_mask(task, mask, || {
        let taken = next_events(task, epoll, max.unsigned_abs() as usize, deadline)?;
        if let Err(errno) = task.mm().write(addr, taken.events.as_slice().as_bytes()) {
            taken.put_back();
            return Err(errno.into());
        }
        Ok(taken)
    })?;
    let epoll = Some((fd as i32, Arc::downgrade(&file)));
    task.expect_use_of(Candidates { files: taken.promising, epoll });
    Ok(taken.events.len() as u64)
}

fn next_events(task: &Task, epoll: &Epoll, max: usize, deadline: Option<MonotonicTime>) -> SysResult<Taken> {
    if deadline == Some(MonotonicTime(0)) {
        return Ok(epoll.take(max).unwrap_or_default());
    }
    let result = task.block_on(epoll.queue(), Events::READABLE, deadline, &mut || epoll.take(max));
    // The wake-up that came with the signal or at the deadline may have been this waiter's alone.
    match result {
        Err(SysError::Restart(_)) => epoll.take(max).map_err(|_| Errno::EINTR.into()),
        Err(SysError::Errno(Errno::ETIMEDOUT)) => Ok(epoll.take(max).unwrap_or_default()),
        other => other,
    }
}

pub(super) fn epoll_wait(task: &mut CurrentTask, args: Args) -> SysResult {
    let deadline = deadline_in_ms(task, args.int(3));
    wait(task, &args, deadline, None)
}

pub(super) fn epoll_pwait(task: &mut CurrentTask, args: Args) -> SysResult {
    let mask = read_mask(task, args.addr(4), args[5])?;
    let deadline = deadline_in_ms(task, args.int(3));
    wait(task, &args, deadline, mask)
}

pub(super) fn epoll_pwait2(task: &mut CurrentTask, args: Args) -> SysResult {
    let timeout = args.addr(3);
    let deadline =
        if timeout.is_null() { None } else { Some(deadline_in(task, read_timespec(task, timeout)?.to_ns())) };
    let mask = read_mask(task, args.addr(4), args[5])?;
    wait(task, &args, deadline, mask)
}
