//! Ping sockets: `SOCK_DGRAM` with `IPPROTO_ICMP` or `IPPROTO_ICMPV6` (man 7 icmp). The identifier is the port.

use super::message::{Received, RecvFlags, SendMeta};
use super::options::Options;
use super::ports::{Arrival, Binding, Wanted};
use super::queue::{Datagram, ErrorEntry, Queue};
use super::udp::Shutdown;
use crate::base::addr::{Endpoint, Family, UserAddr, to_user};
use crate::base::error::{Error, Result};
use crate::base::io::{Sink, Source, gather};
use crate::base::ready::{Observer, ObserverSlot, Readiness};
use crate::core::{Core, PathKind, Via};
use crate::ip::checksum;
use crate::ip::icmp::{Verdict, icmp_of};
use crate::ip::output::{Checksum, HEADROOM, IpHeader};
use crate::ip::packet::{Packet, get16, put16};
use crate::link::device::TxMeta;
use parking_lot::Mutex;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};

/// A ping socket. Dropping it closes it.
#[derive(Debug)]
pub struct PingSocket {
    core: Arc<PingCore>,
}

#[derive(Debug)]
pub(crate) struct PingCore {
    stack: Arc<Core>,
    id: u64,
    family: Family,
    events: ObserverSlot,
    inner: Mutex<Inner>,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    local: Endpoint,
    peer: Option<Endpoint>,
    error: Option<Error>,
    shut_read: bool,
    shut_write: bool,
}

impl PingSocket {
    pub(crate) fn new(stack: &Arc<Core>, family: Family) -> Self {
        let inner = Inner {
            options: Options::new(&stack.config(), false),
            local: Endpoint::any(family),
            peer: None,
            error: None,
            shut_read: false,
            shut_write: false,
        };
        let core = PingCore {
            stack: Arc::clone(stack),
            id: stack.new_id(),
            family,
            events: ObserverSlot::default(),
            inner: Mutex::new(inner),
            queue: Mutex::new(Queue::default()),
        };
        Self { core: Arc::new(core) }
    }

    /// Sets who hears of readiness; the first call counts.
    pub fn set_observer(&self, observer: Weak<dyn Observer>) {
        self.core.events.set(observer);
    }

    /// bind(2): an address, and an identifier or 0 for any.
    pub fn bind(&self, addr: SocketAddr) -> Result<()> {
        let core = &self.core;
        let mut inner = core.inner.lock();
        if inner.local.port != 0 {
            return Err(Error::Invalid);
        }
        let at = UserAddr::parse(core.family, true, addr)?.at;
        if !core.stack.may_bind(at.ip) {
            return Err(Error::AddrNotAvailable);
        }
        core.claim(&mut inner, at)
    }

    /// connect(2): fixes the peer.
    pub fn connect(&self, addr: SocketAddr) -> Result<()> {
        let core = &self.core;
        let mut inner = core.inner.lock();
        let user = UserAddr::parse(core.family, true, addr)?;
        let device = if user.scope != 0 { user.scope } else { inner.options.base.device };
        let source = Some(inner.local.ip).filter(|ip| !ip.is_unspecified());
        let path = core.stack.path(user.at.ip, &Via { source, device, on_link_only: false })?;
        if inner.local.port == 0 {
            core.claim(&mut inner, Endpoint { ip: path.source, port: 0 })?;
        }
        inner.peer = Some(user.at);
        Ok(())
    }

    /// connect(2) with `AF_UNSPEC`.
    pub fn disconnect(&self) {
        self.core.inner.lock().peer = None;
    }

