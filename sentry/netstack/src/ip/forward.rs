//! Packets for others: routing between interfaces (RFC 1812, RFC 8200; Linux's `ip_forward`, `ip6_forward`).
//!
//! A packet comes here after PREROUTING, is checked (forwarding switched on, hops left, a route, room on its link), shown to
//! FORWARD and POSTROUTING, and passed to the next link. A segment that a device put together, or that one of the sandbox's
//! stacks sent uncut, stays as it is as long as its packets fit; an open checksum stays open. Nothing here recurses: what
//! the next link is, another stack of the sandbox or a port of a bridge, receives it later.

use super::checksum;
use super::output::{ETHERNET, IpHeader};
use super::packet::{Aim, Cast, Packet, get16, protocol, put16};
use super::v4::{DONT_FRAGMENT, seal};
use crate::base::addr::{Family, is_link_local};
use crate::base::error::Error;
use crate::core::{Core, Path, PathKind, Via};
use crate::link::device::{RxMeta, TxFrame, TxMeta};
use crate::link::nic::Nic;
use crate::link::offload;
use crate::netfilter::{Followed, Hook, read_address};
use std::net::IpAddr;
use std::sync::Arc;

/// What says that a packet is a fragment.
const FRAGMENT: u16 = 0x3fff;

/// A packet on its way to another interface: with room for a link header before it.
#[derive(Debug)]
pub(crate) struct Transit {
    pub(crate) data: Vec<u8>,
    /// What its connection is, as far as somebody asked.
    pub(crate) followed: Followed,
}

impl Transit {
    /// A copy of a packet.
    pub(crate) fn of(packet: &Packet<'_>) -> Self {
        let mut data = Vec::with_capacity(ETHERNET + packet.whole.len());
        data.extend_from_slice(&[0; ETHERNET]);
        data.extend_from_slice(packet.whole);
        Self { data, followed: Followed::default() }
    }

    /// The packet.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.data[ETHERNET..]
    }
}

/// Bytes of the longest packet that a segment of `len` bytes is cut into.
fn longest(packet: &Packet<'_>, len: usize) -> usize {
    let size = usize::from(packet.meta.gso_size);
    let tcp_header = packet.payload().get(12).map_or(0, |byte| usize::from(byte >> 4) * 4);
    if size == 0 { len } else { len.min(packet.header_len + tcp_header + size) }
}

/// Whether a packet may be cut into fragments on its way.
fn may_cut(packet: &Packet<'_>) -> bool {
    packet.to.is_ipv4() && get16(packet.whole, 6).is_some_and(|field| field & DONT_FRAGMENT == 0)
}

/// Whether it is a fragment.
fn is_fragment(packet: &Packet<'_>) -> bool {
    match packet.to {
        IpAddr::V4(_) => get16(packet.whole, 6).is_some_and(|field| field & FRAGMENT != 0),
        IpAddr::V6(_) => packet.protocol == protocol::FRAGMENT,
    }
}

