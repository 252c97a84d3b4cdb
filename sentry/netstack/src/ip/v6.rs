//! IPv6 packets that arrive, with their extension headers (RFC 8200).

use super::fragment::{Fragment, FragmentKey, Whole};
use super::packet::{Aim, Cast, Packet, get16, get32, protocol, put16};
use crate::base::addr::Family;
use crate::core::Core;
use crate::link::device::RxMeta;
use crate::link::nic::Nic;
use crate::netfilter::Hook;
use smoltcp::wire::Ipv6Packet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

/// Extension headers that one packet may have.
const MAX_HEADERS: usize = 8;

/// Where following the extension headers led.
enum Walk {
    /// To a transport header of this protocol at this offset.
    Transport(u8, usize),
    /// To a fragment header at the first offset, which the byte at the second announces.
    Fragment(usize, usize),
    /// To a header that must be answered: ICMPv6 parameter problem with code and pointer.
    Problem(u8, usize),
    Drop,
}

impl Core {
    pub(super) fn ipv6_input(&self, nic: &Arc<Nic>, data: &[u8], meta: RxMeta, link_cast: Cast) {
        let counters = &self.counters.ip6;
        counters.in_receives.inc();
        let Ok(ip) = Ipv6Packet::new_checked(data) else {
            counters.in_truncated_pkts.inc();
            return counters.in_hdr_errors.inc();
        };
        let len = usize::from(ip.payload_len());
        let total = if meta.gso_size != 0 && len == 0 { data.len() } else { 40 + len };
        let Some(whole) = data.get(..total).filter(|_| ip.version() == 6) else {
            return counters.in_hdr_errors.inc();
        };
        counters.in_octets.add(total as u64);
        let (from, to) = (ip.src_addr(), ip.dst_addr());
        let is_martian = (from.is_loopback() || to.is_loopback()) && !nic.is_loopback();
        if from.is_multicast() || to.is_unspecified() || is_martian {
            return counters.in_addr_errors.inc();
        }
        let Some((aim, cast)) = self.v6_aim(nic, to) else { return counters.in_addr_errors.inc() };
        if link_cast != Cast::Unicast && cast == Cast::Unicast {
            return counters.in_discards.inc();
        }
        let packet = Packet {
            nic,
            from: IpAddr::V6(from),
            to: IpAddr::V6(to),
            protocol: protocol::NO_NEXT,
            ttl: ip.hop_limit(),
            tos: ip.traffic_class(),
            cast,
            aim,
            is_reassembled: false,
            whole,
            header_len: 40,
            meta,
        };
        self.walk_headers(packet, u8::from(ip.next_header()), true);
    }

    /// Whom a packet for `to` is for, and what kind of destination that is; `None` where it goes nowhere.
    fn v6_aim(&self, nic: &Nic, to: Ipv6Addr) -> Option<(Aim, Cast)> {
        if to.is_multicast() {
            self.counters.ip6.in_mcast_pkts.inc();
            let all_nodes = matches!(to.segments(), [0xff01 | 0xff02, 0, 0, 0, 0, 0, 0, 1]);
            let known =
                all_nodes || is_solicited_node_of(nic, to) || self.has_group(nic.index, IpAddr::V6(to));
            return known.then_some((Aim::Local, Cast::Multicast));
        }
        // Tentative addresses take part in nothing but duplicate detection, which goes to a multicast group.
        let aim = self.aim_at(nic, IpAddr::V6(to));
        let may_change = || self.netfilter.sees(Family::V6, Hook::Prerouting.bit());
        let goes_on = match aim {
            Aim::Local => !to.is_unicast_link_local() || nic.has_addr(IpAddr::V6(to)) || nic.is_loopback(),
            Aim::Elsewhere => self.forwards(nic, Family::V6) || may_change(),
            Aim::Nobody => false,
        };
        goes_on.then_some((aim, Cast::Unicast))
    }

    fn walk_headers(&self, mut packet: Packet<'_>, first: u8, may_reassemble: bool) {
        match walk(packet.whole, first, packet.header_len) {
            Walk::Transport(protocol, offset) => {
                packet.protocol = protocol;
                packet.header_len = offset;
                self.deliver(&packet);
            }
            // Fragments for others are put together only where somebody wants to see the whole.
            Walk::Fragment(offset, _)
                if packet.aim == Aim::Elsewhere && !self.netfilter.sees(Family::V6, Hook::PASSING) =>
            {
                packet.protocol = protocol::FRAGMENT;
                packet.header_len = offset;
                self.deliver(&packet);
            }
            Walk::Fragment(offset, pointer) if may_reassemble => self.v6_fragment(packet, offset, pointer),
            Walk::Problem(code, pointer) => {
                self.counters.ip6.in_hdr_errors.inc();
                self.parameter_problem(&packet, code, pointer);
            }
            Walk::Fragment(..) | Walk::Drop => self.counters.ip6.in_hdr_errors.inc(),
        }
    }

