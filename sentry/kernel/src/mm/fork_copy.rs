//! Which pages fork(2) copies at once instead of sharing them until somebody stores to them.
//!
//! A page that both sides store to soon costs two faults, each dearer than copying a hundred pages. Copied are small
//! pieces of private memory as a whole (stacks, data segments), and of larger ones what was stored to after the last
//! fork. The parent's own pages are not touched: it keeps write access to them, and where nothing else is writable
//! its stub need not hear of the fork.

use std::ops::Range;

use abi::PAGE_SIZE;
use segment::SegmentMap;

use super::batch::Batch;
use super::fault::frames_near;
use super::manager::MemoryManager;
use super::pma::{PageSource, Pages, Pma};
use super::vma::{Vma, VmaFlags};

/// Pages copied at one fork, at most.
const MOST_COPIED: usize = 160;
/// Present pages of one piece, at most.
const MOST_OF_PIECE: usize = 32;
/// Larger pieces are copied only where they are known to be stored to.
const SMALL_PIECE: u64 = 256 << 10;
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
    pma: Pma,
    /// Without a page it reads as zeros.
    is_anon: bool,
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
        let mut copied = SegmentMap::new();
        let mut budget = MOST_COPIED;
        for piece in candidates(vmas, ours) {
            if let Some(count) = self.copy_piece(&piece, budget, theirs, show) {
                budget -= count;
                copied.insert(piece.range, ());
            }
        }
        ours.stored_after_fork.count_fork();
        theirs.stored_after_fork = ours.stored_after_fork.clone();
        copied
    }

    /// Copies the present pages of `piece`; `None` where that is not worth it or not possible.
    fn copy_piece(
        &self,
        piece: &Piece,
        budget: usize,
        theirs: &mut Pages,
        show: &mut Batch,
    ) -> Option<usize> {
        let Piece { range, offset, pma, is_anon } = piece;
        let mut resident = [0; (SMALL_PIECE / PAGE_SIZE) as usize];
        let resident = &mut resident[..((range.end - range.start) / PAGE_SIZE) as usize];
        self.memory.resident_pages(*offset, resident);
        let count = resident.iter().filter(|page| **page & 1 != 0).count();
        if count > budget.min(MOST_OF_PIECE) {
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
        let mut copies = Vec::with_capacity(runs.len());
        for run in runs {
            let bytes = run.start as u64 * PAGE_SIZE..run.end as u64 * PAGE_SIZE;
            let place = range.start + bytes.start..range.start + bytes.end;
            let near = frames_near(theirs, &place);
            match self.memory.duplicate_present(offset + bytes.start, bytes.end - bytes.start, near) {
                Ok(to) => copies.push((place, to)),
                Err(_) => {
                    let release =
                        |(place, to): (Range<u64>, u64)| self.memory.release(to, place.end - place.start);
                    copies.into_iter().for_each(release);
                    return None;
                }
            }
        }
        for (place, to) in copies {
            let mut copy =
                Pma { source: PageSource::Memory(to), cow: false, anon: true, prot: pma.prot, mapped: None };
            show.refresh(place.clone(), &mut copy, true);
            theirs.map.insert(place, copy);
        }
        Some(count)
    }
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
                pma: pma.clone(),
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
    use super::{CHUNK, FORGET_AFTER, MOST_CHUNKS, StoredAfterFork, runs_of};

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
}
