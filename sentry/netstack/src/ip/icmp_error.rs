//! ICMP errors that this host sends, limited in rate (RFC 1122 section 3.2.2, RFC 4443 section 2.4).

use super::fragment::Expired;
use super::icmp::{judge_v4, judge_v6, quoted};
use super::output::HEADROOM;
use super::packet::{Aim, Cast, Packet, protocol, put32};
use crate::base::time::Instant;
use crate::core::Core;
use crate::link::device::{RxMeta, TxFrame};
use std::net::{IpAddr, Ipv4Addr};

/// Longest message over IPv4: what every host can take, less the IP header.
const MAX_V4: usize = 576 - 20;
/// Longest message over IPv6.
const MAX_V6: usize = 1280 - 40;
/// Messages that may be sent at once (`icmp_msgs_burst`).
const BURST: u32 = 50;

/// A token bucket.
#[derive(Debug)]
pub(crate) struct RateLimit {
    tokens: u32,
    filled: Instant,
}

impl RateLimit {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { tokens: BURST, filled: now }
    }

    fn take(&mut self, per_second: u32, now: Instant) -> bool {
        let passed = now.since(self.filled);
        let fresh = passed.as_millis().saturating_mul(per_second.into()) / 1000;
        if fresh > 0 {
            self.tokens = self.tokens.saturating_add(u32::try_from(fresh).unwrap_or(u32::MAX)).min(BURST);
            self.filled = now;
        }
        if self.tokens == 0 {
            return false;
        }
        self.tokens -= 1;
        true
    }
}

impl Core {
    /// Nobody has the port that a datagram went to.
    pub(super) fn port_unreachable(&self, packet: &Packet<'_>) {
        let (kind, code) = if packet.to.is_ipv4() { (3, 3) } else { (1, 4) };
        self.send_error(packet, kind, code, 0);
    }

    /// A rule refuses a packet.
    pub(crate) fn refuse_by_icmp(&self, packet: &Packet<'_>, code: u8) {
        self.send_error(packet, if packet.to.is_ipv4() { 3 } else { 1 }, code, 0);
    }

    /// A packet for another has no hops left.
    pub(super) fn hops_exceeded(&self, packet: &Packet<'_>) {
        self.send_error(packet, if packet.to.is_ipv4() { 11 } else { 3 }, 0, 0);
    }

    /// A packet for another does not fit its link.
    pub(super) fn too_big(&self, packet: &Packet<'_>, mtu: u32) {
        let (kind, code) = if packet.to.is_ipv4() { (3, 4) } else { (2, 0) };
        self.send_error(packet, kind, code, mtu);
    }

    /// A packet for another has a shorter way.
    pub(super) fn send_redirect(&self, packet: &Packet<'_>, next_hop: Ipv4Addr) {
        self.send_error(packet, 5, 1, next_hop.to_bits());
    }

    /// Nobody speaks a protocol.
    pub(super) fn unknown_protocol(&self, packet: &Packet<'_>) {
        if packet.to.is_ipv4() {
            self.send_error(packet, 3, 2, 0);
        } else {
            // The field that named it: in the fixed header, if there are no others.
            self.send_error(packet, 4, 1, 6);
        }
    }

    /// A header of an IPv6 packet cannot be processed.
    pub(super) fn parameter_problem(&self, packet: &Packet<'_>, code: u8, pointer: usize) {
        // Code 2 is sent for multicast too (RFC 4443 2.4 e).
        if packet.cast == Cast::Unicast || code == 2 {
            self.send_error(packet, 4, code, pointer as u32);
        }
    }

    /// Fragments of a packet did not all come.
    pub(super) fn reassembly_timed_out(&self, expired: &Expired) {
        let Some(first) = &expired.first else { return };
        let Some((from, to, protocol, payload)) = quoted(first, expired.key.to.is_ipv4()) else { return };
        let Some(nic) = self.nic(expired.key.interface) else { return };
        let packet = Packet {
            nic: &nic,
            from,
            to,
            protocol,
            ttl: 0,
            tos: 0,
            cast: if expired.key.to.is_multicast() { Cast::Multicast } else { Cast::Unicast },
            aim: Aim::Local,
            is_reassembled: false,
            whole: first,
            header_len: first.len() - payload.len(),
            meta: RxMeta::default(),
        };
        self.send_error(&packet, if expired.key.to.is_ipv4() { 11 } else { 3 }, 1, 0);
    }

    fn send_error(&self, packet: &Packet<'_>, kind: u8, code: u8, info: u32) {
        let is_v4 = packet.to.is_ipv4();
        let is_problem = !is_v4 && kind == 4 && code == 2;
        let may_answer = match packet.from {
            IpAddr::V4(from) => !from.is_unspecified() && !from.is_multicast() && !from.is_broadcast(),
            IpAddr::V6(from) => !from.is_unspecified() && !from.is_multicast(),
        };
        if !may_answer || packet.cast != Cast::Unicast && !is_problem || is_icmp_error(packet) {
            return;
        }
        let config = self.config();
        if !self.icmp_limit.lock().take(config.icmp_msgs_per_sec, self.now()) {
            self.counters.icmp.out_rate_limit_global.inc();
            return;
        }
        let max = if is_v4 { MAX_V4 } else { MAX_V6 };
        let quoted = &packet.whole[..packet.whole.len().min(max - 8)];
        let mut data = vec![0; HEADROOM];
        data.extend_from_slice(&[kind, code, 0, 0]);
        data.extend_from_slice(&info.to_be_bytes());
        data.extend_from_slice(quoted);
        if is_v4 {
            self.counters.icmp.out_msgs.inc();
            match kind {
                3 => self.counters.icmp.out_dest_unreachs.inc(),
                5 => self.counters.icmp.out_redirects.inc(),
                11 => self.counters.icmp.out_time_excds.inc(),
                _ => self.counters.icmp.out_parm_probs.inc(),
            }
        } else {
            put32(&mut data, HEADROOM + 4, info);
            self.counters.icmp6.out_msgs.inc();
            match kind {
                1 => self.counters.icmp6.out_dest_unreachs.inc(),
                2 => self.counters.icmp6.out_pkt_too_bigs.inc(),
                3 => self.counters.icmp6.out_time_excds.inc(),
                _ => self.counters.icmp6.out_parm_problems.inc(),
            }
        }
        self.send_icmp(packet, data, if is_v4 { protocol::ICMP } else { protocol::ICMPV6 });
    }

    /// A neighbour does not answer. Senders of the packets that waited for it hear what the host itself would answer to
    /// them: host unreachable, address unreachable.
    pub(super) fn neighbour_failed(&self, interface: u32, next_hop: IpAddr, frames: &[TxFrame]) {
        for frame in frames {
            let Some(ip) = frame.bytes().get(super::output::ETHERNET..) else { continue };
            let is_v4 = next_hop.is_ipv4();
            let Some(sent) = quoted(ip, is_v4) else { continue };
            let verdict = if is_v4 { judge_v4(3, 1, 0, sent.0) } else { judge_v6(1, 3, 0, sent.0) };
            if let Some(verdict) = verdict {
                self.report(&verdict, sent, interface);
            }
        }
    }
}

/// Whether the packet is itself an ICMP error, which is never answered by another.
fn is_icmp_error(packet: &Packet<'_>) -> bool {
    let kind = packet.payload().first().copied();
    match packet.protocol {
        protocol::ICMP => !matches!(kind, Some(0 | 8 | 13..=18)),
        protocol::ICMPV6 => kind.is_none_or(|kind| kind < 128),
        _ => false,
    }
}
