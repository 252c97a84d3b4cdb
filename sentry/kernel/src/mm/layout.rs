//! Where things go in an address space: Linux's x86-64 layout with its randomness (`arch/x86/mm/mmap.c`).

use std::ops::Range;

use abi::{Errno, PAGE_SIZE, Result, page_floor};
use segment::SegmentMap;

use super::MemoryManager;
use super::vma::{Vma, VmaFlags};

/// Free space below a stack that nothing else may take.
pub(crate) const STACK_GUARD: u64 = 256 * PAGE_SIZE;
/// `vm.mmap_min_addr`.
pub(crate) const MIN_ADDR: u64 = 64 << 10;
const GIB: u64 = 1 << 30;
/// Least space kept for the stack below its top.
const MIN_STACK_GAP: u64 = 128 << 20;

/// The fixed points of an address space.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Where guest mappings may lie.
    pub(crate) bounds: Range<u64>,
    /// New mappings go below this address, from the top down.
    pub(crate) mmap_base: u64,
    /// The highest address of the stack.
    pub(crate) stack_top: u64,
    /// Where position-independent programs with an interpreter go.
    pub(crate) pie_base: u64,
    /// Added between the program's end and the heap.
    pub(crate) brk_gap: u64,
    is_random: bool,
}

impl Layout {
    /// The layout without randomness and with a default stack.
    pub(crate) fn new(bounds: Range<u64>) -> Self {
        Self::with_random(bounds, 8 << 20, [0; 4])
    }

    /// A layout for a stack of at most `stack_limit` bytes. `random` holds raw random numbers, all zero for none
    /// (`ADDR_NO_RANDOMIZE`).
    pub(crate) fn with_random(bounds: Range<u64>, stack_limit: u64, random: [u64; 4]) -> Self {
        let size = bounds.end - bounds.start;
        // Linux: 22 bits of pages for the stack (16 GiB), 28 for mmap and programs (1 TiB). A smaller space gets less.
        let pages = |random: u64, bits: u32| (random & ((1 << bits) - 1)) * PAGE_SIZE;
        let shrink = 47 - size.ilog2().min(47);
        let stack_random = pages(random[0], 22u32.saturating_sub(shrink));
        let stack_top = bounds.end - stack_random;
        let most = size / 6 * 5;
        let gap = stack_limit.saturating_add(STACK_GUARD).clamp(MIN_STACK_GAP.min(most), most);
        let mmap_base = page_floor(stack_top - gap) - pages(random[1], 28u32.saturating_sub(shrink));
        let pie_base =
            page_floor(bounds.start + size / 3 * 2) + pages(random[2], 28u32.saturating_sub(shrink));
        let pie_base = pie_base.min(mmap_base.saturating_sub(GIB)).max(bounds.start);
        let brk_gap = pages(random[3], 13);
        let is_random = random != [0; 4];
        Self { bounds, mmap_base, stack_top, pie_base: page_floor(pie_base), brk_gap, is_random }
    }

    /// Whether it was made with randomness.
    pub(crate) fn is_random(&self) -> bool {
        self.is_random
    }

    /// Finds `len` free bytes, near `hint` if that is given and free.
    ///
    /// # Errors
    /// `ENOMEM` where there is no such space.
    pub(crate) fn find(&self, vmas: &SegmentMap<Vma>, hint: u64, len: u64, low: bool) -> Result<u64> {
        if len > self.bounds.end - self.bounds.start {
            return Err(Errno::ENOMEM);
        }
        let hint = abi::page_ceil(hint).unwrap_or(0);
        if hint >= self.bounds.start.max(MIN_ADDR)
            && hint.checked_add(len).is_some_and(|end| end <= self.bounds.end && (!low || end <= 2 * GIB))
            && is_clear(vmas, hint, len)
        {
            return Ok(hint);
        }
        let clear = |at: &u64| is_clear(vmas, *at, len);
        let bottom = self.bounds.start.max(MIN_ADDR);
        if low {
            return vmas
                .lowest_gap(len, PAGE_SIZE, GIB.max(bottom)..2 * GIB)
                .filter(clear)
                .ok_or(Errno::ENOMEM);
        }
        let top_down = vmas.highest_gap(len, PAGE_SIZE, bottom..self.mmap_base).filter(clear);
        // Where a growing stack is in the way, try once more below it.
        let top_down = top_down.or_else(|| {
            let blocked = vmas.highest_gap(len, PAGE_SIZE, bottom..self.mmap_base)?;
            vmas.highest_gap(len, PAGE_SIZE, bottom..blocked.saturating_sub(STACK_GUARD)).filter(clear)
        });
        top_down
            .or_else(|| vmas.lowest_gap(len, PAGE_SIZE, self.mmap_base..self.bounds.end).filter(clear))
            .ok_or(Errno::ENOMEM)
    }
}

impl MemoryManager {
    /// The fixed points of the address space.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.read_mappings().layout.clone()
    }

    /// Chooses the fixed points, for the stack limit that is set; before anything is mapped.
    pub fn randomize(&self, random: &[u64; 4]) {
        let layout = Layout::with_random(self.bounds.clone(), self.limits.stack(), *random);
        self.write_mappings().layout = layout;
    }

    /// Finds `len` free bytes, near `hint` if that is given and free. Nothing is reserved.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn find_space(&self, hint: u64, len: u64) -> Result<u64> {
        let mappings = self.read_mappings();
        mappings.layout.find(&mappings.vmas, hint, len, false)
    }
}

/// Whether the range is free and no stack above it comes too near.
fn is_clear(vmas: &SegmentMap<Vma>, start: u64, len: u64) -> bool {
    let end = start + len;
    match vmas.at_or_above(start) {
        None => true,
        Some((next, vma)) => {
            let guard = if vma.flags.contains(VmaFlags::GROWSDOWN) { STACK_GUARD } else { 0 };
            next.start.saturating_sub(guard) >= end
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Layout;

    #[test]
    fn layouts_keep_their_order() {
        for end in [1u64 << 47, (1 << 47) - (1 << 30), 1 << 44, 1 << 40] {
            for random in [[0; 4], [u64::MAX; 4], [0x1234_5678_9abc_def0; 4]] {
                for stack in [0, 8 << 20, u64::MAX] {
                    let layout = Layout::with_random(65536..end, stack, random);
                    assert!(layout.stack_top <= end && layout.stack_top > end / 2, "{layout:x?}");
                    assert!(layout.mmap_base < layout.stack_top, "{layout:x?}");
                    assert!(layout.pie_base >= 65536 && layout.pie_base < layout.stack_top, "{layout:x?}");
                    if stack < 1 << 30 {
                        assert!(layout.pie_base < layout.mmap_base, "{layout:x?}");
                    }
                }
            }
        }
    }
}
