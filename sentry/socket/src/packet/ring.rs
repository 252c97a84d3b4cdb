//! The receive ring: memory shared with the guest into which frames are put (`PACKET_RX_RING`, `TPACKET_V2`).
//!
//! What the guest writes into the ring is looked at in one place only, a frame's status word, read once: whether we may
//! use the frame. Everything else is written, never read.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use abi::time::NSEC_PER_SEC_U64;
use abi::{Errno, Result};
use kernel::mm::{Access, Backing, Mappable, MemoryFile, SharedAnon};
use netstack::LinkAddr;

use super::address;

/// Bytes of a `tpacket2_hdr`.
pub(super) const HEADER: usize = 32;
/// Where the packet's address follows.
const ADDRESS: usize = HEADER;
/// Alignment of frames and of what is in them (`TPACKET_ALIGNMENT`).
const ALIGN: usize = 16;
const PAGE: u64 = 4096;
/// The largest ring.
const MAX_BYTES: u64 = 256 << 20;
/// The frame belongs to the guest (`TP_STATUS_USER`).
const USER: u32 = 1;
/// The packet is longer than what is stored of it (`TP_STATUS_COPY`); it was queued otherwise on Linux, too.
const COPY: u32 = 2;

/// `struct tpacket_req`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) block_size: u32,
    pub(super) blocks: u32,
    pub(super) frame_size: u32,
    pub(super) frames: u32,
}

/// A packet for the ring.
#[derive(Debug)]
pub(super) struct Frame<'a> {
    /// From the link header on, or from the network header for cooked sockets.
    pub(super) data: &'a [u8],
    /// Length on the wire.
    pub(super) len: usize,
    /// Bytes of the link header in `data`.
    pub(super) header: usize,
    pub(super) link: LinkAddr,
    /// When it came, wall-clock nanoseconds.
    pub(super) stamp_ns: u64,
}

/// A ring.
#[derive(Debug)]
pub(super) struct Ring {
    pages: Arc<SharedAnon>,
    memory: Arc<MemoryFile>,
    layout: Layout,
    next: u32,
}

impl Ring {
    /// A ring as the guest wants it; `reserve` bytes are left free before each packet.
    ///
    /// # Errors
    /// `EINVAL` for a layout that Linux refuses, `ENOMEM` for a ring that is too large.
    pub(super) fn new(memory: &Arc<MemoryFile>, layout: Layout, reserve: u32) -> Result<Self> {
        let Layout { block_size, blocks, frame_size, frames } = layout;
        let least = (HEADER + address::LEN) as u64 + u64::from(reserve);
        let is_good = block_size > 0
            && u64::from(block_size) % PAGE == 0
            && u64::from(frame_size) >= least
            && (frame_size as usize).is_multiple_of(ALIGN)
            && frame_size <= block_size
            && (block_size / frame_size).checked_mul(blocks) == Some(frames);
        if !is_good {
            return Err(Errno::EINVAL);
        }
        let len = u64::from(block_size) * u64::from(blocks);
        if len > MAX_BYTES {
            return Err(Errno::ENOMEM);
        }
        Ok(Self { pages: SharedAnon::new(memory, len), memory: Arc::clone(memory), layout, next: 0 })
    }

    /// What the guest maps.
    pub(super) fn pages(&self) -> Arc<SharedAnon> {
        Arc::clone(&self.pages)
    }

    /// Whether the guest has a frame to look at: the one that was filled last.
    pub(super) fn has_frames(&self) -> bool {
        let last = (self.next + self.layout.frames - 1) % self.layout.frames;
        self.status(last) != Some(0)
    }

    /// Whether the next frame is ours to fill.
    pub(super) fn has_room(&self) -> bool {
        self.status(self.next) == Some(0)
    }

    /// Puts a packet into the next frame, which [`Self::has_room`] has said is ours.
    ///
    /// # Errors
    /// `ENOMEM` where the memory cannot be had.
    pub(super) fn put(&mut self, frame: &Frame<'_>, reserve: u32) -> Result<()> {
        let start = self.offset(self.next);
        // As Linux: the network header is aligned, the link header lies before it.
        let before = (HEADER + address::LEN).next_multiple_of(ALIGN);
        let network = (before + frame.header.max(ALIGN)).next_multiple_of(ALIGN) + reserve as usize;
        let link = network - frame.header;
        let room = (self.layout.frame_size as usize).saturating_sub(link);
        let stored = frame.data.len().min(room);
        let status = if stored < frame.data.len() { USER | COPY } else { USER };
        let mut head = Vec::with_capacity(before);
        for word in [0, frame.len as u32, stored as u32] {
            head.extend(word.to_ne_bytes());
        }
        for half in [link as u16, network as u16] {
            head.extend(half.to_ne_bytes());
        }
        head.extend(((frame.stamp_ns / NSEC_PER_SEC_U64) as u32).to_ne_bytes());
        head.extend(((frame.stamp_ns % NSEC_PER_SEC_U64) as u32).to_ne_bytes());
        head.resize(ADDRESS, 0);
        head.extend(address::encode(&frame.link));
        self.write(start + link as u64, &frame.data[..stored])?;
        self.write(start + 4, &head[4..])?;
        // The guest must not see the status before the rest.
        fence(Ordering::Release);
        self.with(start, 4, &mut |memory, at, _| memory.slice(at, 4)?.store_u32(0, status).map(|()| 4))?;
        self.next = (self.next + 1) % self.layout.frames;
        Ok(())
    }

