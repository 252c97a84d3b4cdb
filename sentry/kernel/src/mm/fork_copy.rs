//! Which pages fork(2) copies at once instead of sharing them until somebody stores to them.
//!
//! A page that both sides store to soon costs two faults, each dearer than copying a hundred pages. Copied are small
//! pieces of private memory as a whole (stacks, data segments), and of larger ones what was stored to after the last
//! fork. The parent's own pages are not touched: it keeps write access to them, and where nothing else is writable
//! its stub need not hear of the fork.

use std::ops::Range;

use abi::PAGE_SIZE;
use platform::Protection;
use segment::SegmentMap;

use super::batch::Batch;
use super::manager::MemoryManager;
use super::pma::{PageSource, Pages, Pma};
use super::vma::{Vma, VmaFlags};

/// Pages copied at one fork, at most.
const MOST_COPIED: usize = 160;
/// Present pages of one piece, at most.
const MOST_OF_PIECE: usize = 32;
/// Larger pieces are copied only where they are known to be stored to.
const SMALL_PIECE: u64 = 256 << 10;
/// Of pieces that lie within so much of the memory file the host is asked at once which pages are there.
const WINDOW: u64 = 512 << 10;
/// What is stored to is remembered in aligned chunks of this size.
const CHUNK: u64 = 64 << 10;
/// Chunks that are remembered, at most.
const MOST_CHUNKS: usize = 12;
/// After so many forks what was learnt is learnt anew: a copied page does not tell whether it had to be.
const FORGET_AFTER: u32 = 32;

/// Where this address space was stored to soon after a fork.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoredAfterFork {
    /// Starts of chunks, the latest last.
    chunks: Vec<u64>,
    forks: u32,
}

impl StoredAfterFork {
    /// A store had to wait for the page at `addr`.
    pub(super) fn note(&mut self, addr: u64) {
        let chunk = addr / CHUNK * CHUNK;
        self.chunks.retain(|other| *other != chunk);
        if self.chunks.len() == MOST_CHUNKS {
            self.chunks.remove(0);
        }
        self.chunks.push(chunk);
    }

    /// The parts of `range` that were stored to, at a fork.
    fn within(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let chunks = self.chunks.iter().rev().map(|chunk| *chunk..chunk.saturating_add(CHUNK));
        chunks
            .map(|chunk| chunk.start.max(range.start)..chunk.end.min(range.end))
            .filter(|part| part.start < part.end)
            .collect()
    }

    fn count_fork(&mut self) {
        self.forks += 1;
        if self.forks == FORGET_AFTER {
            *self = Self::default();
        }
    }
}

/// Whether a child gets a mapping's pages at all.
pub(super) fn is_inherited(vma: &Vma) -> bool {
    !vma.flags.intersects(VmaFlags::DONTFORK | VmaFlags::WIPEONFORK)
}

/// A piece of memory that nobody else has, and the offset of its first frame.
struct Piece {
    range: Range<u64>,
    offset: u64,
    prot: Protection,
    /// Without a page it reads as zeros.
    is_anon: bool,
}

impl Piece {
    /// Where it lies in the memory file.
    fn frames(&self) -> Range<u64> {
        self.offset..self.offset + (self.range.end - self.range.start)
    }
}

/// Which pages of a part of the memory file are in memory: one byte each, as mincore(2) tells.
struct Resident {
    frames: Range<u64>,
    pages: Vec<u8>,
}

impl Resident {
    /// Those of `frames`, where all of these lie in this part.
    fn pages_of(&self, frames: &Range<u64>) -> Option<&[u8]> {
        let first = frames.start.checked_sub(self.frames.start)? / PAGE_SIZE;
        let len = (frames.end - frames.start) / PAGE_SIZE;
        self.pages.get(first as usize..(first + len) as usize)
    }
}

/// Present pages of a piece, to be copied: where they are in the address space, and where in the memory file.
struct Run {
    range: Range<u64>,
    offset: u64,
    prot: Protection,
}

