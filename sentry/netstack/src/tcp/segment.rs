//! TCP segments: taken apart, and put together (RFC 9293 section 3.1, RFC 7323, RFC 2018).

use crate::base::addr::Endpoint;
use crate::buf::FrameBuffer;
use crate::core::Tuple;
use crate::ip::checksum;
use crate::ip::output::HEADROOM;
use crate::ip::packet::{Packet, protocol};
use bitflags::bitflags;
use smoltcp::wire::{TcpOption, TcpPacket, TcpSeqNumber};

bitflags! {
    /// Control bits, in their places in the header.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub(crate) struct Flags: u8 {
        const FIN = 0x01;
        const SYN = 0x02;
        const RST = 0x04;
        const PSH = 0x08;
        const ACK = 0x10;
        const URG = 0x20;
        const ECE = 0x40;
        const CWR = 0x80;
    }
}

/// Options of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TcpOptionsIn {
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    /// Value and echo.
    pub(crate) timestamp: Option<(u32, u32)>,
    pub(crate) sack: [Option<(u32, u32)>; 3],
}

/// A received segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) tuple: Tuple,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) options: TcpOptionsIn,
    pub(crate) payload: &'a [u8],
    /// The buffer that the payload probably lies in.
    pub(crate) buffer: Option<&'a FrameBuffer>,
    /// The IP header said "congestion experienced".
    pub(crate) is_ce: bool,
    pub(crate) ttl: u8,
    pub(crate) device: u32,
    /// How many packets the segment was on the link.
    pub(crate) packets: u32,
}

/// Why a segment was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    Header,
    Checksum,
}

impl<'a> Segment<'a> {
    pub(crate) fn parse(packet: &Packet<'a>) -> Result<Self, Malformed> {
        let data = packet.payload();
        let tcp = TcpPacket::new_checked(data).map_err(|_| Malformed::Header)?;
        let valid = packet.meta.checksum_ok || checksum::verify(packet.from, packet.to, protocol::TCP, data);
        if !valid {
            return Err(Malformed::Checksum);
        }
        let header_len = usize::from(tcp.header_len());
        let payload = data.get(header_len..).ok_or(Malformed::Header)?;
        let flags = Flags::from_bits_retain(data[13]);
        if tcp.src_port() == 0 || tcp.dst_port() == 0 {
            return Err(Malformed::Header);
        }
        let local = Endpoint::new(packet.to, tcp.dst_port());
        let remote = Endpoint::new(packet.from, tcp.src_port());
        let gso = u32::from(packet.meta.gso_size);
        Ok(Self {
            tuple: Tuple { local, remote },
            seq: tcp.seq_number().0.cast_unsigned(),
            ack: tcp.ack_number().0.cast_unsigned(),
            flags,
            window: tcp.window_len(),
            urgent: tcp.urgent_at(),
            options: parse_options(data.get(20..header_len).unwrap_or(&[])),
            payload,
            buffer: packet.meta.buffer,
            is_ce: packet.tos & 3 == 3,
            ttl: packet.ttl,
            device: packet.nic.index,
            packets: if gso == 0 { 1 } else { (payload.len() as u32).div_ceil(gso).max(1) },
        })
    }

    pub(crate) const fn has(&self, flags: Flags) -> bool {
        self.flags.contains(flags)
    }

    /// Length in sequence space.
    pub(crate) fn seq_len(&self) -> u32 {
        self.payload.len() as u32 + u32::from(self.has(Flags::SYN)) + u32::from(self.has(Flags::FIN))
    }
}

/// Options up to the first that makes no sense; unknown ones are skipped.
fn parse_options(mut data: &[u8]) -> TcpOptionsIn {
    let mut options = TcpOptionsIn::default();
    while let Ok((rest, option)) = TcpOption::parse(data) {
        match option {
            TcpOption::EndOfList => break,
            TcpOption::MaxSegmentSize(mss) => options.mss = Some(mss),
            // RFC 7323 2.3: more than 14 counts as 14.
            TcpOption::WindowScale(scale) => options.window_scale = Some(scale.min(14)),
            TcpOption::SackPermitted => options.sack_permitted = true,
            TcpOption::SackRange(ranges) => options.sack = ranges,
            TcpOption::TimeStamp { tsval, tsecr } => options.timestamp = Some((tsval, tsecr)),
            TcpOption::NoOperation | TcpOption::Unknown { .. } => {}
        }
        data = rest;
    }
    options
}

