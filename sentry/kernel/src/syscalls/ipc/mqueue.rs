//! POSIX message queues: `man 2 mq_open`, `mq_unlink`, `mq_timedsend`, `mq_timedreceive`, `mq_notify`, `mq_getsetattr`.

use std::sync::Arc;

use abi::mqueue::{MQ_PRIO_MAX, MqAttr, NOTIFY_COOKIE_LEN};
use abi::signal::{SIGEV_NONE, SIGEV_SIGNAL, SIGEV_THREAD, SigEvent};
use abi::{Errno, OpenFlags, Result, Signal, UserAddr};
use host::heap::{self, Purpose};
use waiter::Events;

use crate::ipc::{IpcNamespace, Notice, Queue, QueueMessage, QueueOpen, queue_of};
use crate::syscalls::table::Args;
use crate::syscalls::time::read_timespec;
use crate::time::MonotonicTime;
use crate::vfs::File;
use crate::{CurrentTask, SysResult, Task};

fn read_name(task: &Task, addr: u64) -> Result<Vec<u8>> {
    task.mm().read_cstring(UserAddr(addr), abi::fs::PATH_MAX)
}

/// mq_open(2).
pub(super) fn mq_open(task: &mut CurrentTask, args: Args) -> SysResult {
    let [name, flags, mode, attr, ..] = args.0;
    let known =
        OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::NONBLOCK | OpenFlags::RDWR | OpenFlags::WRONLY;
    let flags = OpenFlags::from_bits_retain(flags as u32);
    if flags.bits() & 3 == 3 {
        return Err(Errno::EINVAL.into());
    }
    let wants_attr = attr != 0 && flags.contains(OpenFlags::CREAT);
    let attr = if wants_attr { Some(task.mm().read_object::<MqAttr>(UserAddr(attr))?) } else { None };
    let mode = mode as u32 & 0o7777 & !task.fs().umask();
    let name = read_name(task, name)?;
    let how = QueueOpen { flags: flags & known, mode, attr };
    let file = IpcNamespace::of(task).queues.open(task, &name, &how)?;
    Ok(task.install_fd(file, true)? as u64)
}

/// mq_unlink(2).
pub(super) fn mq_unlink(task: &mut CurrentTask, args: Args) -> SysResult {
    let name = read_name(task, args[0])?;
    IpcNamespace::of(task).queues.unlink(task, &name)?;
    Ok(0)
}

/// The end of a wait until a reading of the real-time clock.
fn deadline(task: &Task, addr: u64) -> Result<Option<MonotonicTime>> {
    if addr == 0 {
        return Ok(None);
    }
    let at = read_timespec(task, UserAddr(addr))?;
    Ok(Some(task.kernel().timekeeper.monotonic_of_realtime(at.to_ns())))
}

fn queue(task: &Task, fd: u64) -> Result<(Arc<File>, Arc<Queue>)> {
    let file = task.fd_table().get(fd as i32)?;
    let queue = queue_of(&file)?;
    Ok((file, queue))
}

/// mq_timedsend(2).
pub(super) fn mq_timedsend(task: &mut CurrentTask, args: Args) -> SysResult {
    let [fd, buffer, len, priority, timeout, ..] = args.0;
    let priority = priority as u32;
    if priority >= MQ_PRIO_MAX {
        return Err(Errno::EINVAL.into());
    }
    let deadline = deadline(task, timeout)?;
    let (file, queue) = queue(task, fd)?;
    file.check_writable()?;
    if len > queue.max_message() {
        return Err(Errno::EMSGSIZE.into());
    }
    heap::room_for(len, Purpose::Process)?;
    let mut text = vec![0; usize::try_from(len).map_err(|_| Errno::EMSGSIZE)?];
    task.mm().read(UserAddr(buffer), &mut text)?;
    let mut message = Some(QueueMessage { priority, text: text.into() });
    let sender: &Task = task;
    let mut attempt = || queue.send(sender, &mut message);
    if file.is_nonblocking() {
        attempt()?;
    } else {
        task.block_on(queue.waiters(), Events::WRITABLE, deadline, &mut attempt)?;
    }
    Ok(0)
}

