//! Frames that arrive: link header, then by protocol; and packets that this host sent to itself.

use super::forward::Transit;
use super::output::ETHERNET;
use super::packet::{Aim, Cast, Packet, get16, protocol};
use crate::base::addr::Family;
use crate::core::Core;
use crate::link::device::{RxMeta, TxFrame};
use crate::link::inbox::InFlight;
use crate::link::nic::{Mac, Nic, NicKind};
use crate::link::offload;
use crate::netfilter::Hook;
use smoltcp::wire::EthernetFrame;
use std::net::IpAddr;
use std::sync::Arc;

/// Packets that one call takes from the loopback queue at most; what they cause comes after others.
const LOOPBACK_BATCH: usize = 4096;

impl Core {
    /// A frame arrives from a device.
    pub(crate) fn receive(&self, nic: &Arc<Nic>, frame: &[u8], meta: RxMeta) {
        if !nic.is_up() {
            return;
        }
        if nic.port().is_some() {
            let meta = offload::to_send(frame, ETHERNET, &meta);
            self.receive_frame(nic, TxFrame::new(frame.to_vec(), meta));
        } else {
            self.note_arrival(nic, frame);
            self.link_input(nic, frame, meta);
        }
        self.run_backlog();
    }

    /// A frame arrives from a link within the sandbox, or at a port of a bridge.
    pub(crate) fn receive_frame(&self, nic: &Arc<Nic>, frame: TxFrame) {
        if !nic.is_up() {
            return;
        }
        self.note_arrival(nic, frame.bytes());
        let Some(port) = nic.port() else {
            return self.link_input(nic, frame.bytes(), RxMeta::of_sent(&frame.meta));
        };
        if let Some((own, cast, frame)) = self.bridge_input(&port, frame) {
            self.note_arrival(&own, frame.bytes());
            self.ethernet_input(&own, frame.bytes(), RxMeta::of_sent(&frame.meta), Some(cast));
        }
    }

    /// Counts a frame that arrives, and shows it to packet sockets.
    fn note_arrival(&self, nic: &Nic, frame: &[u8]) {
        nic.stats.rx_packets.inc();
        nic.stats.rx_bytes.add(frame.len() as u64);
        self.tap(nic, frame, false);
    }

    fn link_input(&self, nic: &Arc<Nic>, frame: &[u8], meta: RxMeta) {
        match nic.kind {
            NicKind::Ethernet => self.ethernet_input(nic, frame, meta, None),
            NicKind::Ip => self.wire_input(nic, frame, meta, Cast::Unicast),
            NicKind::Loopback => self.ip_input(nic, frame, meta, Cast::Unicast),
        }
    }

    /// Takes off the Ethernet header. A bridge has found out to whom the frame goes; else it is `nic` that has to be meant.
    fn ethernet_input(&self, nic: &Arc<Nic>, frame: &[u8], meta: RxMeta, found: Option<Cast>) {
        let Ok(ethernet) = EthernetFrame::new_checked(frame) else { return nic.stats.rx_errors.inc() };
        let cast = match Mac(ethernet.dst_addr().0) {
            Mac::BROADCAST => Cast::Broadcast,
            to if to.is_group() => {
                nic.stats.rx_multicast.inc();
                Cast::Multicast
            }
            to if to == nic.mac() || found == Some(Cast::Unicast) => Cast::Unicast,
            // For another station.
            _ => return,
        };
        let payload = ethernet.payload();
        match u16::from(ethernet.ethertype()) {
            0x0800 | 0x86dd => self.wire_input(nic, payload, meta, cast),
            0x0806 => self.arp_input(nic, payload),
            _ => nic.stats.rx_dropped.inc(),
        }
    }

    /// A packet from a wire. What we send to ourselves does not come from there: a source that is an address of ours is
    /// a forgery, or our own packet thrown back. NDP does hear of such: that is how duplicates are found.
    fn wire_input(&self, nic: &Arc<Nic>, packet: &[u8], meta: RxMeta, cast: Cast) {
        match source_of(packet) {
            Some(IpAddr::V4(from)) if self.is_local(from.into()) => self.counters.ip.in_addr_errors.inc(),
            Some(IpAddr::V6(from))
                if self.is_local(from.into()) && packet.get(6) != Some(&protocol::ICMPV6) =>
            {
                self.counters.ip6.in_addr_errors.inc();
            }
            _ => self.ip_input(nic, packet, meta, cast),
        }
    }

    fn ip_input(&self, nic: &Arc<Nic>, packet: &[u8], meta: RxMeta, cast: Cast) {
        match packet.first().map(|byte| byte >> 4) {
            Some(4) => self.ipv4_input(nic, packet, meta, cast),
            Some(6) if nic.has_ipv6() => self.ipv6_input(nic, packet, meta, cast),
            _ => nic.stats.rx_errors.inc(),
        }
    }

