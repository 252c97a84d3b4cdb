//! Packets that leave: network and link headers, fragmentation, the neighbour's address, the device.

use super::neighbour::Resolution;
use super::packet::{put16, put32};
use super::{arp, checksum};
use crate::base::addr::Family;
use crate::base::error::{Error, Result};
use crate::core::{Core, Path, PathKind};
use crate::link::device::{TxFrame, TxMeta};
use crate::link::nic::{Mac, Nic, NicKind};
use crate::link::offload;
use crate::link::wire::Wire;
use crate::netfilter::{Hook, Rerouted};
use crate::socket::options::Sender;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

/// Length of an Ethernet header.
pub(crate) const ETHERNET: usize = 14;
/// Room for all headers below the transport's that are ever written in place.
pub(crate) const HEADROOM: usize = ETHERNET + 40;

/// The network header of a packet to send.
#[derive(Clone, Debug)]
pub(crate) struct IpHeader<'a> {
    pub(crate) path: &'a Path,
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    /// Set DF (IPv4).
    pub(crate) dont_fragment: bool,
    /// Cut into fragments here if it is too long; else that is `EMSGSIZE`.
    pub(crate) may_fragment: bool,
    /// IPv4 options or IPv6 extension headers (a complete hop-by-hop header).
    pub(crate) options: &'a [u8],
    /// The socket that sends it, if one does.
    pub(crate) sender: Option<Sender>,
}

/// What a transport protocol's checksum is: where the field lies, and whether the device may complete it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checksum {
    /// Offset of the field in the segment.
    pub(crate) offset: usize,
}

impl Core {
    /// Sends a transport segment, which starts at `HEADROOM` in `data` with its checksum field zero. Packet filters may
    /// stop or change it.
    pub(crate) fn ip_send(
        &self,
        header: &IpHeader<'_>,
        mut data: Vec<u8>,
        checksum: Option<Checksum>,
        meta: TxMeta,
    ) -> Result<()> {
        if !self.netfilter.sees(Family::of(header.to), Hook::SENT) {
            return self.ip_send_on(header, data, checksum, meta);
        }
        let Rerouted { from, to, path } = self.filter_output(header, &mut data)?;
        let header = IpHeader { from, to, path: &path, ..header.clone() };
        self.ip_send_on(&header, data, checksum, meta)
    }

    fn ip_send_on(
        &self,
        header: &IpHeader<'_>,
        mut data: Vec<u8>,
        checksum: Option<Checksum>,
        mut meta: TxMeta,
    ) -> Result<()> {
        let nic = &header.path.nic;
        let segment_len = data.len() - HEADROOM;
        let family = Family::of(header.to);
        let ip_len = family.header_len() + header.options.len();
        let mtu = header.path.mtu as usize;
        let too_long = meta.gso_size == 0 && ip_len + segment_len > mtu;
        if too_long && !header.may_fragment {
            return Err(Error::MessageSize);
        }
        if let Some(Checksum { offset }) = checksum {
            let pseudo = checksum::pseudo(header.from, header.to, header.protocol, segment_len);
            let offload =
                !too_long && header.options.is_empty() && (nic.offloads().tx_checksum || meta.gso_size != 0);
            let field = HEADROOM + offset;
            if offload || nic.is_loopback() {
                put16(&mut data, field, pseudo);
                meta.checksum = Some(((nic.header_len() + ip_len) as u16, offset as u16));
            } else {
                let sum = checksum::add(pseudo, checksum::sum(&data[HEADROOM..]));
                put16(&mut data, field, checksum::transport_field(header.protocol, sum));
            }
        }
        if too_long {
            return self.send_fragments(header, &data[HEADROOM..]);
        }
        let (start, data) = if header.options.is_empty() {
            (HEADROOM, data)
        } else {
            let mut longer = vec![0; HEADROOM];
            longer.extend_from_slice(header.options);
            longer.extend_from_slice(&data[HEADROOM..]);
            // The options stand between the fixed header and the segment.
            (HEADROOM, longer)
        };
        self.send_headed(header, TxFrame { data, start, meta }, None)
    }