    /// sendmsg(2): an echo request; identifier and checksum are filled in.
    pub fn send(&self, source: &mut dyn Source, meta: &SendMeta) -> Result<usize> {
        let core = &self.core;
        let len = source.remaining();
        if !(8..=65_507).contains(&len) {
            return Err(if len < 8 { Error::Invalid } else { Error::MessageSize });
        }
        let mut data = gather(source, HEADROOM).ok_or(Error::Fault)?;
        let request = if core.family == Family::V4 { 8 } else { 128 };
        if data[HEADROOM] != request || data[HEADROOM + 1] != 0 {
            return Err(Error::Invalid);
        }
        let mut inner = core.inner.lock();
        if let Some(error) = inner.error.take() {
            return Err(error);
        }
        if inner.shut_write {
            return Err(Error::Pipe);
        }
        let (to, scope) = match meta.to {
            Some(addr) => {
                let user = UserAddr::parse(core.family, true, addr)?;
                (user.at, user.scope)
            }
            None => (inner.peer.ok_or(Error::DestAddrRequired)?, 0),
        };
        if inner.local.port == 0 {
            let any = Endpoint { ip: inner.local.ip, port: 0 };
            core.claim(&mut inner, any)?;
        }
        let devices = [meta.interface, scope, inner.options.base.device];
        let device = devices.into_iter().find(|index| *index != 0).unwrap_or(0);
        let bound = Some(inner.local.ip).filter(|ip| !ip.is_unspecified());
        let own = meta.source.filter(|ip| !ip.is_unspecified()).or(bound);
        let path = core
            .stack
            .path(to.ip, &Via { source: own, device, on_link_only: inner.options.base.dont_route })?;
        if path.kind == PathKind::Broadcast && !inner.options.base.broadcast {
            return Err(Error::Access);
        }
        put16(&mut data, HEADROOM + 4, inner.local.port);
        put16(&mut data, HEADROOM + 2, 0);
        let options = &inner.options;
        let default_ttl = if to.ip.is_multicast() {
            options.multicast_ttl(core.family)
        } else {
            options.ttl(core.family, &core.stack.config())
        };
        let (ttl, tos) =
            (meta.ttl.unwrap_or(default_ttl), meta.tos.unwrap_or_else(|| options.tos(core.family)));
        drop(inner);
        let checksum = if core.family == Family::V4 {
            let sum = !checksum::sum(&data[HEADROOM..]);
            put16(&mut data, HEADROOM + 2, sum);
            core.stack.counters.icmp.out_echos.inc();
            core.stack.counters.icmp.out_msgs.inc();
            None
        } else {
            core.stack.counters.icmp6.out_echos.inc();
            core.stack.counters.icmp6.out_msgs.inc();
            Some(Checksum { offset: 2 })
        };
        let header = IpHeader {
            path: &path,
            from: path.source,
            to: to.ip,
            protocol: icmp_of(core.family),
            ttl,
            tos,
            dont_fragment: false,
            may_fragment: true,
            options: &[],
        };
        core.stack.ip_send(&header, data, checksum, TxMeta::default())?;
        core.stack.run_backlog();
        Ok(len)
    }

    /// recvmsg(2): an echo reply, from its ICMP header on.
    pub fn recv(&self, sink: &mut dyn Sink, flags: RecvFlags) -> Result<Received> {
        let core = &self.core;
        if flags.contains(RecvFlags::ERRQUEUE) {
            let (received, next) = core.queue.lock().read_error(core.family, sink)?;
            core.inner.lock().error = next;
            return Ok(received);
        }
        if let Some(error) = core.inner.lock().error.take() {
            return Err(error);
        }
        let read = core.queue.lock().read(&core.stack.pool, core.family, sink, flags);
        match read {
            Err(Error::Again) if core.inner.lock().shut_read => Ok(Received::default()),
            other => other,
        }
    }

    /// shutdown(2).
    pub fn shutdown(&self, how: Shutdown) -> Result<()> {
        let mut inner = self.core.inner.lock();
        let result = if inner.peer.is_some() { Ok(()) } else { Err(Error::NotConnected) };
        inner.shut_read |= how.reads();
        inner.shut_write |= how.writes();
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

    /// getsockname(2); the port is the identifier.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        to_user(self.core.family, self.core.inner.lock().local, 0)
    }

