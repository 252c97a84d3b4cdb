//! Sockets: what every kind shares, and the datagram kinds. TCP has a module of its own.

pub(crate) mod groups;
pub(crate) mod message;
pub(crate) mod options;
pub(crate) mod packet;
pub(crate) mod ping;
pub(crate) mod ports;
pub(crate) mod queue;
pub(crate) mod raw;
pub(crate) mod udp;

use crate::base::addr::Family;
use std::net::SocketAddr;

/// A line of `/proc/net/{tcp,udp,raw}`, or an answer of sock_diag.
#[derive(Clone, Debug)]
pub struct SocketSummary {
    /// The socket's number; 0 for what has no socket (TIME-WAIT, requests).
    pub id: u64,
    /// Family.
    pub family: Family,
    /// Local address.
    pub local: SocketAddr,
    /// Remote address.
    pub peer: Option<SocketAddr>,
    /// State, by Linux's number.
    pub state: u8,
    /// Bytes not yet acknowledged, or the backlog of a listener.
    pub send_queue: usize,
    /// Bytes not yet read, or connections not yet accepted.
    pub recv_queue: usize,
    /// Owner.
    pub uid: u32,
    /// The number that the owner shows for it; 0 for what has no socket.
    pub inode: u32,
}
