//! The targets.

use super::super::conntrack::Tracked;
use super::super::expr::{Reject, Side, Verdict};
use super::super::nat::{self, Range};
use super::super::passing::Passing;
use super::{Fields, check};
use crate::base::addr::Family;
use crate::base::error::{Error, Result};
use crate::core::Core;
use crate::ip::packet::{get16, protocol};

/// Name, revision, size of the structure.
pub(super) const KNOWN: &[(&str, u32, usize)] = &[
    ("CONNMARK", 1, 16),
    ("CONNMARK", 2, 16),
    ("CT", 0, 40),
    ("CT", 1, 72),
    ("CT", 2, 72),
    ("DNAT", 0, 24),
    ("DNAT", 1, 40),
    ("DNAT", 2, 48),
    ("LOG", 0, 32),
    ("MARK", 2, 8),
    ("MASQUERADE", 0, 24),
    ("NOTRACK", 0, 0),
    ("REDIRECT", 0, 24),
    ("REJECT", 0, 8),
    ("SNAT", 0, 24),
    ("SNAT", 1, 40),
    ("SNAT", 2, 48),
    ("TCPMSS", 0, 8),
];
/// IPv6's structures that differ: `struct nf_nat_range`.
const KNOWN_V6: &[(&str, u32, usize)] = &[("MASQUERADE", 0, 40), ("REDIRECT", 0, 40)];

/// `NF_NAT_RANGE_MAP_IPS`
const MAP_IPS: u32 = 1;
/// `NF_NAT_RANGE_PROTO_SPECIFIED`
const PROTO_SPECIFIED: u32 = 2;

/// What `xt_connmark_tginfo` asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnMark {
    mark: u32,
    mask: u32,
    packet_mask: u32,
    mode: u8,
    shifts_right: bool,
    bits: u8,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    ConnMark(ConnMark),
    NoTrack,
    Nat(Range),
    Masquerade(Option<(u16, u16)>, u32),
    Redirect(Option<(u16, u16)>, u32),
    Log,
    Mark(u32, u32),
    Reject(Reject),
    /// The largest segment; 0xffff for what the path carries.
    SegmentSize(u16),
}

pub(super) fn parse(name: &str, revision: u32, family: Family, info: &[u8]) -> Result<Action> {
    let is_own = family == Family::V6 && KNOWN_V6.iter().any(|(known, ..)| *known == name);
    check(if is_own { KNOWN_V6 } else { KNOWN }, name, revision, info)?;
    let f = Fields(info);
    Ok(match name {
        "CONNMARK" => conn_mark(f, revision)?,
        // Zones, helpers and time-outs there are none.
        "CT" if f.half(0) & 1 == 0 => return Err(Error::NotSupported),
        "CT" | "NOTRACK" => Action::NoTrack,
        "DNAT" => Action::Nat(range(f, Side::Destination, revision, family)?),
        "SNAT" => Action::Nat(range(f, Side::Source, revision, family)?),
        "LOG" => Action::Log,
        "MARK" => Action::Mark(f.word(0), f.word(4)),
        "MASQUERADE" | "REDIRECT" => {
            let range = range(f, Side::Destination, u32::from(family == Family::V6), family)?;
            let make = if name == "REDIRECT" { Action::Redirect } else { Action::Masquerade };
            make(range.port, range.flags)
        }
        "REJECT" => Action::Reject(reject(f.word(0), family).ok_or(Error::Invalid)?),
        "TCPMSS" => Action::SegmentSize(f.half(0)),
        _ => return Err(Error::NoEntry),
    })
}

/// Revision 0 is `struct nf_nat_ipv4_multi_range_compat` with one range, later ones `struct nf_nat_range`.
fn range(f: Fields<'_>, side: Side, revision: u32, family: Family) -> Result<Range> {
    let (flags, low, high, port) = if revision == 0 {
        if f.word(0) != 1 || family != Family::V4 {
            return Err(Error::Invalid);
        }
        (f.word(4), f.ip(8, family), f.ip(12, family), 16)
    } else {
        (f.word(0), f.ip(4, family), f.ip(20, family), 36)
    };
    Ok(Range {
        side,
        addr: (flags & MAP_IPS != 0).then_some((low, high)),
        port: (flags & PROTO_SPECIFIED != 0).then_some((f.net_half(port), f.net_half(port + 2))),
        flags,
    })
}

