//! The matches.

use super::super::conntrack::{Direction, Status, Tracked};
use super::super::expr::Limit;
use super::super::fields::{self, address_kind_of, octets};
use super::super::passing::Passing;
use super::{Fields, check};
use crate::base::error::{Error, Result};
use crate::core::Core;
use crate::ip::packet::protocol;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Name, revision, size of the structure.
pub(super) const KNOWN: &[(&str, u32, usize)] = &[
    ("addrtype", 0, 12),
    ("addrtype", 1, 8),
    ("comment", 0, 256),
    ("connmark", 1, 12),
    ("conntrack", 1, 152),
    ("conntrack", 2, 156),
    ("conntrack", 3, 164),
    ("hl", 0, 2),
    ("icmp", 0, 4),
    ("icmp6", 0, 4),
    ("iprange", 1, 68),
    ("length", 0, 6),
    ("limit", 0, 40),
    ("mark", 1, 12),
    ("multiport", 0, 32),
    ("multiport", 1, 48),
    ("owner", 1, 20),
    ("pkttype", 0, 8),
    ("state", 0, 4),
    ("statistic", 0, 24),
    ("tcp", 0, 12),
    ("ttl", 0, 2),
    ("udp", 0, 10),
];

/// A range of ports, and whether it is to be outside of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    low: u16,
    high: u16,
    is_inverted: bool,
}

impl Ports {
    fn hold(self, port: u16) -> bool {
        (self.low..=self.high).contains(&port) != self.is_inverted
    }
}

/// What `xt_conntrack_mtinfo` asks for.
#[derive(Clone, Debug)]
pub(super) struct Conntrack {
    flags: u16,
    inverted: u16,
    states: u16,
    statuses: u16,
    /// Address and mask of the original's and the reply's source and destination.
    addrs: [([u8; 16], [u8; 16]); 4],
    protocol: u16,
    ports: [(u16, u16); 4],
    expires: (u32, u32),
}

#[derive(Clone, Debug)]
pub(super) enum Condition {
    AddrType {
        source: u16,
        destination: u16,
        inverts: (bool, bool),
        on_input: bool,
        on_output: bool,
    },
    Comment,
    ConnMark((u32, u32, bool)),
    Conntrack(Box<Conntrack>),
    /// The TTL or hop limit by an operator, `IPT_TTL_*`.
    Ttl(u8, u8),
    Icmp {
        protocol: u8,
        kind: u8,
        codes: (u8, u8),
        is_inverted: bool,
    },
    IpRange {
        low: [[u8; 16]; 2],
        high: [[u8; 16]; 2],
        flags: u8,
    },
    Length(u16, u16, bool),
    Limit(Arc<Limit>),
    Mark((u32, u32, bool)),
    Multiport {
        flags: u8,
        ports: Vec<(u16, u16)>,
        is_inverted: bool,
    },
    Owner {
        uid: (u32, u32),
        gid: (u32, u32),
        asked: u8,
        inverted: u8,
    },
    PacketType(u32, bool),
    State(u32),
    /// Every so many packets, and where it stands.
    Nth {
        every: u32,
        at: Arc<AtomicU32>,
        is_inverted: bool,
    },
    /// Chance of 2^31.
    Random(u32, bool),
    Tcp {
        from: Ports,
        to: Ports,
        option: (u8, bool),
        flags: (u8, u8, bool),
    },
    Udp {
        from: Ports,
        to: Ports,
    },
}

