//! Unix sockets in sock_diag.

use abi::netlink::NLM_F_MULTI;
use abi::socket::AF_UNIX;
use abi::{Errno, Result};

use super::SOCK_DIAG_BY_FAMILY;
use crate::bytes::word;
use crate::netlink::Context;
use crate::netlink::message::{Body, Replies, Request};
use crate::unix::{LinkState, Summary};

/// `struct unix_diag_req`.
const REQUEST: usize = 24;
/// What is asked for beside the socket itself: its name, its peer, its queue.
const UDIAG_SHOW_NAME: u32 = 1;
const UDIAG_SHOW_PEER: u32 = 4;
const UDIAG_SHOW_RQLEN: u32 = 16;
const UNIX_DIAG_NAME: u16 = 0;
const UNIX_DIAG_PEER: u16 = 2;
const UNIX_DIAG_RQLEN: u16 = 4;
const UNIX_DIAG_SHUTDOWN: u16 = 6;
/// States are TCP's.
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;

/// Answers a request.
///
/// # Errors
/// `EINVAL` for a short request, `ENOENT` for a socket that is not there.
pub(super) fn answer(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    let (header, _) = request.split(REQUEST)?;
    let field = |at: usize| word(header, at).unwrap_or(0);
    let (states, inode, show) = (field(4), field(8), field(12));
    let sockets = context.net.unix().list();
    if request.is_dump() {
        let is_wanted = |socket: &&Summary| states & 1 << state(socket) != 0;
        for socket in sockets.iter().filter(is_wanted) {
            replies.message(SOCK_DIAG_BY_FAMILY, NLM_F_MULTI, |body| describe(socket, show, body));
        }
        replies.done();
        return Ok(());
    }
    let found = sockets.iter().find(|socket| socket.inode as u32 == inode).ok_or(Errno::ENOENT)?;
    replies.message(SOCK_DIAG_BY_FAMILY, 0, |body| describe(found, show, body));
    Ok(())
}

fn state(socket: &Summary) -> u8 {
    match socket.state {
        LinkState::Unconnected => CLOSE,
        LinkState::Listening => LISTEN,
        LinkState::Connected => ESTABLISHED,
    }
}

/// `struct unix_diag_msg` and its attributes.
fn describe(socket: &Summary, show: u32, body: &mut Body<'_>) {
    body.put(&[AF_UNIX as u8, socket.kind as u8, state(socket), 0]);
    // Its number, twice: sockets have no other cookie.
    body.put(&(socket.inode as u32).to_ne_bytes()).put(&socket.inode.to_ne_bytes());
    if let Some(name) = socket.name.as_ref().filter(|_| show & UDIAG_SHOW_NAME != 0) {
        body.attr(UNIX_DIAG_NAME, name);
    }
    if let Some(peer) = socket.peer.filter(|_| show & UDIAG_SHOW_PEER != 0) {
        body.attr_word(UNIX_DIAG_PEER, peer as u32);
    }
    if show & UDIAG_SHOW_RQLEN != 0 {
        let lengths = [socket.waiting as u32, socket.unread as u32].map(u32::to_ne_bytes);
        body.attr(UNIX_DIAG_RQLEN, lengths.as_flattened());
    }
    body.attr(UNIX_DIAG_SHUTDOWN, &[socket.shutdown]);
}
