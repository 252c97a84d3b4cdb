//! Raw sockets: every packet of one IP protocol (man 7 raw). The protocol stands where others have a port. The caller
//! has checked CAP_NET_RAW.

use super::DatagramSocket;
use crate::base::addr::{Endpoint, Family, to_user};
use crate::base::error::{Error, Result};
use crate::base::filter::View;
use crate::base::io::{Source, gather};
use crate::core::{Core, Path};
use crate::ip::checksum;
use crate::ip::icmp::Verdict;
use crate::ip::output::{Checksum, HEADROOM};
use crate::ip::packet::{Packet, protocol, put16};
use crate::link::device::{TxFrame, TxMeta};
use crate::netfilter::{Hook, Shape};
use crate::socket::datagram::Outgoing;
use crate::socket::message::SendMeta;
use crate::socket::queue::Datagram;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::Arc;

/// `IPPROTO_RAW`: sending only, with the header included.
const IPPROTO_RAW: u8 = 255;
/// The longest packet.
const MAX_LEN: usize = 65_535;

/// A raw socket. Dropping it closes it.
#[derive(Debug)]
pub struct RawSocket(Arc<DatagramSocket>);

impl Deref for RawSocket {
    type Target = DatagramSocket;

    fn deref(&self) -> &DatagramSocket {
        &self.0
    }
}

impl RawSocket {
    pub(crate) fn new(stack: &Arc<Core>, family: Family, protocol: u8) -> Self {
        let mut socket = DatagramSocket::new(stack, family, false);
        let state = socket.state.get_mut();
        state.options.ip4.hdr_incl = protocol == IPPROTO_RAW;
        state.local.port = protocol.into();
        let socket = Arc::new(socket);
        stack.raw.write().push(Arc::clone(&socket));
        Self(socket)
    }

    /// bind(2): the port is ignored.
    ///
    /// # Errors
    /// What bind(2) says.
    pub fn bind(&self, addr: SocketAddr) -> Result<()> {
        let mut state = self.state.lock();
        let local = self.parse_local(&mut state, addr)?;
        state.note_bound(local);
        state.local.ip = local.ip;
        Ok(())
    }

    /// connect(2): fixes the peer.
    ///
    /// # Errors
    /// What connect(2) says.
    pub fn connect(&self, addr: SocketAddr) -> Result<()> {
        // It has a protocol instead of a port.
        self.connect_by(&mut self.state.lock(), addr, |_, _| Ok(()))
    }

    /// connect(2) with `AF_UNSPEC`: forgets the peer.
    pub fn disconnect(&self) {
        self.state.lock().disconnect(self.family);
    }

    /// sendmsg(2): a segment, or a packet with its header (`IP_HDRINCL`).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a header that makes no sense; what sendmsg(2) says.
    pub fn send(&self, source: &mut dyn Source, meta: &SendMeta) -> Result<usize> {
        let len = source.remaining();
        if len > MAX_LEN {
            return Err(Error::MessageSize);
        }
        let mut data = gather(source, HEADROOM).ok_or(Error::Fault)?;
        let mut state = self.state.lock();
        state.check_writable()?;
        let to = self.destination(&state, meta)?;
        let out = self.settle(&state, to, meta)?;
        let protocol = state.protocol();
        let (ip4, ip6) = (&state.options.ip4, &state.options.ip6);
        let (includes_header, checksum) = match (self.family, protocol) {
            (Family::V4, _) => (ip4.hdr_incl, None),
            (Family::V6, protocol::ICMPV6) => (ip6.hdr_incl, Some(2)),
            (Family::V6, _) => (ip6.hdr_incl, ip6.checksum.map(usize::from)),
        };
        drop(state);
        if includes_header {
            self.send_with_header(&out, data)?;
            self.stack.run_backlog();
            return Ok(len);
        }
        if let Some(offset) = checksum {
            if offset + 2 > len {
                return Err(Error::Invalid);
            }
            put16(&mut data, HEADROOM + offset, 0);
        }
        let checksum = checksum.map(|offset| Checksum { offset });
        self.stack.ip_send(&out.header(protocol), data, checksum, TxMeta::default())?;
        self.stack.run_backlog();
        Ok(len)
    }