/// mq_timedreceive(2).
pub(super) fn mq_timedreceive(task: &mut CurrentTask, args: Args) -> SysResult {
    let [fd, buffer, len, priority, timeout, ..] = args.0;
    let deadline = deadline(task, timeout)?;
    let (file, queue) = queue(task, fd)?;
    file.check_readable()?;
    if len < queue.max_message() {
        return Err(Errno::EMSGSIZE.into());
    }
    let message = match queue.receive() {
        Err(Errno::EAGAIN) if !file.is_nonblocking() => {
            let _waiting = queue.wait_as_receiver();
            task.block_on(queue.waiters(), Events::READABLE, deadline, &mut || queue.receive())?
        }
        received => received?,
    };
    if priority != 0 {
        task.mm().write_object(UserAddr(priority), &message.priority)?;
    }
    task.mm().write(UserAddr(buffer), &message.text)?;
    Ok(message.text.len() as u64)
}

/// mq_notify(2).
pub(super) fn mq_notify(task: &mut CurrentTask, args: Args) -> SysResult {
    let [fd, event, ..] = args.0;
    let notice = if event == 0 {
        None
    } else {
        let event: SigEvent = task.mm().read_object(UserAddr(event))?;
        Some(notice(task, &event)?)
    };
    let (_, queue) = queue(task, fd)?;
    match notice {
        Some(notice) => queue.set_notice(notice)?,
        None => queue.clear_notice(task.thread_group()),
    }
    Ok(0)
}

fn notice(task: &Task, event: &SigEvent) -> Result<Notice> {
    match event.notify {
        SIGEV_NONE => Ok(Notice::nothing(task)),
        SIGEV_SIGNAL => {
            let signal = Signal::new(event.signo).ok_or(Errno::EINVAL)?;
            Ok(Notice::signal(task, signal, event.value))
        }
        // The C library passes a netlink socket in place of the signal, and a cookie in place of the value.
        SIGEV_THREAD => {
            let mut cookie = [0; NOTIFY_COOKIE_LEN];
            task.mm().read(UserAddr(event.value), &mut cookie)?;
            let file = task.fd_table().get(event.signo)?;
            let socket = file.ops().socket().ok_or(Errno::ENOTSOCK)?;
            if socket.family() != abi::socket::AF_NETLINK {
                return Err(Errno::EINVAL);
            }
            Ok(Notice::thread(task, file.clone(), cookie))
        }
        _ => Err(Errno::EINVAL),
    }
}

/// mq_getsetattr(2).
pub(super) fn mq_getsetattr(task: &mut CurrentTask, args: Args) -> SysResult {
    let [fd, new, old, ..] = args.0;
    let nonblock = i64::from(OpenFlags::NONBLOCK.bits());
    let new = if new == 0 { None } else { Some(task.mm().read_object::<MqAttr>(UserAddr(new))?) };
    if new.is_some_and(|new| new.mq_flags & !nonblock != 0) {
        return Err(Errno::EINVAL.into());
    }
    let (file, queue) = queue(task, fd)?;
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let before = MqAttr {
        mq_flags: i64::from((file.flags() & OpenFlags::NONBLOCK).bits()),
        mq_maxmsg: number(queue.max_len()),
        mq_msgsize: number(queue.max_message()),
        mq_curmsgs: number(queue.len()),
        ..MqAttr::default()
    };
    if let Some(new) = new {
        let wanted = if new.mq_flags == 0 { OpenFlags::empty() } else { OpenFlags::NONBLOCK };
        file.set_flags(OpenFlags::NONBLOCK, wanted);
    }
    if old != 0 {
        task.mm().write_object(UserAddr(old), &before)?;
    }
    Ok(0)
}
