//! Internet sockets in sock_diag.

use std::net::{IpAddr, SocketAddr};

use abi::netlink::NLM_F_MULTI;
use abi::socket::{AF_INET, AF_INET6};
use abi::{Errno, Result};
use netstack::{Family, SocketSummary};

use super::SOCK_DIAG_BY_FAMILY;
use crate::bytes::{half, word};
use crate::netlink::Context;
use crate::netlink::message::{Body, Replies, Request};

/// `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const INET_DIAG_SHUTDOWN: u16 = 8;

/// Answers a request for sockets of `family`.
///
/// # Errors
/// `EINVAL` for a short request, `ENOENT` for a protocol without sockets to show.
pub(super) fn answer(
    context: &Context<'_>,
    family: Family,
    request: &Request<'_>,
    replies: &mut Replies,
) -> Result<()> {
    let (header, _) = request.split(REQUEST)?;
    let stack = context.net.stack();
    let sockets = match header[1] {
        IPPROTO_TCP => stack.tcp_sockets(),
        IPPROTO_UDP => stack.udp_sockets(),
        _ => return Err(Errno::ENOENT),
    };
    let states = word(header, 4).unwrap_or(0);
    let is_wanted = |socket: &&SocketSummary| {
        socket.family == family && states & 1u32.checked_shl(socket.state.into()).unwrap_or(0) != 0
    };
    if request.is_dump() {
        for socket in sockets.iter().filter(is_wanted) {
            replies.message(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, |body| describe(socket, body));
        }
        replies.done();
        return Ok(());
    }
    let ports = (half(header, 8).map(u16::from_be), half(header, 10).map(u16::from_be));
    let named = |socket: &&SocketSummary| {
        (Some(socket.local.port()), Some(socket.peer.map_or(0, |peer| peer.port()))) == ports
    };
    let found = sockets.iter().filter(|socket| socket.family == family).find(named).ok_or(Errno::ENOENT)?;
    replies.message(SOCK_DIAG_BY_FAMILY, 0, |body| describe(found, body));
    Ok(())
}

/// `struct inet_diag_msg` and its attributes.
fn describe(socket: &SocketSummary, body: &mut Body<'_>) {
    let family = match socket.family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    };
    let none = SocketAddr::new(socket.family.any(), 0);
    let peer = socket.peer.unwrap_or(none);
    body.put(&[family as u8, socket.state, 0, 0]);
    body.put(&socket.local.port().to_be_bytes()).put(&peer.port().to_be_bytes());
    body.put(&address(socket.local.ip())).put(&address(peer.ip()));
    // Interface; then a cookie, which is the inode's number.
    body.put(&[0; 4]).put(&u64::from(socket.inode).to_ne_bytes());
    let words = [0, socket.recv_queue as u32, socket.send_queue as u32, socket.uid, socket.inode];
    for value in words {
        body.put(&value.to_ne_bytes());
    }
    body.attr(INET_DIAG_SHUTDOWN, &[0]);
}

/// An address in the room of an IPv6 one.
fn address(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}
