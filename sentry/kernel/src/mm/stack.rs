//! Stacks that grow downwards.

use abi::page_floor;

use super::fault::FaultError;
use super::layout::{MIN_ADDR, STACK_GUARD};
use super::manager::MemoryManager;
use super::vma::VmaFlags;

/// A stack grows to a multiple of this below the address touched, where it may.
const STEP: u64 = 128 << 10;

impl MemoryManager {
    /// Extends the stack above `addr` down to it.
    pub(super) fn grow_stack(&self, addr: u64) -> Result<(), FaultError> {
        let mut mappings = self.write_mappings();
        let (range, vma) = match mappings.vmas.at_or_above(addr) {
            // Another thread was faster.
            Some((range, _)) if range.contains(&addr) => return Ok(()),
            Some((range, vma)) if vma.flags.contains(VmaFlags::GROWSDOWN) => (range, vma.clone()),
            _ => return Err(FaultError::Unmapped),
        };
        // A stack may consist of several mappings, where parts have other rights.
        let mut top = range.end;
        while let Some((next, vma)) = mappings.vmas.get(top)
            && vma.flags.contains(VmaFlags::GROWSDOWN)
        {
            top = next.end;
        }
        let below = mappings.vmas.below(range.start).map(|(below, vma)| {
            // Linux keeps no gap to another stack or to a guard mapping without rights.
            let near = vma.flags.contains(VmaFlags::GROWSDOWN) || !vma.is_accessible();
            if near { below.end } else { below.end.saturating_add(STACK_GUARD) }
        });
        let lowest = below
            .unwrap_or(0)
            .max(abi::page_ceil(top.saturating_sub(self.limits.stack())).unwrap_or(top))
            .max(self.bounds.start)
            .max(MIN_ADDR);
        let page = page_floor(addr);
        if page < lowest {
            return Err(FaultError::Unmapped);
        }
        let start = lowest.max(page / STEP * STEP);
        let more = range.start - start;
        let is_over = vma.flags.contains(VmaFlags::LOCKED) && self.check_locks(&mappings, more).is_err();
        if is_over || self.check_address_space(&mappings, more).is_err() {
            return Err(FaultError::Unmapped);
        }
        mappings.vmas.insert(start..range.start, vma);
        Ok(())
    }
}