    /// Writes the network header before `frame.start` and passes the packet to the link.
    fn send_headed(
        &self,
        header: &IpHeader<'_>,
        mut frame: TxFrame,
        fragment: Option<(u16, u16)>,
    ) -> Result<()> {
        let family = Family::of(header.to);
        let len = frame.data.len() - frame.start;
        frame.start -= family.header_len();
        let place = &mut frame.data[frame.start..];
        match (header.from, header.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let header_len = 20 + header.options.len();
                place[0] = 0x40 | (header_len / 4) as u8;
                place[1] = header.tos;
                // A segment for the device to cut may be longer than the field; it is then ignored.
                put16(place, 2, u16::try_from(len + 20).unwrap_or(0));
                let (id, bits) = fragment.unwrap_or_else(|| {
                    let id =
                        if header.dont_fragment && frame.meta.gso_size == 0 { 0 } else { self.next_ip_id() };
                    (id, if header.dont_fragment { 0x4000 } else { 0 })
                });
                put16(place, 4, id);
                put16(place, 6, bits);
                place[8] = header.ttl;
                place[9] = header.protocol;
                put16(place, 10, 0);
                place[12..16].copy_from_slice(&from.octets());
                place[16..20].copy_from_slice(&to.octets());
                let sum = !checksum::sum(&place[..header_len.min(place.len())]);
                put16(place, 10, sum);
                self.counters.ip.out_requests.inc();
                self.counters.ip_ext.out_octets.add(len as u64 + 20);
                self.count_cast(header.path.kind, len + 20);
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                put32(place, 0, 0x6000_0000 | u32::from(header.tos) << 20 | self.flow_label(header));
                put16(place, 4, u16::try_from(len).unwrap_or(0));
                // With options, their header names the protocol that follows.
                place[6] = if header.options.is_empty() {
                    header.protocol
                } else {
                    super::packet::protocol::HOP_BY_HOP
                };
                place[7] = header.ttl;
                place[8..24].copy_from_slice(&from.octets());
                place[24..40].copy_from_slice(&to.octets());
                self.counters.ip6.out_requests.inc();
                self.counters.ip6.out_octets.add(len as u64 + 40);
                if header.path.kind == PathKind::Multicast {
                    self.counters.ip6.out_mcast_pkts.inc();
                }
            }
            _ => return Err(Error::Invalid),
        }
        self.link_output(header.path, header.to, frame)
    }

    fn count_cast(&self, kind: PathKind, len: usize) {
        match kind {
            PathKind::Multicast => {
                self.counters.ip_ext.out_mcast_pkts.inc();
                self.counters.ip_ext.out_mcast_octets.add(len as u64);
            }
            PathKind::Broadcast => {
                self.counters.ip_ext.out_bcast_pkts.inc();
                self.counters.ip_ext.out_bcast_octets.add(len as u64);
            }
            PathKind::Local | PathKind::Unicast => {}
        }
    }

    fn next_ip_id(&self) -> u16 {
        self.random.next_u32() as u16
    }

    /// A flow label that is the same for all packets between two addresses.
    fn flow_label(&self, header: &IpHeader<'_>) -> u32 {
        use std::hash::{Hash, Hasher};
        let mut sip = self.hasher();
        (header.from, header.to, header.protocol).hash(&mut sip);
        (sip.finish() & 0xf_ffff) as u32
    }

    /// Cuts a segment into fragments.
    pub(super) fn send_fragments(&self, header: &IpHeader<'_>, segment: &[u8]) -> Result<()> {
        let family = Family::of(header.to);
        let extra = if family == Family::V6 { 8 } else { header.options.len() };
        let room = (header.path.mtu as usize).saturating_sub(family.header_len() + extra) & !7;
        if room == 0 {
            return Err(Error::MessageSize);
        }
        let id = self.random.next_u32();
        for (index, part) in segment.chunks(room).enumerate() {
            let offset = index * room;
            let is_more = offset + part.len() < segment.len();
            let mut data = vec![0; HEADROOM];
            let fragment = if family == Family::V6 {
                let field = offset as u16 | u16::from(is_more);
                data.extend_from_slice(&[header.protocol, 0]);
                data.extend_from_slice(&field.to_be_bytes());
                data.extend_from_slice(&id.to_be_bytes());
                None
            } else {
                data.extend_from_slice(header.options);
                Some((id as u16, (offset / 8) as u16 | if is_more { 0x2000 } else { 0 }))
            };
            data.extend_from_slice(part);
            let protocol =
                if family == Family::V6 { super::packet::protocol::FRAGMENT } else { header.protocol };
            let whole = IpHeader {
                protocol,
                options: if family == Family::V6 { &[] } else { header.options },
                ..header.clone()
            };
            self.send_headed(&whole, TxFrame { data, start: HEADROOM, meta: TxMeta::default() }, fragment)?;
            match family {
                Family::V4 => self.counters.ip.frag_creates.inc(),
                Family::V6 => self.counters.ip6.frag_creates.inc(),
            }
        }
        match family {
            Family::V4 => self.counters.ip.frag_oks.inc(),
            Family::V6 => self.counters.ip6.frag_oks.inc(),
        }
        Ok(())
    }

    /// Passes a packet with its network header to the link.
    pub(crate) fn link_output(&self, path: &Path, to: IpAddr, mut frame: TxFrame) -> Result<()> {
        let nic = &path.nic;
        if !nic.is_up() {
            return Err(Error::NetDown);
        }
        match nic.kind {
            NicKind::Loopback => {
                self.loop_back(nic, frame);
                Ok(())
            }
            NicKind::Ip => {
                self.transmit(nic, frame);
                Ok(())
            }
            NicKind::Ethernet => {
                frame.start -= ETHERNET;
                let start = frame.start;
                frame.data[start + 6..start + 12].copy_from_slice(&nic.mac().0);
                put16(&mut frame.data, start + 12, if to.is_ipv4() { 0x0800 } else { 0x86dd });
                let mac = match path.kind {
                    PathKind::Broadcast => Some(Mac::BROADCAST),
                    PathKind::Multicast => Some(Mac::of_group(to)),
                    PathKind::Local | PathKind::Unicast => None,
                };
                match mac {
                    Some(mac) => {
                        arp::address_frame(&mut frame, mac);
                        self.transmit(nic, frame);
                    }
                    None => self.resolve_and_send(nic, path.next_hop, frame),
                }
                Ok(())
            }
        }
    }

    fn resolve_and_send(&self, nic: &Arc<Nic>, next_hop: IpAddr, frame: TxFrame) {
        let now = self.now();
        let at = (nic.index, next_hop);
        let resolution = self.neighbours.lock().resolve(at, frame, now, self.config().neigh_max);
        match resolution {
            Resolution::Send(mac, mut frame) => {
                arp::address_frame(&mut frame, mac);
                self.transmit(nic, frame);
            }
            Resolution::Ask => {
                self.ask_neighbour(nic, next_hop, None);
                self.schedule_neighbours(now);
            }
            Resolution::Wait => {}
            Resolution::Drop => self.counters.ip.out_discards.inc(),
        }
    }

    /// Hands a frame to the device.
    pub(crate) fn transmit(&self, nic: &Nic, frame: TxFrame) {
        self.hand_over(nic, Cow::Owned(frame));
    }

    /// Hands a copy of a frame to the device: none is made where there is no room for it.
    pub(crate) fn transmit_copy(&self, nic: &Nic, frame: &TxFrame) {
        self.hand_over(nic, Cow::Borrowed(frame));
    }

    fn hand_over(&self, nic: &Nic, frame: Cow<'_, TxFrame>) {
        self.tap(nic, frame.bytes(), true);
        nic.stats.tx_packets.inc();
        nic.stats.tx_bytes.add(frame.bytes().len() as u64);
        let is_sent = match &nic.wire {
            Wire::None => true,
            Wire::Device(device) => {
                let frames = offload::fit(frame.into_owned(), nic.offloads(), nic.header_len());
                device.transmit(&frames) == frames.len()
            }
            Wire::Veth(end) => end.send(self, frame),
            Wire::Bridge(bridge) => self.bridge_output(bridge, frame.into_owned()),
        };
        if !is_sent {
            nic.stats.tx_dropped.inc();
        }
    }

    /// Queues a packet that this host sends to itself; it is received once no lock is held.
    pub(crate) fn loop_back(&self, nic: &Arc<Nic>, frame: TxFrame) {
        nic.stats.tx_packets.inc();
        nic.stats.tx_bytes.add(frame.bytes().len() as u64);
        let mut backlog = self.backlog.lock();
        let has_room = backlog.len() < self.config().loopback_queue;
        match has_room.then(|| self.in_flight(Arc::clone(nic), Cow::Owned(frame))).flatten() {
            Some(in_flight) => backlog.push_back(in_flight),
            None => nic.stats.tx_dropped.inc(),
        }
    }
}