pub(super) fn parse(name: &str, revision: u32, info: &[u8]) -> Result<Condition> {
    check(KNOWN, name, revision, info)?;
    let f = Fields(info);
    let mark = || (f.word(0), f.word(4), f.byte(8) != 0);
    Ok(match name {
        "addrtype" => address_types(f, revision),
        "comment" => Condition::Comment,
        "connmark" => Condition::ConnMark(mark()),
        "conntrack" => Condition::Conntrack(Box::new(conntrack(f, revision))),
        "hl" | "ttl" => Condition::Ttl(f.byte(0), f.byte(1)),
        "icmp" | "icmp6" => Condition::Icmp {
            protocol: if name == "icmp" { protocol::ICMP } else { protocol::ICMPV6 },
            kind: f.byte(0),
            codes: (f.byte(1), f.byte(2)),
            is_inverted: f.byte(3) & 1 != 0,
        },
        "iprange" => Condition::IpRange {
            low: [f.address(0), f.address(32)],
            high: [f.address(16), f.address(48)],
            flags: f.byte(64),
        },
        "length" => Condition::Length(f.half(0), f.half(2), f.byte(4) != 0),
        "limit" => limit(f)?,
        "mark" => Condition::Mark(mark()),
        "multiport" => multiport(f, revision)?,
        "owner" => Condition::Owner {
            uid: (f.word(0), f.word(4)),
            gid: (f.word(8), f.word(12)),
            asked: f.byte(16),
            inverted: f.byte(17),
        },
        "pkttype" => Condition::PacketType(f.word(0), f.word(4) != 0),
        "state" => Condition::State(f.word(0)),
        "statistic" => statistic(f)?,
        "tcp" | "udp" => ports(f, name == "tcp"),
        _ => return Err(Error::NoEntry),
    })
}

fn address_types(f: Fields<'_>, revision: u32) -> Condition {
    let (source, destination) = (f.half(0), f.half(2));
    if revision == 0 {
        let inverts = (f.word(4) != 0, f.word(8) != 0);
        return Condition::AddrType { source, destination, inverts, on_input: false, on_output: false };
    }
    let flags = f.word(4);
    Condition::AddrType {
        source,
        destination,
        inverts: (flags & 1 != 0, flags & 2 != 0),
        on_input: flags & 4 != 0,
        on_output: flags & 8 != 0,
    }
}

fn conntrack(f: Fields<'_>, revision: u32) -> Conntrack {
    let addrs = std::array::from_fn(|n| (f.address(n * 32), f.address(n * 32 + 16)));
    // Revision 1 has masks of a byte, revision 3 ends of the ranges of ports, in host order.
    let (states, statuses) = match revision {
        1 => (f.byte(150).into(), f.byte(151).into()),
        _ => (f.half(150), f.half(152)),
    };
    let ports = std::array::from_fn(|n| {
        if revision == 3 {
            (f.half(138 + n * 2), f.half(154 + n * 2))
        } else {
            (f.net_half(138 + n * 2), f.net_half(138 + n * 2))
        }
    });
    Conntrack {
        flags: f.half(146),
        inverted: f.half(148),
        states,
        statuses,
        addrs,
        protocol: f.half(136),
        ports,
        expires: (f.word(128), f.word(132)),
    }
}

/// `xt_rateinfo`: the average in ten-thousandths of a second.
fn limit(f: Fields<'_>) -> Result<Condition> {
    let (average, burst) = (f.word(0), f.word(4));
    if average == 0 || burst == 0 {
        return Err(Error::Invalid);
    }
    // One packet in so many ten-thousandths is ten thousand in so many seconds.
    Ok(Condition::Limit(Limit::new(10_000, average.into(), burst, false, false)))
}

fn multiport(f: Fields<'_>, revision: u32) -> Result<Condition> {
    let count = usize::from(f.byte(1));
    if count > 15 || f.byte(0) > 2 {
        return Err(Error::Invalid);
    }
    let mut ports = Vec::new();
    let mut at = 0;
    while at < count {
        let low = f.half(2 + at * 2);
        // In revision 1 a flag says that the next one is the end of a range.
        let is_range = revision == 1 && f.byte(32 + at) != 0;
        let high = if is_range { f.half(4 + at * 2) } else { low };
        ports.push((low, high));
        at += if is_range { 2 } else { 1 };
    }
    Ok(Condition::Multiport { flags: f.byte(0), ports, is_inverted: revision == 1 && f.byte(47) != 0 })
}

fn statistic(f: Fields<'_>) -> Result<Condition> {
    let is_inverted = f.half(2) & 1 != 0;
    match f.half(0) {
        0 => Ok(Condition::Random(f.word(4), is_inverted)),
        1 => {
            let every = f.word(4).saturating_add(1);
            let first = f.word(8);
            if first >= every {
                return Err(Error::Invalid);
            }
            Ok(Condition::Nth { every, at: Arc::new(AtomicU32::new((every - first) % every)), is_inverted })
        }
        _ => Err(Error::Invalid),
    }
}

