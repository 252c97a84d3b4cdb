//! Reference counts of the memory file's pages.
//!
//! A page in use that nobody shares has the word 0, and so has a free one: a page costs room in the table only when it
//! is shared, or was expected to be touched at once. So reserving a large range, as for a stack or an arena, writes
//! nothing, and chunks of the table are made when first needed.
//!
//! Counting needs no lock: whoever adds a reference holds one already, so a page that has lost its last one stays free
//! until it is allocated again.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::PAGE_SIZE;

/// Pages in a chunk of the table: one page of words.
const CHUNK: usize = 1024;
/// Chunks in a group.
const GROUP: usize = 512;
/// Set in a page's word while its memory is probably present, so that reusing beats returning it.
const WARM: u32 = 1 << 31;

/// Of each page: how many references it has beyond the first, and [`WARM`].
type Chunk = Box<[AtomicU32]>;
type Group = Box<[OnceLock<Chunk>]>;

/// The table. Ranges are byte ranges, page-aligned, inside the file.
#[derive(Debug)]
pub(crate) struct Frames {
    groups: Box<[OnceLock<Group>]>,
}

impl Frames {
    /// A table for a file of `bytes`.
    pub(crate) fn new(bytes: u64) -> Self {
        let groups = bytes.div_ceil(PAGE_SIZE * (CHUNK * GROUP) as u64);
        Self { groups: empty(groups as usize) }
    }

    /// What the table takes at most for `bytes` of the file.
    pub(crate) fn table_bytes(bytes: u64) -> u64 {
        bytes / PAGE_SIZE * size_of::<AtomicU32>() as u64
    }

    /// Gives every page of the range, all of them free, its first reference.
    pub(crate) fn start(&self, range: Range<u64>, warm: bool) {
        if warm {
            self.each(range, |word, _| word.store(WARM, Ordering::Relaxed));
        }
    }

