//! Datagrams that leave: by the short way to a socket of this stack, or in packets.

use super::deliver::Cast;
use super::{MAX_PAYLOAD, UdpCore, UdpSocket};
use crate::base::addr::{Endpoint, Family, UserAddr, to_user};
use crate::base::error::{Error, Result};
use crate::base::io::{Source, gather};
use crate::core::{Path, PathKind, Via};
use crate::ip::output::{Checksum, HEADROOM, IpHeader};
use crate::ip::packet::protocol;
use crate::link::device::TxMeta;
use crate::socket::message::{ErrorOrigin, ExtendedError, PacketInfo, SendFlags, SendMeta};
use crate::socket::options::MtuDiscover;
use crate::socket::ports::Arrival;
use crate::socket::queue::Datagram;
use std::sync::Arc;

/// Everything that is settled about a datagram before it leaves.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) from: Endpoint,
    pub(crate) to: Endpoint,
    pub(crate) path: Path,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) loops_back: bool,
    pub(crate) discover: MtuDiscover,
    pub(crate) no_checksum: bool,
}

impl UdpSocket {
    /// sendmsg(2): one datagram.
    pub fn send(&self, source: &mut dyn Source, meta: &SendMeta) -> Result<usize> {
        let core = self.core();
        if meta.flags.contains(SendFlags::OOB) {
            return Err(Error::NotSupported);
        }
        let len = source.remaining();
        if len > MAX_PAYLOAD {
            return Err(Error::MessageSize);
        }
        if let Some(error) = core.inner.lock().error.take() {
            return Err(error);
        }
        let data = gather(source, 0).ok_or(Error::Fault)?;
        let (to, data) = core.cork(meta, data)?;
        let Some(data) = data else { return Ok(len) };
        let outgoing = core.prepare(&SendMeta { to, ..*meta })?;
        core.dispatch(&outgoing, data)?;
        Ok(len)
    }
}

impl UdpCore {
    /// Collects data under `MSG_MORE`; gives the whole datagram when it is complete.
    fn cork(
        &self,
        meta: &SendMeta,
        data: Vec<u8>,
    ) -> Result<(Option<std::net::SocketAddr>, Option<Vec<u8>>)> {
        let mut inner = self.inner.lock();
        let is_more = meta.flags.contains(SendFlags::MORE);
        if inner.corked.is_none() && !is_more {
            return Ok((meta.to, Some(data)));
        }
        let (to, mut whole) = inner.corked.take().unwrap_or((meta.to, Vec::new()));
        if whole.len() + data.len() > MAX_PAYLOAD {
            return Err(Error::MessageSize);
        }
        whole.extend_from_slice(&data);
        if is_more {
            inner.corked = Some((to, whole));
            return Ok((to, None));
        }
        Ok((to, Some(whole)))
    }

    /// Settles destination, source and path.
    fn prepare(self: &Arc<Self>, meta: &SendMeta) -> Result<Outgoing> {
        let mut inner = self.inner.lock();
        if inner.shut_write {
            return Err(Error::Pipe);
        }
        let (mut to, scope) = match meta.to {
            Some(addr) => {
                let user = UserAddr::parse(self.family, inner.options.ip6.v6_only, addr)?;
                (user.at, user.scope)
            }
            None => (inner.peer.ok_or(Error::DestAddrRequired)?, 0),
        };
        if to.port == 0 {
            return Err(Error::Invalid);
        }
        if to.ip.is_unspecified() {
            to.ip = Family::of(to.ip).loopback();
        }
        let family = Family::of(to.ip);
        if inner.local.port == 0 {
            let any = Endpoint::any(self.family);
            self.claim(&mut inner, any)?;
        }
        let options = &inner.options;
        let bound = Some(inner.local.ip).filter(|ip| !ip.is_unspecified() && Family::of(*ip) == family);
        let chosen = meta.source.filter(|ip| !ip.is_unspecified());
        if let Some(ip) = chosen
            && !options.may_bind_foreign()
            && !self.stack.is_local(ip)
        {
            return Err(Error::Invalid);
        }
        let is_multicast = to.ip.is_multicast();
        let multicast_source = Some(options.ip4.multicast_addr)
            .filter(|ip| is_multicast && family == Family::V4 && !ip.is_unspecified())
            .map(Into::into);
        let devices = [
            meta.interface,
            scope,
            options.base.device,
            if is_multicast { options.multicast_if(family) } else { 0 },
        ];
        let device = devices.into_iter().find(|index| *index != 0).unwrap_or(0);
        let via = Via {
            source: chosen.or(bound.filter(|ip| !ip.is_multicast())).or(multicast_source),
            device,
            on_link_only: options.base.dont_route || meta.flags.contains(SendFlags::DONTROUTE),
        };
        let path = self.stack.path(to.ip, &via)?;
        if path.kind == PathKind::Broadcast && !options.base.broadcast {
            return Err(Error::Access);
        }
        let default_ttl = if is_multicast {
            options.multicast_ttl(family)
        } else {
            options.ttl(family, &self.stack.config())
        };
        Ok(Outgoing {
            from: Endpoint { ip: path.source, port: inner.local.port },
            to,
            ttl: meta.ttl.unwrap_or(default_ttl),
            tos: meta.tos.unwrap_or_else(|| options.tos(family)),
            loops_back: options.multicast_loop(family),
            discover: options.mtu_discover(family),
            no_checksum: options.base.no_check && family == Family::V4,
            path,
        })
    }

