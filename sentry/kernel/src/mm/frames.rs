//! Reference counts of the memory file's pages.
//!
//! A table of atomics in chunks that are made when first needed. Counting needs no lock: whoever adds a reference
//! holds one already, so a count that reaches zero stays there until the page is allocated again.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::PAGE_SIZE;

/// Pages in a chunk of the table.
const CHUNK: usize = 8192;
/// Set in a page's word while its memory is probably present, so that reusing beats returning it.
const WARM: u32 = 1 << 31;

type Chunk = Box<[AtomicU32]>;

/// The table. Ranges are byte ranges, page-aligned, inside the file.
#[derive(Debug)]
pub(crate) struct Frames {
    chunks: Box<[OnceLock<Chunk>]>,
}

impl Frames {
    /// A table for a file of `bytes`.
    pub(crate) fn new(bytes: u64) -> Self {
        let chunks = bytes.div_ceil(PAGE_SIZE * CHUNK as u64);
        Self { chunks: (0..chunks).map(|_| OnceLock::new()).collect() }
    }

    /// What the table takes for `bytes` of the file.
    pub(crate) fn table_bytes(bytes: u64) -> u64 {
        bytes / PAGE_SIZE * size_of::<AtomicU32>() as u64
    }

    /// Gives every page of the range its first reference.
    pub(crate) fn start(&self, range: Range<u64>, warm: bool) {
        self.each(range, |word, _| word.store(1 | if warm { WARM } else { 0 }, Ordering::Relaxed));
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
        self.each(range, |word, at| {
            let before = word.fetch_sub(1, Ordering::Release);
            if before & !WARM != 1 {
                return;
            }
            // Pairs with the other holders' releases: their accesses to the page come before its reuse.
            std::sync::atomic::fence(Ordering::Acquire);
            word.store(0, Ordering::Relaxed);
            let warm = before & WARM != 0;
            match &mut run {
                Some((range, kind)) if range.end == at && *kind == warm => range.end += PAGE_SIZE,
                _ => {
                    if let Some((range, warm)) = run.replace((at..at + PAGE_SIZE, warm)) {
                        freed(range, warm);
                    }
                }
            }
        });
        if let Some((range, warm)) = run {
            freed(range, warm);
        }
    }

    /// Whether the page at `at` has exactly one reference.
    pub(crate) fn is_exclusive(&self, at: u64) -> bool {
        let mut count = 0;
        self.each(at..at + PAGE_SIZE, |word, _| count = word.load(Ordering::Acquire) & !WARM);
        count == 1
    }

    fn each(&self, range: Range<u64>, mut visit: impl FnMut(&AtomicU32, u64)) {
        let mut at = range.start;
        while at < range.end {
            let page = (at / PAGE_SIZE) as usize;
            let chunk =
                self.chunks[page / CHUNK].get_or_init(|| (0..CHUNK).map(|_| AtomicU32::new(0)).collect());
            let first = page % CHUNK;
            let last = (first + ((range.end - at) / PAGE_SIZE) as usize).min(CHUNK);
            for word in &chunk[first..last] {
                visit(word, at);
                at += PAGE_SIZE;
            }
        }
    }
}