impl Core {
    /// Whom a packet that came from `nic` is for, by its destination, which is no group and no broadcast address.
    pub(crate) fn aim_at(&self, nic: &Nic, to: IpAddr) -> Aim {
        if self.is_local(to) {
            // Loopback addresses do not come from a wire, unless that is wanted.
            let is_martian = to.is_loopback() && !nic.is_loopback() && !self.settings_of(nic).route_localnet;
            return if is_martian { Aim::Nobody } else { Aim::Local };
        }
        let is_routable = match to {
            IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_unspecified() || ip.octets()[0] >= 224),
            IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_multicast() || is_link_local(to)),
        };
        if is_routable && !nic.is_loopback() { Aim::Elsewhere } else { Aim::Nobody }
    }

    /// Whether packets of a family that come from `nic` are passed on.
    pub(crate) fn forwards(&self, nic: &Nic, family: Family) -> bool {
        let settings = nic.settings();
        match family {
            Family::V4 => settings.forwards,
            Family::V6 => settings.forwards_v6,
        }
    }

    /// Whether a packet from `from` may come by `nic` (`rp_filter`): answers would go back there (1), or anywhere (2).
    pub(crate) fn is_reachable(&self, nic: &Nic, from: IpAddr) -> bool {
        let mode = self.settings_of(nic).rp_filter;
        if mode == 0 || from.is_unspecified() {
            return true;
        }
        let back = self.path(from, &Via::default());
        back.is_ok_and(|path| mode == 2 || path.nic.index == nic.index)
    }

    /// Passes a packet for somebody else on.
    pub(crate) fn forward(&self, packet: &Packet<'_>, transit: Transit) {
        let family = Family::of(packet.to);
        if packet.cast != Cast::Unicast || !self.forwards(packet.nic, family) {
            return self.count_undeliverable(family);
        }
        if packet.ttl <= 1 {
            self.count_header_error(family);
            return self.hops_exceeded(packet);
        }
        let via = Via { source: Some(packet.from), ..Via::default() };
        let path = match self.path(packet.to, &via) {
            Ok(path) if path.kind == PathKind::Unicast => path,
            Ok(_) => return self.count_undeliverable(family),
            Err(error) => return self.no_route(packet, error),
        };
        if family == Family::V6 && is_link_local(packet.from) {
            // Beyond the scope of the source.
            return self.refuse_by_icmp(packet, 2);
        }
        let len = packet.whole.len();
        let is_long = longest(packet, len) > path.mtu as usize;
        if is_long && !may_cut(packet) && !packet.is_reassembled {
            match family {
                Family::V4 => self.counters.ip.frag_fails.inc(),
                Family::V6 => self.counters.ip6.in_too_big_errors.inc(),
            }
            return self.too_big(packet, path.mtu);
        }
        if path.nic.index == packet.nic.index && self.settings_of(packet.nic).send_redirects {
            self.redirect(packet, path.next_hop);
        }
        self.pass_on(packet, transit, path);
    }

    /// Shows a packet to the chains on its way, and sends it.
    fn pass_on(&self, packet: &Packet<'_>, mut transit: Transit, path: Path) {
        let family = Family::of(packet.to);
        let is_open = packet.is_unsummed();
        decrement_hops(transit.bytes(), family);
        let hooks = Hook::Forward.bit() | Hook::Postrouting.bit();
        if self.netfilter.sees(family, hooks)
            && !self.filter_forward(packet, &mut transit, Arc::clone(&path.nic))
        {
            return;
        }
        match family {
            Family::V4 => {
                self.counters.ip.forw_datagrams.inc();
                self.counters.ip_ext.out_octets.add(packet.whole.len() as u64);
            }
            Family::V6 => {
                self.counters.ip6.out_forw_datagrams.inc();
                self.counters.ip6.out_octets.add(packet.whole.len() as u64);
            }
        }
        let meta = if is_open { open_sum(&mut transit.data, packet) } else { TxMeta::default() };
        let frame = TxFrame::new(transit.data, meta);
        self.send_on(packet, frame, path);
    }

    /// Sends a packet that is ready, cut where it has to be.
    fn send_on(&self, packet: &Packet<'_>, mut frame: TxFrame, path: Path) {
        if longest(packet, packet.whole.len()) <= path.mtu as usize {
            frame.start = ETHERNET;
            frame.meta = frame.meta.moved_up(ETHERNET - path.nic.header_len());
            let _lost_like_any_packet = self.link_output(&path, packet.to, frame);
            return;
        }
        if is_fragment(packet) {
            // It would have to be cut again.
            return self.counters.ip.frag_fails.inc();
        }
        let parts = match frame.meta.gso_size {
            0 => vec![offload::complete(frame)],
            _ => offload::cut(&frame, ETHERNET),
        };
        for part in parts {
            self.send_cut(packet, &part.data[ETHERNET..], &path);
        }
    }

    /// Sends a whole packet in fragments.
    fn send_cut(&self, packet: &Packet<'_>, bytes: &[u8], path: &Path) {
        let family = Family::of(packet.to);
        let address = |at| read_address(bytes, at, family);
        let ends = match family {
            Family::V4 => address(12).zip(address(16)),
            Family::V6 => address(8).zip(address(24)),
        };
        let (Some((from, to)), true) = (ends, family == Family::V4 || packet.header_len == 40) else {
            return;
        };
        let header = IpHeader {
            path,
            from,
            to,
            protocol: packet.protocol,
            ttl: packet.ttl - 1,
            tos: packet.tos,
            dont_fragment: false,
            may_fragment: true,
            options: if family == Family::V4 { &bytes[20..packet.header_len] } else { &[] },
            sender: None,
        };
        let _lost_like_any_packet = self.send_fragments(&header, &bytes[packet.header_len..]);
    }

    fn no_route(&self, packet: &Packet<'_>, error: Error) {
        match packet.to {
            IpAddr::V4(_) => self.counters.ip_ext.in_no_routes.inc(),
            IpAddr::V6(_) => self.counters.ip6.in_no_routes.inc(),
        }
        let is_v4 = packet.to.is_ipv4();
        match error {
            // A black hole says nothing.
            Error::Invalid => {}
            Error::Access => self.refuse_by_icmp(packet, if is_v4 { 13 } else { 1 }),
            Error::HostUnreachable => self.refuse_by_icmp(packet, if is_v4 { 1 } else { 3 }),
            _ => self.refuse_by_icmp(packet, 0),
        }
    }

    /// A packet that is not for this host, and is not passed on either.
    pub(crate) fn count_undeliverable(&self, family: Family) {
        match family {
            Family::V4 => self.counters.ip.in_addr_errors.inc(),
            Family::V6 => self.counters.ip6.in_addr_errors.inc(),
        }
    }

    fn count_header_error(&self, family: Family) {
        match family {
            Family::V4 => self.counters.ip.in_hdr_errors.inc(),
            Family::V6 => self.counters.ip6.in_hdr_errors.inc(),
        }
    }

    /// A packet leaves by the interface that it came by: its sender, if it is on that link, could have sent it to the next
    /// hop itself (RFC 1812 section 5.2.7.2).
    fn redirect(&self, packet: &Packet<'_>, next_hop: IpAddr) {
        let IpAddr::V4(next_hop) = next_hop else { return };
        let nic: &Arc<Nic> = packet.nic;
        if nic.with_addrs(|addrs| addrs.iter().any(|addr| addr.prefix.contains(packet.from))) {
            self.send_redirect(packet, next_hop);
        }
    }
}

/// One hop less, with the header's checksum.
fn decrement_hops(bytes: &mut [u8], family: Family) {
    match family {
        Family::V4 => {
            bytes[8] = bytes[8].saturating_sub(1);
            seal(bytes);
        }
        Family::V6 => bytes[7] = bytes[7].saturating_sub(1),
    }
}

/// Prepares a packet whose transport checksum is made later: its addresses may be others by now.
fn open_sum(data: &mut [u8], packet: &Packet<'_>) -> TxMeta {
    let bytes = &data[ETHERNET..];
    let family = Family::of(packet.to);
    let at = |offset| read_address(bytes, offset, family);
    let (from, to) = match family {
        Family::V4 => (at(12), at(16)),
        Family::V6 => (at(8), at(24)),
    };
    let offset = packet.meta.checksum.map_or(16, |(_, offset)| offset);
    let start = ETHERNET + packet.header_len;
    if let (Some(from), Some(to)) = (from, to) {
        let pseudo = checksum::pseudo(from, to, packet.protocol, data.len() - start);
        put16(data, start + usize::from(offset), pseudo);
    }
    let meta = RxMeta { checksum: Some((start as u16, offset)), ..packet.meta };
    offload::to_send(data, ETHERNET, &meta)
}
