//! System V message queues: msgget(2), msgsnd(2), msgrcv(2), msgctl(2).

use abi::ipc::{
    IPC_64, IPC_INFO, IPC_NOWAIT, MSG_COPY, MSG_EXCEPT, MSG_INFO, MSG_NOERROR, MSG_STAT, MSG_STAT_ANY,
};
use abi::{Errno, Result, UserAddr};
use host::heap::{self, Purpose};
use waiter::Events;

use super::{control, pid};
use crate::error::Restart;
use crate::ipc::{IpcNamespace, IpcSet, Message, Wanted};
use crate::syscalls::table::Args;
use crate::{CurrentTask, SysError, SysResult};

/// Where the text starts in `struct msgbuf`, behind the type.
const TEXT: u64 = 8;

/// msgget(2).
pub(super) fn msgget(task: &mut CurrentTask, args: Args) -> SysResult {
    let queues = &IpcNamespace::of(task).msg;
    Ok(queues.find_or_make(args.int(0), args.uint(1), &task.creds())? as u64)
}

/// These calls start over only where no handler has run (signal(7)).
fn without_handlers(error: SysError) -> SysError {
    if error == SysError::Restart(Restart::Sys) { SysError::Restart(Restart::NoHand) } else { error }
}

/// msgsnd(2).
pub(super) fn msgsnd(task: &mut CurrentTask, args: Args) -> SysResult {
    let [id, buffer, len, flags, ..] = args.0;
    let queues = &IpcNamespace::of(task).msg;
    let kind: i64 = task.mm().read_object(UserAddr(buffer))?;
    if len > queues.max_message() || (id as i32) < 0 || kind < 1 {
        return Err(Errno::EINVAL.into());
    }
    heap::room_for(len, Purpose::Process)?;
    let mut text = vec![0; usize::try_from(len).map_err(|_| Errno::EINVAL)?];
    task.mm().read(UserAddr(buffer).checked_add(TEXT).ok_or(Errno::EFAULT)?, &mut text)?;
    let queue = queues.get(id as i32)?;
    let (creds, pid) = (task.creds(), pid(task));
    let mut message = Some(Message { kind, text: text.into() });
    let mut attempt = || queue.send(&mut message, &creds, pid);
    if flags as u32 & IPC_NOWAIT != 0 {
        attempt()?;
    } else {
        task.block_on(queue.waiters(), Events::WRITABLE, None, &mut attempt).map_err(without_handlers)?;
    }
    Ok(0)
}

fn wanted(kind: i64, flags: u32) -> Result<Wanted> {
    if flags & MSG_COPY != 0 {
        if flags & MSG_EXCEPT != 0 || flags & IPC_NOWAIT == 0 {
            return Err(Errno::EINVAL);
        }
        // No queue has a message at a negative position.
        return Ok(Wanted::CopyOf(usize::try_from(kind).unwrap_or(usize::MAX)));
    }
    Ok(match kind {
        0 => Wanted::Any,
        kind if kind < 0 => Wanted::UpTo(kind.saturating_neg()),
        kind if flags & MSG_EXCEPT != 0 => Wanted::Except(kind),
        kind => Wanted::Kind(kind),
    })
}

/// msgrcv(2).
pub(super) fn msgrcv(task: &mut CurrentTask, args: Args) -> SysResult {
    let [id, buffer, len, kind, flags, ..] = args.0;
    let (buffer, flags) = (UserAddr(buffer), flags as u32);
    if (id as i32) < 0 || (len as i64) < 0 {
        return Err(Errno::EINVAL.into());
    }
    let wanted = wanted(kind as i64, flags)?;
    let max_len = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    let queue = IpcNamespace::of(task).msg.get(id as i32)?;
    let (creds, pid) = (task.creds(), pid(task));
    let mut attempt = || queue.receive(wanted, max_len, flags & MSG_NOERROR != 0, &creds, pid);
    let message = if flags & IPC_NOWAIT != 0 {
        attempt().map_err(|errno| if errno == Errno::EAGAIN { Errno::ENOMSG } else { errno })?
    } else {
        task.block_on(queue.waiters(), Events::READABLE, None, &mut attempt).map_err(without_handlers)?
    };
    let text = &message.text[..message.text.len().min(max_len)];
    task.mm().write_object(buffer, &message.kind)?;
    task.mm().write(buffer.checked_add(TEXT).ok_or(Errno::EFAULT)?, text)?;
    Ok(text.len() as u64)
}

/// msgctl(2).
pub(super) fn msgctl(task: &mut CurrentTask, args: Args) -> SysResult {
    let [id, command, buffer, ..] = args.0;
    let (id, command, buffer) = (id as i32, command as i32 & !IPC_64, UserAddr(buffer));
    let queues = &*IpcNamespace::of(task).msg;
    if id < 0 {
        return Err(Errno::EINVAL.into());
    }
    match command {
        IPC_INFO | MSG_INFO => control::tell(task, buffer, queues.info(command == MSG_INFO)),
        MSG_STAT => control::stat_at(task, queues, id, buffer),
        MSG_STAT_ANY => control::stat_any_at(task, queues, id, buffer),
        _ => control::common(task, queues, id, command, buffer),
    }
}
