//! setsockopt(2) and getsockopt(2).

use abi::filter::SockFilter;
use abi::socket::{SOL_SOCKET, Ucred, so};
use abi::{Errno, Result, UserAddr};
use host::heap::{self, Purpose};
use zerocopy::IntoBytes;

use super::socket_file;
use crate::error::SysResult;
use crate::socket::{Socket, socket_of};
use crate::syscalls::table::Args;
use crate::vfs::File;
use crate::{CurrentTask, Task};

/// The longest option value that is looked at, bytes: room for the largest legacy packet-filter tables.
const MAX_VALUE: usize = 16 << 20;

/// As much of the buffer as an option may want to know before it is filled, bytes.
const GIVEN: usize = 40;

/// setsockopt(2).
pub(super) fn setsockopt(task: &mut CurrentTask, Args([fd, level, name, addr, len, _]): Args) -> SysResult {
    let file = socket_file(task, fd)?;
    let len = usize::try_from(len as i32).map_err(|_| Errno::EINVAL)?;
    if len > MAX_VALUE {
        return Err(Errno::EINVAL.into());
    }
    heap::room_for(len as u64, Purpose::Process)?;
    let mut value = vec![0; len];
    task.mm().read(UserAddr(addr), &mut value)?;
    let (socket, level, name) = (socket_of(&file)?, level as i32, name as i32);
    // All options of this level but one are at least an int.
    if level == SOL_SOCKET && name != so::BINDTODEVICE && len < size_of::<i32>() {
        return Err(Errno::EINVAL.into());
    }
    let namespaces = task.namespaces();
    let owner = socket.network_owner().unwrap_or_else(|| namespaces.net.user_ns());
    if level == SOL_SOCKET
        && let Some(result) = socket.options().set(task, owner, name, &value)
    {
        result?;
        if let Some(reaction) = socket.set_option(task, level, name, &value) {
            reaction?;
        }
        return Ok(0);
    }
    socket.set_option(task, level, name, &value).unwrap_or(Err(unknown(level)))?;
    Ok(0)
}

/// getsockopt(2).
pub(super) fn getsockopt(task: &mut CurrentTask, Args([fd, level, name, addr, len, _]): Args) -> SysResult {
    let file = socket_file(task, fd)?;
    let mm = task.mm();
    let room: i32 = mm.read_object(UserAddr(len))?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    let mut given = [0; GIVEN];
    let given = &mut given[..room.min(GIVEN)];
    // What cannot be read cannot be written either, which is found out below.
    let read = mm.read(UserAddr(addr), given).is_ok();
    let given = if read { &*given } else { &[] };
    let (level, name) = (level as i32, name as i32);
    if (level, name) == (SOL_SOCKET, so::PEERPIDFD) {
        return give_peer(task, socket_of(&file)?, room, UserAddr(addr), UserAddr(len));
    }
    let value = if (level, name) == (SOL_SOCKET, so::COOKIE) {
        cookie(&file, room)?
    } else {
        get(task, socket_of(&file)?, level, name, given)?
    };
    if (level, name) == (SOL_SOCKET, so::ATTACH_FILTER) {
        return give_filter(task, &value, room, UserAddr(addr), UserAddr(len));
    }
    if (level, name) == (SOL_SOCKET, so::PEERGROUPS) && room < value.len() {
        mm.write_object(UserAddr(len), &(value.len() as u32))?;
        return Err(Errno::ERANGE.into());
    }
    let value = &value[..value.len().min(room)];
    mm.write(UserAddr(addr), value)?;
    mm.write_object(UserAddr(len), &(value.len() as u32))?;
    Ok(0)
}

/// A socket's filter (`SO_GET_FILTER`), whose length is told in instructions; without room, that alone.
fn give_filter(task: &Task, program: &[u8], room: usize, addr: UserAddr, len: UserAddr) -> SysResult {
    let count = program.len() / size_of::<SockFilter>();
    if room != 0 {
        if room < count {
            return Err(Errno::EINVAL.into());
        }
        task.mm().write(addr, program)?;
    }
    task.mm().write_object(len, &(count as u32))?;
    Ok(0)
}

/// A descriptor of the process at the other end (`SO_PEERPIDFD`), which is there only once its number could be stored.
fn give_peer(task: &Task, socket: &dyn Socket, room: usize, addr: UserAddr, len: UserAddr) -> SysResult {
    let pid = socket.peer_process().ok_or(Errno::ENODATA)?;
    let file = task.pidfd_of(&pid)?;
    let reserved = task.reserve_fds(1)?;
    let number = reserved.numbers().as_bytes();
    let number = &number[..number.len().min(room)];
    task.mm().write(addr, number)?;
    task.mm().write_object(len, &(number.len() as u32))?;
    reserved.commit([file], true);
    Ok(0)
}

/// What tells a socket from all others, as it does in the answers of `NETLINK_SOCK_DIAG`: its inode number.
fn cookie(file: &File, room: usize) -> Result<Vec<u8>> {
    if room < size_of::<u64>() {
        return Err(Errno::EINVAL);
    }
    Ok(file.inode().attr()?.ino.to_ne_bytes().to_vec())
}

fn get(task: &Task, socket: &dyn Socket, level: i32, name: i32, given: &[u8]) -> Result<Vec<u8>> {
    if level == SOL_SOCKET {
        let int = |value: i32| Ok(value.to_ne_bytes().to_vec());
        match name {
            so::TYPE => return int(socket.socket_type() as i32),
            so::DOMAIN => return int(i32::from(socket.family())),
            so::PROTOCOL => return int(socket.protocol()),
            so::ERROR => return int(socket.take_error().map_or(0, Errno::raw)),
            so::ACCEPTCONN => return int(i32::from(socket.is_listening())),
            _ => {}
        }
        if let Some(value) = socket.options().get(name) {
            return Ok(value);
        }
    }
    let own = socket.get_option_for(task, level, name, given);
    own.unwrap_or_else(|| match (level, name) {
        (SOL_SOCKET, so::PEERCRED) => Ok(Ucred::NOBODY.as_bytes().to_vec()),
        (SOL_SOCKET, so::PEERGROUPS) => Err(Errno::ENODATA),
        _ => Err(unknown(level)),
    })
}

/// What an option that nobody knows gets.
fn unknown(level: i32) -> Errno {
    if level == SOL_SOCKET { Errno::ENOPROTOOPT } else { Errno::EOPNOTSUPP }
}