impl MemoryManager {
    /// Gives the child copies of what both sides are likely to store to; returns where. `show` is told to map them.
    pub(super) fn copy_for_child(
        &self,
        vmas: &SegmentMap<Vma>,
        ours: &mut Pages,
        theirs: &mut Pages,
        show: &mut Batch,
    ) -> SegmentMap<()> {
        let (mut covered, mut runs) = (SegmentMap::new(), Vec::new());
        let mut budget = MOST_COPIED;
        let pieces = candidates(vmas, ours);
        let resident = self.resident_of(&pieces);
        for piece in pieces {
            if let Some(present) = self.runs_to_copy(&piece, &resident, budget.min(MOST_OF_PIECE)) {
                budget -= (present.iter().map(Run::len).sum::<u64>() / PAGE_SIZE) as usize;
                covered.insert(piece.range, ());
                runs.extend(present);
            }
        }
        ours.stored_after_fork.count_fork();
        theirs.stored_after_fork = ours.stored_after_fork.clone();
        runs.sort_unstable_by_key(|run| run.range.start);
        let Some(copies) = self.copy_runs(&runs) else { return SegmentMap::new() };
        for (range, to, prot) in copies {
            let source = PageSource::Memory(to);
            let mut copy = Pma { source, cow: false, anon: true, prot, mapped: None };
            show.refresh(range.clone(), &mut copy, true);
            theirs.map.insert(range, copy);
        }
        covered
    }

    /// Which pages of `pieces` are in memory, in their order there.
    fn resident_of(&self, pieces: &[Piece]) -> Vec<Resident> {
        let ask = |frames: Range<u64>| {
            let mut pages = vec![0; ((frames.end - frames.start) / PAGE_SIZE) as usize];
            self.memory.resident_pages(frames.start, &mut pages);
            Resident { frames, pages }
        };
        windows(pieces.iter().map(Piece::frames).collect()).into_iter().map(ask).collect()
    }

    /// The present pages of `piece`; `None` where there are more than `most`, or absent ones that a copy would lose.
    fn runs_to_copy(&self, piece: &Piece, resident: &[Resident], most: usize) -> Option<Vec<Run>> {
        let Piece { range, offset, prot, is_anon } = piece;
        let part = resident.partition_point(|part| part.frames.start <= *offset).checked_sub(1)?;
        let resident = resident.get(part)?.pages_of(&piece.frames())?;
        let count = resident.iter().filter(|page| **page & 1 != 0).count();
        if count > most {
            return None;
        }
        let runs = runs_of(resident);
        let mut at = 0;
        for run in runs.iter().chain([&(resident.len()..resident.len())]) {
            // What is neither in memory nor a hole was swapped out.
            let absent = offset + at as u64 * PAGE_SIZE..offset + run.start as u64 * PAGE_SIZE;
            let are_holes = absent.is_empty() || (*is_anon && self.memory.is_hole(absent));
            if !are_holes {
                return None;
            }
            at = run.end;
        }
        let run_at = |pages: Range<usize>| {
            let bytes = pages.start as u64 * PAGE_SIZE..pages.end as u64 * PAGE_SIZE;
            let range = range.start + bytes.start..range.start + bytes.end;
            Run { range, offset: offset + bytes.start, prot: *prot }
        };
        Some(runs.into_iter().map(run_at).collect())
    }

    /// Copies of `runs`, which are in order. Neighbours become one piece, as they are mapped one by one otherwise: the
    /// heap of a shell has grown by pages from all over the memory file.
    fn copy_runs(&self, runs: &[Run]) -> Option<Vec<(Range<u64>, u64, Protection)>> {
        let mut copies: Vec<(Range<u64>, u64, Protection)> = Vec::new();
        let mut rest = runs;
        while let Some(first) = rest.first() {
            let (group, others) = rest.split_at(joined(rest));
            let sources: Vec<_> = group.iter().map(|run| (run.offset, run.len())).collect();
            let Ok(to) = self.memory.gather_present(&sources, None) else {
                copies.iter().for_each(|(range, to, _)| self.memory.release(*to, range.end - range.start));
                return None;
            };
            let end = group.last().unwrap_or(first).range.end;
            copies.push((first.range.start..end, to, first.prot));
            rest = others;
        }
        Some(copies)
    }
}

