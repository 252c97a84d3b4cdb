//! What the stack knows of a packet beside its headers: length, mark, sender, how it was addressed on its link.

use super::super::super::fields;
use super::super::super::passing::Passing;
use super::super::Fields;
use super::{Masked, Range};

/// `struct xt_length_info`: bytes of the whole packet.
#[derive(Clone, Debug)]
pub(in super::super) struct Length {
    bytes: Range<u16>,
    is_inverted: bool,
}

impl Length {
    pub(super) fn parse(f: Fields<'_>) -> Self {
        Self { bytes: Range { low: f.half(0), high: f.half(2) }, is_inverted: f.byte(4) != 0 }
    }

    pub(super) fn holds(&self, packet: &Passing<'_>) -> bool {
        // Longer than any range says.
        let len = u16::try_from(packet.bytes.len());
        len.is_ok_and(|len| self.bytes.contains(&len)) != self.is_inverted
    }
}

/// `struct xt_mark_mtinfo1`.
#[derive(Clone, Debug)]
pub(in super::super) struct Mark(Masked<u32>);

impl Mark {
    pub(super) fn parse(f: Fields<'_>) -> Self {
        Self(Masked::parse_mark(f))
    }

    pub(super) fn holds(&self, packet: &Passing<'_>) -> bool {
        self.0.holds(packet.mark)
    }
}

bitflags::bitflags! {
    /// What a rule asks of a packet's sender (`XT_OWNER_*`).
    #[derive(Clone, Copy, Debug)]
    struct OwnerFlags: u8 {
        const UID = 1;
        const GID = 2;
        /// Whether there is a socket at all.
        const SOCKET = 4;
    }
}

/// `struct xt_owner_match_info`.
#[derive(Clone, Debug)]
pub(in super::super) struct Owner {
    uid: Range<u32>,
    gid: Range<u32>,
    asked: OwnerFlags,
    inverted: OwnerFlags,
}

impl Owner {
    pub(super) fn parse(f: Fields<'_>) -> Self {
        Self {
            uid: Range { low: f.word(0), high: f.word(4) },
            gid: Range { low: f.word(8), high: f.word(12) },
            asked: OwnerFlags::from_bits_retain(f.byte(16)),
            inverted: OwnerFlags::from_bits_retain(f.byte(17)),
        }
    }

    pub(super) fn holds(&self, packet: &Passing<'_>) -> bool {
        let Some(owner) = packet.owner else { return self.inverted.contains(self.asked) };
        let fits = |flag, ids: &Range<u32>, id| {
            !self.asked.contains(flag) || ids.contains(&id) != self.inverted.contains(flag)
        };
        let has_socket =
            !self.asked.contains(OwnerFlags::SOCKET) || !self.inverted.contains(OwnerFlags::SOCKET);
        has_socket
            && fits(OwnerFlags::UID, &self.uid, owner.uid)
            && fits(OwnerFlags::GID, &self.gid, owner.gid)
    }
}

/// `struct xt_pkttype_info`: `PACKET_*`.
#[derive(Clone, Debug)]
pub(in super::super) struct PacketType {
    kind: u32,
    is_inverted: bool,
}

impl PacketType {
    pub(super) fn parse(f: Fields<'_>) -> Self {
        Self { kind: f.word(0), is_inverted: f.word(4) != 0 }
    }

    pub(super) fn holds(&self, packet: &Passing<'_>) -> bool {
        (u32::from(fields::packet_type(packet)) == self.kind) != self.is_inverted
    }
}
