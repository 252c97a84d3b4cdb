//! What an interface needs of the device that carries its frames.

use crate::buf::FrameBuffer;
use std::any::Any;

/// What a device does itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Offloads {
    /// It completes the TCP and UDP checksums of sent frames.
    pub tx_checksum: bool,
    /// It cuts TCP segments of up to 64 KiB into packets.
    pub segmentation: bool,
}

/// What goes with a sent frame; the fields are those of the virtio-net header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TxMeta {
    /// Where the checksum is still to be completed: from `start` on, stored at `start + offset`. The field holds
    /// the pseudo header's sum.
    pub checksum: Option<(u16, u16)>,
    /// Cut the segment into packets with this much payload; 0 for no cutting.
    pub gso_size: u16,
    /// Length of all headers, where `gso_size` is set.
    pub header_len: u16,
    /// The segment is TCP over IPv6 (else IPv4), where `gso_size` is set.
    pub is_v6: bool,
    /// The first packet carries CWR, the others must not.
    pub has_ecn: bool,
}

impl TxMeta {
    /// For a frame that begins `by` bytes later.
    pub(crate) fn moved_up(self, by: usize) -> Self {
        let by = by as u16;
        Self {
            checksum: self.checksum.map(|(start, offset)| (start.saturating_sub(by), offset)),
            header_len: self.header_len.saturating_sub(by),
            ..self
        }
    }
}

/// A frame to send: complete, from the link header on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxFrame {
    pub(crate) data: Vec<u8>,
    pub(crate) start: usize,
    /// What the device is to do with it. Offsets count from the first byte of the frame.
    pub meta: TxMeta,
}

impl TxFrame {
    /// A frame of these bytes.
    pub(crate) const fn new(data: Vec<u8>, meta: TxMeta) -> Self {
        Self { data, start: 0, meta }
    }

    /// The frame's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.data.get(self.start..).unwrap_or(&[])
    }
}

/// What is known of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RxMeta<'a> {
    /// The transport checksum needs no check: the device did it, or the frame never left the host.
    pub checksum_ok: bool,
    /// The transport checksum was not made yet, as in [`TxMeta::checksum`]: who passes the frame on has to see to it.
    pub checksum: Option<(u16, u16)>,
    /// Size of the packets that the frame was put together from; 0 where it is one packet.
    pub gso_size: u16,
    /// Wall-clock time of arrival in ns since 1970; 0 where the device does not say.
    pub stamp_ns: u64,
    /// The buffer that the frame lies in, where it may be kept.
    pub buffer: Option<&'a FrameBuffer>,
}

impl RxMeta<'_> {
    /// Of a frame that never left the sandbox: its checksum need not be looked at.
    pub(crate) const fn of_sent(meta: &TxMeta) -> Self {
        Self {
            checksum_ok: true,
            checksum: meta.checksum,
            gso_size: meta.gso_size,
            stamp_ns: 0,
            buffer: None,
        }
    }
}

/// Carries frames.
pub trait Device: Any + Send + Sync {
    /// Sends frames in order; returns how many it took, the others are dropped and counted. May be called with the
    /// sending socket's lock held, so that packets keep their order: it must not call into the stack.
    fn transmit(&self, frames: &[TxFrame]) -> usize;

    /// What it does itself.
    fn offloads(&self) -> Offloads {
        Offloads::default()
    }

    /// The kind of links that it makes, where guests make and remove them (`IFLA_INFO_KIND`).
    fn kind(&self) -> Option<&'static str> {
        None
    }

    /// Whether something is at the other end of the line.
    fn has_carrier(&self) -> bool {
        true
    }

    /// Its interface is gone. Called with no lock held.
    fn removed(&self) {}
}