    /// Sends a packet whose header the caller wrote; what Linux fills in is filled in.
    fn send_with_header(&self, out: &Outgoing, mut data: Vec<u8>) -> Result<()> {
        let packet = &mut data[HEADROOM..];
        let version = packet.first().ok_or(Error::Invalid)? >> 4;
        if packet.len() > out.path.mtu as usize {
            return Err(Error::MessageSize);
        }
        match out.from.ip {
            IpAddr::V4(source) => {
                let header_len = usize::from(packet[0] & 0xf) * 4;
                if version != 4 || packet.len() < 20 || header_len < 20 || packet.len() < header_len {
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
            IpAddr::V6(_) if version != 6 || packet.len() < 40 => return Err(Error::Invalid),
            IpAddr::V6(_) => {}
        }
        let Some((to, path)) = self.filter_whole(out, packet)? else {
            let frame = TxFrame { data, start: HEADROOM, meta: TxMeta::default() };
            return self.stack.link_output(&out.path, out.to.ip, frame);
        };
        self.stack.link_output(&path, to, TxFrame { data, start: HEADROOM, meta: TxMeta::default() })
    }

    /// Shows a packet with its header to packet filters; where it goes then, if there are any.
    fn filter_whole(&self, out: &Outgoing, packet: &mut [u8]) -> Result<Option<(IpAddr, Path)>> {
        let family = Family::of(out.to.ip);
        if !self.stack.netfilter.sees(family, Hook::SENT) {
            return Ok(None);
        }
        let (header_len, protocol_at) = match family {
            Family::V4 => (usize::from(packet[0] & 0xf) * 4, 9),
            Family::V6 => (40, 6),
        };
        let shape = Shape { family, header_len, protocol: packet[protocol_at], is_unsummed: false };
        let rerouted = self.stack.filter_sent(&out.path, Some(out.sender), packet, shape)?;
        Ok(Some((rerouted.to, rerouted.path)))
    }
}

impl Drop for RawSocket {
    fn drop(&mut self) {
        self.stack.raw.write().retain(|other| other.id != self.id);
        self.close();
    }
}

impl super::State {
    /// The IP protocol of a raw socket.
    fn protocol(&self) -> u8 {
        self.local.port as u8
    }
}

impl DatagramSocket {
    fn wants(&self, packet: &Packet<'_>) -> bool {
        let state = self.state.lock();
        if state.protocol() != packet.protocol || self.family != Family::of(packet.to) {
            return false;
        }
        let device = state.options.base.device;
        let kind = packet.payload().first().copied();
        let filtered = match (self.family, packet.protocol, kind) {
            (Family::V4, protocol::ICMP, Some(kind @ 0..32)) => {
                state.options.ip4.icmp_filter >> kind & 1 != 0
            }
            (Family::V6, protocol::ICMPV6, Some(kind)) => {
                state.options.ip6.icmp_filter[usize::from(kind) / 32] >> (kind % 32) & 1 != 0
            }
            _ => false,
        };
        !filtered
            && (device == 0 || device == packet.nic.index)
            && (state.local.ip.is_unspecified() || state.local.ip == packet.to)
            && state.peer.is_none_or(|peer| peer.ip == packet.from)
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
            let state = socket.state.lock();
            let (limit, filter) = (state.options.base.rcv_buf(), state.options.base.filter.clone());
            drop(state);
            let network = (socket.family == Family::V4).then_some(0);
            let view = View { data, network, interface: packet.nic.index, ..View::default() };
            let kept = filter.map_or(data.len(), |filter| view.kept_by(&filter).min(data.len()));
            if kept == 0 && !data.is_empty() {
                continue;
            }
            socket.queue_datagram(limit, Datagram { from, info, data: data[..kept].to_vec(), skip: 0 });
        }
        !takers.is_empty()
    }

    /// An ICMP error concerns a packet of this protocol, `segment` as far as the error quotes it, sent to `to`.
    pub(crate) fn raw_error(&self, to: IpAddr, protocol: u8, segment: &[u8], verdict: &Verdict) {
        let sent_it = |socket: &&Arc<DatagramSocket>| {
            let state = socket.state.lock();
            socket.family == Family::of(to)
                && state.protocol() == protocol
                && state.peer.is_none_or(|peer| peer.ip == to)
        };
        let sockets: Vec<_> = self.raw.read().iter().filter(sent_it).cloned().collect();
        for socket in sockets {
            socket.fail(Endpoint::new(to, 0), verdict.error, verdict.is_hard, segment);
        }
    }
}
