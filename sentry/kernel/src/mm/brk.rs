//! brk(2).

use std::ops::Range;

use abi::{Errno, Result, UserAddr, page_ceil};

use super::manager::MemoryManager;
use super::mmap::MmapArgs;
use super::seal::check_unsealed;
use super::{MmapFlags, VmaFlags};

impl MemoryManager {
    /// brk(2): moves the end of the heap, if it can; returns where the end is then.
    pub fn brk(&self, addr: UserAddr) -> UserAddr {
        let _one_at_a_time = self.heap.lock();
        let (start, old) = {
            let mappings = self.read_mappings();
            (mappings.brk.start, mappings.brk.end)
        };
        if addr.0 < start || start == 0 {
            return UserAddr(old);
        }
        let (Some(old_end), Some(new_end)) = (page_ceil(old), page_ceil(addr.0)) else {
            return UserAddr(old);
        };
        if new_end < old_end {
            let mut mappings = self.write_mappings();
            if check_unsealed(&mappings.vmas, &(new_end..old_end)).is_err() {
                return UserAddr(old);
            }
            let removed = self.unmap_locked(&mut mappings, new_end..old_end);
            drop(mappings);
            drop(removed);
        } else if new_end > old_end && !self.grow_heap(start, old_end, new_end) {
            return UserAddr(old);
        }
        self.write_mappings().brk.end = addr.0;
        addr
    }

    /// Where the heap is.
    #[must_use]
    pub fn heap(&self) -> Range<u64> {
        self.read_mappings().brk.clone()
    }

    /// Says where the heap is (`PR_SET_MM_START_BRK`, `PR_SET_MM_BRK`); no memory comes or goes.
    ///
    /// # Errors
    /// `EINVAL` where it would end before it starts.
    pub fn declare_heap(&self, change: impl FnOnce(&mut Range<u64>)) -> Result<()> {
        let _one_at_a_time = self.heap.lock();
        let mut mappings = self.write_mappings();
        let mut heap = mappings.brk.clone();
        change(&mut heap);
        if heap.start > heap.end {
            return Err(Errno::EINVAL);
        }
        mappings.brk = heap;
        Ok(())
    }

    fn grow_heap(&self, start: u64, old_end: u64, new_end: u64) -> bool {
        {
            let mappings = self.read_mappings();
            // RLIMIT_DATA counts the program's own data too.
            let program = mappings.image.end_data.saturating_sub(mappings.image.start_data);
            if (new_end - start).saturating_add(program) > self.limits.data() {
                return false;
            }
            let near = mappings.vmas.at_or_above(old_end);
            let guard = |vma: &super::vma::Vma| {
                if vma.flags.contains(VmaFlags::GROWSDOWN) { super::layout::STACK_GUARD } else { 0 }
            };
            if mappings.vmas.len() >= self.memory.max_mappings()
                || near.is_some_and(|(next, vma)| next.start < new_end.saturating_add(guard(vma)))
            {
                return false;
            }
        }
        let args = MmapArgs {
            name: Some("[heap]"),
            ..MmapArgs::anonymous(UserAddr(old_end), new_end - old_end, MmapFlags::FIXED_NOREPLACE)
        };
        self.mmap(args).is_ok()
    }

    /// Where the heap begins; execve(2) sets it behind the program.
    pub fn set_brk_start(&self, start: UserAddr) {
        self.write_mappings().brk = start.0..start.0;
    }
}
