//! UDP sockets (RFC 768; man 7 udp).
//!
//! Locks: `inner` (addresses, options) before `queue` (received datagrams). Between two sockets of one stack a
//! datagram goes straight into the receiver's queue; no packet is built.

pub(crate) mod deliver;
pub(crate) mod send;

use super::message::{Received, RecvFlags};
use super::options::{Membership, Options};
use super::ports::Binding;
use super::queue::Queue;
use crate::base::addr::{Endpoint, Family, UserAddr, is_link_local, to_user};
use crate::base::error::{Error, Result};
use crate::base::io::Sink;
use crate::base::ready::{Observer, ObserverSlot, Readiness};
use crate::core::{Core, Via};
use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

/// Largest payload over IPv4; the field of the UDP header limits IPv6 to the same, without jumbograms.
pub(crate) const MAX_PAYLOAD: usize = 65_535 - 8;

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

/// A UDP socket. Dropping it closes it.
#[derive(Debug)]
pub struct UdpSocket {
    core: Arc<UdpCore>,
}

/// The socket as the stack knows it.
#[derive(Debug)]
pub(crate) struct UdpCore {
    pub(super) stack: Arc<Core>,
    pub(super) id: u64,
    pub(super) family: Family,
    pub(super) events: ObserverSlot,
    pub(super) inner: Mutex<Inner>,
    pub(super) queue: Mutex<Queue>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) options: Options,
    /// Bound address; the port is 0 while unbound.
    pub(super) local: Endpoint,
    /// The address was given by bind(2), so that disconnecting keeps it.
    pub(super) is_ip_bound: bool,
    pub(super) is_port_bound: bool,
    pub(super) peer: Option<Endpoint>,
    pub(super) error: Option<Error>,
    pub(super) shut_read: bool,
    pub(super) shut_write: bool,
    pub(super) memberships: Vec<Membership>,
    /// Data of earlier sends with `MSG_MORE`, and where it goes.
    pub(super) corked: Option<(Option<SocketAddr>, Vec<u8>)>,
}

impl UdpSocket {
    pub(crate) fn new(stack: &Arc<Core>, family: Family) -> Self {
        let options = Options::new(&stack.config(), false);
        let inner = Inner {
            options,
            local: Endpoint::any(family),
            is_ip_bound: false,
            is_port_bound: false,
            peer: None,
            error: None,
            shut_read: false,
            shut_write: false,
            memberships: Vec::new(),
            corked: None,
        };
        let core = UdpCore {
            stack: Arc::clone(stack),
            id: stack.new_id(),
            family,
            events: ObserverSlot::default(),
            inner: Mutex::new(inner),
            queue: Mutex::new(Queue::default()),
        };
        Self { core: Arc::new(core) }
    }

