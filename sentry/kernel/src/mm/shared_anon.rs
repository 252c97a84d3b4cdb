//! Memory shared between processes without a file: `MAP_SHARED | MAP_ANONYMOUS` and System V segments.

use std::sync::Arc;

use abi::{Errno, Result};
use parking_lot::Mutex;
use segment::{Segment, SegmentMap};

use super::{Access, Backing, Mappable, MappingSet, MemoryFile};

/// Frames are taken in pieces of this size.
const CHUNK: u64 = 2 << 20;

/// An object of zeroed pages that are allocated as they are mapped.
///
/// Locks: `frames` comes before the memory file's.
#[derive(Debug)]
pub struct SharedAnon {
    memory: Arc<MemoryFile>,
    len: u64,
    /// It does not go with the processes that map it: it may not take all of the memory.
    is_lasting: bool,
    frames: Mutex<SegmentMap<Frame>>,
    mappings: MappingSet,
}

/// The memory-file offset behind an object offset.
#[derive(Clone, Copy, Debug)]
struct Frame(u64);

impl Segment for Frame {
    fn split_off(&mut self, at: u64) -> Self {
        Self(self.0 + at)
    }

    fn continues(&self, len: u64, next: &Self) -> bool {
        self.0 + len == next.0
    }
}

impl SharedAnon {
    /// An object of `len` bytes (a page multiple), all zero.
    #[must_use]
    pub fn new(memory: &Arc<MemoryFile>, len: u64) -> Arc<Self> {
        Self::make(memory, len, false)
    }

    /// As [`Self::new`], for an object that stays when nobody maps it.
    #[must_use]
    pub(crate) fn lasting(memory: &Arc<MemoryFile>, len: u64) -> Arc<Self> {
        Self::make(memory, len, true)
    }

    fn make(memory: &Arc<MemoryFile>, len: u64, is_lasting: bool) -> Arc<Self> {
        let (frames, mappings) = (Mutex::default(), MappingSet::new());
        Arc::new(Self { memory: memory.clone(), len, is_lasting, frames, mappings })
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether it has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory behind it.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let frames = self.frames.lock();
        frames.iter().map(|(range, frame)| self.memory.resident(frame.0, range.end - range.start)).sum()
    }

    fn punch_frames(&self, offset: u64, end: u64) {
        let removed = self.frames.lock().remove(offset..end);
        self.mappings.invalidate(offset, end, false);
        for (range, frame) in removed {
            self.memory.release(frame.0, range.end - range.start);
        }
    }
}

impl Mappable for SharedAnon {
    fn backing(&self, offset: u64, len: u64, _access: Access) -> Result<Backing> {
        let end = offset.checked_add(len).ok_or(Errno::EFAULT)?.min(self.len);
        if offset >= end {
            return Err(Errno::ENXIO);
        }
        let mut frames = self.frames.lock();
        if frames.get(offset).is_none() {
            let chunk = offset / CHUNK * CHUNK..(offset / CHUNK + 1) * CHUNK;
            let gap = frames
                .gaps(chunk.start..end.max(chunk.end).min(self.len))
                .find(|gap| gap.contains(&offset))
                .ok_or(Errno::EFAULT)?;
            if self.is_lasting {
                self.memory.check_file_room(gap.end - gap.start)?;
            }
            let at = self.memory.allocate(gap.end - gap.start)?;
            frames.insert(gap, Frame(at));
        }
        let (range, frame) = frames.get(offset).ok_or(Errno::EFAULT)?;
        let (at, len) = (frame.0 + (offset - range.start), end.min(range.end) - offset);
        self.memory.retain(at, len);
        Ok(Backing::Memory { offset: at, len })
    }

    fn punch(&self, offset: u64, end: u64) -> Result<()> {
        self.punch_frames(offset, end);
        Ok(())
    }

    fn label(&self) -> Option<String> {
        Some("/dev/zero (deleted)".into())
    }

    fn mappings(&self) -> &MappingSet {
        &self.mappings
    }
}

impl Drop for SharedAnon {
    fn drop(&mut self) {
        for (range, frame) in self.frames.get_mut().iter() {
            self.memory.release(frame.0, range.end - range.start);
        }
    }
}
