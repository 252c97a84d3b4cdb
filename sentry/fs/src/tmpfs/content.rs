//! The bytes of a tmpfs file: frames of the guest's memory, found by page, with holes between.
//!
//! The frames are the page cache: reads and writes copy to and from them, mappings show them. Locks: `io` (one writer
//! at a time) before `state`. Neither a copy to or from guest memory nor [`MappingSet::invalidate`] runs with `state`
//! held, because both may fault, and a fault asks [`Mappable::backing`]: copies hold references to the frames instead.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::{Errno, PAGE_SIZE, Result, page_ceil};
use kernel::mm::{Access, Backing, IoDst, IoSrc, Mappable, MappingSet, MemoryFile};
use kernel::task::is_current_killed;
use kernel::vfs::SeekExtent;
use parking_lot::{Mutex, MutexGuard, RwLock};

use super::usage::Usage;

/// Most pages that one hole is filled with at a time.
const CHUNK_PAGES: u64 = 256;
/// Most bytes moved between two looks at whether the task has been killed.
const STEP: u64 = 16 << 20;
/// Frames of a copy under way.
const BATCH_PAGES: u64 = 512;

/// A run of pages whose frames are next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    frame: u64,
    pages: u64,
}

#[derive(Debug, Default)]
struct State {
    size: u64,
    /// By first page.
    extents: BTreeMap<u64, Extent>,
    pages: u64,
}

/// The bytes of a file.
#[derive(Debug)]
pub(super) struct Content {
    memory: Arc<MemoryFile>,
    usage: Arc<Usage>,
    /// Held by whoever changes size or bytes through a system call.
    io: Mutex<()>,
    state: RwLock<State>,
    mappings: MappingSet,
}

/// Part of the file: frames that the holder keeps alive, or a hole.
struct Piece {
    frame: Option<u64>,
    /// The frames were given just now, and are not in memory yet.
    is_new: bool,
    /// Bytes from the start of the piece's first page.
    skip: u64,
    len: u64,
    pages: u64,
}

impl Content {
    pub(super) fn new(memory: Arc<MemoryFile>, usage: Arc<Usage>) -> Arc<Self> {
        Arc::new(Self {
            memory,
            usage,
            io: Mutex::new(()),
            state: RwLock::default(),
            mappings: MappingSet::new(),
        })
    }

    pub(super) fn size(&self) -> u64 {
        self.state.read().size
    }

    /// Size and pages in use, together.
    pub(super) fn size_and_pages(&self) -> (u64, u64) {
        let state = self.state.read();
        (state.size, state.pages)
    }

