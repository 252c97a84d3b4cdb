//! The matches: each is a condition that knows its structure and whether a packet fulfils it.

mod connection;
mod network;
mod packet;
mod rate;
mod transport;

use super::super::passing::Passing;
use super::{Fields, check};
use crate::base::error::{Error, Result};
use crate::core::Core;
use crate::ip::packet::protocol;
use connection::{ConnMark, Conntrack, State};
use network::{AddrType, IpRange, Ttl};
use packet::{Length, Mark, Owner, PacketType};
use rate::{Rate, Statistic};
use transport::{Icmp, Multiport, Tcp, Udp};

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

/// What a packet must be.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    AddrType(AddrType),
    Comment,
    ConnMark(ConnMark),
    Conntrack(Box<Conntrack>),
    Icmp(Icmp),
    IpRange(IpRange),
    Length(Length),
    Limit(Rate),
    Mark(Mark),
    Multiport(Multiport),
    Owner(Owner),
    PacketType(PacketType),
    State(State),
    Statistic(Statistic),
    Tcp(Tcp),
    Ttl(Ttl),
    Udp(Udp),
}

pub(super) fn parse(name: &str, revision: u32, info: &[u8]) -> Result<Condition> {
    check(KNOWN, name, revision, info)?;
    let f = Fields(info);
    Ok(match name {
        "addrtype" => Condition::AddrType(AddrType::parse(f, revision)),
        "comment" => Condition::Comment,
        "connmark" => Condition::ConnMark(ConnMark::parse(f)),
        "conntrack" => Condition::Conntrack(Box::new(Conntrack::parse(f, revision))),
        "hl" | "ttl" => Condition::Ttl(Ttl::parse(f)),
        "icmp" => Condition::Icmp(Icmp::parse(f, protocol::ICMP)),
        "icmp6" => Condition::Icmp(Icmp::parse(f, protocol::ICMPV6)),
        "iprange" => Condition::IpRange(IpRange::parse(f)),
        "length" => Condition::Length(Length::parse(f)),
        "limit" => Condition::Limit(Rate::parse(f)?),
        "mark" => Condition::Mark(Mark::parse(f)),
        "multiport" => Condition::Multiport(Multiport::parse(f, revision)?),
        "owner" => Condition::Owner(Owner::parse(f)),
        "pkttype" => Condition::PacketType(PacketType::parse(f)),
        "state" => Condition::State(State::parse(f)),
        "statistic" => Condition::Statistic(Statistic::parse(f)?),
        "tcp" => Condition::Tcp(Tcp::parse(f)),
        "udp" => Condition::Udp(Udp::parse(f)),
        _ => return Err(Error::NoEntry),
    })
}

impl Condition {
    pub(super) fn holds(&self, core: &Core, packet: &Passing<'_>) -> bool {
        match self {
            Self::AddrType(asked) => asked.holds(core, packet),
            Self::Comment => true,
            Self::ConnMark(asked) => asked.holds(core, packet),
            Self::Conntrack(asked) => asked.holds(core, packet),
            Self::Icmp(asked) => asked.holds(packet),
            Self::IpRange(asked) => asked.holds(packet),
            Self::Length(asked) => asked.holds(packet),
            Self::Limit(asked) => asked.holds(core, packet),
            Self::Mark(asked) => asked.holds(packet),
            Self::Multiport(asked) => asked.holds(packet),
            Self::Owner(asked) => asked.holds(packet),
            Self::PacketType(asked) => asked.holds(packet),
            Self::State(asked) => asked.holds(packet),
            Self::Statistic(asked) => asked.holds(core),
            Self::Tcp(asked) => asked.holds(packet),
            Self::Ttl(asked) => asked.holds(packet),
            Self::Udp(asked) => asked.holds(packet),
        }
    }
}

/// Some bits of a number, and what they must be, or must not.
#[derive(Clone, Copy, Debug)]
struct Masked<T> {
    value: T,
    mask: T,
    is_inverted: bool,
}

impl<T: Copy + PartialEq + std::ops::BitAnd<Output = T>> Masked<T> {
    fn holds(self, number: T) -> bool {
        (number & self.mask == self.value) != self.is_inverted
    }
}

impl Masked<u32> {
    /// `struct xt_mark_mtinfo1`, `struct xt_connmark_mtinfo1`.
    fn parse_mark(f: Fields<'_>) -> Self {
        Self { value: f.word(0), mask: f.word(4), is_inverted: f.byte(8) != 0 }
    }
}

/// Numbers from the lowest to the highest.
#[derive(Clone, Copy, Debug)]
struct Range<T> {
    low: T,
    high: T,
}

impl<T: PartialOrd> Range<T> {
    fn contains(&self, number: &T) -> bool {
        (&self.low..=&self.high).contains(&number)
    }
}
