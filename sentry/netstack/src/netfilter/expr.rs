//! Expressions: the steps that a rule consists of (`man 8 nft`, linux/netfilter/nf_tables.h).

use super::xt::{Match, Target};
use crate::base::time::NSEC_PER_SEC;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of all data registers.
pub const REGISTERS: usize = 64;

/// A data register: its offset among [`REGISTERS`] bytes, a multiple of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register(u8);

impl Register {
    /// The register that `NFT_REG_*` or `NFT_REG32_*` numbers, where `len` bytes from it on exist.
    #[must_use]
    pub fn from_number(number: u32, len: usize) -> Option<Self> {
        let at = match number {
            1..=4 => (number as usize - 1) * 16,
            8..=23 => (number as usize - 8) * 4,
            _ => return None,
        };
        (len > 0 && at + len <= REGISTERS).then_some(Self(at as u8))
    }

    /// Its number as Linux tells it.
    #[must_use]
    pub const fn number(self) -> u32 {
        if self.0.is_multiple_of(16) { self.0 as u32 / 16 + 1 } else { self.0 as u32 / 4 + 8 }
    }

    pub(super) const fn offset(self) -> usize {
        self.0 as usize
    }
}

/// What becomes of a packet, or where evaluation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passes this hook's chain.
    Accept,
    /// It is thrown away.
    Drop,
    /// On with the next rule.
    Continue,
    /// Back to the chain that jumped here.
    Return,
    /// To the chain with this handle, and back.
    Jump(u64),
    /// To the chain with this handle, not back.
    Goto(u64),
}

impl Verdict {
    /// The chain that it names.
    #[must_use]
    pub const fn chain(self) -> Option<u64> {
        match self {
            Self::Jump(chain) | Self::Goto(chain) => Some(chain),
            _ => None,
        }
    }
}

/// How values are compared, with the numbers of `NFT_CMP_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Equal = 0,
    NotEqual = 1,
    Less = 2,
    LessOrEqual = 3,
    Greater = 4,
    GreaterOrEqual = 5,
}

impl Comparison {
    /// The comparison with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        use Comparison::{Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual};
        [Equal, NotEqual, Less, LessOrEqual, Greater, GreaterOrEqual].get(number as usize).copied()
    }
}

/// Where a payload expression counts from, with the numbers of `NFT_PAYLOAD_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The link header, which is not at hand here.
    Link = 0,
    /// The network header.
    Network = 1,
    /// The transport header.
    Transport = 2,
}

impl Base {
    /// The base with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Link, Self::Network, Self::Transport].get(number as usize).copied()
    }
}

/// Facts about a packet that are not in it, with the numbers of `NFT_META_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "Linux's names")]
#[repr(u8)]
pub enum MetaKey {
    Len = 0,
    Protocol = 1,
    Priority = 2,
    Mark = 3,
    InIndex = 4,
    OutIndex = 5,
    InName = 6,
    OutName = 7,
    SocketUser = 10,
    SocketGroup = 11,
    NfProto = 15,
    L4Proto = 16,
    PacketType = 19,
    Cpu = 20,
    Random = 24,
}

impl MetaKey {
    /// The key with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        use MetaKey::{
            Cpu, InIndex, InName, L4Proto, Len, Mark, NfProto, OutIndex, OutName, PacketType, Priority,
            Protocol, Random, SocketGroup, SocketUser,
        };
        let all = [
            Len,
            Protocol,
            Priority,
            Mark,
            InIndex,
            OutIndex,
            InName,
            OutName,
            SocketUser,
            SocketGroup,
            NfProto,
            L4Proto,
            PacketType,
            Cpu,
            Random,
        ];
        all.into_iter().find(|key| *key as u32 == number)
    }

    /// Bytes of its value.
    #[must_use]
    pub const fn value_len(self) -> usize {
        match self {
            Self::InName | Self::OutName => 16,
            Self::Protocol => 2,
            Self::NfProto | Self::L4Proto | Self::PacketType => 1,
            _ => 4,
        }
    }
}

/// Facts about a packet's connection, with the numbers of `NFT_CT_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "Linux's names")]
#[repr(u8)]
pub enum CtKey {
    State = 0,
    Direction = 1,
    Status = 2,
    Mark = 3,
    Expiration = 5,
    L3Protocol = 8,
    Source = 9,
    Destination = 10,
    Protocol = 11,
    SourcePort = 12,
    DestinationPort = 13,
    SourceV4 = 19,
    DestinationV4 = 20,
    SourceV6 = 21,
    DestinationV6 = 22,
    Id = 24,
}

