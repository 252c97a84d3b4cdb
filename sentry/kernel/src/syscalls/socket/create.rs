//! socket(2) and socketpair(2).

use std::sync::Arc;

use abi::socket::{AF_INET, AF_INET6, AF_NETLINK, AF_PACKET, AF_UNIX, SocketType};
use abi::{OpenFlags, Result, UserAddr};

use super::parse_type;
use crate::CurrentTask;
use crate::error::SysResult;
use crate::socket::Socket;
use crate::syscalls::table::Args;
use crate::task::Task;
use crate::vfs::{AnonKind, Fd, File, FileOps};

const IPPROTO_ICMP: i32 = 1;
const IPPROTO_ICMPV6: i32 = 58;

/// socket(2).
pub(super) fn socket(task: &mut CurrentTask, Args([family, kind, protocol, ..]): Args) -> SysResult {
    let (kind, flags) = parse_type(kind)?;
    let family = task.kernel().sockets.get(family as i32)?;
    let ops = family.create(task, kind, protocol as i32)?;
    Ok(install(task, ops, flags)? as u64)
}

/// socketpair(2).
pub(super) fn socketpair(task: &mut CurrentTask, Args([family, kind, protocol, out, ..]): Args) -> SysResult {
    let (kind, flags) = parse_type(kind)?;
    let family = task.kernel().sockets.get(family as i32)?;
    let [a, b] = family.create_pair(task, kind, protocol as i32)?;
    let files = [open_socket(task, a, flags)?, open_socket(task, b, flags)?];
    task.install_fd_pair(files, flags.contains(OpenFlags::CLOEXEC), UserAddr(out))?;
    Ok(0)
}

/// Gives a new socket a descriptor. `flags` holds NONBLOCK and CLOEXEC.
pub(super) fn install(task: &Task, ops: Arc<dyn FileOps>, flags: OpenFlags) -> Result<Fd> {
    task.install_fd(open_socket(task, ops, flags)?, flags.contains(OpenFlags::CLOEXEC))
}

/// An open file on a new socket.
fn open_socket(task: &Task, ops: Arc<dyn FileOps>, flags: OpenFlags) -> Result<Arc<File>> {
    let flags = OpenFlags::RDWR | (flags & OpenFlags::NONBLOCK);
    let protocol = ops.socket().map_or("", protocol_name);
    let file = task.kernel().vfs.anon_file(AnonKind::Socket(protocol), ops, flags, &task.creds());
    if let Some(socket) = file.ops().socket() {
        socket.set_inode(file.inode().attr()?.ino);
    }
    Ok(file)
}

/// The name by which Linux knows the protocol of a socket.
fn protocol_name(socket: &dyn Socket) -> &'static str {
    use SocketType::{Datagram, Raw, Stream};
    match (socket.family(), socket.socket_type()) {
        (AF_UNIX, Stream) => "UNIX-STREAM",
        (AF_UNIX, _) => "UNIX",
        (AF_INET, Stream) => "TCP",
        (AF_INET6, Stream) => "TCPv6",
        (AF_INET, Datagram) if socket.protocol() == IPPROTO_ICMP => "PING",
        (AF_INET6, Datagram) if socket.protocol() == IPPROTO_ICMPV6 => "PINGv6",
        (AF_INET, Datagram) => "UDP",
        (AF_INET6, Datagram) => "UDPv6",
        (AF_INET, Raw) => "RAW",
        (AF_INET6, Raw) => "RAWv6",
        (AF_PACKET, _) => "PACKET",
        (AF_NETLINK, _) => "NETLINK",
        _ => "",
    }
}
