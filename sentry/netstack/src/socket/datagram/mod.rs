//! Sockets of datagrams: what UDP, ping and raw ones have in common (Linux's `net/ipv4/datagram.c`).
//!
//! Locks: `state` (addresses, options) before `queue` (what was received, and errors).

pub(crate) mod groups;
pub(crate) mod ping;
pub(crate) mod raw;
mod send;
pub(crate) mod udp;

pub(crate) use send::Outgoing;

use super::message::{ExtendedError, Received, RecvFlags};
use super::options::{Membership, Options};
use super::queue::{Datagram, ErrorEntry, Queue};
use super::{Shutdown, SocketSummary};
use crate::base::addr::{Endpoint, Family, UserAddr, is_link_local, to_user};
use crate::base::error::{Error, Result};
use crate::base::io::Sink;
use crate::base::ready::{Observer, ObserverSlot, Readiness};
use crate::core::{Core, PathKind, Via};
use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

/// The common part of a socket of datagrams. UDP, ping and raw sockets are seen as one by dereferencing them.
#[derive(Debug)]
pub struct DatagramSocket {
    pub(crate) stack: Arc<Core>,
    id: u64,
    family: Family,
    /// An IPv6 socket of this kind can talk to IPv4 addresses as well, unless `IPV6_V6ONLY` is set.
    is_dual: bool,
    events: ObserverSlot,
    state: Mutex<State>,
    queue: Mutex<Queue>,
}

/// What changes by calls.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) options: Options,
    /// Own address; the port is 0 while unbound. A ping socket's is its identifier, a raw one's its protocol.
    local: Endpoint,
    /// The address was given by bind(2), so that disconnecting keeps it.
    is_ip_bound: bool,
    is_port_bound: bool,
    peer: Option<Endpoint>,
    error: Option<Error>,
    shut_read: bool,
    shut_write: bool,
    memberships: Vec<Membership>,
}

impl DatagramSocket {
    fn new(stack: &Arc<Core>, family: Family, is_dual: bool) -> Self {
        let state = State {
            options: Options::new(&stack.config(), false),
            local: Endpoint::any(family),
            is_ip_bound: false,
            is_port_bound: false,
            peer: None,
            error: None,
            shut_read: false,
            shut_write: false,
            memberships: Vec::new(),
        };
        Self {
            stack: Arc::clone(stack),
            id: stack.new_id(),
            family,
            is_dual,
            events: ObserverSlot::default(),
            state: Mutex::new(state),
            queue: Mutex::new(Queue::default()),
        }
    }

    /// A number that identifies the socket in its stack.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The socket's family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Sets who hears of readiness; the first call counts.
    pub fn set_observer(&self, observer: Weak<dyn Observer>) {
        self.events.set(observer);
    }

    /// recvmsg(2): a datagram, or an entry of the error queue.
    ///
    /// # Errors
    /// [`Error::Again`] where there is nothing, [`Error::NotSupported`] for urgent data, [`Error::Fault`], and what has
    /// happened to the socket meanwhile.
    pub fn recv(&self, sink: &mut dyn Sink, flags: RecvFlags) -> Result<Received> {
        if flags.contains(RecvFlags::ERRQUEUE) {
            let (entry, next) = self.queue.lock().take_error().ok_or(Error::Again)?;
            self.state.lock().error = next;
            return entry.deliver(self.family, sink);
        }
        if flags.contains(RecvFlags::OOB) {
            return Err(Error::NotSupported);
        }
        if let Some(error) = self.take_error() {
            return Err(error);
        }
        let taken = self.queue.lock().take(&self.stack.pool, flags);
        match taken {
            Some(datagram) => datagram.deliver(self.family, sink),
            None if self.state.lock().shut_read => Ok(Received::default()),
            None => Err(Error::Again),
        }
    }