/// Header of a segment to send.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Header {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) mss: Option<u16>,
    pub(crate) window_scale: Option<u8>,
    pub(crate) sack_permitted: bool,
    pub(crate) timestamp: Option<(u32, u32)>,
    pub(crate) sack: [Option<(u32, u32)>; 3],
}

impl Header {
    /// Length with options.
    pub(crate) fn len(&self) -> usize {
        let sacks = self.sack.iter().flatten().count();
        20 + if self.mss.is_some() { 4 } else { 0 }
            + if self.window_scale.is_some() { 4 } else { 0 }
            + if self.sack_permitted { 4 } else { 0 }
            + if self.timestamp.is_some() { 12 } else { 0 }
            + if sacks > 0 { 4 + 8 * sacks } else { 0 }
    }

    /// A packet buffer with this header at `HEADROOM` and room for `payload_len` bytes after it.
    pub(crate) fn emit(&self, tuple: &Tuple, payload_len: usize) -> Vec<u8> {
        let len = self.len();
        let mut data = vec![0; HEADROOM + len + payload_len];
        let mut tcp = TcpPacket::new_unchecked(&mut data[HEADROOM..]);
        tcp.set_src_port(tuple.local.port);
        tcp.set_dst_port(tuple.remote.port);
        tcp.set_seq_number(TcpSeqNumber(self.seq.cast_signed()));
        tcp.set_ack_number(TcpSeqNumber(self.ack.cast_signed()));
        tcp.set_header_len(len as u8);
        tcp.set_window_len(self.window);
        tcp.set_urgent_at(self.urgent);
        let mut options = tcp.options_mut();
        if let Some(mss) = self.mss {
            options = TcpOption::MaxSegmentSize(mss).emit(options);
        }
        if self.sack_permitted {
            options = pad(options);
            options = TcpOption::SackPermitted.emit(options);
        }
        if let Some((tsval, tsecr)) = self.timestamp {
            options = pad(options);
            options = TcpOption::TimeStamp { tsval, tsecr }.emit(options);
        }
        if let Some(scale) = self.window_scale {
            options = TcpOption::NoOperation.emit(options);
            options = TcpOption::WindowScale(scale).emit(options);
        }
        if self.sack.iter().any(Option::is_some) {
            options = pad(options);
            options = TcpOption::SackRange(self.sack).emit(options);
        }
        debug_assert!(options.is_empty());
        data[HEADROOM + 13] = self.flags.bits();
        data
    }
}

/// Two bytes that align the next option.
fn pad(options: &mut [u8]) -> &mut [u8] {
    let options = TcpOption::NoOperation.emit(options);
    TcpOption::NoOperation.emit(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn options_survive(
            mss in any::<Option<u16>>(), scale in prop::option::of(0u8..14), sack_permitted: bool,
            timestamp in any::<Option<(u32, u32)>>(), blocks in prop::collection::vec(any::<(u32, u32)>(), 0..3),
        ) {
            let end = Endpoint::new([10, 0, 0, 1].into(), 80);
            let mut sack = [None; 3];
            blocks.iter().enumerate().for_each(|(i, block)| sack[i] = Some(*block));
            let window_scale = scale.filter(|_| blocks.is_empty());
            let mss = mss.filter(|_| blocks.is_empty());
            let sack_permitted = sack_permitted && blocks.is_empty();
            let header = Header { mss, window_scale, sack_permitted, timestamp, sack, ..Header::default() };
            let data = header.emit(&Tuple { local: end, remote: end }, 3);
            prop_assert_eq!(data.len(), HEADROOM + header.len() + 3);
            let got = parse_options(&data[HEADROOM + 20..HEADROOM + header.len()]);
            prop_assert_eq!(got, TcpOptionsIn { mss, window_scale, sack_permitted, timestamp, sack });
        }

        #[test]
        fn hostile_options_do_no_harm(data in prop::collection::vec(any::<u8>(), 0..40)) {
            parse_options(&data);
        }
    }
}
