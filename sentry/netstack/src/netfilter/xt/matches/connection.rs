//! What is known of a packet's connection.

use std::net::IpAddr;

use super::super::super::conntrack::{Direction, Flow, Status, Tracked};
use super::super::super::fields::{self, octets};
use super::super::super::passing::Passing;
use super::super::Fields;
use super::{Masked, Range};
use crate::base::addr::Endpoint;
use crate::core::Core;

/// `struct xt_connmark_mtinfo1`.
#[derive(Clone, Debug)]
pub(in super::super) struct ConnMark(Masked<u32>);

impl ConnMark {
    pub(super) fn parse(f: Fields<'_>) -> Self {
        Self(Masked::parse_mark(f))
    }

    pub(super) fn holds(&self, core: &Core, packet: &Passing<'_>) -> bool {
        core.netfilter.with_flow(packet, |flow| flow.mark).is_some_and(|mark| self.0.holds(mark))
    }
}

/// `struct xt_state_info`: a mask of states.
#[derive(Clone, Debug)]
pub(in super::super) struct State(u32);

impl State {
    pub(super) fn parse(f: Fields<'_>) -> Self {
        Self(f.word(0))
    }

    pub(super) fn holds(&self, packet: &Passing<'_>) -> bool {
        // Linux has another bit here for what is not followed.
        fields::state_bit(packet.track) & self.0 != 0
    }
}

bitflags::bitflags! {
    /// What a rule asks of a connection (`XT_CONNTRACK_*`).
    #[derive(Clone, Copy, Debug)]
    struct Asked: u16 {
        const STATE = 1 << 0;
        const PROTO = 1 << 1;
        const ORIGSRC = 1 << 2;
        const ORIGDST = 1 << 3;
        const REPLSRC = 1 << 4;
        const REPLDST = 1 << 5;
        const STATUS = 1 << 6;
        const EXPIRES = 1 << 7;
        const ORIGSRC_PORT = 1 << 8;
        const ORIGDST_PORT = 1 << 9;
        const REPLSRC_PORT = 1 << 10;
        const REPLDST_PORT = 1 << 11;
        const DIRECTION = 1 << 12;
        /// It says how the structure is laid out, which its revision says, too.
        const STATE_ALIAS = 1 << 13;
    }
}

/// `XT_CONNTRACK_STATE_SNAT` and its like: states beyond those of `NF_CT_STATE_*`.
const STATE_SNAT: u32 = 1 << 6;
const STATE_DNAT: u32 = 1 << 7;
const STATE_UNTRACKED: u32 = 1 << 8;

/// An end of a connection, and what asks for it.
#[derive(Clone, Copy, Debug)]
struct End {
    addr: [u8; 16],
    mask: [u8; 16],
    port: Range<u16>,
}

impl End {
    fn has_address(&self, ip: IpAddr) -> bool {
        let own = octets(ip);
        own.iter().zip(&self.addr).zip(&self.mask).all(|((own, addr), mask)| own & mask == addr & mask)
    }

    fn has_port(&self, port: u16) -> bool {
        // A range upside down is its first port.
        Range { low: self.port.low, high: self.port.high.max(self.port.low) }.contains(&port)
    }
}

/// `struct xt_conntrack_mtinfo1` to `3`.
#[derive(Clone, Debug)]
pub(in super::super) struct Conntrack {
    asked: Asked,
    inverted: Asked,
    states: u16,
    statuses: u16,
    /// The original's source and destination, and the reply's.
    ends: [End; 4],
    protocol: u16,
    /// Seconds.
    expires: Range<u32>,
}

impl Conntrack {
    pub(super) fn parse(f: Fields<'_>, revision: u32) -> Self {
        // Revision 1 has masks of a byte, revision 3 ends of the ranges of ports, in host order.
        let (states, statuses) = match revision {
            1 => (f.byte(150).into(), f.byte(151).into()),
            _ => (f.half(150), f.half(152)),
        };
        let ends = std::array::from_fn(|n| {
            let port = if revision == 3 {
                Range { low: f.half(138 + n * 2), high: f.half(154 + n * 2) }
            } else {
                Range { low: f.net_half(138 + n * 2), high: f.net_half(138 + n * 2) }
            };
            End { addr: f.address(n * 32), mask: f.address(n * 32 + 16), port }
        });
        Self {
            asked: Asked::from_bits_retain(f.half(146)),
            inverted: Asked::from_bits_retain(f.half(148)),
            states,
            statuses,
            ends,
            protocol: f.half(136),
            expires: Range { low: f.word(128), high: f.word(132) },
        }
    }

    pub(super) fn holds(&self, core: &Core, packet: &Passing<'_>) -> bool {
        let flow = core.netfilter.with_flow(packet, Clone::clone);
        if !self.fits(Asked::STATE, || state(packet, flow.as_ref()) & u32::from(self.states) != 0) {
            return false;
        }
        let (Some(flow), Tracked::Known { direction, .. }) = (flow, packet.track) else {
            // Nothing but the state can be said of what belongs to no connection.
            return (Asked::STATE | Asked::STATE_ALIAS).contains(self.asked);
        };
        let left = || u32::try_from(flow.expires.since(core.now()).as_secs()).unwrap_or(u32::MAX);
        self.fits_ends(&flow)
            && self.fits(Asked::PROTO, || u16::from(flow.original.protocol) == self.protocol)
            && self.fits(Asked::STATUS, || flow.status.bits() & u32::from(self.statuses) != 0)
            && self.fits(Asked::EXPIRES, || self.expires.contains(&left()))
            && self.fits(Asked::DIRECTION, || direction == Direction::Original)
    }

    fn fits_ends(&self, flow: &Flow) -> bool {
        let (original, reply) = (flow.original, flow.reply);
        let [original_from, original_to, reply_from, reply_to] = &self.ends;
        let fits = |addr, port, asked: &End, end: Endpoint| {
            self.fits(addr, || asked.has_address(end.ip)) && self.fits(port, || asked.has_port(end.port))
        };
        fits(Asked::ORIGSRC, Asked::ORIGSRC_PORT, original_from, original.from)
            && fits(Asked::ORIGDST, Asked::ORIGDST_PORT, original_to, original.to)
            && fits(Asked::REPLSRC, Asked::REPLSRC_PORT, reply_from, reply.from)
            && fits(Asked::REPLDST, Asked::REPLDST_PORT, reply_to, reply.to)
    }

    /// Whether something holds, or does not where that is asked for, or is not asked for.
    fn fits(&self, asked: Asked, holds: impl FnOnce() -> bool) -> bool {
        !self.asked.contains(asked) || holds() != self.inverted.contains(asked)
    }
}

/// What a packet is to its connection, as bits of `XT_CONNTRACK_STATE_*`.
fn state(packet: &Passing<'_>, flow: Option<&Flow>) -> u32 {
    let mut state = match packet.track {
        Tracked::Untracked | Tracked::None => STATE_UNTRACKED,
        _ => fields::state_bit(packet.track),
    };
    if let Some(flow) = flow {
        state |= if flow.status.contains(Status::SRC_NAT) { STATE_SNAT } else { 0 };
        state |= if flow.status.contains(Status::DST_NAT) { STATE_DNAT } else { 0 };
    }
    state
}
