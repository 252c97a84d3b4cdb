//! Memory locks, as far as they are accounted (`man 2 mlock`).

use std::ops::Range;

use abi::UserAddr;

use super::manager::MemoryManager;
use super::vma::VmaFlags;

impl MemoryManager {
    /// Whether the mapping at `addr` is locked.
    #[must_use]
    pub fn is_locked(&self, addr: UserAddr) -> bool {
        self.read_mappings().vmas.get(addr.0).is_some_and(|(_, vma)| vma.flags.contains(VmaFlags::LOCKED))
    }

    /// Bytes in locked mappings, counting all of `adding` as if it were locked.
    #[must_use]
    pub fn locked_bytes(&self, adding: Range<u64>) -> u64 {
        let mappings = self.read_mappings();
        mappings
            .vmas
            .iter()
            .map(|(range, vma)| {
                if vma.flags.contains(VmaFlags::LOCKED) {
                    return range.end - range.start;
                }
                range.end.min(adding.end).saturating_sub(range.start.max(adding.start))
            })
            .sum()
    }

    /// mlockall(2) and munlockall(2): what present and future mappings get.
    pub fn lock_all(&self, current: Option<VmaFlags>, future: VmaFlags) {
        let locks = VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT;
        let mut mappings = self.write_mappings();
        mappings.lock_future = future;
        if let Some(current) = current {
            mappings.vmas.update(0..u64::MAX, |_, vma| {
                if !vma.flags.contains(VmaFlags::SPECIAL) {
                    vma.flags.remove(locks);
                    vma.flags.insert(current);
                }
            });
        }
    }

    /// What mlockall(MCL_FUTURE) has set.
    #[must_use]
    pub fn future_locks(&self) -> VmaFlags {
        self.read_mappings().lock_future
    }
}