impl CtKey {
    /// The key with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        use CtKey::{
            Destination, DestinationPort, DestinationV4, DestinationV6, Direction, Expiration, Id,
            L3Protocol, Mark, Protocol, Source, SourcePort, SourceV4, SourceV6, State, Status,
        };
        let all = [
            State,
            Direction,
            Status,
            Mark,
            Expiration,
            L3Protocol,
            Source,
            Destination,
            Protocol,
            SourcePort,
            DestinationPort,
            SourceV4,
            DestinationV4,
            SourceV6,
            DestinationV6,
            Id,
        ];
        all.into_iter().find(|key| *key as u32 == number)
    }

    /// Whether it takes a direction.
    #[must_use]
    pub const fn is_directed(self) -> bool {
        !matches!(
            self,
            Self::State | Self::Direction | Self::Status | Self::Mark | Self::Expiration | Self::Id
        )
    }

    /// Bytes of its value, in a table for packets with addresses of `addr` bytes.
    #[must_use]
    pub const fn value_len(self, addr: usize) -> usize {
        match self {
            Self::Direction | Self::L3Protocol | Self::Protocol => 1,
            Self::SourcePort | Self::DestinationPort => 2,
            Self::Source | Self::Destination => addr,
            Self::SourceV6 | Self::DestinationV6 => 16,
            _ => 4,
        }
    }
}

/// What a fib expression tells, with the numbers of `NFT_FIB_RESULT_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FibResult {
    /// Index of the interface that the route goes over.
    Index = 1,
    /// Its name.
    Name = 2,
    /// The kind of address, `RTN_*`.
    Kind = 3,
}

impl FibResult {
    /// The result with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Index, Self::Name, Self::Kind].into_iter().find(|result| *result as u32 == number)
    }

    /// Bytes of its value.
    #[must_use]
    pub const fn value_len(self) -> usize {
        match self {
            Self::Name => 16,
            Self::Index | Self::Kind => 4,
        }
    }
}

/// A packet and byte count that rules keep.
#[derive(Debug, Default)]
pub struct Count {
    /// Packets.
    pub packets: AtomicU64,
    /// Bytes.
    pub bytes: AtomicU64,
}

impl Count {
    /// A count that begins with these values.
    #[must_use]
    pub fn new(packets: u64, bytes: u64) -> Arc<Self> {
        Arc::new(Self { packets: packets.into(), bytes: bytes.into() })
    }

    pub(super) fn add(&self, bytes: usize) {
        self.packets.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Packets and bytes so far; from then on zero where it `resets`.
    #[must_use]
    pub fn read(&self, resets: bool) -> (u64, u64) {
        let both = (self.packets.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        if resets {
            self.packets.fetch_sub(both.0, Ordering::Relaxed);
            self.bytes.fetch_sub(both.1, Ordering::Relaxed);
        }
        both
    }
}

/// A rate: a bucket of tokens.
#[derive(Debug)]
pub struct Limit {
    /// Packets or bytes in each `unit`.
    pub rate: u64,
    /// Seconds.
    pub unit: u64,
    /// How much may come at once.
    pub burst: u32,
    /// Bytes are limited, not packets.
    pub is_bytes: bool,
    /// It holds for what exceeds the rate.
    pub is_inverted: bool,
    /// Nanoseconds' worth of tokens, and when they were counted; `None` before the first packet.
    pub(super) tokens: Mutex<Option<(u64, u64)>>,
}

impl Limit {
    /// A limit whose bucket is full.
    #[must_use]
    pub fn new(rate: u64, unit: u64, burst: u32, is_bytes: bool, is_inverted: bool) -> Arc<Self> {
        Arc::new(Self { rate, unit, burst, is_bytes, is_inverted, tokens: Mutex::new(None) })
    }

    /// Whether a packet of `len` bytes at `now` (in nanoseconds) keeps within the rate.
    pub(super) fn allows(&self, len: usize, now: u64) -> bool {
        let window = self.unit.saturating_mul(NSEC_PER_SEC);
        let rate = self.rate.max(1);
        // What the bucket holds, and what one packet takes, in nanoseconds.
        let worth = |amount: u64| u128::from(window) * u128::from(amount) / u128::from(rate);
        let full = if self.is_bytes {
            worth(rate.saturating_add(self.burst.into()))
        } else {
            worth(self.burst.max(1).into())
        };
        let full = u64::try_from(full).unwrap_or(u64::MAX);
        let cost = u64::try_from(worth(if self.is_bytes { len as u64 } else { 1 })).unwrap_or(u64::MAX);
        let mut tokens = self.tokens.lock();
        let (left, since) = tokens.unwrap_or((full, now));
        let left = left.saturating_add(now.saturating_sub(since)).min(full);
        let is_within = left >= cost;
        *tokens = Some((if is_within { left - cost } else { left }, now));
        is_within
    }
}

/// What a log expression says; this stack keeps no log, it is kept to be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Text before each line.
    pub prefix: Option<String>,
    /// `LOG_*` level.
    pub level: Option<u32>,
    /// `NF_LOG_*`
    pub flags: Option<u32>,
    /// Number of a netlink group.
    pub group: Option<u16>,
    /// Bytes of the packet that are wanted.
    pub snap_len: Option<u32>,
    /// Messages that are put together.
    pub threshold: Option<u16>,
}

/// How a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// By an ICMP error of the packet's family with this code (`NFT_REJECT_ICMP_UNREACH`).
    Icmp(u8),
    /// By a TCP reset.
    Reset,
    /// By an ICMP error with a code of `NFT_REJECT_ICMPX_*`, whatever the family.
    Either(u8),
}