fn ports(f: Fields<'_>, is_tcp: bool) -> Condition {
    let inverts = f.byte(if is_tcp { 11 } else { 8 });
    let from = Ports { low: f.half(0), high: f.half(2), is_inverted: inverts & 1 != 0 };
    let to = Ports { low: f.half(4), high: f.half(6), is_inverted: inverts & 2 != 0 };
    if !is_tcp {
        return Condition::Udp { from, to };
    }
    let flags = (f.byte(9), f.byte(10), inverts & 4 != 0);
    Condition::Tcp { from, to, option: (f.byte(8), inverts & 8 != 0), flags }
}

impl Condition {
    pub(super) fn holds(&self, core: &Core, packet: &Passing<'_>) -> bool {
        match self {
            Self::AddrType { source, destination, inverts, on_input, on_output } => {
                let on = match (on_input, on_output) {
                    (true, _) => packet.input.as_ref(),
                    (_, true) => packet.output.as_ref(),
                    _ => None,
                };
                // Finding out costs a look at the routes: only where it is asked for.
                let fits = |ip, types: u16, is_inverted| {
                    let is_one = || (1 << address_kind_of(core, ip, on)) & u32::from(types) != 0;
                    types == 0 || is_one() != is_inverted
                };
                fits(packet.from(), *source, inverts.0) && fits(packet.to(), *destination, inverts.1)
            }
            Self::Comment => true,
            Self::ConnMark((mark, mask, is_inverted)) => {
                let own = core.netfilter.with_flow(packet, |flow| flow.mark);
                own.is_some_and(|own| (own & mask == *mark) != *is_inverted)
            }
            Self::Conntrack(asked) => asked.holds(core, packet),
            Self::Ttl(operator, value) => {
                let at = if packet.from().is_ipv4() { 8 } else { 7 };
                let ttl = packet.bytes.get(at).copied().unwrap_or(0);
                match operator {
                    0 => ttl == *value,
                    1 => ttl != *value,
                    2 => ttl < *value,
                    _ => ttl > *value,
                }
            }
            Self::Icmp { protocol, kind, codes, is_inverted } => {
                let [own_kind, code, ..] = *packet.transport() else { return false };
                let any_kind = *kind == 0xff && *protocol == protocol::ICMP;
                let fits = own_kind == *kind && (codes.0..=codes.1).contains(&code);
                packet.protocol == *protocol && (any_kind || fits) != *is_inverted
            }
            Self::IpRange { low, high, flags } => {
                let fits = |side: usize, ip: IpAddr| {
                    if flags & 1 << side == 0 {
                        return true;
                    }
                    let ip = octets(ip);
                    let within = low[side][..ip.len()] <= *ip && *ip <= high[side][..ip.len()];
                    within != (flags & 0x10 << side != 0)
                };
                fits(0, packet.from()) && fits(1, packet.to())
            }
            Self::Length(low, high, is_inverted) => {
                let len = packet.bytes.len();
                (usize::from(*low) <= len && len <= usize::from(*high)) != *is_inverted
            }
            Self::Limit(limit) => limit.allows(packet.bytes.len(), core.now().nanos()),
            Self::Mark((mark, mask, is_inverted)) => (packet.mark & mask == *mark) != *is_inverted,
            Self::Multiport { flags, ports, is_inverted } => {
                let Some((from, to)) = packet.ports() else { return false };
                let fits = |port| ports.iter().any(|(low, high)| (*low..=*high).contains(&port));
                let found = match flags {
                    0 => fits(from),
                    1 => fits(to),
                    _ => fits(from) || fits(to),
                };
                found != *is_inverted
            }
            Self::Owner { uid, gid, asked, inverted } => {
                let Some(owner) = packet.owner else { return asked & !inverted == 0 };
                let fits = |bit: u8, (low, high): (u32, u32), id: u32| {
                    asked & bit == 0 || (low..=high).contains(&id) != (inverted & bit != 0)
                };
                // Bit 2 asks whether there is a socket at all.
                let has_socket = asked & 4 == 0 || inverted & 4 == 0;
                has_socket && fits(1, *uid, owner.uid) && fits(2, *gid, owner.gid)
            }
            Self::PacketType(kind, is_inverted) => {
                (u32::from(fields::packet_type(packet)) == *kind) != *is_inverted
            }
            // Linux has another bit here for what is not followed.
            Self::State(states) => fields::state_bit(packet.track) & states != 0,
            Self::Nth { every, at, is_inverted } => {
                let next = |at: u32| Some((at + 1) % every);
                let before = at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).unwrap_or(0);
                ((before + 1) % every == 0) != *is_inverted
            }
            Self::Random(chance, is_inverted) => (core.random.next_u32() >> 1 < *chance) != *is_inverted,
            Self::Tcp { from, to, option, flags } => {
                packet.protocol == protocol::TCP
                    && fits_ports(packet, *from, *to)
                    && has_flags(packet, *flags)
                    && (option.0 == 0 || has_option(packet.transport(), option.0) != option.1)
            }
            Self::Udp { from, to } => packet.protocol == protocol::UDP && fits_ports(packet, *from, *to),
        }
    }
}