fn conn_mark(f: Fields<'_>, revision: u32) -> Result<Action> {
    let (mode, shifts_right, bits) = (f.byte(12), revision == 2 && f.byte(13) != 0, f.byte(14));
    if mode > 2 || bits > 31 {
        return Err(Error::Invalid);
    }
    let bits = if revision == 2 { bits } else { 0 };
    let (mark, mask, packet_mask) = (f.word(0), f.word(4), f.word(8));
    Ok(Action::ConnMark(ConnMark { mark, mask, packet_mask, mode, shifts_right, bits }))
}

/// `enum ipt_reject_with`, `enum ip6t_reject_with`.
fn reject(with: u32, family: Family) -> Option<Reject> {
    let (codes, reset): (&[u8], u32) = match family {
        Family::V4 => (&[0, 1, 2, 3, u8::MAX, 9, 10, u8::MAX, 13], 7),
        Family::V6 => (&[0, 1, 2, 3, 4, u8::MAX, u8::MAX, 5, 6], 6),
    };
    if with == reset {
        return Some(Reject::Reset);
    }
    codes.get(with as usize).filter(|code| **code != u8::MAX).map(|code| Reject::Icmp(*code))
}

impl Action {
    pub(super) fn apply(&self, core: &Core, packet: &mut Passing<'_>) -> Verdict {
        match *self {
            Self::ConnMark(with) => with.apply(core, packet),
            Self::NoTrack => {
                if packet.track == Tracked::None {
                    packet.track = Tracked::Untracked;
                }
            }
            Self::Nat(range) => return nat::translate(core, packet, range),
            Self::Masquerade(port, flags) => return nat::masquerade(core, packet, port, flags),
            Self::Redirect(port, flags) => return nat::redirect(core, packet, port, flags),
            Self::Log => {}
            Self::Mark(mark, mask) => packet.mark = packet.mark & !mask ^ mark,
            Self::Reject(how) => {
                core.reject(packet, how);
                return Verdict::Drop;
            }
            Self::SegmentSize(size) => clamp_segment_size(packet, size),
        }
        Verdict::Continue
    }
}

impl ConnMark {
    fn apply(self, core: &Core, packet: &mut Passing<'_>) {
        let shifted = |mark: u32| if self.shifts_right { mark >> self.bits } else { mark << self.bits };
        let own = packet.mark;
        match self.mode {
            0 => core.netfilter.change_flow(packet, |flow| {
                flow.mark = shifted(flow.mark & !self.mask ^ self.mark);
            }),
            1 => core.netfilter.change_flow(packet, |flow| {
                flow.mark = flow.mark & !self.mask ^ shifted(own & self.packet_mask);
            }),
            _ => {
                if let Some(mark) = core.netfilter.with_flow(packet, |flow| flow.mark) {
                    packet.mark = own & !self.packet_mask ^ shifted(mark & self.mask);
                }
            }
        }
    }
}

/// Lowers the largest segment size that a SYN names.
fn clamp_segment_size(packet: &mut Passing<'_>, size: u16) {
    const SYN: u8 = 2;
    const MSS: u8 = 2;
    let transport = packet.transport();
    let is_syn = packet.protocol == protocol::TCP && transport.get(13).is_some_and(|flags| flags & SYN != 0);
    if !is_syn {
        return;
    }
    let headers = packet.family().header_len() + 20;
    let path = packet.output.as_ref().map_or(u32::MAX, |nic| nic.mtu().saturating_sub(headers as u32));
    let limit = if size == u16::MAX { u16::try_from(path).unwrap_or(u16::MAX) } else { size };
    let end = transport.get(12).map_or(0, |byte| usize::from(byte >> 4) * 4).min(transport.len());
    let mut at = 20;
    while at + 1 < end {
        match transport[at] {
            0 => return,
            1 => at += 1,
            MSS => {
                let lowers = get16(transport, at + 2).is_some_and(|named| at + 4 <= end && named > limit);
                // The sum is corrected by words, so the option must lie on one.
                if lowers && at % 2 == 0 {
                    packet.rewrite_field(at + 2, limit);
                }
                return;
            }
            _ => at += usize::from(transport[at + 1]).max(2),
        }
    }
}
