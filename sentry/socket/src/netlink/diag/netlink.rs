//! Netlink sockets in sock_diag (`linux/netlink_diag.h`).

use abi::netlink::NLM_F_MULTI;
use abi::socket::AF_NETLINK;
use abi::{Errno, Result};

use super::SOCK_DIAG_BY_FAMILY;
use crate::bytes::word;
use crate::netlink::Context;
use crate::netlink::message::{Replies, Request};
use crate::netlink::socket::Shown;

/// `struct netlink_diag_req`.
const REQUEST: usize = 20;
/// A request for the sockets of all protocols.
const ALL: u8 = 255;
const NDIAG_SHOW_GROUPS: u32 = 2;
const NETLINK_DIAG_GROUPS: u16 = 1;
/// The state of a socket without a peer other than the kernel: TCP's for closed.
const UNCONNECTED: u8 = 7;

/// Answers a request, which must be for a dump.
///
/// # Errors
/// `EINVAL` for a short request, `EOPNOTSUPP` for a single socket.
pub(super) fn answer(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    let (header, _) = request.split(REQUEST)?;
    if !request.is_dump() {
        return Err(Errno::EOPNOTSUPP);
    }
    let (protocol, show) = (header[1], word(header, 8).unwrap_or(0));
    let is_wanted = |socket: &Shown| protocol == ALL || socket.protocol == i32::from(protocol);
    for socket in context.net.netlink().shown().into_iter().filter(is_wanted) {
        describe(&socket, show, replies);
    }
    replies.done();
    Ok(())
}

/// `struct netlink_diag_msg` and its attributes.
fn describe(socket: &Shown, show: u32, replies: &mut Replies) {
    replies.message(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, |body| {
        body.put(&[AF_NETLINK as u8, socket.kind as u8, socket.protocol as u8, UNCONNECTED]);
        // Port, the peer's port and group: the kernel's.
        body.put([socket.port, 0, 0].map(u32::to_ne_bytes).as_flattened());
        // Its number, twice: sockets have no other cookie.
        body.put(&(socket.inode as u32).to_ne_bytes()).put(&socket.inode.to_ne_bytes());
        if show & NDIAG_SHOW_GROUPS != 0 {
            body.attr(NETLINK_DIAG_GROUPS, &socket.groups.to_ne_bytes());
        }
    });
}
