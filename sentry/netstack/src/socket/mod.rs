//! Sockets: what every kind shares, and the datagram kinds. TCP has a module of its own.

pub(crate) mod datagram;
pub(crate) mod message;
pub(crate) mod options;
pub(crate) mod packet;
pub(crate) mod ports;
pub(crate) mod queue;

use crate::base::addr::Family;
use std::net::SocketAddr;

/// Which directions to shut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// `SHUT_RD`
    Read,
    /// `SHUT_WR`
    Write,
    /// `SHUT_RDWR`
    Both,
}

impl Shutdown {
    /// Whether reading ends.
    #[must_use]
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::Both)
    }

    /// Whether writing ends.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Both)
    }
}

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