    /// Sends a datagram on its way.
    fn dispatch(&self, out: &Outgoing, data: Vec<u8>) -> Result<()> {
        let counters = self.stack.counters.udp_of(Family::of(out.to.ip));
        match out.path.kind {
            PathKind::Local if !self.stack.is_loopback_observed() => {
                counters.out_datagrams.inc();
                let Some(interface) = self.stack.owner_of(out.to.ip) else {
                    return Err(Error::NetUnreachable);
                };
                let interface = if out.to.ip.is_loopback() { out.path.nic.index } else { interface.index };
                let datagram = self.stack.local_datagram(out, data, interface);
                let arrival = Arrival { to: out.to, from: out.from, device: interface };
                if let Some(refused) = self.stack.udp_deliver(&arrival, Cast::Unicast, datagram) {
                    self.refused(out, refused.payload());
                }
                Ok(())
            }
            _ => {
                self.stack.udp_transmit(out, &data)?;
                counters.out_datagrams.inc();
                self.stack.run_backlog();
                Ok(())
            }
        }
    }

    /// Nobody has the port: what an ICMP message would have said.
    fn refused(&self, out: &Outgoing, payload: &[u8]) {
        let (origin, kind, code) = match out.to.ip {
            std::net::IpAddr::V4(_) => (ErrorOrigin::Icmp, 3, 3),
            std::net::IpAddr::V6(_) => (ErrorOrigin::Icmp6, 1, 4),
        };
        let error = ExtendedError {
            error: Error::ConnRefused,
            origin,
            kind,
            code,
            info: 0,
            offender: Some(out.to.ip),
        };
        self.fail(out.to, error, true, payload);
    }
}

impl crate::core::Core {
    /// Sends a datagram in a packet. Multicast and broadcast also reach the sockets of this host.
    fn udp_transmit(&self, out: &Outgoing, data: &[u8]) -> Result<()> {
        let interface = out.path.nic.index;
        let loops_back = match out.path.kind {
            PathKind::Multicast => out.loops_back && self.has_group(interface, out.to.ip),
            PathKind::Broadcast => true,
            PathKind::Local | PathKind::Unicast => false,
        };
        if loops_back {
            let datagram = self.local_datagram(out, data.to_vec(), interface);
            let arrival = Arrival { to: out.to, from: out.from, device: interface };
            let cast = if out.path.kind == PathKind::Multicast { Cast::Multicast } else { Cast::Broadcast };
            self.udp_deliver(&arrival, cast, datagram);
        }
        // TTL 0 does not leave the host; loopback has delivered already.
        let stays = out.path.kind != PathKind::Local && out.path.nic.is_loopback();
        if stays || out.ttl == 0 && out.path.kind == PathKind::Multicast {
            return Ok(());
        }
        let mut packet = Vec::with_capacity(HEADROOM + 8 + data.len());
        packet.resize(HEADROOM, 0);
        packet.extend_from_slice(&out.from.port.to_be_bytes());
        packet.extend_from_slice(&out.to.port.to_be_bytes());
        packet.extend_from_slice(&((data.len() + 8) as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 0]);
        packet.extend_from_slice(data);
        let mut path = out.path.clone();
        if matches!(out.discover, MtuDiscover::Probe | MtuDiscover::Interface | MtuDiscover::Omit) {
            path.mtu = path.nic.mtu();
        }
        let header = IpHeader {
            path: &path,
            from: out.from.ip,
            to: out.to.ip,
            protocol: protocol::UDP,
            ttl: out.ttl,
            tos: out.tos,
            dont_fragment: matches!(out.discover, MtuDiscover::Do | MtuDiscover::Probe),
            may_fragment: !matches!(out.discover, MtuDiscover::Do | MtuDiscover::Probe),
            options: &[],
        };
        let checksum = (!out.no_checksum).then_some(Checksum { offset: 6 });
        self.ip_send(&header, packet, checksum, TxMeta::default())
    }

    /// A datagram as its receiver sees it, when no packet was built.
    pub(crate) fn local_datagram(&self, out: &Outgoing, data: Vec<u8>, interface: u32) -> Datagram {
        let info = PacketInfo {
            interface,
            to: Some(to_user(Family::of(out.to.ip), out.to, interface)),
            ttl: out.ttl,
            tos: out.tos,
            stamp_ns: self.clock.wall_ns(),
            dropped: 0,
        };
        Datagram { from: out.from, info, data, skip: 0 }
    }
}