    /// getpeername(2).
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        let peer = self.core.inner.lock().peer.ok_or(Error::NotConnected)?;
        Ok(to_user(self.core.family, peer, 0))
    }

    /// `SO_ERROR`
    #[must_use]
    pub fn take_error(&self) -> Option<Error> {
        self.core.inner.lock().error.take()
    }

    /// Reads options.
    pub fn options<R>(&self, f: impl FnOnce(&Options) -> R) -> R {
        f(&self.core.inner.lock().options)
    }

    /// Changes options.
    pub fn set_options<R>(&self, f: impl FnOnce(&mut Options) -> R) -> R {
        f(&mut self.core.inner.lock().options)
    }

    /// `SIOCINQ`: length of the next message.
    #[must_use]
    pub fn next_len(&self) -> usize {
        self.core.queue.lock().front().map_or(0, |datagram| datagram.payload().len())
    }
}

impl Drop for PingSocket {
    fn drop(&mut self) {
        let core = &self.core;
        let port = core.inner.lock().local.port;
        if port != 0 {
            core.stack.ping_ports.unbind(core.id, port);
        }
        core.queue.lock().clear(&core.stack.pool);
    }
}

impl PingCore {
    fn claim(self: &Arc<Self>, inner: &mut Inner, local: Endpoint) -> Result<()> {
        // Identifiers are one space: no two sockets of a family share one.
        let binding = Binding {
            ip: self.family.any(),
            v6_only: true,
            device: 0,
            reuse_addr: false,
            reuse_port: false,
            uid: 0,
        };
        let pick = (&self.stack.random, (1, u16::MAX));
        let port = self.stack.ping_ports.bind(self.id, self, binding, local.port, pick)?;
        inner.local = Endpoint { ip: local.ip, port };
        Ok(())
    }
}

impl Core {
    /// An echo reply arrives: it belongs to the socket with its identifier.
    pub(crate) fn echo_reply(&self, packet: &Packet<'_>) {
        let message = packet.payload();
        let Some(id) = get16(message, 4) else { return };
        let family = Family::of(packet.to);
        let arrival = Arrival {
            to: Endpoint::new(packet.to, id),
            from: Endpoint::new(packet.from, 0),
            device: packet.nic.index,
        };
        let Some(socket) = self.ping_ports.lookup(&arrival, Wanted::All) else { return };
        let inner = socket.inner.lock();
        let limit = inner.options.base.rcv_buf();
        let other_peer = inner.peer.is_some_and(|peer| peer.ip != packet.from);
        let other_address = !inner.local.ip.is_unspecified() && inner.local.ip != packet.to;
        let device = inner.options.base.device;
        drop(inner);
        if other_peer || other_address || device != 0 && device != packet.nic.index {
            return;
        }
        let to = Endpoint::new(packet.to, 0);
        let mut info = packet.info(self.clock.wall_ns());
        info.to = Some(to_user(family, to, packet.nic.index));
        let datagram = Datagram { from: arrival.from, info, data: message.to_vec(), skip: 0 };
        if socket.queue.lock().push(&self.pool, limit, datagram) {
            socket.events.notify(Readiness::IN);
        }
    }

    /// An ICMP error concerns an echo request.
    pub(crate) fn ping_error(&self, to: IpAddr, segment: &[u8], verdict: &Verdict) {
        let Some(id) = get16(segment, 4) else { return };
        let family = Family::of(to);
        let arrival = Arrival { to: Endpoint::new(family.any(), id), from: Endpoint::new(to, 0), device: 0 };
        let found = self
            .ping_ports
            .all()
            .into_iter()
            .find(|socket| socket.family == family && socket.inner.lock().local.port == arrival.to.port);
        let Some(socket) = found else { return };
        let mut inner = socket.inner.lock();
        let wants_queue = inner.options.recv_err(family);
        let tells = wants_queue || inner.peer.is_some() && verdict.is_hard;
        if !tells {
            return;
        }
        inner.error = Some(verdict.error.error);
        drop(inner);
        if wants_queue {
            let entry = ErrorEntry { error: verdict.error, to: arrival.from, data: segment.to_vec() };
            socket.queue.lock().push_error(entry);
        }
        socket.events.notify(Readiness::ERR | Readiness::IN | Readiness::OUT);
    }
}
