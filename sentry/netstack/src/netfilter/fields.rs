//! What expressions load into registers: facts about the packet, its connection, its route.

use super::conntrack::{Direction, Flow, State, Tracked};
use super::expr::{CtKey, FibResult, MetaKey};
use super::passing::Passing;
use crate::base::addr::Family;
use crate::core::{Core, Via};
use crate::ip::packet::Cast;
use crate::link::nic::Nic;
use std::net::IpAddr;
use std::sync::Arc;

/// Kinds of addresses, `RTN_*`.
pub(super) mod address_kind {
    pub(in super::super) const UNICAST: u32 = 1;
    pub(in super::super) const LOCAL: u32 = 2;
    pub(in super::super) const BROADCAST: u32 = 3;
    pub(in super::super) const MULTICAST: u32 = 5;
    pub(in super::super) const UNREACHABLE: u32 = 7;
}

/// `NFTA_FIB_F_*`
const FIB_SOURCE: u32 = 1;
const FIB_INPUT: u32 = 8;
const FIB_OUTPUT: u32 = 16;

/// An interface's name, filled with zeros.
fn name(nic: Option<&Arc<Nic>>) -> Vec<u8> {
    let mut name = nic.map(|nic| nic.name().into_bytes()).unwrap_or_default();
    name.resize(16, 0);
    name
}

fn word(value: u32) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

/// A fact about a packet; `None` where it has no such.
pub(super) fn meta(core: &Core, packet: &Passing<'_>, key: MetaKey) -> Option<Vec<u8>> {
    let index = |nic: &Option<Arc<Nic>>| nic.as_ref().map_or(0, |nic| nic.index);
    Some(match key {
        MetaKey::Len => word(packet.bytes.len() as u32),
        MetaKey::Protocol => match packet.family() {
            Family::V4 => vec![0x08, 0x00],
            Family::V6 => vec![0x86, 0xdd],
        },
        MetaKey::Priority | MetaKey::Cpu => word(0),
        MetaKey::Mark => word(packet.mark),
        MetaKey::InIndex => word(index(&packet.input)),
        MetaKey::OutIndex => word(index(&packet.output)),
        MetaKey::InName => name(packet.input.as_ref()),
        MetaKey::OutName => name(packet.output.as_ref()),
        MetaKey::SocketUser => word(packet.owner?.uid),
        MetaKey::SocketGroup => word(packet.owner?.gid),
        MetaKey::NfProto => vec![if packet.family() == Family::V4 { 2 } else { 10 }],
        MetaKey::L4Proto => vec![packet.protocol],
        MetaKey::PacketType => vec![packet_type(packet)],
        MetaKey::Random => word(core.random.next_u32()),
    })
}

/// `PACKET_*`
pub(super) fn packet_type(packet: &Passing<'_>) -> u8 {
    match packet.cast {
        Cast::Unicast => 0,
        Cast::Broadcast => 1,
        Cast::Multicast => 2,
    }
}

/// What a packet is to its connection, as `NF_CT_STATE_*` bits.
pub(super) fn state_bit(track: Tracked) -> u32 {
    match track {
        Tracked::Invalid => 1,
        Tracked::Known { state: State::Established, .. } => 2,
        Tracked::Known { state: State::Related, .. } => 4,
        Tracked::Known { state: State::New, .. } => 8,
        Tracked::Untracked | Tracked::None => 64,
    }
}

/// A fact about a packet's connection; `None` where there is none.
pub(super) fn connection(
    core: &Core,
    packet: &Passing<'_>,
    key: CtKey,
    is_reply: Option<bool>,
) -> Option<Vec<u8>> {
    if key == CtKey::State {
        return Some(word(state_bit(packet.track)));
    }
    let Tracked::Known { direction, .. } = packet.track else { return None };
    let now = core.now();
    core.netfilter.with_flow(packet, |flow| {
        let asked = if is_reply == Some(true) { Direction::Reply } else { Direction::Original };
        let tuple = flow.tuple(asked);
        Some(match key {
            CtKey::State => return None,
            CtKey::Direction => vec![u8::from(direction == Direction::Reply)],
            CtKey::Status => word(flow.status.bits()),
            CtKey::Mark => word(flow.mark),
            CtKey::Expiration => word(expires_ms(flow, now)),
            CtKey::Id => word(tuple.from.port.into()),
            CtKey::L3Protocol => vec![if tuple.from.ip.is_ipv4() { 2 } else { 10 }],
            CtKey::Protocol => vec![tuple.protocol],
            CtKey::SourcePort => tuple.from.port.to_be_bytes().to_vec(),
            CtKey::DestinationPort => tuple.to.port.to_be_bytes().to_vec(),
            CtKey::Source | CtKey::SourceV4 | CtKey::SourceV6 => octets(tuple.from.ip),
            CtKey::Destination | CtKey::DestinationV4 | CtKey::DestinationV6 => octets(tuple.to.ip),
        })
    })?
}

fn expires_ms(flow: &Flow, now: crate::base::time::Instant) -> u32 {
    u32::try_from(flow.expires.since(now).as_millis()).unwrap_or(u32::MAX)
}

/// The bytes of an address.
pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// What kind of address `ip` is (`RTN_*`); only one of `on` counts as local where that is given.
pub(super) fn address_kind_of(core: &Core, ip: IpAddr, on: Option<&Arc<Nic>>) -> u32 {
    if ip.is_multicast() {
        return address_kind::MULTICAST;
    }
    if let IpAddr::V4(v4) = ip
        && (v4.is_broadcast() || core.nics.read().iter().any(|nic| nic.is_broadcast(v4)))
    {
        return address_kind::BROADCAST;
    }
    if let Some(owner) = core.owner_of(ip) {
        let counts = on.is_none_or(|nic| nic.index == owner.index);
        return if counts { address_kind::LOCAL } else { address_kind::UNICAST };
    }
    match core.path(ip, &Via::default()) {
        Ok(_) => address_kind::UNICAST,
        Err(_) => address_kind::UNREACHABLE,
    }
}

/// What the routing table says of one of a packet's addresses.
pub(super) fn fib(core: &Core, packet: &Passing<'_>, result: FibResult, flags: u32) -> Vec<u8> {
    let ip = if flags & FIB_SOURCE != 0 { packet.from() } else { packet.to() };
    let on = match flags & (FIB_INPUT | FIB_OUTPUT) {
        0 => None,
        FIB_INPUT => packet.input.as_ref(),
        _ => packet.output.as_ref(),
    };
    if result == FibResult::Kind {
        return word(address_kind_of(core, ip, on));
    }
    let nic = core.path(ip, &Via::default()).ok().map(|path| path.nic);
    let nic = nic.filter(|nic| on.is_none_or(|on| on.index == nic.index));
    match result {
        FibResult::Name => name(nic.as_ref()),
        _ => word(nic.map_or(0, |nic| nic.index)),
    }
}