    /// A number that identifies the socket in its stack.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.core.id
    }

    /// The socket's family.
    #[must_use]
    pub fn family(&self) -> Family {
        self.core.family
    }

    /// Sets who hears of readiness; the first call counts.
    pub fn set_observer(&self, observer: Weak<dyn Observer>) {
        self.core.events.set(observer);
    }

    /// bind(2). Port 0 picks one. The caller has checked privileges for low ports.
    pub fn bind(&self, addr: SocketAddr) -> Result<()> {
        let mut inner = self.core.inner.lock();
        if inner.local.port != 0 {
            return Err(Error::Invalid);
        }
        let at = UserAddr::parse(self.core.family, inner.options.ip6.v6_only, addr)?;
        let stack = &self.core.stack;
        let foreign = inner.options.may_bind_foreign() || stack.config().ip_nonlocal_bind;
        if is_link_local(at.at.ip) && !at.at.ip.is_multicast() {
            if at.scope == 0 && inner.options.base.device == 0 {
                return Err(Error::Invalid);
            }
            if at.scope != 0 {
                inner.options.base.device = at.scope;
            }
        }
        if !foreign && !stack.may_bind(at.at.ip) {
            return Err(Error::AddrNotAvailable);
        }
        let local =
            if at.at.ip.is_unspecified() { Endpoint { ip: self.core.family.any(), ..at.at } } else { at.at };
        self.core.claim(&mut inner, local)?;
        inner.is_ip_bound = !local.ip.is_unspecified();
        inner.is_port_bound = local.port != 0;
        Ok(())
    }

    /// connect(2): fixes the peer.
    pub fn connect(&self, addr: SocketAddr) -> Result<()> {
        let core = &self.core;
        let mut inner = core.inner.lock();
        let user = UserAddr::parse(core.family, inner.options.ip6.v6_only, addr)?;
        let mut peer = user.at;
        if peer.ip.is_unspecified() {
            peer.ip = Family::of(peer.ip).loopback();
        }
        let source =
            inner.is_ip_bound.then_some(inner.local.ip).filter(|ip| ip.is_ipv4() == peer.ip.is_ipv4());
        let device = if user.scope != 0 { user.scope } else { inner.options.base.device };
        if device == 0 && is_link_local(peer.ip) {
            return Err(Error::Invalid);
        }
        let path = core.stack.path(peer.ip, &Via { source, device, on_link_only: false })?;
        if path.kind == crate::core::PathKind::Broadcast && !inner.options.base.broadcast {
            return Err(Error::Access);
        }
        if inner.local.port == 0 {
            let any = Endpoint::any(core.family);
            core.claim(&mut inner, any)?;
        }
        if !inner.is_ip_bound {
            inner.local.ip = path.source;
        }
        inner.peer = Some(peer);
        core.stack.udp_ports.set_peer(core.id, inner.local.port, inner.local.ip, Some(peer));
        Ok(())
    }

    /// connect(2) with `AF_UNSPEC`: forgets the peer.
    pub fn disconnect(&self) {
        let core = &self.core;
        let mut inner = core.inner.lock();
        if inner.peer.take().is_none() {
            return;
        }
        if !inner.is_ip_bound {
            inner.local.ip = core.family.any();
        }
        if inner.is_port_bound {
            core.stack.udp_ports.set_peer(core.id, inner.local.port, inner.local.ip, None);
        } else {
            core.stack.udp_ports.unbind(core.id, inner.local.port);
            inner.local.port = 0;
        }
    }

    /// recvmsg(2).
    pub fn recv(&self, sink: &mut dyn Sink, flags: RecvFlags) -> Result<Received> {
        if flags.contains(RecvFlags::ERRQUEUE) {
            return self.recv_error(sink);
        }
        if flags.contains(RecvFlags::OOB) {
            return Err(Error::NotSupported);
        }
        if let Some(error) = self.core.inner.lock().error.take() {
            return Err(error);
        }
        let core = &self.core;
        let read = core.queue.lock().read(&core.stack.pool, core.family, sink, flags);
        match read {
            Err(Error::Again) if core.inner.lock().shut_read => Ok(Received::default()),
            other => other,
        }
    }

    fn recv_error(&self, sink: &mut dyn Sink) -> Result<Received> {
        let (received, next) = self.core.queue.lock().read_error(self.core.family, sink)?;
        self.core.inner.lock().error = next;
        Ok(received)
    }

    /// shutdown(2). An unconnected socket is shut too, but says `ENOTCONN`.
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        let mut inner = self.core.inner.lock();
        inner.shut_read |= how.reads();
        inner.shut_write |= how.writes();
        let result = if inner.peer.is_some() { Ok(()) } else { Err(Error::NotConnected) };
        drop(inner);
        self.core.events.notify(self.readiness());
        result
    }

    /// What can be done without waiting.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let inner = self.core.inner.lock();
        let (shut_read, shut_write, failed) = (inner.shut_read, inner.shut_write, inner.error.is_some());
        drop(inner);
        let queue = self.core.queue.lock();
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
        let inner = self.core.inner.lock();
        to_user(self.core.family, inner.local, inner.options.base.device)
    }

    /// getpeername(2).
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        let inner = self.core.inner.lock();
        let peer = inner.peer.ok_or(Error::NotConnected)?;
        Ok(to_user(self.core.family, peer, inner.options.base.device))
    }

    /// `SO_ERROR`: the pending error, which is cleared.
    #[must_use]
    pub fn take_error(&self) -> Option<Error> {
        self.core.inner.lock().error.take()
    }

    /// Reads options.
    pub fn options<R>(&self, f: impl FnOnce(&Options) -> R) -> R {
        f(&self.core.inner.lock().options)
    }

    /// Changes options and applies them.
    pub fn set_options<R>(&self, f: impl FnOnce(&mut Options) -> R) -> R {
        let mut inner = self.core.inner.lock();
        let result = f(&mut inner.options);
        let base = inner.options.base.clone();
        if inner.local.port != 0 {
            self.core.stack.udp_ports.rebind(self.core.id, inner.local.port, |binding| {
                binding.device = base.device;
                binding.reuse_addr = base.reuse_addr;
                binding.reuse_port = base.reuse_port;
            });
        }
        result
    }

    /// `SIOCINQ`: length of the next datagram.
    #[must_use]
    pub fn next_len(&self) -> usize {
        self.core.queue.lock().front().map_or(0, |datagram| datagram.payload().len())
    }

    /// `IP_ADD_MEMBERSHIP` and its kin.
    pub fn join_group(&self, membership: Membership) -> Result<()> {
        let mut inner = self.core.inner.lock();
        self.core.stack.join(&mut inner.memberships, membership)
    }

    /// `IP_DROP_MEMBERSHIP` and its kin. Interface 0 leaves the first that fits.
    pub fn leave_group(&self, group: IpAddr, interface: u32) -> Result<()> {
        let mut inner = self.core.inner.lock();
        self.core.stack.leave(&mut inner.memberships, group, interface)
    }

    /// Changes the source filter of a joined group.
    pub fn filter_group(&self, group: IpAddr, interface: u32, f: impl FnOnce(&mut Membership)) -> Result<()> {
        let mut inner = self.core.inner.lock();
        let fits = |m: &&mut Membership| m.group == group && (interface == 0 || m.interface == interface);
        f(inner.memberships.iter_mut().find(fits).ok_or(Error::AddrNotAvailable)?);
        Ok(())
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        let core = &self.core;
        let mut inner = core.inner.lock();
        if inner.local.port != 0 {
            core.stack.udp_ports.unbind(core.id, inner.local.port);
            inner.local.port = 0;
        }
        core.stack.leave_all(&mut inner.memberships);
        drop(inner);
        core.queue.lock().clear(&core.stack.pool);
    }
}

