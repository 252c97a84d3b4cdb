//! Names and connections: bind, listen, connect, accept, shutdown, getsockname, getpeername.

use abi::socket::{SOCK_CLOEXEC, SOCK_NONBLOCK};
use abi::{Errno, UserAddr};
use waiter::Events;

use super::{
    create, deadline, may_block, parse_flags, read_address, socket_file, socket_of, timeout_is_again,
    write_address,
};
use crate::error::SysResult;
use crate::socket::ShutdownHow;
use crate::syscalls::table::Args;
use crate::vfs::File;
use crate::{CurrentTask, Task};

/// bind(2).
pub(super) fn bind(task: &mut CurrentTask, Args([fd, addr, len, ..]): Args) -> SysResult {
    let file = socket_file(task, fd)?;
    let address = read_address(&task.mm(), UserAddr(addr), len)?;
    socket_of(&file)?.bind(task, &address)?;
    Ok(0)
}

/// listen(2).
pub(super) fn listen(task: &mut CurrentTask, Args([fd, backlog, ..]): Args) -> SysResult {
    let file = socket_file(task, fd)?;
    socket_of(&file)?.listen(task, backlog as i32)?;
    Ok(0)
}

/// connect(2).
pub(super) fn connect(task: &mut CurrentTask, Args([fd, addr, len, ..]): Args) -> SysResult {
    let file = socket_file(task, fd)?;
    let address = read_address(&task.mm(), UserAddr(addr), len)?;
    let socket = socket_of(&file)?;
    let deadline = deadline(task, socket.options().send_timeout_ns());
    let mut registration = None;
    loop {
        match socket.connect(task, &address) {
            Ok(()) => return Ok(0),
            // The listener's backlog is full: wait for it to accept, having looked again once that would be heard.
            Err(Errno::EAGAIN) if may_block(&file) => match registration.take() {
                Some(_held) => timeout_is_again(task.sleep(deadline))?,
                None => {
                    // Looked up each time: the address may have another listener by now, or none.
                    let listener = socket.send_queue(task, Some(&address));
                    let queue = listener.as_ref().or(file.ops().wait_queue()).ok_or(Errno::EAGAIN)?;
                    registration = Some(queue.register(Events::WRITABLE, task.notifier()));
                }
            },
            Err(Errno::EINPROGRESS | Errno::EALREADY) if may_block(&file) => {
                return await_connection(task, &file, &address, deadline);
            }
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Waits until a connection that is under way is decided, and asks for the outcome.
fn await_connection(
    task: &Task,
    file: &File,
    address: &[u8],
    deadline: Option<crate::time::MonotonicTime>,
) -> SysResult {
    let socket = socket_of(file)?;
    let queue = file.ops().wait_queue().ok_or(Errno::EINPROGRESS)?;
    let decided = Events::OUT | Events::ERR | Events::HUP;
    let attempt = &mut || if file.poll().intersects(decided) { Ok(()) } else { Err(Errno::EAGAIN) };
    match task.block_on(queue, decided, deadline, attempt) {
        Err(crate::SysError::Errno(Errno::ETIMEDOUT)) => return Err(Errno::EINPROGRESS.into()),
        other => other?,
    }
    match socket.connect(task, address) {
        Ok(()) | Err(Errno::EISCONN) => Ok(0),
        Err(errno) => Err(errno.into()),
    }
}

/// accept(2).
pub(super) fn accept(task: &mut CurrentTask, Args([fd, addr, len, ..]): Args) -> SysResult {
    accept4(task, Args([fd, addr, len, 0, 0, 0]))
}

/// accept4(2).
pub(super) fn accept4(task: &mut CurrentTask, Args([fd, addr, len, flags, ..]): Args) -> SysResult {
    let flags = parse_flags(flags as i32, SOCK_CLOEXEC, SOCK_NONBLOCK)?;
    let file = socket_file(task, fd)?;
    let socket = socket_of(&file)?;
    let accepted = match socket.accept(task) {
        Err(Errno::EAGAIN) if may_block(&file) => {
            let queue = file.ops().wait_queue().ok_or(Errno::EAGAIN)?;
            let deadline = deadline(task, socket.options().receive_timeout_ns());
            timeout_is_again(task.block_on(queue, Events::READABLE, deadline, &mut || socket.accept(task)))?
        }
        other => other?,
    };
    // As on Linux, a connection whose address cannot be stored is lost.
    write_address(&task.mm(), UserAddr(addr), UserAddr(len), &accepted.peer)?;
    Ok(create::install(task, accepted.ops, flags)? as u64)
}

/// shutdown(2).
pub(super) fn shutdown(task: &mut CurrentTask, Args([fd, how, ..]): Args) -> SysResult {
    let file = socket_file(task, fd)?;
    let how = match how as i32 {
        0 => ShutdownHow { read: true, write: false },
        1 => ShutdownHow { read: false, write: true },
        2 => ShutdownHow { read: true, write: true },
        _ => return Err(Errno::EINVAL.into()),
    };
    socket_of(&file)?.shutdown(how)?;
    Ok(0)
}

/// getsockname(2).
pub(super) fn getsockname(task: &mut CurrentTask, Args([fd, addr, len, ..]): Args) -> SysResult {
    let file = socket_file(task, fd)?;
    let address = socket_of(&file)?.local_address()?;
    store_name(task, addr, len, &address)
}

/// getpeername(2).
pub(super) fn getpeername(task: &mut CurrentTask, Args([fd, addr, len, ..]): Args) -> SysResult {
    let file = socket_file(task, fd)?;
    let address = socket_of(&file)?.peer_address()?;
    store_name(task, addr, len, &address)
}

fn store_name(task: &Task, addr: u64, len: u64, address: &[u8]) -> SysResult {
    if addr == 0 {
        return Err(Errno::EFAULT.into());
    }
    write_address(&task.mm(), UserAddr(addr), UserAddr(len), address)?;
    Ok(0)
}
