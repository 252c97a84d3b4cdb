//! What devices do for senders, done here: completing checksums, and cutting long TCP segments into packets. Needed
//! where a frame from inside the sandbox, or one that a device put together, leaves by a device that does neither.

use super::device::{Offloads, RxMeta, TxFrame, TxMeta};
use crate::ip::checksum;
use crate::ip::packet::{get16, get32, protocol, put16, put32};

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Where the headers of a frame's TCP segment lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    network: usize,
    transport: usize,
    payload: usize,
    is_v6: bool,
}

impl Layout {
    /// Of a TCP segment over IP without extension headers, with `network` bytes before the network header.
    fn of(frame: &[u8], network: usize) -> Option<Self> {
        let first = *frame.get(network)?;
        let (is_v6, header, number) = match first >> 4 {
            4 => (false, usize::from(first & 0xf) * 4, *frame.get(network + 9)?),
            6 => (true, 40, *frame.get(network + 6)?),
            _ => return None,
        };
        let transport = network + header;
        let payload = transport + usize::from(*frame.get(transport + 12)? >> 4) * 4;
        let is_whole = number == protocol::TCP && header >= 20 && payload >= transport + 20;
        (is_whole && payload <= frame.len()).then_some(Self { network, transport, payload, is_v6 })
    }
}

/// What a received frame is to be sent with, when it is passed on as it came. `network` bytes stand before the IP header.
pub(crate) fn to_send(frame: &[u8], network: usize, meta: &RxMeta) -> TxMeta {
    let layout = Layout::of(frame, network).filter(|_| meta.gso_size != 0);
    let Some(layout) = layout else { return TxMeta { checksum: meta.checksum, ..TxMeta::default() } };
    TxMeta {
        checksum: meta.checksum.or(Some((layout.transport as u16, 16))),
        gso_size: meta.gso_size,
        header_len: layout.payload as u16,
        is_v6: layout.is_v6,
        has_ecn: frame.get(layout.transport + 13).is_some_and(|flags| flags & CWR != 0),
    }
}

/// A frame with `network` bytes before its IP header as a device with these offloads can take it.
pub(crate) fn fit(frame: TxFrame, offloads: Offloads, network: usize) -> Vec<TxFrame> {
    if frame.meta.gso_size != 0 && !offloads.segmentation {
        return cut(&frame, network);
    }
    if frame.meta.checksum.is_some() && !offloads.tx_checksum {
        return vec![complete(frame)];
    }
    vec![frame]
}

/// Makes a checksum that was left open: the field holds the sum of the pseudo header.
pub(crate) fn complete(mut frame: TxFrame) -> TxFrame {
    let Some((start, offset)) = frame.meta.checksum.take() else { return frame };
    let (start, at) =
        (frame.start + usize::from(start), frame.start + usize::from(start) + usize::from(offset));
    if let Some(segment) = frame.data.get(start..) {
        let sum = checksum::sum(segment);
        // UDP's field is at offset 6; there a sum of zero is written otherwise.
        let number = if offset == 6 { protocol::UDP } else { protocol::TCP };
        put16(&mut frame.data, at, checksum::transport_field(number, sum));
    }
    frame
}

/// Cuts a TCP segment into packets, with their checksums. Nothing where it is none.
pub(crate) fn cut(frame: &TxFrame, network: usize) -> Vec<TxFrame> {
    let bytes = frame.bytes();
    let Some(layout) = Layout::of(bytes, network) else { return Vec::new() };
    let (headers, payload) = bytes.split_at(layout.payload);
    let parts: Vec<&[u8]> = payload.chunks(usize::from(frame.meta.gso_size.max(1))).collect();
    let last = parts.len().saturating_sub(1);
    let piece = |(index, part): (usize, &&[u8])| {
        let mut data = headers.to_vec();
        data.extend_from_slice(part);
        let offset = index * usize::from(frame.meta.gso_size);
        finish(&mut data, &layout, index, index == last, offset as u32);
        TxFrame::new(data, TxMeta::default())
    };
    parts.iter().enumerate().map(piece).collect()
}

/// Gives a piece of a segment its own numbers and sums.
fn finish(data: &mut [u8], layout: &Layout, index: usize, is_last: bool, offset: u32) {
    let Layout { network, transport, is_v6, .. } = *layout;
    let seq = get32(data, transport + 4).unwrap_or(0).wrapping_add(offset);
    put32(data, transport + 4, seq);
    let flags = data[transport + 13];
    let ends = if is_last { 0xff } else { !(FIN | PSH) };
    let begins = if index == 0 { 0xff } else { !CWR };
    data[transport + 13] = flags & ends & begins;
    let segment_len = data.len() - transport;
    let addresses = if is_v6 {
        put16(data, network + 4, (data.len() - network - 40) as u16);
        network + 8..network + 40
    } else {
        put16(data, network + 2, (data.len() - network) as u16);
        let id = get16(data, network + 4).unwrap_or(0).wrapping_add(index as u16);
        put16(data, network + 4, id);
        put16(data, network + 10, 0);
        let sum = !checksum::sum(&data[network..transport]);
        put16(data, network + 10, sum);
        network + 12..network + 20
    };
    put16(data, transport + 16, 0);
    let pseudo = checksum::add(checksum::sum(&data[addresses]), protocol::TCP.into());
    let pseudo = checksum::add(pseudo, segment_len as u16);
    let sum = checksum::add(pseudo, checksum::sum(&data[transport..]));
    put16(data, transport + 16, checksum::transport_field(protocol::TCP, sum));
}
