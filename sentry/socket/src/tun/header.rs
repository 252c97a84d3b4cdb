//! What stands before a packet in a tun file: `struct tun_pi`, then `struct virtio_net_hdr`, each where it was asked for.

use abi::{Errno, Result};
use host::packet::OffloadHeader;
use netstack::{NicKind, RxMeta, TxMeta};
use zerocopy::{FromBytes, IntoBytes};

use crate::inet::{decode, encode};

bitflags::bitflags! {
    /// `IFF_*` of `TUNSETIFF`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct TunFlags: u16 {
        /// IP packets.
        const TUN = 0x0001;
        /// Ethernet frames.
        const TAP = 0x0002;
        /// No `struct tun_pi`.
        const NO_PI = 0x1000;
        /// Without meaning today.
        const ONE_QUEUE = 0x2000;
        /// A `struct virtio_net_hdr`.
        const VNET_HDR = 0x4000;
        /// The interface must be new.
        const EXCL = 0x8000;
    }
}

/// Length of a `struct tun_pi`: flags and an Ethernet protocol.
const PI: usize = 4;
/// In its flags: the packet was cut short.
const STRIP: u16 = 1;
/// Length of the shortest `struct virtio_net_hdr`, which is what is looked at.
pub(super) const VNET: usize = size_of::<OffloadHeader>();
/// Length of an Ethernet header.
const ETHERNET: usize = 14;

/// How packets look in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) flags: TunFlags,
    /// Bytes that the virtio header has (`TUNSETVNETHDRSZ`).
    pub(super) vnet_len: usize,
}

impl Layout {
    /// What kind of interface it is for.
    pub(super) fn kind(self) -> NicKind {
        if self.flags.contains(TunFlags::TAP) { NicKind::Ethernet } else { NicKind::Ip }
    }

    fn pi_len(self) -> usize {
        if self.flags.contains(TunFlags::NO_PI) { 0 } else { PI }
    }

    fn vnet(self) -> usize {
        if self.flags.contains(TunFlags::VNET_HDR) { self.vnet_len } else { 0 }
    }

    /// Bytes before the packet.
    pub(super) fn len(self) -> usize {
        self.pi_len() + self.vnet()
    }

    /// The headers of a packet that is read; `is_cut` where there is no room for all of it.
    pub(super) fn write(self, meta: &TxMeta, packet: &[u8], is_cut: bool) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        if self.pi_len() > 0 {
            let strip = if is_cut { STRIP } else { 0 };
            bytes[..2].copy_from_slice(&strip.to_ne_bytes());
            bytes[2..PI].copy_from_slice(&self.protocol(packet).to_be_bytes());
        }
        if self.vnet() > 0 {
            let at = self.pi_len();
            bytes[at..at + VNET].copy_from_slice(encode(meta).as_bytes());
        }
        bytes
    }

    /// The Ethernet protocol of a packet.
    fn protocol(self, packet: &[u8]) -> u16 {
        let field = |at: usize| packet.get(at..).and_then(|rest| rest.first_chunk::<2>()).copied();
        match (self.kind(), packet.first().map(|byte| byte >> 4)) {
            (NicKind::Ethernet, _) => field(12).map_or(0, u16::from_be_bytes),
            (_, Some(4)) => 0x0800,
            (_, Some(6)) => 0x86dd,
            _ => 0,
        }
    }

    /// Takes what was written apart: what its headers say, and where the packet begins.
    ///
    /// # Errors
    /// `EINVAL` where it is too short, says what cannot be, or is no packet.
    pub(super) fn read(self, bytes: &[u8]) -> Result<(RxMeta<'static>, usize)> {
        let packet = bytes.get(self.len()..).ok_or(Errno::EINVAL)?;
        let is_packet = match self.kind() {
            NicKind::Ethernet => packet.len() >= ETHERNET,
            // What the header says it is, the stack finds out.
            _ if self.pi_len() > 0 => true,
            _ => matches!(packet.first().map(|byte| byte >> 4), Some(4 | 6)),
        };
        if !is_packet {
            return Err(Errno::EINVAL);
        }
        if self.vnet() == 0 {
            return Ok((RxMeta::default(), self.len()));
        }
        let at = self.pi_len();
        let header = bytes.get(at..at + VNET).and_then(|bytes| OffloadHeader::read_from_bytes(bytes).ok());
        let meta = decode(&header.ok_or(Errno::EINVAL)?);
        let is_within =
            |(start, offset): (u16, u16)| usize::from(start) + usize::from(offset) + 2 <= packet.len();
        if !meta.checksum.is_none_or(is_within) || usize::from(meta.gso_size) > packet.len() {
            return Err(Errno::EINVAL);
        }
        Ok((meta, self.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPV4: [u8; 20] = [0x45; 20];

    fn layout(flags: TunFlags) -> Layout {
        Layout { flags, vnet_len: 12 }
    }

    #[test]
    fn bare_packets_have_no_headers() {
        let bare = layout(TunFlags::TUN | TunFlags::NO_PI);
        assert!(bare.write(&TxMeta::default(), &IPV4, false).is_empty());
        assert_eq!(bare.read(&IPV4).map(|(_, at)| at), Ok(0));
        assert_eq!(bare.read(&[]).map(drop), Err(Errno::EINVAL));
        assert_eq!(bare.read(&[0x15; 20]).map(drop), Err(Errno::EINVAL), "no version of IP");
        let tap = layout(TunFlags::TAP | TunFlags::NO_PI);
        assert_eq!(tap.read(&[0; 13]).map(drop), Err(Errno::EINVAL));
        assert_eq!(tap.read(&[0; 14]).map(|(_, at)| at), Ok(0));
    }

    #[test]
    fn headers_say_what_a_packet_is() {
        let all = layout(TunFlags::TUN | TunFlags::VNET_HDR);
        let meta =
            TxMeta { checksum: Some((20, 16)), gso_size: 1000, header_len: 40, is_v6: false, has_ecn: false };
        let bytes = all.write(&meta, &IPV4, true);
        assert_eq!(bytes, [1, 0, 8, 0, 1, 1, 40, 0, 0xe8, 3, 20, 0, 16, 0, 0, 0]);
        let whole = [&bytes[..], &IPV4, &[0; 2000]].concat();
        let (got, at) = all.read(&whole).unwrap();
        assert_eq!((got.checksum, got.gso_size, at), (Some((20, 16)), 1000, 16));
        assert_eq!(all.read(&whole[..30]).map(drop), Err(Errno::EINVAL), "the sum lies beyond its end");
        assert_eq!(all.read(&whole[..10]).map(drop), Err(Errno::EINVAL));
    }
}
