//! Address translation: choosing a connection's new addresses, and giving them to its packets.

use super::conntrack::{Conntrack, Direction, Flow, Status, Tracked, Tuple};
use super::expr::{Expr, Nat, Register, Side, Verdict};
use super::machine::{Decision, Machine};
use super::passing::{Passing, read_address};
use super::{Hook, Netfilter, Shape};
use crate::base::addr::{Endpoint, Family};
use crate::core::Core;
use crate::ip::checksum;
use crate::ip::icmp::quoted;
use crate::ip::packet::{protocol, put16};
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv6Addr};

/// `NF_NAT_RANGE_PROTO_RANDOM`, `NF_NAT_RANGE_PROTO_RANDOM_FULLY`
const RANDOM: u32 = 4 | 16;
/// `NF_NAT_RANGE_PERSISTENT`: the same client always gets the same address.
const PERSISTENT: u32 = 8;
/// Ports that are tried for one that is free.
const ATTEMPTS: u32 = 128;

/// Where new addresses and ports are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) side: Side,
    /// Lowest and highest.
    pub(super) addr: Option<(IpAddr, IpAddr)>,
    /// Lowest and highest.
    pub(super) port: Option<(u16, u16)>,
    /// `NF_NAT_RANGE_*`
    pub(super) flags: u32,
}

/// Which side is translated at a hook, where its decision is noted, and where that there was something to translate.
const fn side_of(hook: Hook) -> (Side, Status, Status) {
    match hook {
        Hook::Prerouting | Hook::Output | Hook::Forward => {
            (Side::Destination, Status::DST_NAT_DONE, Status::DST_NAT)
        }
        Hook::Input | Hook::Postrouting => (Side::Source, Status::SRC_NAT_DONE, Status::SRC_NAT),
    }
}

/// Carries out one of the translating expressions.
pub(super) fn evaluate(machine: &mut Machine<'_, '_>, expr: &Expr) -> Verdict {
    let family = machine.packet.family();
    let ports = |registers: &Option<(Register, Register)>| {
        let port = |register| machine.read(register, 2).first_chunk().map_or(0, |b| u16::from_be_bytes(*b));
        registers.map(|(low, high)| (port(low), port(high)))
    };
    match expr {
        Expr::Nat(Nat { side, family: of, addr, port, flags }) => {
            let is_v4 = family == Family::V4;
            if *of != if is_v4 { 2 } else { 10 } {
                return Verdict::Continue;
            }
            let address =
                |register| read_address(machine.read(register, if is_v4 { 4 } else { 16 }), 0, family);
            let addr = addr.and_then(|(low, high)| address(low).zip(address(high)));
            let range = Range { side: *side, addr, port: ports(port), flags: *flags };
            translate(machine.core, machine.packet, range)
        }
        Expr::Masquerade { port, flags } => {
            let port = ports(port);
            masquerade(machine.core, machine.packet, port, *flags)
        }
        Expr::Redirect { port, flags } => {
            let port = ports(port);
            redirect(machine.core, machine.packet, port, *flags)
        }
        _ => Verdict::Continue,
    }
}

/// Sets up a connection's translation.
pub(super) fn translate(core: &Core, packet: &mut Passing<'_>, range: Range) -> Verdict {
    let Some(flow) = &mut packet.fresh else { return Verdict::Accept };
    let table = core.netfilter.conntrack.lock();
    if assign(core, &table, flow, range) { Verdict::Accept } else { Verdict::Drop }
}

/// The source becomes the outgoing interface's address.
pub(super) fn masquerade(
    core: &Core,
    packet: &mut Passing<'_>,
    port: Option<(u16, u16)>,
    flags: u32,
) -> Verdict {
    let to = packet.to();
    let source = packet.output.as_ref().and_then(|nic| nic.source_for(to, core.now()));
    let Some(ip) = source else { return Verdict::Drop };
    translate(core, packet, Range { side: Side::Source, addr: Some((ip, ip)), port, flags })
}

/// The destination becomes this host: loopback for what it sends itself, else an address of the interface.
pub(super) fn redirect(
    core: &Core,
    packet: &mut Passing<'_>,
    port: Option<(u16, u16)>,
    flags: u32,
) -> Verdict {
    let family = packet.family();
    let own = match (packet.hook, &packet.input) {
        (Hook::Output, _) => Some(family.loopback()),
        (_, Some(nic)) => nic.source_for(packet.from(), core.now()),
        _ => None,
    };
    let Some(ip) = own else { return Verdict::Drop };
    translate(core, packet, Range { side: Side::Destination, addr: Some((ip, ip)), port, flags })
}

