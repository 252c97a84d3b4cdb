//! ICMP and ICMPv6 messages that arrive (RFC 792, RFC 1122, RFC 4443).

use super::checksum;
use super::output::{Checksum, HEADROOM, IpHeader};
use super::packet::{Aim, Cast, Packet, get16, get32, protocol, put16};
use crate::base::addr::{Endpoint, Family};
use crate::base::error::Error;
use crate::core::{Core, Via};
use crate::link::device::TxMeta;
use crate::socket::message::{ErrorOrigin, ExtendedError};
use std::net::IpAddr;

/// What an ICMP error says, in terms of errors of sockets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) error: ExtendedError,
    /// It ends connections that are being made, and is reported to connected datagram sockets without being asked.
    pub(crate) is_hard: bool,
}

impl Core {
    pub(super) fn icmp_input(&self, packet: &Packet<'_>) {
        let counters = &self.counters.icmp;
        counters.in_msgs.inc();
        let message = packet.payload();
        if !packet.meta.checksum_ok && checksum::sum(message) != 0xffff {
            counters.in_csum_errors.inc();
            return counters.in_errors.inc();
        }
        let (Some(kind), Some(code)) = (message.first(), message.get(1)) else {
            return counters.in_errors.inc();
        };
        match kind {
            8 => {
                counters.in_echos.inc();
                let config = self.config();
                let quiet = config.icmp_echo_ignore_all
                    || packet.cast != Cast::Unicast && config.icmp_echo_ignore_broadcasts;
                if !quiet {
                    counters.out_echo_reps.inc();
                    counters.out_msgs.inc();
                    self.answer(packet, message, 0, protocol::ICMP);
                }
            }
            0 => {
                counters.in_echo_reps.inc();
                self.echo_reply(packet);
            }
            13 if packet.cast == Cast::Unicast && message.len() >= 20 => {
                counters.in_timestamps.inc();
                counters.out_timestamp_reps.inc();
                counters.out_msgs.inc();
                self.answer_timestamp(packet, message);
            }
            3 | 11 | 12 => {
                match kind {
                    3 => counters.in_dest_unreachs.inc(),
                    11 => counters.in_time_excds.inc(),
                    _ => counters.in_parm_probs.inc(),
                }
                self.icmp_error_input(packet, *kind, *code, message);
            }
            4 => counters.in_src_quenchs.inc(),
            5 => counters.in_redirects.inc(),
            14 => counters.in_timestamp_reps.inc(),
            17 => counters.in_addr_masks.inc(),
            18 => counters.in_addr_mask_reps.inc(),
            _ => counters.in_errors.inc(),
        }
    }

    pub(super) fn icmp6_input(&self, packet: &Packet<'_>) {
        let counters = &self.counters.icmp6;
        counters.in_msgs.inc();
        let message = packet.payload();
        let valid =
            packet.meta.checksum_ok || checksum::verify(packet.from, packet.to, protocol::ICMPV6, message);
        if !valid {
            counters.in_csum_errors.inc();
            return counters.in_errors.inc();
        }
        let (Some(kind), Some(code)) = (message.first(), message.get(1)) else {
            return counters.in_errors.inc();
        };
        match kind {
            128 => {
                counters.in_echos.inc();
                if !self.config().icmp_echo_ignore_all {
                    counters.out_echo_replies.inc();
                    counters.out_msgs.inc();
                    self.answer(packet, message, 129, protocol::ICMPV6);
                }
            }
            129 => {
                counters.in_echo_replies.inc();
                self.echo_reply(packet);
            }
            1..=4 => {
                match kind {
                    1 => counters.in_dest_unreachs.inc(),
                    2 => counters.in_pkt_too_bigs.inc(),
                    3 => counters.in_time_excds.inc(),
                    _ => counters.in_parm_problems.inc(),
                }
                self.icmp_error_input(packet, *kind, *code, message);
            }
            133..=137 => self.ndp_input(packet, message),
            130..=132 | 143 => self.mld_input(packet, message),
            _ => {}
        }
    }

    /// Sends an echo request back as a reply.
    fn answer(&self, packet: &Packet<'_>, message: &[u8], kind: u8, protocol: u8) {
        let mut data = vec![0; HEADROOM];
        data.extend_from_slice(message);
        data[HEADROOM] = kind;
        self.send_icmp(packet, data, protocol);
    }

