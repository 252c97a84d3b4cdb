//! Names and connections: bind, connect, listen, accept, shutdown.

use std::sync::{Arc, Weak};

use abi::socket::{SOMAXCONN, SocketType};
use abi::{Errno, Result};
use kernel::Task;
use kernel::socket::{Accepted, ShutdownHow, bind_at_path, find_at_path};
use waiter::Events;

use super::address::UnixAddress;
use super::identity::Identity;
use super::socket::{Link, UnixSocket};

/// Connects two new sockets to each other.
pub(super) fn pair(task: &Task, a: &Arc<UnixSocket>, b: &Arc<UnixSocket>) {
    let creds = Identity::of_peer(task);
    for (from, to) in [(a, b), (b, a)] {
        from.state.lock().link = Link::Connected {
            peer: Arc::downgrade(to),
            creds: Some(creds.clone()),
            address: UnixAddress::Unnamed,
        };
    }
}

impl UnixSocket {
    pub(super) fn bind_to(&self, task: &Task, address: &UnixAddress) -> Result<()> {
        let _binding = self.binding.lock();
        if self.is_nameless() { self.take_name(task, address) } else { Err(Errno::EINVAL) }
    }

    fn is_nameless(&self) -> bool {
        self.state.lock().local == UnixAddress::Unnamed
    }

    /// Gives the socket its name; `binding` is held.
    fn take_name(&self, task: &Task, address: &UnixAddress) -> Result<()> {
        let this = self.this.upgrade().ok_or(Errno::EINVAL)?;
        match address {
            UnixAddress::Unnamed => {
                let name = self.names.bind_auto(&this)?;
                self.state.lock().local = UnixAddress::Abstract(name);
            }
            UnixAddress::Abstract(name) => {
                self.names.bind(name, &this)?;
                self.state.lock().local = address.clone();
            }
            UnixAddress::Path(path) => {
                let bound = bind_at_path(task, path, &this)?;
                let mut state = self.state.lock();
                state.bound = Some(bound);
                state.local = address.clone();
            }
        }
        Ok(())
    }

    /// Gives the socket a name, if it has none and passes credentials on: peers shall be able to answer it.
    pub(super) fn name_for_credentials(&self, task: &Task) -> Result<()> {
        if !self.passing().is_any() || !self.is_nameless() {
            return Ok(());
        }
        let _binding = self.binding.lock();
        if self.is_nameless() { self.take_name(task, &UnixAddress::Unnamed) } else { Ok(()) }
    }

    /// Who is bound to `address`.
    ///
    /// # Errors
    /// `ECONNREFUSED` where nobody is, and what the path walk says.
    pub(super) fn find(&self, task: &Task, address: &UnixAddress) -> Result<Arc<UnixSocket>> {
        match address {
            UnixAddress::Unnamed => Err(Errno::EINVAL),
            UnixAddress::Abstract(name) => self.names.find(name).ok_or(Errno::ECONNREFUSED),
            UnixAddress::Path(path) => find_at_path::<UnixSocket>(task, path)?.ok_or(Errno::ECONNREFUSED),
        }
    }

    /// Makes `address` the default destination of a datagram socket; the unspecified family takes it away.
    pub(super) fn connect_datagram(&self, task: &Task, address: Option<&UnixAddress>) -> Result<()> {
        let link = match address {
            None => Link::None,
            Some(address) => {
                self.name_for_credentials(task)?;
                let peer = self.find(task, address)?;
                if peer.kind != self.kind {
                    return Err(Errno::EPROTOTYPE);
                }
                if !peer.takes_from(self) {
                    return Err(Errno::EPERM);
                }
                Link::Connected { peer: Arc::downgrade(&peer), creds: None, address: address.clone() }
            }
        };
        let old = std::mem::replace(&mut self.state.lock().link, link);
        drop(old);
        Ok(())
    }

    /// Whether `sender` may send to it: who has a peer takes nothing from others (`unix_may_send`).
    pub(super) fn takes_from(&self, sender: &Self) -> bool {
        match &self.state.lock().link {
            Link::Connected { peer, .. } => Weak::ptr_eq(peer, &sender.this),
            Link::None | Link::Listening { .. } => true,
        }
    }