fn fits_ports(packet: &Passing<'_>, from: Ports, to: Ports) -> bool {
    packet.ports().is_some_and(|ports| from.hold(ports.0) && to.hold(ports.1))
}

fn has_flags(packet: &Passing<'_>, (mask, compare, is_inverted): (u8, u8, bool)) -> bool {
    packet.transport().get(13).is_some_and(|flags| (flags & mask == compare) != is_inverted)
}

/// Whether a TCP header has an option of a kind.
fn has_option(transport: &[u8], wanted: u8) -> bool {
    let len = transport.get(12).map_or(0, |byte| usize::from(byte >> 4) * 4);
    let mut options = transport.get(20..len).unwrap_or(&[]);
    while let Some((kind, rest)) = options.split_first() {
        if *kind == wanted {
            return true;
        }
        let len = if *kind < 2 { 1 } else { usize::from(rest.first().copied().unwrap_or(0)).max(2) };
        options = options.get(len..).unwrap_or(&[]);
    }
    false
}

impl Conntrack {
    fn holds(&self, core: &Core, packet: &Passing<'_>) -> bool {
        let asks = |bit: u16| self.flags & 1 << bit != 0;
        let inverts = |bit: u16| self.inverted & 1 << bit != 0;
        let fits = |bit: u16, holds: bool| !asks(bit) || holds != inverts(bit);
        let flow = core.netfilter.with_flow(packet, Clone::clone);
        if asks(0) {
            // Bits 6 and 7 are for translated connections, bit 8 for what is not followed.
            let mut state = match fields::state_bit(packet.track) {
                64 => 1 << 8,
                bit => bit,
            };
            if let Some(flow) = &flow {
                state |= if flow.status.contains(Status::SRC_NAT) { 1 << 6 } else { 0 };
                state |= if flow.status.contains(Status::DST_NAT) { 1 << 7 } else { 0 };
            }
            if (state & u32::from(self.states) != 0) == inverts(0) {
                return false;
            }
        }
        let (Some(flow), Tracked::Known { direction, .. }) = (flow, packet.track) else {
            // Nothing but the state can be said of what belongs to no connection.
            return self.flags & !1 & !(1 << 13) == 0;
        };
        let (original, reply) = (flow.original, flow.reply);
        let ends = [original.from, original.to, reply.from, reply.to];
        let masked = |ip: IpAddr, (addr, mask): &([u8; 16], [u8; 16])| {
            octets(ip).iter().zip(addr).zip(mask).all(|((own, addr), mask)| own & mask == addr & mask)
        };
        let addresses =
            ends.iter().enumerate().all(|(n, end)| fits(2 + n as u16, masked(end.ip, &self.addrs[n])));
        // The ports' bits are in the order of the addresses' ends.
        let ports = ends.iter().enumerate().all(|(n, end)| {
            let (low, high) = self.ports[n];
            fits(8 + n as u16, (low..=high.max(low)).contains(&end.port))
        });
        let left = u32::try_from(flow.expires.since(core.now()).as_secs()).unwrap_or(u32::MAX);
        addresses
            && ports
            && fits(1, u16::from(original.protocol) == self.protocol)
            && fits(6, flow.status.bits() & u32::from(self.statuses) != 0)
            && fits(7, (self.expires.0..=self.expires.1).contains(&left))
            && (!asks(12) || (direction == Direction::Original) != inverts(12))
    }
}