/// Which end of a connection is translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its source.
    Source,
    /// Its destination.
    Destination,
}

/// Where a translation takes its addresses and ports from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nat {
    /// What is translated.
    pub side: Side,
    /// The family of the addresses, `NFPROTO_*`.
    pub family: u8,
    /// Registers of the lowest and the highest address.
    pub addr: Option<(Register, Register)>,
    /// Registers of the lowest and the highest port.
    pub port: Option<(Register, Register)>,
    /// `NF_NAT_RANGE_*`
    pub flags: u32,
}

/// Arithmetic on a register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BitOp {
    /// `(value & mask) ^ xor`
    MaskXor(Box<[u8]>, Box<[u8]>),
    /// Left by this many bits.
    ShiftLeft(u32),
    /// Right by this many bits.
    ShiftRight(u32),
}

/// A step of a rule.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the steps are explained, their fields have the names of the interface")]
pub enum Expr {
    /// A value into a register.
    Immediate(Register, Box<[u8]>),
    /// The end of the rule.
    Verdict(Verdict),
    /// On only if a register compares so.
    Compare(Register, Comparison, Box<[u8]>),
    /// On only if a register is in a range, or is not.
    Range { from: Register, is_inverted: bool, low: Box<[u8]>, high: Box<[u8]> },
    /// Arithmetic.
    Bitwise { from: Register, to: Register, len: u8, op: BitOp },
    /// Between host and network order: `len` bytes in pieces of `size`.
    ByteOrder { from: Register, to: Register, to_network: bool, len: u8, size: u8 },
    /// Bytes of the packet into a register.
    Payload { to: Register, base: Base, offset: u32, len: u8 },
    /// A fact about the packet into a register.
    Meta(Register, MetaKey),
    /// A register into the packet's mark.
    SetMark(Register),
    /// The source register into the connection's mark.
    SetCtMark(Register),
    /// A fact about the connection into a register; `Some(true)` asks of the replies' direction.
    Ct { to: Register, key: CtKey, is_reply: Option<bool> },
    /// On only if the set has an element for a register, or has none; a map's value goes into `to`, a verdict
    /// map's verdict is carried out.
    Lookup { set: u64, from: Register, to: Option<Register>, is_verdict: bool, is_inverted: bool },
    /// Counts.
    Counter(Arc<Count>),
    /// On only within a rate.
    Limit(Arc<Limit>),
    /// Logs.
    Log(Log),
    /// Refuses.
    Reject(Reject),
    /// Translates addresses.
    Nat(Nat),
    /// Translates the source to the outgoing interface's address; registers hold ports.
    Masquerade { port: Option<(Register, Register)>, flags: u32 },
    /// Translates the destination to this host; registers hold ports.
    Redirect { port: Option<(Register, Register)>, flags: u32 },
    /// What the routing table says of an address: `flags` are `NFTA_FIB_F_*`.
    Fib { to: Register, result: FibResult, flags: u32 },
    /// The packet's connection is not followed.
    NoTrack,
    /// An iptables match.
    Match(Match),
    /// An iptables target.
    Target(Target),
}

impl Expr {
    /// Whether it needs connections to be followed.
    #[must_use]
    pub fn needs_conntrack(&self) -> bool {
        match self {
            Self::Ct { .. } | Self::SetCtMark(_) => true,
            Self::Match(extension) => extension.needs_conntrack(),
            Self::Target(extension) => extension.needs_conntrack(),
            _ => false,
        }
    }

    /// The hooks where it may stand, and whether only in chains of type nat; `None` for anywhere.
    #[must_use]
    pub fn restriction(&self) -> Option<(u32, bool)> {
        use super::Hook::{Forward, Input, Output, Postrouting, Prerouting};
        let sources = Postrouting.bit() | Input.bit();
        let destinations = Prerouting.bit() | Output.bit();
        match self {
            Self::Nat(Nat { side: Side::Source, .. }) => Some((sources, true)),
            Self::Nat(Nat { side: Side::Destination, .. }) | Self::Redirect { .. } => {
                Some((destinations, true))
            }
            Self::Masquerade { .. } => Some((Postrouting.bit(), true)),
            Self::Reject(_) => Some((Input.bit() | Forward.bit() | Output.bit() | Prerouting.bit(), false)),
            Self::Match(condition) => condition.restriction(),
            Self::Target(target) => target.restriction(),
            _ => None,
        }
    }
}