impl UdpCore {
    /// Claims an address and port.
    pub(super) fn claim(self: &Arc<Self>, inner: &mut Inner, local: Endpoint) -> Result<()> {
        let base = &inner.options.base;
        let binding = Binding {
            ip: local.ip,
            v6_only: inner.options.ip6.v6_only,
            device: base.device,
            reuse_addr: base.reuse_addr,
            reuse_port: base.reuse_port,
            uid: base.uid,
        };
        let range = self.stack.config().ip_local_port_range;
        let port =
            self.stack.udp_ports.bind(self.id, self, binding, local.port, (&self.stack.random, range))?;
        inner.local = Endpoint { ip: local.ip, port };
        Ok(())
    }

    /// Addresses for `/proc/net/udp`: local, peer, queued bytes.
    pub(crate) fn summary(&self) -> super::SocketSummary {
        let inner = self.inner.lock();
        super::SocketSummary {
            id: self.id,
            family: self.family,
            local: to_user(self.family, inner.local, 0),
            peer: inner.peer.map(|peer| to_user(self.family, peer, 0)),
            state: if inner.peer.is_some() { 1 } else { 7 },
            send_queue: 0,
            recv_queue: self.queue.lock().bytes(),
            uid: inner.options.base.uid,
            inode: inner.options.base.inode,
        }
    }
}