    fn offset(&self, index: u32) -> u64 {
        let in_block = self.layout.block_size / self.layout.frame_size;
        u64::from(index / in_block) * u64::from(self.layout.block_size)
            + u64::from(index % in_block) * u64::from(self.layout.frame_size)
    }

    /// A frame's status; `None` where its memory cannot be had.
    fn status(&self, index: u32) -> Option<u32> {
        let mut status = None;
        // Frames are aligned: the word lies on one page.
        self.with(self.offset(index), 4, &mut |memory, at, _| {
            status = Some(memory.slice(at, 4)?.load_u32(0)?);
            Ok(4)
        })
        .ok()?;
        status
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut left = bytes;
        self.with(offset, bytes.len(), &mut |memory, at, len| {
            let (now, rest) = left.split_at(len.min(left.len()));
            left = rest;
            memory.slice(at, now.len())?.write(now)
        })
    }

    /// Calls `access` with the places in the memory file behind a range of the ring, piece by piece.
    fn with(
        &self,
        mut offset: u64,
        len: usize,
        access: &mut dyn FnMut(&MemoryFile, u64, usize) -> Result<usize>,
    ) -> Result<()> {
        let end = offset + len as u64;
        while offset < end {
            let page = offset / PAGE * PAGE;
            let wanted = (end - page).next_multiple_of(PAGE);
            let Backing::Memory { offset: at, len: got } = self.pages.backing(page, wanted, Access::WRITE)?
            else {
                return Err(Errno::ENOMEM);
            };
            let skip = offset - page;
            let piece = (got - skip).min(end - offset);
            let done = access(&self.memory, at + skip, piece as usize);
            self.memory.release(at, got);
            done?;
            offset += piece;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kernel::mm::MemoryFile;
    use netstack::LinkAddr;

    use super::{Frame, Layout, Ring};

    const LAYOUT: Layout = Layout { block_size: 8192, blocks: 2, frame_size: 2048, frames: 8 };

    #[test]
    fn frames_go_round() {
        let memory = MemoryFile::new(64 << 20).unwrap();
        let mut ring = Ring::new(&memory, LAYOUT, 0).unwrap();
        assert!(!ring.has_frames() && ring.has_room());
        let frame = Frame {
            data: &[7; 100],
            len: 100,
            header: 14,
            link: LinkAddr::default(),
            stamp_ns: 1_500_000_000,
        };
        for _ in 0..8 {
            ring.put(&frame, 0).unwrap();
        }
        assert!(ring.has_frames() && !ring.has_room());
        let mut head = [0; 32];
        let mut at = 0;
        ring.with(2048, 32, &mut |memory, place, len| {
            at = place;
            memory.slice(place, len)?.read(&mut head)
        })
        .unwrap();
        let word = |n: usize| u32::from_ne_bytes(head[n * 4..n * 4 + 4].try_into().unwrap());
        assert_eq!((word(0), word(1), word(2)), (1, 100, 100));
        assert_eq!(
            (head[12..14].to_vec(), head[14..16].to_vec()),
            (66u16.to_ne_bytes().into(), 80u16.to_ne_bytes().into())
        );
        // The guest gives the first frame back.
        ring.write(0, &[0; 4]).unwrap();
        assert!(ring.has_room());
        ring.put(&Frame { data: &[1; 5000], len: 5000, ..frame }, 0).unwrap();
        assert_eq!(ring.status(0), Some(3));
    }

    #[test]
    fn bad_layouts_are_refused() {
        let memory = MemoryFile::new(64 << 20).unwrap();
        for layout in [
            Layout { block_size: 0, ..LAYOUT },
            Layout { block_size: 8000, ..LAYOUT },
            Layout { frame_size: 40, ..LAYOUT },
            Layout { frame_size: 16384, ..LAYOUT },
            Layout { frame_size: 2049, ..LAYOUT },
            Layout { frames: 7, ..LAYOUT },
            Layout { block_size: 1 << 30, blocks: 1 << 12, frame_size: 1 << 30, frames: 1 << 12 },
        ] {
            assert!(Ring::new(&memory, layout, 0).is_err(), "{layout:?}");
        }
        assert!(Ring::new(&memory, LAYOUT, u32::MAX).is_err());
    }
}