    fn answer_timestamp(&self, packet: &Packet<'_>, message: &[u8]) {
        let since_midnight = (self.clock.wall_ns() / 1_000_000 % 86_400_000) as u32;
        let mut data = vec![0; HEADROOM];
        data.extend_from_slice(&message[..20]);
        data[HEADROOM] = 14;
        super::packet::put32(&mut data, HEADROOM + 12, since_midnight);
        super::packet::put32(&mut data, HEADROOM + 16, since_midnight);
        self.send_icmp(packet, data, protocol::ICMP);
    }

    /// Sends an ICMP message to the sender of `packet`; its checksum is filled in here.
    pub(super) fn send_icmp(&self, packet: &Packet<'_>, mut data: Vec<u8>, protocol: u8) {
        // About a packet for others, it comes from whatever leads to the sender.
        let own = Some(packet.to).filter(|_| packet.cast == Cast::Unicast && packet.aim == Aim::Local);
        let device = if crate::base::addr::is_link_local(packet.from) { packet.nic.index } else { 0 };
        let Ok(path) = self.path(packet.from, &Via { source: own, device, on_link_only: false }) else {
            return;
        };
        put16(&mut data, HEADROOM + 2, 0);
        let config = self.config();
        let is_v4 = protocol == protocol::ICMP;
        let checksum = if is_v4 {
            let sum = !checksum::sum(&data[HEADROOM..]);
            put16(&mut data, HEADROOM + 2, sum);
            None
        } else {
            Some(Checksum { offset: 2 })
        };
        let header = IpHeader {
            from: path.source,
            to: packet.from,
            path: &path,
            protocol,
            ttl: if is_v4 { config.ip_default_ttl } else { config.ipv6_hop_limit },
            tos: packet.tos & !3,
            dont_fragment: false,
            may_fragment: true,
            options: &[],
            sender: None,
        };
        if self.ip_send(&header, data, checksum, TxMeta::default()).is_err() {
            self.counters.icmp.out_errors.inc();
        }
    }

    /// An ICMP error arrives: the packet that it quotes tells whom it concerns.
    fn icmp_error_input(&self, packet: &Packet<'_>, kind: u8, code: u8, message: &[u8]) {
        let Some(quoted) = message.get(8..) else { return };
        let is_v4 = packet.to.is_ipv4();
        let Some(sent) = self::quoted(quoted, is_v4) else {
            return self.counters.icmp.in_errors.inc();
        };
        // What we did not send cannot have failed.
        if !self.is_local(sent.0) {
            return;
        }
        let info = get32(message, 4).unwrap_or(0);
        let verdict = if is_v4 {
            judge_v4(kind, code, info, packet.from)
        } else {
            judge_v6(kind, code, info, packet.from)
        };
        if let Some(verdict) = verdict {
            self.report(&verdict, sent, packet.nic.index);
        }
    }

    /// Tells whoever sent a packet by way of an interface what has become of it.
    pub(super) fn report(&self, verdict: &Verdict, (from, to, protocol, segment): Quoted<'_>, device: u32) {
        let (Some(own_port), Some(port)) = (get16(segment, 0), get16(segment, 2)) else { return };
        let (own, remote) = (Endpoint::new(from, own_port), Endpoint::new(to, port));
        let is_too_big = verdict.error.error == Error::MessageSize;
        self.raw_error(to, protocol, segment, verdict);
        match protocol {
            protocol::TCP => {
                let Some(seq) = get32(segment, 4) else { return };
                self.tcp_error(crate::core::Tuple { local: own, remote }, seq, verdict);
            }
            protocol::UDP => {
                if is_too_big && self.has_udp(own, remote, device) {
                    self.learn_pmtu(to, verdict.error.info, segment.len());
                }
                let data = segment.get(8..).unwrap_or(&[]);
                self.udp_error(own, remote, device, verdict.error, verdict.is_hard, data);
            }
            protocol::ICMP | protocol::ICMPV6 => {
                if is_too_big {
                    self.learn_pmtu(to, verdict.error.info, segment.len());
                }
                self.ping_error(to, segment, verdict);
            }
            _ => {}
        }
    }

    fn has_udp(&self, local: Endpoint, remote: Endpoint, device: u32) -> bool {
        let arrival = crate::socket::ports::Arrival { to: local, from: remote, device };
        self.udp_ports.lookup(&arrival, crate::socket::ports::Wanted::All).is_some()
    }