    /// Receives what this host sent to itself, and what is on its way over links within the sandbox. Called with no lock
    /// held.
    pub(crate) fn run_backlog(&self) {
        self.run_loopback();
        self.run_links();
    }

    /// Receives what this host sent to itself.
    pub(crate) fn run_loopback(&self) {
        self.drain_backlog();
        let wakes = std::mem::take(&mut *self.tap_wakes.lock());
        for tap in wakes {
            tap.notify();
        }
    }

    fn drain_backlog(&self) {
        for _ in 0..LOOPBACK_BATCH {
            let Some(InFlight { nic, frame, .. }) = self.backlog.lock().pop_front() else { return };
            if !nic.is_up() {
                continue;
            }
            self.note_arrival(&nic, frame.bytes());
            self.ip_input(&nic, frame.bytes(), RxMeta::of_sent(&frame.meta), Cast::Unicast);
        }
    }

    /// A packet has arrived, for this host or another. Packet filters may stop or change it.
    pub(crate) fn deliver(&self, packet: &Packet<'_>) {
        let family = Family::of(packet.to);
        match packet.aim {
            _ if self.netfilter.sees(family, Hook::ARRIVING) => self.filter_arriving(packet),
            Aim::Elsewhere => self.forward(packet, Transit::of(packet)),
            Aim::Local | Aim::Nobody => self.deliver_up(packet),
        }
    }

    /// A packet for this host.
    pub(crate) fn deliver_up(&self, packet: &Packet<'_>) {
        match packet.to {
            IpAddr::V4(_) => self.counters.ip.in_delivers.inc(),
            IpAddr::V6(_) => self.counters.ip6.in_delivers.inc(),
        }
        let raw_took = self.raw_input(packet);
        match (packet.protocol, packet.to.is_ipv4()) {
            (protocol::TCP, _) => self.tcp_input(packet),
            (protocol::UDP, _) => self.udp_input(packet),
            (protocol::ICMP, true) => self.icmp_input(packet),
            (protocol::ICMPV6, false) => self.icmp6_input(packet),
            (protocol::IGMP, true) => self.igmp_input(packet),
            (protocol::NO_NEXT, false) => {}
            _ if raw_took => {}
            _ => {
                self.count_unknown(packet);
                self.unknown_protocol(packet);
            }
        }
    }

    fn count_unknown(&self, packet: &Packet<'_>) {
        if packet.to.is_ipv4() {
            self.counters.ip.in_unknown_protos.inc();
        } else {
            self.counters.ip6.in_unknown_protos.inc();
        }
    }

    /// A UDP datagram arrives.
    fn udp_input(&self, packet: &Packet<'_>) {
        use crate::base::addr::{Endpoint, to_user};
        let segment = packet.payload();
        let family = Family::of(packet.to);
        let counters = self.counters.udp_of(family);
        let (Some(from_port), Some(to_port), Some(len), Some(sum)) =
            (get16(segment, 0), get16(segment, 2), get16(segment, 4), get16(segment, 6))
        else {
            return counters.in_errors.inc();
        };
        let Some(segment) = segment.get(..usize::from(len)).filter(|s| s.len() >= 8) else {
            return counters.in_errors.inc();
        };
        let unchecked = sum == 0 && family == Family::V4;
        let valid = packet.meta.checksum_ok
            || unchecked
            || sum != 0 && super::checksum::verify(packet.from, packet.to, protocol::UDP, segment);
        if !valid {
            counters.in_csum_errors.inc();
            return counters.in_errors.inc();
        }
        let to = Endpoint::new(packet.to, to_port);
        let from = Endpoint::new(packet.from, from_port);
        let arrival = crate::socket::ports::Arrival { to, from, device: packet.nic.index };
        let info = crate::socket::message::PacketInfo {
            to: Some(to_user(family, to, packet.nic.index)),
            ..packet.info(self.clock.wall_ns())
        };
        let datagram = crate::socket::queue::Datagram { from, info, data: segment[8..].to_vec(), skip: 0 };
        let refused = self.udp_deliver(&arrival, packet.cast, datagram).is_some();
        if refused && packet.cast == Cast::Unicast {
            self.port_unreachable(packet);
        }
    }
}

/// The source address of an IP packet, which is not yet checked for anything else.
fn source_of(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => packet.get(12..)?.first_chunk::<4>().map(|ip| IpAddr::from(*ip)),
        6 => packet.get(8..)?.first_chunk::<16>().map(|ip| IpAddr::from(*ip)),
        _ => None,
    }
}
