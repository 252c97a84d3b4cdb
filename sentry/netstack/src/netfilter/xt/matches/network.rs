//! What network headers say: addresses, their kinds, the hop limit.

use std::net::IpAddr;

use super::super::super::fields::{address_kind_of, octets};
use super::super::super::passing::Passing;
use super::super::Fields;
use super::Range;
use crate::core::Core;

bitflags::bitflags! {
    /// `XT_ADDRTYPE_*`.
    #[derive(Clone, Copy, Debug)]
    struct AddrTypeFlags: u32 {
        const INVERT_SOURCE = 1;
        const INVERT_DEST = 2;
        const LIMIT_IFACE_IN = 4;
        const LIMIT_IFACE_OUT = 8;
    }
}

/// `struct xt_addrtype_info`, `struct xt_addrtype_info_v1`: kinds of addresses, a bit for each.
#[derive(Clone, Debug)]
pub(in super::super) struct AddrType {
    source: u16,
    destination: u16,
    flags: AddrTypeFlags,
}

impl AddrType {
    pub(super) fn parse(f: Fields<'_>, revision: u32) -> Self {
        let flags = if revision == 0 {
            let mut flags = AddrTypeFlags::empty();
            flags.set(AddrTypeFlags::INVERT_SOURCE, f.word(4) != 0);
            flags.set(AddrTypeFlags::INVERT_DEST, f.word(8) != 0);
            flags
        } else {
            AddrTypeFlags::from_bits_truncate(f.word(4))
        };
        Self { source: f.half(0), destination: f.half(2), flags }
    }

    pub(super) fn holds(&self, core: &Core, packet: &Passing<'_>) -> bool {
        let on = if self.flags.contains(AddrTypeFlags::LIMIT_IFACE_IN) {
            packet.input.as_ref()
        } else if self.flags.contains(AddrTypeFlags::LIMIT_IFACE_OUT) {
            packet.output.as_ref()
        } else {
            None
        };
        // Finding out costs a look at the routes: only where it is asked for.
        let fits = |ip, kinds: u16, inverts| {
            let is_one = || (1 << address_kind_of(core, ip, on)) & u32::from(kinds) != 0;
            kinds == 0 || is_one() != self.flags.contains(inverts)
        };
        fits(packet.from(), self.source, AddrTypeFlags::INVERT_SOURCE)
            && fits(packet.to(), self.destination, AddrTypeFlags::INVERT_DEST)
    }
}

bitflags::bitflags! {
    /// `IPRANGE_*`.
    #[derive(Clone, Copy, Debug)]
    struct IpRangeFlags: u8 {
        const SRC = 0x01;
        const DST = 0x02;
        const SRC_INV = 0x10;
        const DST_INV = 0x20;
    }
}

/// `struct xt_iprange_mtinfo`.
#[derive(Clone, Debug)]
pub(in super::super) struct IpRange {
    source: Range<[u8; 16]>,
    destination: Range<[u8; 16]>,
    flags: IpRangeFlags,
}

impl IpRange {
    pub(super) fn parse(f: Fields<'_>) -> Self {
        Self {
            source: Range { low: f.address(0), high: f.address(16) },
            destination: Range { low: f.address(32), high: f.address(48) },
            flags: IpRangeFlags::from_bits_truncate(f.byte(64)),
        }
    }

    pub(super) fn holds(&self, packet: &Passing<'_>) -> bool {
        let fits = |asked, inverted, range: &Range<[u8; 16]>, ip: IpAddr| {
            if !self.flags.contains(asked) {
                return true;
            }
            let ip = octets(ip);
            let is_within = range.low[..ip.len()] <= *ip && *ip <= range.high[..ip.len()];
            is_within != self.flags.contains(inverted)
        };
        fits(IpRangeFlags::SRC, IpRangeFlags::SRC_INV, &self.source, packet.from())
            && fits(IpRangeFlags::DST, IpRangeFlags::DST_INV, &self.destination, packet.to())
    }
}

/// Where headers have the TTL or hop limit.
const IPV4_TTL: usize = 8;
const IPV6_HOP_LIMIT: usize = 7;

/// `IPT_TTL_*`, `IP6T_HL_*`.
const TTL_EQ: u8 = 0;
const TTL_NE: u8 = 1;
const TTL_LT: u8 = 2;

/// `struct ipt_ttl_info`, `struct ip6t_hl_info`: the TTL or hop limit.
#[derive(Clone, Debug)]
pub(in super::super) struct Ttl {
    operator: u8,
    value: u8,
}

impl Ttl {
    pub(super) fn parse(f: Fields<'_>) -> Self {
        Self { operator: f.byte(0), value: f.byte(1) }
    }

    pub(super) fn holds(&self, packet: &Passing<'_>) -> bool {
        let at = if packet.from().is_ipv4() { IPV4_TTL } else { IPV6_HOP_LIMIT };
        let ttl = packet.bytes.get(at).copied().unwrap_or(0);
        match self.operator {
            TTL_EQ => ttl == self.value,
            TTL_NE => ttl != self.value,
            TTL_LT => ttl < self.value,
            // `IPT_TTL_GT`.
            _ => ttl > self.value,
        }
    }
}