/// Gives a connection addresses of a range that no other has. False where there are none.
fn assign(core: &Core, table: &Conntrack, flow: &mut Flow, range: Range) -> bool {
    let (is_source, bit) = match range.side {
        Side::Source => (true, Status::SRC_NAT),
        Side::Destination => (false, Status::DST_NAT),
    };
    let old = if is_source { flow.reply.to } else { flow.reply.from };
    let ip = range.addr.map_or(old.ip, |(low, high)| pick_address(core, flow, low, high, range.flags));
    let with = |port: u16| with_end(&flow.reply, is_source, Endpoint { ip, port });
    let chosen = choose_port(core, flow, &range, old.port, is_source, |port| !table.is_taken(&with(port)));
    let Some(port) = chosen else { return false };
    let reply = with(port);
    if reply != flow.reply {
        flow.reply = reply;
        flow.status |= bit;
    }
    true
}

/// The answers' addresses with one end replaced. An echo has one identifier, at both ends.
fn with_end(reply: &Tuple, is_source: bool, end: Endpoint) -> Tuple {
    let mut tuple = *reply;
    if is_source {
        tuple.to = end;
    } else {
        tuple.from = end;
    }
    if matches!(tuple.protocol, protocol::ICMP | protocol::ICMPV6) {
        tuple.from.port = end.port;
        tuple.to.port = end.port;
    }
    tuple
}

/// An address of a range: one client keeps to one.
fn pick_address(core: &Core, flow: &Flow, low: IpAddr, high: IpAddr, flags: u32) -> IpAddr {
    let mut sip = core.hasher();
    flow.original.from.ip.hash(&mut sip);
    if flags & PERSISTENT == 0 {
        flow.original.to.ip.hash(&mut sip);
    }
    let hash = sip.finish();
    match (low, high) {
        (IpAddr::V4(low), IpAddr::V4(high)) => {
            let count = u64::from(high.to_bits().saturating_sub(low.to_bits())) + 1;
            IpAddr::V4(low.to_bits().wrapping_add((hash % count) as u32).into())
        }
        (IpAddr::V6(low), IpAddr::V6(high)) => {
            let count = high.to_bits().saturating_sub(low.to_bits()).saturating_add(1);
            IpAddr::V6(Ipv6Addr::from(low.to_bits().wrapping_add(u128::from(hash) % count)))
        }
        _ => low,
    }
}

/// A free port: the old one where it may stay, else one of the range, else for a source one of its kind. A destination's
/// single port is taken as it is: if answers would be mistaken for another connection's, the source is changed later.
fn choose_port(
    core: &Core,
    flow: &Flow,
    range: &Range,
    old: u16,
    is_source: bool,
    is_free: impl Fn(u16) -> bool,
) -> Option<u16> {
    let has_port = matches!(flow.original.protocol, protocol::TCP | protocol::UDP) || is_source && old != 0;
    if !has_port {
        return (!is_source || is_free(old)).then_some(old);
    }
    let is_within = range.port.is_none_or(|(low, high)| (low..=high).contains(&old));
    match range.port {
        Some((low, high)) if !is_source && low == high => return Some(low),
        None if !is_source => return Some(old),
        _ => {}
    }
    let may_stay = range.flags & RANDOM == 0 && (is_source || range.port.is_none());
    if may_stay && is_within && is_free(old) {
        return Some(old);
    }
    let (low, high) = match range.port {
        Some((low, high)) => (low.min(high), low.max(high)),
        None => match old {
            0..512 => (1, 511),
            512..1024 => (600, 1023),
            _ => (1024, 65_535),
        },
    };
    let count = u32::from(high - low) + 1;
    let start =
        if range.port.is_some() && range.flags & RANDOM == 0 { 0 } else { core.random.next_u32() % count };
    (0..count.min(ATTEMPTS)).map(|n| low + ((start + n) % count) as u16).find(|port| is_free(*port))
}

