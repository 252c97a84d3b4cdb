//! Raw sockets: every packet of one IP protocol (man 7 raw). The caller has checked CAP_NET_RAW.

use super::message::{Received, RecvFlags, SendMeta};
use super::options::{Membership, MtuDiscover, Options};
use super::queue::{Datagram, Queue};
use super::udp::Shutdown;
use crate::base::addr::{Endpoint, Family, UserAddr, to_user};
use crate::base::error::{Error, Result};
use crate::base::filter::View;
use crate::base::io::{Sink, Source, gather};
use crate::base::ready::{Observer, ObserverSlot, Readiness};
use crate::core::{Core, PathKind, Via};
use crate::ip::checksum;
use crate::ip::icmp::Verdict;
use crate::ip::output::{Checksum, HEADROOM, IpHeader};
use crate::ip::packet::{Packet, protocol, put16};
use crate::link::device::{TxFrame, TxMeta};
use parking_lot::Mutex;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};

/// `IPPROTO_RAW`: sending only, with the header included.
const IPPROTO_RAW: u8 = 255;

/// A raw socket. Dropping it closes it.
#[derive(Debug)]
pub struct RawSocket {
    core: Arc<RawCore>,
}

#[derive(Debug)]
pub(crate) struct RawCore {
    stack: Arc<Core>,
    id: u64,
    family: Family,
    protocol: u8,
    events: ObserverSlot,
    inner: Mutex<Inner>,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    local: IpAddr,
    peer: Option<IpAddr>,
    error: Option<Error>,
    shut_read: bool,
    shut_write: bool,
    /// `ICMP_FILTER`: a set bit blocks that type.
    icmp_filter: u32,
    memberships: Vec<Membership>,
}

impl RawSocket {
    pub(crate) fn new(stack: &Arc<Core>, family: Family, protocol: u8) -> Self {
        let mut options = Options::new(&stack.config(), false);
        options.ip4.hdr_incl = protocol == IPPROTO_RAW;
        let inner = Inner {
            options,
            local: family.any(),
            peer: None,
            error: None,
            shut_read: false,
            shut_write: false,
            icmp_filter: 0,
            memberships: Vec::new(),
        };
        let core = Arc::new(RawCore {
            stack: Arc::clone(stack),
            id: stack.new_id(),
            family,
            protocol,
            events: ObserverSlot::default(),
            inner: Mutex::new(inner),
            queue: Mutex::new(Queue::default()),
        });
        stack.raw.write().push(Arc::clone(&core));
        Self { core }
    }

    /// Sets who hears of readiness; the first call counts.
    pub fn set_observer(&self, observer: Weak<dyn Observer>) {
        self.core.events.set(observer);
    }

    /// bind(2): the port is ignored.
    pub fn bind(&self, addr: SocketAddr) -> Result<()> {
        let at = UserAddr::parse(self.core.family, true, addr)?.at;
        if !self.core.stack.may_bind(at.ip) {
            return Err(Error::AddrNotAvailable);
        }
        self.core.inner.lock().local = at.ip;
        Ok(())
    }

    /// connect(2).
    pub fn connect(&self, addr: SocketAddr) -> Result<()> {
        let user = UserAddr::parse(self.core.family, true, addr)?;
        let mut inner = self.core.inner.lock();
        let device = if user.scope != 0 { user.scope } else { inner.options.base.device };
        let path = self.core.stack.path(user.at.ip, &Via { source: None, device, on_link_only: false })?;
        if inner.local.is_unspecified() {
            inner.local = path.source;
        }
        inner.peer = Some(user.at.ip);
        Ok(())
    }

    /// connect(2) with `AF_UNSPEC`.
    pub fn disconnect(&self) {
        let mut inner = self.core.inner.lock();
        inner.peer = None;
        inner.local = self.core.family.any();
    }