    /// Adds a reference to each page.
    pub(crate) fn retain(&self, range: Range<u64>) {
        self.each(range, |word, _| {
            word.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Drops a reference from each page; calls `freed` with maximal runs that have none left, and whether they are
    /// warm.
    pub(crate) fn release(&self, range: Range<u64>, freed: &mut dyn FnMut(Range<u64>, bool)) {
        let mut run: Option<(Range<u64>, bool)> = None;
        let mut add = |more: Range<u64>, warm: bool| match &mut run {
            Some((range, kind)) if range.end == more.start && *kind == warm => range.end = more.end,
            _ => {
                if let Some((range, warm)) = run.replace((more, warm)) {
                    freed(range, warm);
                }
            }
        };
        for (chunk, pages) in self.chunks(range) {
            let Some(chunk) = chunk else {
                add(pages, false);
                continue;
            };
            for (word, at) in words(chunk, pages) {
                let before = word.fetch_sub(1, Ordering::Release);
                if before & !WARM != 0 {
                    continue;
                }
                // Pairs with the other holders' releases: their accesses to the page come before its reuse.
                std::sync::atomic::fence(Ordering::Acquire);
                word.store(0, Ordering::Relaxed);
                add(at..at + PAGE_SIZE, before & WARM != 0);
            }
        }
        if let Some((range, warm)) = run {
            freed(range, warm);
        }
    }

    /// Whether the page at `at`, which has a reference, has exactly one.
    pub(crate) fn is_exclusive(&self, at: u64) -> bool {
        let mut chunks = self.chunks(at..at + PAGE_SIZE);
        let chunk = chunks.next().and_then(|(chunk, _)| chunk);
        chunk.is_none_or(|chunk| chunk[page(at) % CHUNK].load(Ordering::Acquire) & !WARM == 0)
    }

    /// The range cut at the borders of chunks, with the chunks that are there.
    fn chunks(&self, range: Range<u64>) -> impl Iterator<Item = (Option<&Chunk>, Range<u64>)> {
        pieces(range).map(|piece| {
            let (group, chunk) = place(piece.start);
            (self.groups[group].get().and_then(|group| group[chunk].get()), piece)
        })
    }

    /// Visits every page's word, making the chunks that are missing.
    fn each(&self, range: Range<u64>, mut visit: impl FnMut(&AtomicU32, u64)) {
        for piece in pieces(range) {
            let (group, chunk) = place(piece.start);
            let group = self.groups[group].get_or_init(|| empty(GROUP));
            let chunk = group[chunk].get_or_init(|| (0..CHUNK).map(|_| AtomicU32::new(0)).collect());
            words(chunk, piece).for_each(|(word, at)| visit(word, at));
        }
    }
}

fn empty<T>(len: usize) -> Box<[OnceLock<T>]> {
    (0..len).map(|_| OnceLock::new()).collect()
}

fn page(at: u64) -> usize {
    (at / PAGE_SIZE) as usize
}

/// The group of a page, and its chunk in there.
fn place(at: u64) -> (usize, usize) {
    let chunk = page(at) / CHUNK;
    (chunk / GROUP, chunk % GROUP)
}

/// A range cut at the borders of chunks.
fn pieces(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    const BYTES: u64 = CHUNK as u64 * PAGE_SIZE;
    let mut at = range.start;
    std::iter::from_fn(move || {
        let piece = at..range.end.min(at / BYTES * BYTES + BYTES);
        at = piece.end;
        (piece.start < piece.end).then_some(piece)
    })
}

/// The words of pages that lie in one chunk, with their places.
fn words(chunk: &Chunk, pages: Range<u64>) -> impl Iterator<Item = (&AtomicU32, u64)> {
    let first = page(pages.start) % CHUNK;
    let count = page(pages.end) - page(pages.start);
    chunk[first..first + count].iter().zip(pages.step_by(PAGE_SIZE as usize))
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use abi::PAGE_SIZE;

    use super::{CHUNK, Frames};

    const BYTES: u64 = CHUNK as u64 * PAGE_SIZE;

    fn freed(frames: &Frames, range: Range<u64>) -> Vec<(Range<u64>, bool)> {
        let mut runs = Vec::new();
        frames.release(range, &mut |range, warm| runs.push((range, warm)));
        runs
    }

    fn made(frames: &Frames) -> usize {
        let groups = frames.groups.iter().filter_map(|group| group.get());
        groups.flatten().filter(|chunk| chunk.get().is_some()).count()
    }

    #[test]
    fn a_reserved_range_takes_no_room() {
        let frames = Frames::new(1 << 40);
        let range = PAGE_SIZE..40 * BYTES;
        frames.start(range.clone(), false);
        assert!(frames.is_exclusive(5 * BYTES));
        assert_eq!(freed(&frames, range.clone()), [(range, false)]);
        assert_eq!(made(&frames), 0);
    }

    #[test]
    fn shared_pages_are_freed_by_their_last_holder() {
        let frames = Frames::new(1 << 30);
        let (shared, all) = (BYTES - PAGE_SIZE..BYTES + PAGE_SIZE, 0..3 * BYTES);
        frames.start(all.clone(), false);
        frames.retain(shared.clone());
        assert!(!frames.is_exclusive(BYTES) && frames.is_exclusive(0));
        let rest = [(0..shared.start, false), (shared.end..all.end, false)];
        assert_eq!(freed(&frames, all), rest);
        assert_eq!(freed(&frames, shared.clone()), [(shared, false)]);
        assert_eq!(made(&frames), 2);
    }

    #[test]
    fn warm_pages_are_told_apart() {
        let frames = Frames::new(1 << 30);
        frames.start(0..PAGE_SIZE, true);
        frames.start(PAGE_SIZE..2 * PAGE_SIZE, false);
        frames.retain(0..PAGE_SIZE);
        assert_eq!(freed(&frames, 0..2 * PAGE_SIZE), [(PAGE_SIZE..2 * PAGE_SIZE, false)]);
        assert_eq!(freed(&frames, 0..PAGE_SIZE), [(0..PAGE_SIZE, true)]);
        frames.start(0..PAGE_SIZE, false);
        assert_eq!(freed(&frames, 0..PAGE_SIZE), [(0..PAGE_SIZE, false)], "forgotten when freed");
    }
}