    /// Connects to a listener.
    pub(super) fn connect_stream(&self, task: &Task, address: &UnixAddress) -> Result<()> {
        match self.state.lock().link {
            Link::Connected { .. } => return Err(Errno::EISCONN),
            Link::Listening { .. } => return Err(Errno::EINVAL),
            Link::None => {}
        }
        self.name_for_credentials(task)?;
        let listener = self.find(task, address)?;
        if listener.kind != self.kind {
            return Err(Errno::EPROTOTYPE);
        }
        let server = UnixSocket::new(self.kind, &self.names, &self.transit);
        let (client_address, creds) = (self.state.lock().local.clone(), Identity::of_peer(task));
        let server_address = listener.state.lock().local.clone();
        {
            let mut state = server.state.lock();
            state.local = server_address.clone();
            state.link =
                Link::Connected { peer: self.this.clone(), creds: Some(creds), address: client_address };
        }
        let listener_creds = listener.offer(Arc::clone(&server))?;
        let link = Link::Connected {
            peer: Arc::downgrade(&server),
            creds: Some(listener_creds),
            address: server_address,
        };
        if let Err(errno) = self.take_link(link) {
            listener.withdraw(&server);
            return Err(errno);
        }
        listener.queue.notify(Events::READABLE);
        self.queue.notify(Events::WRITABLE);
        Ok(())
    }

    /// Takes the other side of a new connection, unless another call has made one meanwhile.
    fn take_link(&self, link: Link) -> Result<()> {
        let mut state = self.state.lock();
        if !matches!(state.link, Link::None) {
            return Err(Errno::EISCONN);
        }
        state.link = link;
        Ok(())
    }

    /// Takes the server's end of a connection that came to nothing out of the backlog; one that has been accepted is at
    /// its end.
    fn withdraw(&self, server: &Arc<UnixSocket>) {
        if let Link::Listening { backlog, .. } = &mut self.state.lock().link {
            backlog.retain(|end| !Arc::ptr_eq(end, server));
        }
        // Not by way of the client, which has a connection.
        if let Link::Connected { peer, .. } = &mut server.state.lock().link {
            *peer = Weak::new();
        }
        server.end_input(Some(Errno::ECONNRESET));
    }

    /// Puts the server's end of a connection into the backlog; returns the listener's credentials.
    fn offer(&self, server: Arc<UnixSocket>) -> Result<Identity> {
        let mut state = self.state.lock();
        if state.read_shut {
            return Err(Errno::ECONNREFUSED);
        }
        let Link::Listening { backlog, limit, creds } = &mut state.link else {
            return Err(Errno::ECONNREFUSED);
        };
        if backlog.len() > *limit {
            return Err(Errno::EAGAIN);
        }
        backlog.push_back(server);
        Ok(creds.clone())
    }

    pub(super) fn start_listening(&self, task: &Task, backlog: i32) -> Result<()> {
        if self.kind == SocketType::Datagram {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut state = self.state.lock();
        if state.local == UnixAddress::Unnamed {
            return Err(Errno::EINVAL);
        }
        let new_limit = usize::try_from(backlog.clamp(0, SOMAXCONN)).unwrap_or(0);
        match &mut state.link {
            Link::Listening { limit, creds, .. } => (*limit, *creds) = (new_limit, Identity::of_peer(task)),
            Link::Connected { .. } => return Err(Errno::EINVAL),
            link @ Link::None => {
                *link = Link::Listening {
                    backlog: Default::default(),
                    limit: new_limit,
                    creds: Identity::of_peer(task),
                };
            }
        }
        drop(state);
        self.queue.notify(Events::WRITABLE);
        Ok(())
    }

    pub(super) fn take_connection(&self) -> Result<Accepted> {
        let mut state = self.state.lock();
        let shut = state.read_shut;
        let Link::Listening { backlog, .. } = &mut state.link else {
            return Err(if self.is_connection() { Errno::EINVAL } else { Errno::EOPNOTSUPP });
        };
        let server = backlog.pop_front().ok_or(if shut { Errno::EINVAL } else { Errno::EAGAIN })?;
        drop(state);
        self.queue.notify(Events::WRITABLE);
        server.options.inherit_passing(&self.options);
        let peer = match &server.state.lock().link {
            Link::Connected { address, .. } => address.encode(),
            _ => UnixAddress::Unnamed.encode(),
        };
        Ok(Accepted { ops: server, peer })
    }

    pub(super) fn shut_down(&self, how: ShutdownHow) -> Result<()> {
        let peer = {
            let mut state = self.state.lock();
            state.write_shut |= how.write;
            state.read_shut |= how.read;
            match &state.link {
                Link::Connected { peer, .. } => peer.upgrade(),
                _ => None,
            }
        };
        if how.read {
            let mut inbox = self.inbox.lock();
            (inbox.ended, inbox.refused) = (true, true);
        }
        self.queue.notify(Events::all());
        if let Some(peer) = peer.filter(|_| self.is_connection()) {
            if how.write {
                peer.end_input(None);
            }
            peer.queue.notify(Events::all());
        }
        Ok(())
    }
}
