//! System calls on sockets (`man 7 socket`).

mod connect;
mod create;
mod message;
mod options;

use std::sync::Arc;

use abi::socket::{SOCKADDR_MAX, SocketType};
use abi::{Errno, OpenFlags, Result, UserAddr};

use super::table::{Arg, Row};
use crate::mm::MemoryManager;
use crate::task::Task;
use crate::vfs::{Fd, File};

use Arg::{Fd as FdArg, Hex, InBuf, Int, OutBuf, Size, Timespec};

const FAMILIES: Arg =
    Arg::Enum(&[(1, "AF_UNIX"), (2, "AF_INET"), (10, "AF_INET6"), (16, "AF_NETLINK"), (17, "AF_PACKET")]);
const MSG: Arg = Arg::Flags(&[
    (0x1, "MSG_OOB"),
    (0x2, "MSG_PEEK"),
    (0x20, "MSG_TRUNC"),
    (0x40, "MSG_DONTWAIT"),
    (0x100, "MSG_WAITALL"),
    (0x2000, "MSG_ERRQUEUE"),
    (0x4000, "MSG_NOSIGNAL"),
    (0x8000, "MSG_MORE"),
    (0x10000, "MSG_WAITFORONE"),
    (0x4000_0000, "MSG_CMSG_CLOEXEC"),
]);

/// The rows of this family.
pub(crate) const TABLE: &[Row] = &[
    Row::full(41, "socket", &[FAMILIES, Hex, Int], create::socket).takes_memory(),
    Row::full(42, "connect", &[FdArg, Hex, Size], connect::connect),
    Row::full(43, "accept", &[FdArg, Hex, Hex], connect::accept).takes_memory(),
    Row::full(44, "sendto", &[FdArg, InBuf(2), Size, MSG, Hex, Size], message::sendto),
    Row::full(45, "recvfrom", &[FdArg, OutBuf, Size, MSG, Hex, Hex], message::recvfrom),
    Row::full(46, "sendmsg", &[FdArg, Hex, MSG], message::sendmsg),
    Row::full(47, "recvmsg", &[FdArg, Hex, MSG], message::recvmsg),
    Row::full(48, "shutdown", &[FdArg, Int], connect::shutdown),
    Row::full(49, "bind", &[FdArg, Hex, Size], connect::bind),
    Row::full(50, "listen", &[FdArg, Int], connect::listen),
    Row::full(51, "getsockname", &[FdArg, Hex, Hex], connect::getsockname),
    Row::full(52, "getpeername", &[FdArg, Hex, Hex], connect::getpeername),
    Row::full(53, "socketpair", &[FAMILIES, Hex, Int, Hex], create::socketpair).takes_memory(),
    Row::full(54, "setsockopt", &[FdArg, Int, Int, Hex, Size], options::setsockopt),
    Row::full(55, "getsockopt", &[FdArg, Int, Int, Hex, Hex], options::getsockopt),
    Row::full(288, "accept4", &[FdArg, Hex, Hex, Hex], connect::accept4).takes_memory(),
    Row::full(299, "recvmmsg", &[FdArg, Hex, Size, MSG, Timespec], message::recvmmsg),
    Row::full(307, "sendmmsg", &[FdArg, Hex, Size, MSG], message::sendmmsg),
];

/// The open file behind `fd`, which must be a socket's.
fn socket_file(task: &Task, fd: u64) -> Result<Arc<File>> {
    let file = task.fd_table().get(fd as Fd)?;
    if file.flags().contains(OpenFlags::PATH) {
        return Err(Errno::EBADF);
    }
    if file.ops().socket().is_none() { Err(Errno::ENOTSOCK) } else { Ok(file) }
}

/// Reads a `sockaddr` argument.
fn read_address(mm: &MemoryManager, addr: UserAddr, len: u64) -> Result<Vec<u8>> {
    // The length is an `int` for Linux: negative ones are invalid, and so is what exceeds a sockaddr_storage.
    let len = usize::try_from(len as i32).map_err(|_| Errno::EINVAL)?;
    if len > SOCKADDR_MAX {
        return Err(Errno::EINVAL);
    }
    let mut bytes = vec![0; len];
    mm.read(addr, &mut bytes)?;
    Ok(bytes)
}

/// Stores a `sockaddr` at `addr` as far as `*len_addr` has room, and its whole length at `len_addr`.
fn write_address(mm: &MemoryManager, addr: UserAddr, len_addr: UserAddr, address: &[u8]) -> Result<()> {
    if addr.is_null() {
        return Ok(());
    }
    let room: i32 = mm.read_object(len_addr)?;
    let room = usize::try_from(room).map_err(|_| Errno::EINVAL)?;
    mm.write(addr, &address[..address.len().min(room)])?;
    mm.write_object(len_addr, &(address.len() as u32))
}

/// The type in `socket`'s second argument, and the flags beside it.
fn parse_type(raw: u64) -> Result<(SocketType, OpenFlags)> {
    use abi::socket::{SOCK_CLOEXEC, SOCK_NONBLOCK};
    let raw = raw as i32;
    let kind = raw & 0xf;
    let flags = parse_flags(raw & !0xf, SOCK_CLOEXEC, SOCK_NONBLOCK)?;
    // Types that Linux has and no family of ours (SOCK_RDM, SOCK_DCCP) are not invalid.
    const SOCK_MAX: i32 = 11;
    let refusal = if kind < SOCK_MAX { Errno::ESOCKTNOSUPPORT } else { Errno::EINVAL };
    SocketType::from_raw(kind).map(|kind| (kind, flags)).ok_or(refusal)
}

fn parse_flags(raw: i32, cloexec: i32, nonblock: i32) -> Result<OpenFlags> {
    if raw & !(cloexec | nonblock) != 0 {
        return Err(Errno::EINVAL);
    }
    let mut flags = OpenFlags::empty();
    flags.set(OpenFlags::CLOEXEC, raw & cloexec != 0);
    flags.set(OpenFlags::NONBLOCK, raw & nonblock != 0);
    Ok(flags)
}
