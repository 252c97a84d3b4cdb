//! Datagrams that leave: by the short way to a socket of this stack, or in packets.

use super::{MAX_PAYLOAD, UdpSocket};
use crate::base::addr::{Endpoint, Family, to_user};
use crate::base::error::{Error, Result};
use crate::base::io::{Source, gather};
use crate::core::PathKind;
use crate::ip::output::{Checksum, HEADROOM};
use crate::ip::packet::{Cast, protocol};
use crate::link::device::TxMeta;
use crate::socket::datagram::Outgoing;
use crate::socket::message::{ErrorOrigin, ExtendedError, PacketInfo, SendFlags, SendMeta};
use crate::socket::ports::Arrival;
use crate::socket::queue::Datagram;
use std::net::{IpAddr, SocketAddr};

/// Data of earlier sends with `MSG_MORE`.
#[derive(Debug)]
pub(super) struct Corked {
    to: Option<SocketAddr>,
    data: Vec<u8>,
}

impl UdpSocket {
    /// sendmsg(2): one datagram.
    ///
    /// # Errors
    /// [`Error::NotSupported`] for urgent data; what sendmsg(2) says.
    pub fn send(&self, source: &mut dyn Source, meta: &SendMeta) -> Result<usize> {
        if meta.flags.contains(SendFlags::OOB) {
            return Err(Error::NotSupported);
        }
        let len = source.remaining();
        if len > MAX_PAYLOAD {
            return Err(Error::MessageSize);
        }
        self.state.lock().check_writable()?;
        let data = gather(source, 0).ok_or(Error::Fault)?;
        if let Some((to, data)) = self.uncork(meta, data)? {
            let outgoing = self.prepare(&SendMeta { to, ..*meta })?;
            self.dispatch(&outgoing, data)?;
        }
        Ok(len)
    }

    /// Collects data under `MSG_MORE`; gives the whole datagram when it is complete, and where it goes.
    fn uncork(&self, meta: &SendMeta, data: Vec<u8>) -> Result<Option<(Option<SocketAddr>, Vec<u8>)>> {
        let mut corked = self.corked.lock();
        let is_more = meta.flags.contains(SendFlags::MORE);
        if corked.is_none() && !is_more {
            return Ok(Some((meta.to, data)));
        }
        let mut whole = corked.take().unwrap_or(Corked { to: meta.to, data: Vec::new() });
        if whole.data.len() + data.len() > MAX_PAYLOAD {
            return Err(Error::MessageSize);
        }
        whole.data.extend_from_slice(&data);
        if is_more {
            *corked = Some(whole);
            return Ok(None);
        }
        Ok(Some((whole.to, whole.data)))
    }

    /// Settles destination, source and path; a socket without a port gets one.
    fn prepare(&self, meta: &SendMeta) -> Result<Outgoing> {
        let mut state = self.state.lock();
        let to = self.destination(&state, meta)?;
        if to.at.port == 0 {
            return Err(Error::Invalid);
        }
        if state.local.port == 0 {
            self.claim(&mut state, Endpoint::any(self.family))?;
        }
        self.settle(&state, to, meta)
    }

    /// Sends a datagram on its way.
    fn dispatch(&self, out: &Outgoing, data: Vec<u8>) -> Result<()> {
        let counters = self.stack.counters.udp_of(Family::of(out.to.ip));
        match out.path.kind {
            PathKind::Local if !self.stack.is_loopback_observed(out.to.ip) => {
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
            IpAddr::V4(_) => (ErrorOrigin::Icmp, 3, 3),
            IpAddr::V6(_) => (ErrorOrigin::Icmp6, 1, 4),
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
        let checksum = out.has_checksum.then_some(Checksum { offset: 6 });
        self.ip_send(&out.header(protocol::UDP), packet, checksum, TxMeta::default())
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
