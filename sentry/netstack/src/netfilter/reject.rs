//! Refusing a packet: an ICMP error or a TCP reset to its sender.

use super::Hook;
use super::expr::Reject;
use super::passing::Passing;
use crate::base::addr::Family;
use crate::core::Core;
use crate::ip::packet::{Aim, Cast, Packet, protocol};
use crate::link::device::RxMeta;
use crate::tcp::segment::Segment;

impl Core {
    /// Answers a packet that a rule refuses.
    pub(super) fn reject(&self, packet: &mut Passing<'_>, how: Reject) {
        self.netfilter.attach(self, packet);
        let nic = packet.input.as_ref().or(packet.output.as_ref());
        let Some(nic) = nic.filter(|_| packet.cast == Cast::Unicast) else { return };
        let family = packet.family();
        let refused = Packet {
            nic,
            from: packet.from(),
            to: packet.to(),
            protocol: packet.protocol,
            ttl: 0,
            tos: 0,
            cast: packet.cast,
            aim: if packet.hook == Hook::Forward { Aim::Elsewhere } else { Aim::Local },
            is_reassembled: false,
            whole: packet.bytes,
            header_len: packet.header_len,
            meta: RxMeta { checksum_ok: true, ..RxMeta::default() },
        };
        match how {
            Reject::Reset => self.reset(&refused),
            Reject::Icmp(code) => self.refuse_by_icmp(&refused, code),
            Reject::Either(code) => self.refuse_by_icmp(&refused, code_of(family, code)),
        }
    }

    fn reset(&self, refused: &Packet<'_>) {
        if refused.protocol != protocol::TCP {
            return;
        }
        if let Ok(segment) = Segment::parse(refused) {
            self.send_tcp_reset(&segment);
        }
    }
}

/// The family's code for one of `NFT_REJECT_ICMPX_*`: no route, port unreachable, host unreachable, prohibited.
const fn code_of(family: Family, code: u8) -> u8 {
    match (family, code) {
        (Family::V4, 0) => 0,
        (Family::V4, 1) => 3,
        (Family::V4, 2) => 1,
        (Family::V4, _) => 13,
        (Family::V6, 0) => 0,
        (Family::V6, 1) => 4,
        (Family::V6, 2) => 3,
        (Family::V6, _) => 1,
    }
}
