//! The socket's state: its name, its peer, what was sent to it.
//!
//! Locks: `binding`, then the others. `state` and `inbox` are never held together, and never those of two sockets. User memory is copied with an
//! inbox locked (receiving), never with a state locked.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use abi::Errno;
use abi::socket::{SocketType, so};
use kernel::socket::SocketOptions;
use kernel::vfs::VfsPath;
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use super::address::UnixAddress;
use super::identity::Identity;
use super::inbox::Inbox;
use super::names::UnixSockets;
use super::rights::Transit;

/// Whom a socket talks to.
#[derive(Debug, Default)]
pub(super) enum Link {
    /// Nobody yet.
    #[default]
    None,
    /// Whoever connects.
    Listening {
        /// Connections not yet accepted: the server's ends.
        backlog: VecDeque<Arc<UnixSocket>>,
        /// How many may wait.
        limit: usize,
        /// Who called listen(2): the peer credentials that clients see.
        creds: Identity,
    },
    /// One peer. Datagram sockets may have one too: their default destination.
    Connected {
        /// It; gone where it has been closed.
        peer: Weak<UnixSocket>,
        /// `SO_PEERCRED`; none for a default destination, which need not know of it.
        creds: Option<Identity>,
        /// Its name when the connection was made.
        address: UnixAddress,
    },
}

/// What a reader is told of who sent a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passing {
    /// `SO_PASSCRED`.
    pub(super) credentials: bool,
    /// `SO_PASSPIDFD`.
    pub(super) process: bool,
}

impl Passing {
    /// Whether anything.
    pub(super) fn is_any(self) -> bool {
        self.credentials || self.process
    }
}

/// What changes rarely.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The number that `/proc` shows.
    pub(super) inode: u64,
    /// The name.
    pub(super) local: UnixAddress,
    /// The bound inode, kept alive.
    pub(super) bound: Option<VfsPath>,
    /// The other side.
    pub(super) link: Link,
    /// No more sending.
    pub(super) write_shut: bool,
    /// No more receiving.
    pub(super) read_shut: bool,
    /// `SO_ERROR`.
    pub(super) error: Option<Errno>,
}

/// A unix socket.
#[derive(Debug)]
pub(super) struct UnixSocket {
    pub(super) this: Weak<UnixSocket>,
    pub(super) kind: SocketType,
    pub(super) names: Arc<UnixSockets>,
    pub(super) transit: Arc<Transit>,
    pub(super) options: SocketOptions,
    /// Readiness of this socket; senders that found it full wait here for OUT.
    pub(super) queue: WaitQueue,
    pub(super) inbox: Mutex<Inbox>,
    pub(super) state: Mutex<State>,
    /// Held while the socket gets its name, of which it has one at most.
    pub(super) binding: Mutex<()>,
}

impl UnixSocket {
    pub(super) fn new(kind: SocketType, names: &Arc<UnixSockets>, transit: &Arc<Transit>) -> Arc<Self> {
        let socket = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            kind,
            names: Arc::clone(names),
            transit: Arc::clone(transit),
            options: SocketOptions::default(),
            queue: WaitQueue::new(),
            inbox: Mutex::default(),
            state: Mutex::default(),
            binding: Mutex::default(),
        });
        socket.names.add(&socket);
        socket
    }

    /// Whether it keeps a connection (stream, seqpacket).
    pub(super) fn is_connection(&self) -> bool {
        self.kind != SocketType::Datagram
    }

    /// What its reader is told of senders.
    pub(super) fn passing(&self) -> Passing {
        Passing {
            credentials: self.options.is_set(so::PASSCRED),
            process: self.options.is_set(so::PASSPIDFD),
        }
    }

    /// Who is at the other end, or who listens.
    pub(super) fn peer_identity(&self) -> Option<Identity> {
        match &self.state.lock().link {
            Link::Connected { creds, .. } => creds.clone(),
            Link::Listening { creds, .. } => Some(creds.clone()),
            Link::None => None,
        }
    }

    /// The connected peer, if it is still there.
    pub(super) fn peer(&self) -> Option<Arc<UnixSocket>> {
        match &self.state.lock().link {
            Link::Connected { peer, .. } => peer.upgrade(),
            _ => None,
        }
    }

    /// Nothing more will arrive here.
    pub(super) fn end_input(&self, error: Option<Errno>) {
        self.inbox.lock().ended = true;
        if error.is_some() {
            self.state.lock().error = error;
        }
        self.queue.notify(Events::READABLE | Events::WRITABLE | Events::RDHUP | Events::HUP | Events::ERR);
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        self.names.forget(self);
        let unread = !self.inbox.get_mut().is_empty();
        let state = self.state.get_mut();
        if let UnixAddress::Abstract(name) = &state.local {
            self.names.release(name);
        }
        match std::mem::take(&mut state.link) {
            Link::Connected { peer, .. } if self.kind != SocketType::Datagram => {
                if let Some(peer) = peer.upgrade() {
                    peer.end_input(unread.then_some(Errno::ECONNRESET));
                }
            }
            // Dropping the backlog closes the server's ends, which resets their clients.
            Link::Listening { .. } | Link::Connected { .. } | Link::None => {}
        }
        // Senders that wait for room will find nobody.
        self.queue.notify(Events::all());
        self.transit.socket_closed();
    }
}
