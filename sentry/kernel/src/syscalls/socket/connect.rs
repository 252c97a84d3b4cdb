//! Names and connections: bind, listen, connect, accept, shutdown, getsockname, getpeername.

use abi::socket::{SOCK_CLOEXEC, SOCK_NONBLOCK};
use abi::{Errno, UserAddr};

use super::{create, parse_flags, read_address, socket_file, write_address};
use crate::error::SysResult;
use crate::socket::{ShutdownHow, socket_of, wait};
use crate::syscalls::table::Args;
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
    wait::connect(task, &file, &address)?;
    Ok(0)
}

/// accept(2).
pub(super) fn accept(task: &mut CurrentTask, Args([fd, addr, len, ..]): Args) -> SysResult {
    accept4(task, Args([fd, addr, len, 0, 0, 0]))
}

/// accept4(2).
pub(super) fn accept4(task: &mut CurrentTask, Args([fd, addr, len, flags, ..]): Args) -> SysResult {
    let flags = parse_flags(flags as i32, SOCK_CLOEXEC, SOCK_NONBLOCK)?;
    let file = socket_file(task, fd)?;
    let accepted = wait::accept(task, &file)?;
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
