//! Sealed mappings (`man 2 mseal`): they stay as they are until the address space ends.

use std::ops::Range;

use abi::{Errno, Result};
use segment::SegmentMap;

use super::manager::MemoryManager;
use super::vma::{Vma, VmaFlags};

impl MemoryManager {
    /// mseal(2).
    ///
    /// # Errors
    /// `ENOMEM` where part of the range is not mapped.
    pub fn seal(&self, range: Range<u64>) -> Result<()> {
        if !self.read_mappings().vmas.is_covered(range.clone()) {
            return Err(Errno::ENOMEM);
        }
        self.change_flags(range, VmaFlags::SEALED, VmaFlags::empty(), &|_| true)
    }
}

/// Refuses what would change a sealed mapping.
///
/// # Errors
/// `EPERM` where one is in `range`.
pub(super) fn check_unsealed(vmas: &SegmentMap<Vma>, range: &Range<u64>) -> Result<()> {
    let is_sealed = vmas.overlapping(range.clone()).any(|(_, vma)| vma.flags.contains(VmaFlags::SEALED));
    if is_sealed { Err(Errno::EPERM) } else { Ok(()) }
}

impl Vma {
    /// Whether its content may not be thrown away: sealed, and not the caller's to overwrite either.
    pub(super) fn is_content_sealed(&self) -> bool {
        self.flags.contains(VmaFlags::SEALED) && self.is_private_anon() && !self.prot.write
    }
}