    /// Notes a path MTU that an ICMP message told; true where it is smaller than what was known.
    pub(crate) fn learn_pmtu(&self, to: IpAddr, mtu: u32, _quoted_len: usize) -> bool {
        // Routers before RFC 1191 tell none: then the next lower plateau that every path carries.
        let mtu = if mtu == 0 { super::pmtu::MIN_V4 } else { mtu };
        self.pmtu.lock().lower(to, mtu, self.now())
    }
}

/// A packet of ours that an error is about: source, destination, protocol, and what follows the IP headers.
pub(crate) type Quoted<'a> = (IpAddr, IpAddr, u8, &'a [u8]);

/// Takes apart a packet of ours: addresses, protocol, transport segment.
pub(crate) fn quoted(packet: &[u8], is_v4: bool) -> Option<Quoted<'_>> {
    if is_v4 { quoted_v4(packet) } else { quoted_v6(packet) }
}

fn quoted_v4(quoted: &[u8]) -> Option<Quoted<'_>> {
    let first = *quoted.first()?;
    let header_len = usize::from(first & 0xf) * 4;
    // Only a first fragment has ports.
    if first >> 4 != 4 || header_len < 20 || get16(quoted, 6)? & 0x1fff != 0 {
        return None;
    }
    let ip = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(quoted.get(at..at + 4)?).ok()?));
    Some((ip(12)?, ip(16)?, *quoted.get(9)?, quoted.get(header_len..)?))
}

fn quoted_v6(quoted: &[u8]) -> Option<Quoted<'_>> {
    if quoted.first()? >> 4 != 6 {
        return None;
    }
    let ip = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(quoted.get(at..at + 16)?).ok()?));
    let mut next = *quoted.get(6)?;
    let mut at = 40;
    for _ in 0..4 {
        match next {
            protocol::HOP_BY_HOP | protocol::DEST_OPTIONS | protocol::ROUTING => {
                next = *quoted.get(at)?;
                at += (usize::from(*quoted.get(at + 1)?) + 1) * 8;
            }
            protocol::FRAGMENT => {
                if get16(quoted, at + 2)? & !7 != 0 {
                    return None;
                }
                next = *quoted.get(at)?;
                at += 8;
            }
            _ => break,
        }
    }
    Some((ip(8)?, ip(24)?, next, quoted.get(at..)?))
}

/// Linux's `icmp_err_convert`.
pub(super) fn judge_v4(kind: u8, code: u8, info: u32, offender: IpAddr) -> Option<Verdict> {
    let (error, is_hard) = match (kind, code) {
        (3, 0 | 6 | 11) => (Error::NetUnreachable, code == 6),
        (3, 1 | 12) => (Error::HostUnreachable, false),
        (3, 2) => (Error::NoProtocolOption, true),
        (3, 3) => (Error::ConnRefused, true),
        (3, 4) => (Error::MessageSize, false),
        (3, 5) => (Error::NotSupported, false),
        (3, 7) => (Error::HostDown, true),
        (3, 9 | 10 | 13 | 14 | 15) => (Error::HostUnreachable, true),
        (11, _) => (Error::HostUnreachable, false),
        (12, _) => (Error::Protocol, true),
        _ => return None,
    };
    let info = if (kind, code) == (3, 4) { info & 0xffff } else { 0 };
    let offender = Some(offender);
    let error = ExtendedError { error, origin: ErrorOrigin::Icmp, kind, code, info, offender };
    Some(Verdict { error, is_hard })
}

/// Linux's `icmpv6_err_convert`.
pub(super) fn judge_v6(kind: u8, code: u8, info: u32, offender: IpAddr) -> Option<Verdict> {
    let (error, is_hard) = match (kind, code) {
        (1, 0) => (Error::NetUnreachable, false),
        (1, 1 | 5 | 6) => (Error::Access, true),
        (1, 4) => (Error::ConnRefused, true),
        (1, _) => (Error::HostUnreachable, false),
        (2, _) => (Error::MessageSize, false),
        (3, _) => (Error::HostUnreachable, false),
        (4, _) => (Error::Protocol, true),
        _ => return None,
    };
    let info = if kind == 2 { info } else { 0 };
    let offender = Some(offender);
    let error = ExtendedError { error, origin: ErrorOrigin::Icmp6, kind, code, info, offender };
    Some(Verdict { error, is_hard })
}

/// The family's ICMP protocol number.
pub(crate) const fn icmp_of(family: Family) -> u8 {
    match family {
        Family::V4 => protocol::ICMP,
        Family::V6 => protocol::ICMPV6,
    }
}