    /// Keeps other writers away.
    pub(super) fn lock_io(&self) -> MutexGuard<'_, ()> {
        self.io.lock()
    }

    /// Reads from `offset` on.
    pub(super) fn read(&self, offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        let mut done = 0;
        while dst.remaining() > 0 && !(done > 0 && is_current_killed()) {
            let at = offset + done as u64;
            let Some(piece) = self.piece(at, (dst.remaining() as u64).min(STEP)) else { break };
            let result = self.copy_out(&piece, dst);
            self.release(&piece);
            match result {
                Ok(count) => {
                    done += count;
                    if (count as u64) < piece.len {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    fn copy_out(&self, piece: &Piece, dst: &mut IoDst<'_>) -> Result<usize> {
        let len = piece.len as usize;
        match piece.frame {
            None => dst.put_zeros(len),
            Some(frame) => dst.put_slice(self.memory.slice(frame + piece.skip, len)?),
        }
    }

    /// Writes at `offset`, with [`Self::lock_io`] held. Returns the bytes written.
    pub(super) fn write(&self, offset: u64, src: &mut IoSrc<'_>) -> Result<usize> {
        let mut done = 0;
        while src.remaining() > 0 && !(done > 0 && is_current_killed()) {
            let at = offset + done as u64;
            let written = self.writable_piece(at, (src.remaining() as u64).min(STEP)).and_then(|piece| {
                let result = self.copy_in(&piece, src);
                self.release(&piece);
                result.map(|count| (count, piece.len))
            });
            match written {
                Ok((count, wanted)) => {
                    done += count;
                    self.grow_to(at + count as u64);
                    if (count as u64) < wanted {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    fn copy_in(&self, piece: &Piece, src: &mut IoSrc<'_>) -> Result<usize> {
        let (at, len) = (piece.frame.ok_or(Errno::EIO)? + piece.skip, piece.len as usize);
        if piece.is_new && piece.len >= PAGE_SIZE {
            return self.memory.fill(at, len, src);
        }
        src.take_slice(self.memory.slice(at, len)?)
    }

    fn grow_to(&self, end: u64) {
        let mut state = self.state.write();
        state.size = state.size.max(end);
    }

    /// What is at `at`, at most `max` bytes; `None` at the end of the file.
    fn piece(&self, at: u64, max: u64) -> Option<Piece> {
        let state = self.state.read();
        let max = max.min(state.size.checked_sub(at).filter(|&left| left > 0)?);
        let piece = state.piece(at, max);
        self.retain(&piece);
        Some(piece)
    }

    /// As [`Self::piece`], with a hole filled and beyond the end of the file too.
    fn writable_piece(&self, at: u64, max: u64) -> Result<Piece> {
        let mut state = self.state.write();
        let mut piece = state.piece(at, max);
        if piece.frame.is_none() {
            let pages = piece.pages.min(CHUNK_PAGES);
            let is_new = self.fill(&mut state, at / PAGE_SIZE, pages)?;
            piece = Piece { is_new, ..state.piece(at, max) };
        }
        self.retain(&piece);
        Ok(piece)
    }

    fn retain(&self, piece: &Piece) {
        if let Some(frame) = piece.frame {
            self.memory.retain(frame, piece.pages * PAGE_SIZE);
        }
    }

    fn release(&self, piece: &Piece) {
        if let Some(frame) = piece.frame {
            self.memory.release(frame, piece.pages * PAGE_SIZE);
        }
    }

    /// Gives a hole of `pages` pages frames, all or at least the first. Returns whether they are not in memory yet.
    fn fill(&self, state: &mut State, page: u64, pages: u64) -> Result<bool> {
        self.memory.check_file_room(pages * PAGE_SIZE)?;
        let pages = self.usage.charge_pages(pages)?;
        let near = state.extent_before(page).map(|extent| extent.frame + extent.pages * PAGE_SIZE);
        match self.memory.allocate_to_fill(pages * PAGE_SIZE, near) {
            Ok((frame, is_new)) => {
                state.insert(page, Extent { frame, pages });
                Ok(is_new)
            }
            Err(errno) => {
                self.usage.uncharge_pages(pages);
                Err(if errno == Errno::ENOMEM { Errno::ENOSPC } else { errno })
            }
        }
    }

    /// Changes the size, with [`Self::lock_io`] held.
    pub(super) fn set_size(&self, size: u64) {
        let (freed, shrunk_from) = {
            let mut state = self.state.write();
            let old = std::mem::replace(&mut state.size, size);
            if size >= old {
                return;
            }
            self.zero_tail(&state, size);
            let first = page_ceil(size).map_or(u64::MAX, |end| end / PAGE_SIZE);
            (state.take(first, u64::MAX), old)
        };
        self.give_back(&freed);
        let first = page_ceil(size).unwrap_or(u64::MAX);
        if first < page_ceil(shrunk_from).unwrap_or(u64::MAX) {
            self.mappings.invalidate(first, u64::MAX, true);
        }
    }

    /// Zeroes the last page behind the end of the file: it shows when the file grows again.
    fn zero_tail(&self, state: &State, size: u64) {
        let inside = size % PAGE_SIZE;
        if inside != 0 {
            self.zero_in(state, size, PAGE_SIZE - inside);
        }
    }

    /// Zeroes bytes within one page, where it has a frame.
    fn zero_in(&self, state: &State, at: u64, len: u64) {
        let piece = state.piece(at, len);
        if let Some(frame) = piece.frame
            && let Ok(slice) = self.memory.slice(frame + piece.skip, piece.len as usize)
        {
            // The frame belongs to the memory file, which is not truncated under us.
            let _ = slice.zero();
        }
    }

    /// Makes `offset..end` a hole (`FALLOC_FL_PUNCH_HOLE`), with [`Self::lock_io`] held.
    pub(super) fn punch(&self, offset: u64, end: u64) {
        let (Some(first), last) = (page_ceil(offset).map(|at| at / PAGE_SIZE), end / PAGE_SIZE) else {
            return;
        };
        let freed = {
            let mut state = self.state.write();
            if first > last {
                // Within one page.
                self.zero_in(&state, offset, end - offset);
                return;
            }
            if !offset.is_multiple_of(PAGE_SIZE) {
                self.zero_in(&state, offset, first * PAGE_SIZE - offset);
            }
            if !end.is_multiple_of(PAGE_SIZE) {
                self.zero_in(&state, last * PAGE_SIZE, end % PAGE_SIZE);
            }
            state.take(first, last)
        };
        self.give_back(&freed);
        if first < last {
            self.mappings.invalidate(first * PAGE_SIZE, last * PAGE_SIZE, false);
        }
    }

    /// Gives all of `offset..end` frames, or none of it more than it had (fallocate(2)), with [`Self::lock_io`] held.
    pub(super) fn preallocate(&self, offset: u64, end: u64) -> Result<()> {
        let (first, last) = (offset / PAGE_SIZE, page_ceil(end).ok_or(Errno::EFBIG)? / PAGE_SIZE);
        // What can never be had is not tried: on the way there it would leave nothing to others.
        if last.saturating_sub(first) > self.memory.limit() / PAGE_SIZE {
            return Err(Errno::ENOSPC);
        }
        // Held all the while, so that nobody sees frames that may have to be given back.
        let mut state = self.state.write();
        let mut added: Vec<(u64, u64)> = Vec::new();
        let mut page = first;
        while page < last {
            let mut piece = state.piece(page * PAGE_SIZE, (last - page) * PAGE_SIZE);
            if piece.frame.is_none() {
                let hole = piece.pages;
                if let Err(errno) = self.fill(&mut state, page, hole.min(CHUNK_PAGES)) {
                    let freed: Vec<Extent> =
                        added.iter().flat_map(|&(from, to)| state.take(from, to)).collect();
                    drop(state);
                    self.give_back(&freed);
                    return Err(errno);
                }
                piece = state.piece(page * PAGE_SIZE, hole * PAGE_SIZE);
                added.push((page, page + piece.pages));
            }
            page += piece.pages;
        }
        Ok(())
    }

    /// Makes the file at least `end` bytes long, with [`Self::lock_io`] held.
    pub(super) fn extend(&self, end: u64) {
        self.grow_to(end);
    }

    fn give_back(&self, freed: &[Extent]) {
        let mut pages = 0;
        for extent in freed {
            self.memory.release(extent.frame, extent.pages * PAGE_SIZE);
            pages += extent.pages;
        }
        self.usage.uncharge_pages(pages);
    }

    /// `SEEK_DATA` and `SEEK_HOLE`.
    pub(super) fn seek_extent(&self, offset: u64, wanted: SeekExtent) -> Result<u64> {
        let state = self.state.read();
        if offset >= state.size {
            return Err(Errno::ENXIO);
        }
        let mut at = offset;
        while at < state.size {
            let piece = state.piece(at, state.size - at);
            let found = if piece.frame.is_some() { SeekExtent::Data } else { SeekExtent::Hole };
            if found == wanted {
                return Ok(at);
            }
            at += piece.len;
        }
        match wanted {
            SeekExtent::Data => Err(Errno::ENXIO),
            SeekExtent::Hole => Ok(state.size),
        }
    }
}

impl Mappable for Content {
    fn backing(&self, offset: u64, len: u64, _access: Access) -> Result<Backing> {
        let mut state = self.state.write();
        let end = page_ceil(state.size).unwrap_or(u64::MAX);
        let left = end.checked_sub(offset).filter(|&left| left > 0).ok_or(Errno::ENXIO)?;
        let len = len.min(left);
        let mut piece = state.piece(offset, len);
        if piece.frame.is_none() {
            self.fill(&mut state, offset / PAGE_SIZE, piece.pages.min(CHUNK_PAGES))?;
            piece = state.piece(offset, len);
        }
        let frame = piece.frame.ok_or(Errno::EIO)?;
        self.retain(&piece);
        Ok(Backing::Memory { offset: frame, len: piece.pages * PAGE_SIZE })
    }

    fn mappings(&self) -> &MappingSet {
        &self.mappings
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        let freed = self.state.get_mut().take(0, u64::MAX);
        self.give_back(&freed);
    }
}

impl State {
    /// What is at `at`, at most `max` bytes (more than 0).
    fn piece(&self, at: u64, max: u64) -> Piece {
        let (page, skip) = (at / PAGE_SIZE, at % PAGE_SIZE);
        let max_pages = (skip + max.min(BATCH_PAGES * PAGE_SIZE)).div_ceil(PAGE_SIZE).min(BATCH_PAGES);
        let (frame, pages) = match self.extents.range(..=page).next_back() {
            Some((&first, extent)) if page - first < extent.pages => {
                (Some(extent.frame + (page - first) * PAGE_SIZE), extent.pages - (page - first))
            }
            _ => {
                let next = self.extents.range(page..).next().map_or(u64::MAX, |(&first, _)| first);
                (None, next - page)
            }
        };
        let pages = pages.min(max_pages);
        Piece { frame, is_new: false, skip, len: max.min(pages * PAGE_SIZE - skip), pages }
    }

    /// The extent that ends where `page` begins.
    fn extent_before(&self, page: u64) -> Option<Extent> {
        let (&first, &extent) = self.extents.range(..page).next_back()?;
        (first + extent.pages == page).then_some(extent)
    }

    /// Adds frames for a hole, joining them with the extent before where they follow it.
    fn insert(&mut self, page: u64, extent: Extent) {
        self.pages += extent.pages;
        if let Some((&first, before)) = self.extents.range_mut(..page).next_back()
            && first + before.pages == page
            && before.frame + before.pages * PAGE_SIZE == extent.frame
        {
            before.pages += extent.pages;
            return;
        }
        self.extents.insert(page, extent);
    }

    /// Takes the frames of pages `first..last` out.
    fn take(&mut self, first: u64, last: u64) -> Vec<Extent> {
        let mut taken = Vec::new();
        let hit: Vec<(u64, Extent)> = self
            .extents
            .range(..last)
            .rev()
            .take_while(|(start, extent)| **start + extent.pages > first)
            .map(|(start, extent)| (*start, *extent))
            .collect();
        for (start, extent) in hit {
            self.extents.remove(&start);
            let (from, to) = (start.max(first), (start + extent.pages).min(last));
            if start < from {
                self.extents.insert(start, Extent { frame: extent.frame, pages: from - start });
            }
            if to < start + extent.pages {
                let rest = Extent {
                    frame: extent.frame + (to - start) * PAGE_SIZE,
                    pages: start + extent.pages - to,
                };
                self.extents.insert(to, rest);
            }
            taken.push(Extent { frame: extent.frame + (from - start) * PAGE_SIZE, pages: to - from });
        }
        self.pages -= taken.iter().map(|extent| extent.pages).sum::<u64>();
        taken
    }
}
