//! What transport headers say: ports, flags and options, types of ICMP.

use super::super::super::passing::Passing;
use super::super::Fields;
use super::{Masked, Range};
use crate::base::error::{Error, Result};
use crate::ip::packet::protocol;

/// A range of ports, and whether it is to be outside of it.
#[derive(Clone, Copy, Debug)]
struct Ports {
    range: Range<u16>,
    is_inverted: bool,
}

impl Ports {
    fn hold(self, port: u16) -> bool {
        self.range.contains(&port) != self.is_inverted
    }
}

/// Those of both ends.
#[derive(Clone, Copy, Debug)]
struct Ends {
    from: Ports,
    to: Ports,
}

/// `XT_TCP_INV_*`; the first two are `XT_UDP_INV_*`.
const INV_SRCPT: u8 = 1;
const INV_DSTPT: u8 = 2;
const INV_FLAGS: u8 = 4;
const INV_OPTION: u8 = 8;

impl Ends {
    /// As `struct xt_tcp` and `struct xt_udp` begin.
    fn parse(f: Fields<'_>, inverts: u8) -> Self {
        let from = Range { low: f.half(0), high: f.half(2) };
        let to = Range { low: f.half(4), high: f.half(6) };
        Self {
            from: Ports { range: from, is_inverted: inverts & INV_SRCPT != 0 },
            to: Ports { range: to, is_inverted: inverts & INV_DSTPT != 0 },
        }
    }

    fn hold(&self, packet: &Passing<'_>) -> bool {
        packet.ports().is_some_and(|(from, to)| self.from.hold(from) && self.to.hold(to))
    }
}

/// `struct xt_udp`.
#[derive(Clone, Debug)]
pub(in super::super) struct Udp(Ends);

impl Udp {
    pub(super) fn parse(f: Fields<'_>) -> Self {
        Self(Ends::parse(f, f.byte(8)))
    }

    pub(super) fn holds(&self, packet: &Passing<'_>) -> bool {
        packet.protocol == protocol::UDP && self.0.hold(packet)
    }
}

/// `struct xt_tcp`.
#[derive(Clone, Debug)]
pub(in super::super) struct Tcp {
    ends: Ends,
    /// The kind of an option that must be there, or must not.
    option: Option<u8>,
    is_option_inverted: bool,
    flags: Masked<u8>,
}

impl Tcp {
    pub(super) fn parse(f: Fields<'_>) -> Self {
        let inverts = f.byte(11);
        Self {
            ends: Ends::parse(f, inverts),
            option: Some(f.byte(8)).filter(|kind| *kind != 0),
            is_option_inverted: inverts & INV_OPTION != 0,
            flags: Masked { mask: f.byte(9), value: f.byte(10), is_inverted: inverts & INV_FLAGS != 0 },
        }
    }

    pub(super) fn holds(&self, packet: &Passing<'_>) -> bool {
        packet.protocol == protocol::TCP
            && self.ends.hold(packet)
            && packet.transport().get(TCP_FLAGS).is_some_and(|flags| self.flags.holds(*flags))
            && self.option.is_none_or(|kind| has_option(packet.transport(), kind) != self.is_option_inverted)
    }
}

/// Where TCP headers have the offset of their data (in words, the upper half of a byte), the flags, and options.
const TCP_DATA_OFFSET: usize = 12;
const TCP_FLAGS: usize = 13;
const TCP_OPTIONS: usize = 20;
/// Kinds of options up to this one are a single byte (`TCPOPT_EOL`, `TCPOPT_NOP`).
const TCPOPT_NOP: u8 = 1;

/// Whether a TCP header has an option of a kind.
fn has_option(transport: &[u8], wanted: u8) -> bool {
    let len = transport.get(TCP_DATA_OFFSET).map_or(0, |byte| usize::from(byte >> 4) * 4);
    let mut options = transport.get(TCP_OPTIONS..len).unwrap_or(&[]);
    while let Some((kind, rest)) = options.split_first() {
        if *kind == wanted {
            return true;
        }
        let len =
            if *kind <= TCPOPT_NOP { 1 } else { usize::from(rest.first().copied().unwrap_or(0)).max(2) };
        options = options.get(len..).unwrap_or(&[]);
    }
    false
}

/// Of ports that `struct xt_multiport` has room for (`XT_MULTI_PORTS`).
const MULTI_PORTS: usize = 15;

/// Which end's port is meant (`XT_MULTIPORT_*`).
#[derive(Clone, Copy, Debug)]
enum End {
    Source,
    Destination,
    Either,
}

/// `struct xt_multiport`, `struct xt_multiport_v1`.
#[derive(Clone, Debug)]
pub(in super::super) struct Multiport {
    end: End,
    ports: Vec<Range<u16>>,
    is_inverted: bool,
}

impl Multiport {
    pub(super) fn parse(f: Fields<'_>, revision: u32) -> Result<Self> {
        let end = match f.byte(0) {
            0 => End::Source,
            1 => End::Destination,
            2 => End::Either,
            _ => return Err(Error::Invalid),
        };
        let count = usize::from(f.byte(1));
        if count > MULTI_PORTS {
            return Err(Error::Invalid);
        }
        let mut ports = Vec::new();
        let mut at = 0;
        while at < count {
            let low = f.half(2 + at * 2);
            // In revision 1 a flag says that the next one is the end of a range.
            let is_range = revision == 1 && f.byte(32 + at) != 0;
            let high = if is_range { f.half(4 + at * 2) } else { low };
            ports.push(Range { low, high });
            at += if is_range { 2 } else { 1 };
        }
        Ok(Self { end, ports, is_inverted: revision == 1 && f.byte(47) != 0 })
    }

    pub(super) fn holds(&self, packet: &Passing<'_>) -> bool {
        let Some((from, to)) = packet.ports() else { return false };
        let fits = |port| self.ports.iter().any(|range| range.contains(&port));
        let is_found = match self.end {
            End::Source => fits(from),
            End::Destination => fits(to),
            End::Either => fits(from) || fits(to),
        };
        is_found != self.is_inverted
    }
}

/// `IPT_ICMP_INV`, `IP6T_ICMP_INV`.
const ICMP_INV: u8 = 1;
/// Any type, of ICMP for IPv4.
const ANY_TYPE: u8 = 0xff;

/// `struct ipt_icmp`, `struct ip6t_icmp`.
#[derive(Clone, Debug)]
pub(in super::super) struct Icmp {
    protocol: u8,
    kind: u8,
    codes: Range<u8>,
    is_inverted: bool,
}

impl Icmp {
    pub(super) fn parse(f: Fields<'_>, protocol: u8) -> Self {
        Self {
            protocol,
            kind: f.byte(0),
            codes: Range { low: f.byte(1), high: f.byte(2) },
            is_inverted: f.byte(3) & ICMP_INV != 0,
        }
    }

    pub(super) fn holds(&self, packet: &Passing<'_>) -> bool {
        let [kind, code, ..] = *packet.transport() else { return false };
        let is_any = self.kind == ANY_TYPE && self.protocol == protocol::ICMP;
        let fits = kind == self.kind && self.codes.contains(&code);
        packet.protocol == self.protocol && (is_any || fits) != self.is_inverted
    }
}