    /// sendmsg(2): a segment, or a packet with its header (`IP_HDRINCL`).
    pub fn send(&self, source: &mut dyn Source, meta: &SendMeta) -> Result<usize> {
        let core = &self.core;
        let len = source.remaining();
        if len > 65_535 {
            return Err(Error::MessageSize);
        }
        let mut data = gather(source, HEADROOM).ok_or(Error::Fault)?;
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
                (user.at.ip, user.scope)
            }
            None => (inner.peer.ok_or(Error::DestAddrRequired)?, 0),
        };
        let options = inner.options.clone();
        let local = inner.local;
        drop(inner);
        let devices = [meta.interface, scope, options.base.device];
        let device = devices.into_iter().find(|index| *index != 0).unwrap_or(0);
        let source = meta.source.or(Some(local)).filter(|ip| !ip.is_unspecified());
        let path = core.stack.path(to, &Via { source, device, on_link_only: options.base.dont_route })?;
        if path.kind == PathKind::Broadcast && !options.base.broadcast {
            return Err(Error::Access);
        }
        let includes_header =
            if core.family == Family::V4 { options.ip4.hdr_incl } else { options.ip6.hdr_incl };
        if includes_header {
            core.send_with_header(&path, to, data)?;
            core.stack.run_backlog();
            return Ok(len);
        }
        let checksum = match (core.family, core.protocol) {
            (Family::V6, protocol::ICMPV6) => Some(2),
            (Family::V6, _) => options.ip6.checksum.map(usize::from),
            _ => None,
        };
        if let Some(offset) = checksum {
            if offset + 2 > len {
                return Err(Error::Invalid);
            }
            put16(&mut data, HEADROOM + offset, 0);
        }
        let default_ttl = if to.is_multicast() {
            options.multicast_ttl(core.family)
        } else {
            options.ttl(core.family, &core.stack.config())
        };
        let discover = options.mtu_discover(core.family);
        let header = IpHeader {
            path: &path,
            from: path.source,
            to,
            protocol: core.protocol,
            ttl: meta.ttl.unwrap_or(default_ttl),
            tos: meta.tos.unwrap_or_else(|| options.tos(core.family)),
            dont_fragment: matches!(discover, MtuDiscover::Do | MtuDiscover::Probe),
            may_fragment: !matches!(discover, MtuDiscover::Do | MtuDiscover::Probe),
            options: &[],
        };
        core.stack.ip_send(&header, data, checksum.map(|offset| Checksum { offset }), TxMeta::default())?;
        core.stack.run_backlog();
        Ok(len)
    }

    /// recvmsg(2): IPv4 packets with their header, IPv6 ones without.
    pub fn recv(&self, sink: &mut dyn Sink, flags: RecvFlags) -> Result<Received> {
        let core = &self.core;
        if flags.contains(RecvFlags::ERRQUEUE) {
            return Ok(core.queue.lock().read_error(core.family, sink)?.0);
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

    /// getsockname(2); the port is the protocol, as Linux has it.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        let local = Endpoint::new(self.core.inner.lock().local, self.core.protocol.into());
        to_user(self.core.family, local, 0)
    }

    /// getpeername(2).
    pub fn peer_addr(&self) -> Result<SocketAddr> {
        let peer = self.core.inner.lock().peer.ok_or(Error::NotConnected)?;
        Ok(to_user(self.core.family, Endpoint::new(peer, 0), 0))
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

    /// `ICMP_FILTER`: a set bit blocks that type.
    pub fn set_icmp_filter(&self, mask: u32) {
        self.core.inner.lock().icmp_filter = mask;
    }

    /// `ICMP_FILTER`
    #[must_use]
    pub fn icmp_filter(&self) -> u32 {
        self.core.inner.lock().icmp_filter
    }

    /// `IP_ADD_MEMBERSHIP` and its kin.
    pub fn join_group(&self, membership: Membership) -> Result<()> {
        self.core.stack.join(&mut self.core.inner.lock().memberships, membership)
    }

    /// `IP_DROP_MEMBERSHIP` and its kin.
    pub fn leave_group(&self, group: IpAddr, interface: u32) -> Result<()> {
        self.core.stack.leave(&mut self.core.inner.lock().memberships, group, interface)
    }

    /// `SIOCINQ`: length of the next packet.
    #[must_use]
    pub fn next_len(&self) -> usize {
        self.core.queue.lock().front().map_or(0, |datagram| datagram.payload().len())
    }
}

impl Drop for RawSocket {
    fn drop(&mut self) {
        let core = &self.core;
        core.stack.raw.write().retain(|other| other.id != core.id);
        core.stack.leave_all(&mut core.inner.lock().memberships);
        core.queue.lock().clear(&core.stack.pool);
    }
}

impl RawCore {
    /// Sends a packet whose header the caller wrote; what Linux fills in is filled in.
    fn send_with_header(&self, path: &crate::core::Path, to: IpAddr, mut data: Vec<u8>) -> Result<()> {
        let packet = &mut data[HEADROOM..];
        if packet.len() > path.mtu as usize {
            return Err(Error::MessageSize);
        }
        match path.source {
            IpAddr::V4(source) => {
                let header_len = usize::from(packet.first().ok_or(Error::Invalid)? & 0xf) * 4;
                if packet.len() < 20 || header_len < 20 || packet.len() < header_len {
                    return Err(Error::Invalid);
                }
                let len = packet.len() as u16;
                put16(packet, 2, len);
                if packet[12..16] == Ipv4Addr::UNSPECIFIED.octets() {
                    packet[12..16].copy_from_slice(&source.octets());
                }
                if packet[4..6] == [0, 0] {
                    put16(packet, 4, self.stack.random.next_u32() as u16);
                }
                put16(packet, 10, 0);
                let sum = !checksum::sum(&packet[..header_len]);
                put16(packet, 10, sum);
            }
            IpAddr::V6(_) if packet.len() < 40 => return Err(Error::Invalid),
            IpAddr::V6(_) => {}
        }
        self.stack.link_output(path, to, TxFrame { data, start: HEADROOM, meta: TxMeta::default() })
    }

    /// What `/proc/net/raw` tells.
    pub(crate) fn summary(&self) -> super::SocketSummary {
        let inner = self.inner.lock();
        let at = |ip: IpAddr, port: u16| to_user(self.family, Endpoint::new(ip, port), 0);
        super::SocketSummary {
            id: self.id,
            family: self.family,
            local: at(inner.local, self.protocol.into()),
            peer: inner.peer.map(|peer| at(peer, 0)),
            // Without a connection, whether it has a peer or not (`TCP_CLOSE`).
            state: 7,
            send_queue: 0,
            recv_queue: self.queue.lock().bytes(),
            uid: inner.options.base.uid,
            inode: inner.options.base.inode,
        }
    }

    fn wants(&self, packet: &Packet<'_>) -> bool {
        if self.protocol != packet.protocol || self.family != Family::of(packet.to) {
            return false;
        }
        let inner = self.inner.lock();
        let device = inner.options.base.device;
        let kind = packet.payload().first().copied();
        let filtered = match (self.family, self.protocol, kind) {
            (Family::V4, protocol::ICMP, Some(kind @ 0..32)) => inner.icmp_filter >> kind & 1 != 0,
            (Family::V6, protocol::ICMPV6, Some(kind)) => {
                inner.options.ip6.icmp_filter[usize::from(kind) / 32] >> (kind % 32) & 1 != 0
            }
            _ => false,
        };
        !filtered
            && (device == 0 || device == packet.nic.index)
            && (inner.local.is_unspecified() || inner.local == packet.to)
            && inner.peer.is_none_or(|peer| peer == packet.from)
    }
}

impl Core {
    /// Gives a packet to the raw sockets of its protocol; whether there is one.
    pub(crate) fn raw_input(&self, packet: &Packet<'_>) -> bool {
        let sockets = self.raw.read();
        if sockets.is_empty() {
            return false;
        }
        let takers: Vec<_> = sockets.iter().filter(|socket| socket.wants(packet)).cloned().collect();
        drop(sockets);
        for socket in &takers {
            let mut info = packet.info(self.clock.wall_ns());
            info.to = Some(to_user(socket.family, Endpoint::new(packet.to, 0), packet.nic.index));
            let data = if socket.family == Family::V4 { packet.whole } else { packet.payload() };
            let from = Endpoint::new(packet.from, 0);
            let inner = socket.inner.lock();
            let (limit, filter) = (inner.options.base.rcv_buf(), inner.options.base.filter.clone());
            drop(inner);
            let network = (socket.family == Family::V4).then_some(0);
            let view = View { data, network, interface: packet.nic.index, ..View::default() };
            let kept = filter.map_or(data.len(), |filter| filter.run(&view).min(data.len()));
            if kept == 0 && !data.is_empty() {
                continue;
            }
            let datagram = Datagram { from, info, data: data[..kept].to_vec(), skip: 0 };
            if socket.queue.lock().push(&self.pool, limit, datagram) {
                socket.events.notify(Readiness::IN);
            }
        }
        !takers.is_empty()
    }

    /// An ICMP error concerns a packet of a protocol that only raw sockets know.
    pub(crate) fn raw_error(&self, packet: &Packet<'_>, to: IpAddr, protocol: u8, verdict: &Verdict) {
        let sockets: Vec<_> = self.raw.read().iter().filter(|s| s.protocol == protocol).cloned().collect();
        for socket in sockets.iter().filter(|socket| socket.family == Family::of(packet.to)) {
            let mut inner = socket.inner.lock();
            let concerns = inner.peer.is_none_or(|peer| peer == to);
            let tells = inner.options.recv_err(socket.family) || verdict.is_hard && inner.peer.is_some();
            if concerns && tells {
                inner.error = Some(verdict.error.error);
                drop(inner);
                socket.events.notify(Readiness::ERR | Readiness::IN | Readiness::OUT);
            }
        }
    }
}
