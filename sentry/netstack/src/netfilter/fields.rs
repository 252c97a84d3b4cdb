//! What expressions load into registers: facts about the packet, its connection, its route.

use super::conntrack::{Direction, Flow, State, Tracked};
use super::expr::{CtKey, FibResult, MetaKey};
use super::passing::Passing;
use crate::base::addr::Family;
use crate::core::{Core, Via};
use crate::ip::packet::Cast;
use crate::link::nic::Nic;
use std::net::IpAddr;
use std::ops::Deref;
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

/// What is loaded into a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    bytes: [u8; 16],
    len: usize,
}

impl Field {
    /// A value of at most 16 bytes.
    fn new(value: &[u8]) -> Self {
        let len = value.len().min(16);
        let mut bytes = [0; 16];
        bytes[..len].copy_from_slice(&value[..len]);
        Self { bytes, len }
    }
}

impl Deref for Field {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// An interface's name, filled with zeros.
fn name(nic: Option<&Arc<Nic>>) -> Field {
    let name = nic.map(|nic| nic.name()).unwrap_or_default();
    Field { len: 16, ..Field::new(name.as_bytes()) }
}

fn word(value: u32) -> Field {
    Field::new(&value.to_ne_bytes())
}

/// A fact about a packet; `None` where it has no such.
pub(super) fn meta(core: &Core, packet: &Passing<'_>, key: MetaKey) -> Option<Field> {
    let index = |nic: &Option<Arc<Nic>>| nic.as_ref().map_or(0, |nic| nic.index);
    Some(match key {
        MetaKey::Len => word(packet.bytes.len() as u32),
        MetaKey::Protocol => match packet.family() {
            Family::V4 => Field::new(&[0x08, 0x00]),
            Family::V6 => Field::new(&[0x86, 0xdd]),
        },
        MetaKey::Priority | MetaKey::Cpu => word(0),
        MetaKey::Mark => word(packet.mark),
        MetaKey::InIndex => word(index(&packet.input)),
        MetaKey::OutIndex => word(index(&packet.output)),
        MetaKey::InName => name(packet.input.as_ref()),
        MetaKey::OutName => name(packet.output.as_ref()),
        MetaKey::SocketUser => word(packet.owner?.uid),
        MetaKey::SocketGroup => word(packet.owner?.gid),
        MetaKey::NfProto => Field::new(&[if packet.family() == Family::V4 { 2 } else { 10 }]),
        MetaKey::L4Proto => Field::new(&[packet.protocol]),
        MetaKey::PacketType => Field::new(&[packet_type(packet)]),
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
) -> Option<Field> {
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
            CtKey::Direction => Field::new(&[u8::from(direction == Direction::Reply)]),
            CtKey::Status => word(flow.status.bits()),
            CtKey::Mark => word(flow.mark),
            CtKey::Expiration => word(expires_ms(flow, now)),
            CtKey::Id => word(tuple.from.port.into()),
            CtKey::L3Protocol => Field::new(&[if tuple.from.ip.is_ipv4() { 2 } else { 10 }]),
            CtKey::Protocol => Field::new(&[tuple.protocol]),
            CtKey::SourcePort => Field::new(&tuple.from.port.to_be_bytes()),
            CtKey::DestinationPort => Field::new(&tuple.to.port.to_be_bytes()),
            CtKey::Source | CtKey::SourceV4 | CtKey::SourceV6 => address(key, tuple.from.ip)?,
            CtKey::Destination | CtKey::DestinationV4 | CtKey::DestinationV6 => address(key, tuple.to.ip)?,
        })
    })?
}

/// An address that is asked for by `key`, if it is of the family that the key names: the register was chosen for it.
fn address(key: CtKey, ip: IpAddr) -> Option<Field> {
    let fits = match key {
        CtKey::SourceV4 | CtKey::DestinationV4 => ip.is_ipv4(),
        CtKey::SourceV6 | CtKey::DestinationV6 => ip.is_ipv6(),
        _ => true,
    };
    fits.then(|| octets(ip))
}

fn expires_ms(flow: &Flow, now: crate::base::time::Instant) -> u32 {
    u32::try_from(flow.expires.since(now).as_millis()).unwrap_or(u32::MAX)
}

/// The bytes of an address.
pub(super) fn octets(ip: IpAddr) -> Field {
    match ip {
        IpAddr::V4(ip) => Field::new(&ip.octets()),
        IpAddr::V6(ip) => Field::new(&ip.octets()),
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
pub(super) fn fib(core: &Core, packet: &Passing<'_>, result: FibResult, flags: u32) -> Field {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_other_family_are_no_value() {
        let (v4, v6) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]));
        let lens = |key| [v4, v6].map(|ip| address(key, ip).map(|field| field.len()));
        for key in [CtKey::SourceV4, CtKey::DestinationV4] {
            assert_eq!(lens(key), [Some(4), None]);
        }
        for key in [CtKey::SourceV6, CtKey::DestinationV6] {
            assert_eq!(lens(key), [None, Some(16)]);
        }
        assert_eq!(lens(CtKey::Source), [Some(4), Some(16)]);
    }

    #[test]
    fn names_fill_their_register() {
        assert_eq!(&*name(None), &[0; 16]);
        assert_eq!(&*Field::new(b"ab"), b"ab");
    }
}
