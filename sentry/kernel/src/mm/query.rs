//! Questions about mapped ranges: mincore(2) and checks of arguments.

use std::ops::Range;

use abi::{Errno, PAGE_SIZE, Result};

use super::manager::MemoryManager;
use super::pma::PageSource;

impl MemoryManager {
    /// Whether all of `range` is mapped.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn check_mapped(&self, range: Range<u64>) -> Result<()> {
        if self.read_mappings().vmas.is_covered(range) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Whether all that is mapped in `range` is private anonymous memory.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn check_anonymous(&self, range: Range<u64>) -> Result<()> {
        let mappings = self.read_mappings();
        let all = mappings.vmas.overlapping(range).all(|(_, vma)| vma.is_private_anon());
        if all { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// All addresses with a mapping, in ascending order.
    #[must_use]
    pub fn mapped_ranges(&self) -> Vec<Range<u64>> {
        self.read_mappings().vmas.iter().map(|(range, _)| range).collect()
    }

    /// For each page of `range`, whether it is in memory.
    ///
    /// # Errors
    /// `ENOMEM` where part of the range is not mapped.
    pub fn mincore(&self, range: Range<u64>) -> Result<Vec<u8>> {
        let mappings = self.read_mappings();
        if !mappings.vmas.is_covered(range.clone()) {
            return Err(Errno::ENOMEM);
        }
        let pages = self.pages.read();
        let mut vector = vec![0; ((range.end - range.start) / PAGE_SIZE) as usize];
        for (whole, pma) in pages.map.overlapping(range.clone()) {
            let piece = whole.start.max(range.start)..whole.end.min(range.end);
            for run in
                self.present_runs(&pma.source.advanced(piece.start - whole.start), piece.end - piece.start)
            {
                let first = ((piece.start - range.start + run.start) / PAGE_SIZE) as usize;
                let last = ((piece.start - range.start + run.end) / PAGE_SIZE) as usize;
                vector[first..last].fill(1);
            }
        }
        Ok(vector)
    }

    /// The parts of a source that are in memory, counted from its start. Host files are taken to be cached.
    fn present_runs(&self, source: &PageSource, len: u64) -> Vec<Range<u64>> {
        let PageSource::Memory(offset) = source else { return std::iter::once(0..len).collect() };
        let (mut runs, mut at) = (Vec::new(), *offset);
        while let Some(run) = self.memory.next_present(at, offset + len) {
            at = run.end;
            runs.push(run.start - offset..run.end - offset);
        }
        runs
    }
}