    /// shutdown(2). An unconnected socket is shut too, but says `ENOTCONN`.
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        let mut state = self.state.lock();
        state.shut_read |= how.reads();
        state.shut_write |= how.writes();
        let result = if state.peer.is_some() { Ok(()) } else { Err(Error::NotConnected) };
        drop(state);
        self.events.notify(self.readiness());
        result
    }

    /// What can be done without waiting.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let state = self.state.lock();
        let (shut_read, shut_write, failed) = (state.shut_read, state.shut_write, state.error.is_some());
        drop(state);
        let queue = self.queue.lock();
        let mut ready = Readiness::OUT;
        ready.set(Readiness::IN, !queue.is_empty() || shut_read);
        ready.set(Readiness::RDHUP, shut_read);
        ready.set(Readiness::HUP, shut_read && shut_write);
        ready.set(Readiness::ERR, failed || queue.has_errors());
        ready
    }

    /// getsockname(2).
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        let state = self.state.lock();
        to_user(self.family, state.local, state.options.base.device)
    }

    /// getpeername(2).
    ///
    /// # Errors
    /// [`Error::NotConnected`].
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        let state = self.state.lock();
        let peer = state.peer.ok_or(Error::NotConnected)?;
        Ok(to_user(self.family, peer, state.options.base.device))
    }

    /// `SO_ERROR`: the pending error, which is cleared.
    #[must_use]
    pub fn take_error(&self) -> Option<Error> {
        self.state.lock().error.take()
    }

    /// Reads options.
    pub fn options<R>(&self, f: impl FnOnce(&Options) -> R) -> R {
        f(&self.state.lock().options)
    }

    /// Changes options.
    pub fn set_options<R>(&self, f: impl FnOnce(&mut Options) -> R) -> R {
        f(&mut self.state.lock().options)
    }

    /// `SIOCINQ`: length of the next datagram. `SIOCOUTQ`: nothing, since datagrams leave at once.
    #[must_use]
    pub fn queues(&self) -> (usize, usize) {
        (self.queue.lock().front().map_or(0, |datagram| datagram.payload().len()), 0)
    }

    /// `IP_ADD_MEMBERSHIP` and its kin.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an address that is no group, [`Error::NoDevice`], [`Error::AddrInUse`] where it has
    /// joined already, [`Error::NoBuffers`] for too many sources.
    pub fn join_group(&self, membership: Membership) -> Result<()> {
        self.stack.join(&mut self.state.lock().memberships, membership)
    }

    /// `IP_DROP_MEMBERSHIP` and its kin. Interface 0 leaves the first that fits.
    ///
    /// # Errors
    /// [`Error::AddrNotAvailable`] where it has not joined.
    pub fn leave_group(&self, group: IpAddr, interface: u32) -> Result<()> {
        self.stack.leave(&mut self.state.lock().memberships, group, interface)
    }

    /// Changes the source filter of a joined group.
    ///
    /// # Errors
    /// [`Error::AddrNotAvailable`] where it has not joined.
    pub fn filter_group(&self, group: IpAddr, interface: u32, f: impl FnOnce(&mut Membership)) -> Result<()> {
        let mut state = self.state.lock();
        let fits = |m: &&mut Membership| m.group == group && (interface == 0 || m.interface == interface);
        f(state.memberships.iter_mut().find(fits).ok_or(Error::AddrNotAvailable)?);
        Ok(())
    }

    /// What `/proc/net` tells of it.
    pub(crate) fn summary(&self) -> SocketSummary {
        /// `TCP_ESTABLISHED` and `TCP_CLOSE`: with a peer, and without.
        const CONNECTED: u8 = 1;
        const UNCONNECTED: u8 = 7;
        let state = self.state.lock();
        SocketSummary {
            id: self.id,
            family: self.family,
            local: to_user(self.family, state.local, 0),
            peer: state.peer.map(|peer| to_user(self.family, peer, 0)),
            state: if state.peer.is_some() { CONNECTED } else { UNCONNECTED },
            send_queue: 0,
            recv_queue: self.queue.lock().bytes(),
            uid: state.options.base.uid,
            inode: state.options.base.inode,
        }
    }

    fn parse(&self, state: &State, addr: SocketAddr) -> Result<UserAddr> {
        UserAddr::parse(self.family, !self.is_dual || state.options.ip6.v6_only, addr)
    }

    /// Checks the address of a bind(2). A link-local one fixes the interface.
    fn parse_local(&self, state: &mut State, addr: SocketAddr) -> Result<Endpoint> {
        let UserAddr { at, scope } = self.parse(state, addr)?;
        let foreign = state.options.may_bind_foreign() || self.stack.config().ip_nonlocal_bind;
        if is_link_local(at.ip) && !at.ip.is_multicast() {
            if scope == 0 && state.options.base.device == 0 {
                return Err(Error::Invalid);
            }
            if scope != 0 {
                state.options.base.device = scope;
            }
        }
        if !foreign && !self.stack.may_bind(at.ip) {
            return Err(Error::AddrNotAvailable);
        }
        Ok(if at.ip.is_unspecified() { Endpoint { ip: self.family.any(), ..at } } else { at })
    }

    /// bind(2) for a kind that has ports, which `claim` takes.
    fn bind_by(
        &self,
        addr: SocketAddr,
        claim: impl FnOnce(&mut State, Endpoint) -> Result<()>,
    ) -> Result<()> {
        let mut state = self.state.lock();
        if state.local.port != 0 {
            return Err(Error::Invalid);
        }
        let local = self.parse_local(&mut state, addr)?;
        claim(&mut state, local)?;
        state.note_bound(local);
        Ok(())
    }

    /// connect(2): fixes the peer; `claim` takes a port where there is none.
    fn connect_by(
        &self,
        state: &mut State,
        addr: SocketAddr,
        claim: impl FnOnce(&mut State, Endpoint) -> Result<()>,
    ) -> Result<()> {
        let (peer, source) = self.find_peer(state, addr)?;
        if state.local.port == 0 {
            claim(state, Endpoint::any(self.family))?;
        }
        state.connect(peer, source);
        Ok(())
    }

    /// Checks the address of a connect(2), and finds the own address that goes with it.
    fn find_peer(&self, state: &State, addr: SocketAddr) -> Result<(Endpoint, IpAddr)> {
        let UserAddr { at: mut peer, scope } = self.parse(state, addr)?;
        if peer.ip.is_unspecified() {
            peer.ip = Family::of(peer.ip).loopback();
        }
        let source =
            state.is_ip_bound.then_some(state.local.ip).filter(|ip| ip.is_ipv4() == peer.ip.is_ipv4());
        let device = if scope != 0 { scope } else { state.options.base.device };
        if device == 0 && is_link_local(peer.ip) {
            return Err(Error::Invalid);
        }
        let path = self.stack.path(peer.ip, &Via { source, device, on_link_only: false })?;
        if path.kind == PathKind::Broadcast && !state.options.base.broadcast {
            return Err(Error::Access);
        }
        Ok((peer, path.source))
    }

    /// Queues what has arrived; whether there was room for it.
    fn queue_datagram(&self, limit: usize, datagram: Datagram) -> bool {
        let has_room = self.queue.lock().push(&self.stack.pool, limit, datagram);
        if has_room {
            self.events.notify(Readiness::IN);
        }
        has_room
    }

    /// Takes note of an error that a datagram to `to` met.
    fn fail(&self, to: Endpoint, error: ExtendedError, is_hard: bool, quoted: &[u8]) {
        let mut state = self.state.lock();
        let wants_queue = state.options.recv_err(Family::of(to.ip));
        let tells = wants_queue || is_hard && state.peer.is_some();
        if !tells {
            return;
        }
        state.error = Some(error.error);
        drop(state);
        if wants_queue {
            self.queue.lock().push_error(ErrorEntry { error, to, data: quoted.to_vec() });
        }
        self.events.notify(Readiness::ERR | Readiness::IN | Readiness::OUT);
    }

    /// Gives back what the socket holds, when it is closed.
    fn close(&self) {
        self.stack.leave_all(&mut self.state.lock().memberships);
        self.queue.lock().clear(&self.stack.pool);
    }
}

impl State {
    /// Notes what bind(2) asked for.
    fn note_bound(&mut self, asked: Endpoint) {
        self.is_ip_bound = !asked.ip.is_unspecified();
        self.is_port_bound = asked.port != 0;
    }

    fn connect(&mut self, peer: Endpoint, source: IpAddr) {
        if !self.is_ip_bound {
            self.local.ip = source;
        }
        self.peer = Some(peer);
    }

    /// Forgets the peer, and the own address where only that had fixed it; whether there was one.
    fn disconnect(&mut self, family: Family) -> bool {
        if self.peer.take().is_none() {
            return false;
        }
        if !self.is_ip_bound {
            self.local.ip = family.any();
        }
        true
    }
}