impl Netfilter {
    /// Changes a connection's source port where its answers would be taken for another's. False where none is free.
    fn keeps_apart(&self, core: &Core, flow: &mut Flow) -> bool {
        let table = self.conntrack.lock();
        !table.is_taken(&flow.reply) || assign(core, &table, flow, ANY_SOURCE)
    }

    /// Decides about a connection's translation with its first packet, and translates each. False drops the packet.
    pub(super) fn translate(&self, core: &Core, packet: &mut Passing<'_>) -> bool {
        let Tracked::Known { direction, is_done, .. } = packet.track else { return true };
        if is_done {
            return true;
        }
        let (side, done, _) = side_of(packet.hook);
        if packet.fresh.as_ref().is_some_and(|flow| !flow.status.contains(done)) {
            let compiled = self.compiled();
            for (table, chain) in compiled.nat_chains(packet.family(), packet.hook) {
                if Machine::new(core, table, packet).ask(chain) == Decision::Drop {
                    return false;
                }
                let (_, _, bit) = side_of(packet.hook);
                if packet.fresh.as_ref().is_some_and(|flow| flow.status.contains(bit)) {
                    break;
                }
            }
            if let Some(flow) = &mut packet.fresh {
                flow.status |= done;
                if side == Side::Source && !self.keeps_apart(core, flow) {
                    return false;
                }
            }
        }
        // A packet whose connection was forgotten meanwhile does not leave as it is.
        let Some(end) = self.with_flow(packet, |flow| new_end(flow, direction, side)) else { return false };
        if let Some(end) = end {
            rewrite(packet, side == Side::Source, end);
        }
        true
    }
}

/// Where nothing else was said of a source.
const ANY_SOURCE: Range = Range { side: Side::Source, addr: None, port: None, flags: 0 };

/// What one end of a connection's packets in a direction is to be; `None` where it stays.
fn new_end(flow: &Flow, direction: Direction, side: Side) -> Option<Endpoint> {
    let (original, reply) = (&flow.original, &flow.reply);
    let (bit, end) = match (direction, side) {
        (Direction::Original, Side::Destination) => (Status::DST_NAT, reply.from),
        (Direction::Original, Side::Source) => (Status::SRC_NAT, reply.to),
        (Direction::Reply, Side::Destination) => (Status::SRC_NAT, original.from),
        (Direction::Reply, Side::Source) => (Status::DST_NAT, original.to),
    };
    flow.status.contains(bit).then_some(end)
}

/// Gives a packet its new end; in an ICMP error also the packet that it quotes, which went the other way.
fn rewrite(packet: &mut Passing<'_>, is_source: bool, end: Endpoint) {
    let is_icmp = matches!(packet.protocol, protocol::ICMP | protocol::ICMPV6);
    packet.rewrite(is_source, end);
    if !is_icmp {
        return;
    }
    if packet.tuple().is_some() {
        packet.rewrite_field(4, end.port);
    } else {
        rewrite_quoted(packet, !is_source, end);
    }
}

fn rewrite_quoted(packet: &mut Passing<'_>, is_source: bool, end: Endpoint) {
    let family = packet.family();
    let inner_at = packet.header_len + 8;
    let Some(inner) = packet.bytes.get(inner_at..) else { return };
    let Some((.., number, segment)) = quoted(inner, family == Family::V4) else { return };
    let header_len = inner.len() - segment.len();
    let Some(inner) = packet.bytes.get_mut(inner_at..) else { return };
    // What is quoted is not checked by its sum again, and may be cut off before it.
    let shape = Shape { family, header_len, protocol: number, is_unsummed: true };
    let mut quote = Passing::new(inner, shape, packet.cast, packet.hook);
    quote.rewrite(is_source, end);
    resum_icmp(packet);
}

/// Makes the checksum of an ICMP message anew.
fn resum_icmp(packet: &mut Passing<'_>) {
    let at = packet.header_len + 2;
    let is_v6 = packet.protocol == protocol::ICMPV6;
    if packet.is_unsummed && is_v6 {
        return;
    }
    put16(packet.bytes, at, 0);
    let mut sum = checksum::sum(packet.transport());
    if is_v6 {
        let pseudo = checksum::pseudo(packet.from(), packet.to(), packet.protocol, packet.transport().len());
        sum = checksum::add(sum, pseudo);
    }
    put16(packet.bytes, at, !sum);
}