impl Run {
    /// Bytes.
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// How many of `runs`, from the first on, can be one piece: not more than is kept for reuse when it is freed.
fn joined(runs: &[Run]) -> usize {
    let Some(first) = runs.first() else { return 0 };
    let mut end = first.range.start;
    let fits = |run: &&Run| {
        let fits = run.range.start == end
            && run.prot == first.prot
            && run.range.end - first.range.start <= SMALL_PIECE;
        end = run.range.end;
        fits
    };
    runs.iter().take_while(fits).count().max(1)
}

/// Ranges that cover `parts`; neighbours are covered together, with what is between them, as long as it is a [`WINDOW`].
fn windows(mut parts: Vec<Range<u64>>) -> Vec<Range<u64>> {
    parts.sort_unstable_by_key(|part| part.start);
    let mut windows: Vec<Range<u64>> = Vec::new();
    for part in parts {
        match windows.last_mut() {
            Some(last) if part.end <= last.end => {}
            Some(last) if part.end - last.start <= WINDOW => last.end = part.end,
            _ => windows.push(part),
        }
    }
    windows
}

/// What may be copied, the most useful first.
fn candidates(vmas: &SegmentMap<Vma>, ours: &Pages) -> Vec<Piece> {
    let (mut known, mut small) = (Vec::new(), Vec::new());
    for (whole, vma) in vmas.iter().filter(|(_, vma)| is_inherited(vma) && !vma.is_shared() && vma.prot.write)
    {
        for (piece, pma) in ours.map.overlapping(whole.clone()) {
            let range = piece.start.max(whole.start)..piece.end.min(whole.end);
            let PageSource::Memory(offset) = pma.source else { continue };
            if pma.cow || !pma.anon {
                continue;
            }
            let part = |range: Range<u64>| Piece {
                offset: offset + (range.start - piece.start),
                prot: pma.prot,
                is_anon: vma.is_private_anon(),
                range,
            };
            if range.end - range.start <= SMALL_PIECE {
                small.push(part(range));
            } else {
                known.extend(ours.stored_after_fork.within(&range).into_iter().map(part));
            }
        }
    }
    small.append(&mut known);
    small
}

/// Maximal runs of pages that are in memory.
fn runs_of(resident: &[u8]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for index in (0..resident.len()).filter(|index| resident[*index] & 1 != 0) {
        match runs.last_mut() {
            Some(run) if run.end == index => run.end += 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use platform::Protection;

    use super::{
        CHUNK, FORGET_AFTER, MOST_CHUNKS, Resident, Run, SMALL_PIECE, StoredAfterFork, WINDOW, joined,
        runs_of, windows,
    };

    #[test]
    fn chunks_are_remembered_once_and_the_oldest_goes_first() {
        let mut stored = StoredAfterFork::default();
        for _ in 0..2 {
            (0..=MOST_CHUNKS as u64).for_each(|chunk| stored.note(chunk * CHUNK + 5));
        }
        assert_eq!(stored.chunks.len(), MOST_CHUNKS);
        assert!(stored.within(&(0..CHUNK)).is_empty());
        assert_eq!(stored.within(&(CHUNK + 4096..CHUNK + 8192)), vec![CHUNK + 4096..CHUNK + 8192]);
        (0..FORGET_AFTER).for_each(|_| stored.count_fork());
        assert!(stored.chunks.is_empty());
    }

    #[test]
    fn runs_are_maximal() {
        assert_eq!(runs_of(&[1, 1, 0, 3, 2, 1]), vec![0..2, 3..4, 5..6]);
        assert!(runs_of(&[0, 0]).is_empty());
    }

    #[test]
    fn the_host_is_asked_of_neighbours_at_once() {
        let far = 3 * WINDOW;
        let parts = vec![far..far + WINDOW, 8192..12288, 0..4096, WINDOW - 4096..WINDOW, far..far + 4096];
        assert_eq!(windows(parts), vec![0..WINDOW, far..far + WINDOW]);
        assert_eq!(windows(vec![0..4096, WINDOW..WINDOW + 4096]), vec![0..4096, WINDOW..WINDOW + 4096]);
        let resident = Resident { frames: 4096..16384, pages: vec![1, 0, 1] };
        assert_eq!(resident.pages_of(&(8192..16384)), Some(&[0, 1][..]));
        assert_eq!(resident.pages_of(&(0..8192)), None);
        assert_eq!(resident.pages_of(&(12288..20480)), None);
    }

    #[test]
    fn neighbours_of_one_kind_are_copied_as_one_piece() {
        let (read, write) = (
            Protection { read: true, ..Protection::default() },
            Protection { write: true, ..Protection::default() },
        );
        let run = |start, end, prot| Run { range: start..end, offset: end * 7, prot };
        assert_eq!(joined(&[]), 0);
        assert_eq!(joined(&[run(0, 4096, write), run(4096, 8192, write), run(12288, 16384, write)]), 2);
        assert_eq!(joined(&[run(0, 4096, write), run(4096, 8192, read)]), 1);
        assert_eq!(joined(&[run(4096, SMALL_PIECE, write), run(SMALL_PIECE, SMALL_PIECE + 4096, write)]), 2);
        assert_eq!(joined(&[run(0, SMALL_PIECE, write), run(SMALL_PIECE, SMALL_PIECE + 4096, write)]), 1);
    }
}
