//! What `/proc/net/unix` and sock_diag show of unix sockets.

use std::sync::Weak;

use abi::socket::SocketType;

use super::address::UnixAddress;
use super::names::UnixSockets;
use super::socket::{Link, UnixSocket};

/// What a socket is connected to, if anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    Unconnected,
    Listening,
    Connected,
}

/// One socket.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) inode: u64,
    pub(crate) kind: SocketType,
    pub(crate) state: LinkState,
    /// Abstract names begin with a zero byte.
    pub(crate) name: Option<Vec<u8>>,
    /// The peer's inode number, where there is a peer.
    pub(crate) peer: Option<u64>,
    /// Bytes that wait to be read; of a listener connections.
    pub(crate) waiting: usize,
    /// Bytes the socket has sent that its peer has not read; of a listener the most connections.
    pub(crate) unread: usize,
    /// Bit 0: no more receiving, bit 1: no more sending.
    pub(crate) shutdown: u8,
}

impl UnixSockets {
    /// What there is now, by inode number.
    pub(crate) fn list(&self) -> Vec<Summary> {
        let mut all: Vec<Summary> = self.sockets().iter().map(|socket| socket.summary()).collect();
        all.sort_by_key(|socket| socket.inode);
        all
    }
}

impl UnixSocket {
    fn summary(&self) -> Summary {
        let waiting = self.inbox.lock().bytes();
        let state = self.state.lock();
        let name = match &state.local {
            UnixAddress::Unnamed => None,
            UnixAddress::Abstract(name) => Some([&[0], &name[..]].concat()),
            UnixAddress::Path(path) => Some(path.clone()),
        };
        let mut summary = Summary {
            inode: state.inode,
            kind: self.kind,
            state: LinkState::Unconnected,
            name,
            peer: None,
            waiting,
            unread: 0,
            shutdown: u8::from(state.read_shut) | u8::from(state.write_shut) << 1,
        };
        let mut other = Weak::new();
        match &state.link {
            Link::None => {}
            Link::Listening { backlog, limit, .. } => {
                summary.state = LinkState::Listening;
                (summary.waiting, summary.unread) = (backlog.len(), *limit);
            }
            Link::Connected { peer, .. } => {
                summary.state = LinkState::Connected;
                other = peer.clone();
            }
        }
        drop(state);
        // The peer's locks are taken after ours are given back.
        if let Some(peer) = other.upgrade() {
            summary.peer = Some(peer.state.lock().inode);
            summary.unread = peer.inbox.lock().bytes();
        }
        summary
    }
}

impl Summary {
    /// A line of `/proc/net/unix`.
    pub(super) fn line(&self) -> String {
        /// `__SO_ACCEPTCON`.
        const ACCEPTS: u32 = 1 << 16;
        let flags = if self.state == LinkState::Listening { ACCEPTS } else { 0 };
        // SS_UNCONNECTED, SS_CONNECTED.
        let state = if self.state == LinkState::Connected { 3 } else { 1 };
        let name = self.name.as_ref().map_or_else(String::new, |name| {
            // Zero bytes of abstract names show as `@`.
            format!(" {}", String::from_utf8_lossy(name).replace('\0', "@"))
        });
        let (kind, inode) = (self.kind as u32, self.inode);
        format!("0000000000000000: 00000002 00000000 {flags:08X} {kind:04X} {state:02X} {inode:5}{name}\n")
    }
}
