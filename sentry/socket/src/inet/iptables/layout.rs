//! Where things stand in entries, and which tables there are.

use netstack::netfilter::Hook;
use netstack::netfilter::ruleset::{ChainKind, IPV6};

/// Offsets in `struct ipt_entry`, or `struct ip6t_entry`.
#[derive(Debug)]
pub(super) struct Layout {
    /// `NFPROTO_*`
    pub(super) family: u8,
    /// Bytes of an address.
    pub(super) addr: usize,
    /// Where source and destination lie in the packet.
    pub(super) in_packet: [u32; 2],
    /// Names of interfaces and their masks, 16 bytes each.
    pub(super) interfaces: usize,
    pub(super) protocol: usize,
    /// `flags` and `invflags`.
    pub(super) flags: usize,
    /// `target_offset` and `next_offset`.
    pub(super) offsets: usize,
    pub(super) counters: usize,
    /// Bytes at the beginning that say which packets are meant; none does where all are zero.
    pub(super) conditions: usize,
    /// Bytes before the matches.
    pub(super) len: usize,
}

const V4: Layout = Layout {
    family: 2,
    addr: 4,
    in_packet: [12, 16],
    interfaces: 16,
    protocol: 80,
    flags: 82,
    offsets: 88,
    counters: 96,
    conditions: 84,
    len: 112,
};

const V6: Layout = Layout {
    family: 10,
    addr: 16,
    in_packet: [8, 24],
    interfaces: 64,
    protocol: 128,
    flags: 131,
    offsets: 140,
    counters: 152,
    conditions: 136,
    len: 168,
};

impl Layout {
    pub(super) const fn of(family: u8) -> &'static Self {
        if family == IPV6 { &V6 } else { &V4 }
    }
}

/// A table that there is.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) kind: ChainKind,
    /// Its hooks with their priorities, in order.
    pub(super) chains: &'static [(Hook, i32)],
}

use Hook::{Forward, Input, Output, Postrouting, Prerouting};

const TABLES: &[Kind] = &[
    Kind { name: "filter", kind: ChainKind::Filter, chains: &[(Input, 0), (Forward, 0), (Output, 0)] },
    Kind {
        name: "nat",
        kind: ChainKind::Nat,
        chains: &[(Prerouting, -100), (Input, 100), (Output, -100), (Postrouting, 100)],
    },
    Kind {
        name: "mangle",
        kind: ChainKind::Filter,
        chains: &[(Prerouting, -150), (Input, -150), (Forward, -150), (Output, -150), (Postrouting, -150)],
    },
    Kind { name: "raw", kind: ChainKind::Filter, chains: &[(Prerouting, -300), (Output, -300)] },
];

impl Kind {
    /// The table of a name.
    pub(super) fn of(name: &str) -> Option<&'static Self> {
        TABLES.iter().find(|table| table.name == name)
    }

    /// Its hooks as bits.
    pub(super) fn hooks(&self) -> u32 {
        self.chains.iter().fold(0, |bits, (hook, _)| bits | hook.bit())
    }
}
