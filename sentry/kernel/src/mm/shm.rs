//! Detaching System V segments (`man 2 shmdt`).

use abi::{Errno, Result, UserAddr};

use super::manager::MemoryManager;

impl MemoryManager {
    /// Unmaps all parts of the segment whose attachment begins at `addr`, whatever has been cut out of it since.
    ///
    /// # Errors
    /// `EINVAL` where no segment is attached there.
    pub fn detach_segment(&self, addr: UserAddr) -> Result<()> {
        if !addr.is_page_aligned() {
            return Err(Errno::EINVAL);
        }
        let mut mappings = self.write_mappings();
        let mut found = None;
        let mut parts = Vec::new();
        for (range, vma) in mappings.vmas.overlapping(addr.0..self.bounds.end) {
            let Some(object) = vma.object.as_ref() else { continue };
            let Some(len) = object.mappable.segment_len() else { continue };
            let (identity, end) = *found.get_or_insert((object.identity(), addr.0.saturating_add(len)));
            if range.start >= end {
                break;
            }
            if object.identity() == identity && range.start.checked_sub(addr.0) == Some(object.offset) {
                parts.push(range);
            }
        }
        let removed: Vec<_> = parts.into_iter().map(|part| self.unmap_locked(&mut mappings, part)).collect();
        drop(mappings);
        if removed.is_empty() { Err(Errno::EINVAL) } else { Ok(()) }
    }
}