    fn v6_fragment(&self, mut packet: Packet<'_>, offset: usize, pointer: usize) {
        let (Some(next), Some(field), Some(id)) = (
            packet.whole.get(offset).copied(),
            get16(packet.whole, offset + 2),
            get32(packet.whole, offset + 4),
        ) else {
            return self.counters.ip6.in_hdr_errors.inc();
        };
        let data = packet.whole.get(offset + 8..).unwrap_or(&[]);
        let (at, is_last) = (usize::from(field & !7), field & 1 == 0);
        if at == 0 && is_last {
            // An atomic fragment (RFC 6946) is a packet of its own.
            packet.header_len = offset + 8;
            return self.walk_headers(packet, next, false);
        }
        if !is_last && !data.len().is_multiple_of(8) {
            return self.parameter_problem(&packet, 0, 4);
        }
        // RFC 7112: the first fragment must hold all headers.
        if at == 0 && matches!(walk(data, next, 0), Walk::Drop) {
            return self.counters.ip6.in_hdr_errors.inc();
        }
        // Only the first fragment says what the packet is (RFC 8200 section 4.5).
        let key =
            FragmentKey { from: packet.from, to: packet.to, id, protocol: 0, interface: packet.nic.index };
        let mut header = packet.whole[..offset].to_vec();
        header[pointer] = next;
        let part = Fragment { offset: at, is_last, data, header: &header, ecn: packet.tos & 3 };
        if let Some(mut whole) = self.reassemble(key, part) {
            make_whole(&mut whole);
            let bytes = &whole.bytes[..];
            // As the first fragment says, whichever came last.
            let (tos, ttl, next) = (traffic_class(bytes), bytes[7], bytes[6]);
            let meta = RxMeta { checksum_ok: false, checksum: None, ..packet.meta };
            let packet =
                Packet { whole: bytes, header_len: 40, tos, ttl, meta, is_reassembled: true, ..packet };
            self.walk_headers(packet, next, false);
        }
    }
}

/// The headers of a packet that was put together become those of the whole. They name no fragment header any more.
fn make_whole(whole: &mut Whole) {
    let len = u16::try_from(whole.bytes.len() - 40).unwrap_or(0);
    put16(&mut whole.bytes, 4, len);
    if whole.has_congestion {
        whole.bytes[1] |= 3 << 4;
    }
}

/// The traffic class, which lies across the first two bytes.
fn traffic_class(bytes: &[u8]) -> u8 {
    bytes[0] << 4 | bytes[1] >> 4
}

/// Follows extension headers from `offset` on.
fn walk(whole: &[u8], mut next: u8, mut offset: usize) -> Walk {
    // Where the number of the next header stands, for error messages.
    let mut pointer = 6;
    for count in 0..MAX_HEADERS {
        match next {
            protocol::HOP_BY_HOP if count > 0 => return Walk::Problem(1, pointer),
            protocol::HOP_BY_HOP | protocol::DEST_OPTIONS | protocol::ROUTING => {
                let (Some(following), Some(units)) = (whole.get(offset), whole.get(offset + 1)) else {
                    return Walk::Drop;
                };
                let len = (usize::from(*units) + 1) * 8;
                let Some(body) = whole.get(offset + 2..offset + len) else { return Walk::Drop };
                if next == protocol::ROUTING {
                    // Nothing is routed here: with segments left there is nothing that we could do.
                    if body.get(1).is_some_and(|left| *left != 0) {
                        return Walk::Problem(0, offset + 2);
                    }
                } else if let Err(problem) = check_options(body, offset + 2) {
                    return problem;
                }
                pointer = offset;
                next = *following;
                offset += len;
            }
            protocol::FRAGMENT => return Walk::Fragment(offset, pointer),
            _ => return Walk::Transport(next, offset),
        }
    }
    Walk::Drop
}

/// RFC 8200 section 4.2: what unknown options demand.
fn check_options(body: &[u8], base: usize) -> Result<(), Walk> {
    let mut at = 0;
    while let Some(kind) = body.get(at) {
        if *kind == 0 {
            at += 1;
            continue;
        }
        let Some(len) = body.get(at + 1) else { return Err(Walk::Drop) };
        let is_known = matches!(kind, 1 | 5);
        match kind >> 6 {
            _ if is_known => {}
            0 => {}
            1 => return Err(Walk::Drop),
            _ => return Err(Walk::Problem(2, base + at)),
        }
        at += 2 + usize::from(*len);
    }
    if at == body.len() { Ok(()) } else { Err(Walk::Drop) }
}

/// Whether `to` is the solicited-node group of an address of `nic`, tentative ones included.
fn is_solicited_node_of(nic: &Nic, to: Ipv6Addr) -> bool {
    nic.with_addrs(|addrs| {
        addrs.iter().any(|addr| matches!(addr.ip(), IpAddr::V6(ip) if super::ndp::solicited_node(ip) == to))
    })
}
