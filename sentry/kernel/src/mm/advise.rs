//! What madvise(2) does to pages and mappings, and populating.

use std::ops::Range;
use std::sync::Arc;

use abi::{Errno, PAGE_SIZE, Result, UserAddr};

use super::batch::Batch;
use super::fault::{Access, FaultError};
use super::manager::{Mappings, MemoryManager};
use super::mmap::take_pages;
use super::pma::{PageSource, Pma};
use super::vma::{Vma, VmaFlags};
use crate::task::is_current_killed;

/// What is brought in between two looks at whether the task has been killed, bytes.
const POPULATE_STEP: u64 = 16 << 20;

/// What is done to a range of mappings, one mapping at a time.
pub(super) type Visit<'f> = &'f mut dyn FnMut(Range<u64>, &Vma) -> Result<()>;

bitflags::bitflags! {
    /// What [`MemoryManager::discard`] throws away.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct DiscardFlags: u32 {
        /// Private anonymous memory alone: `MADV_FREE`.
        const ANON_ONLY = 1;
        /// What mlock(2) has locked, too: `MADV_DONTNEED_LOCKED`.
        const EVEN_LOCKED = 2;
    }
}

impl MemoryManager {
    /// Calls `visit` with the part of each mapping in `range`.
    ///
    /// # Errors
    /// What `visit` says; `ENOMEM` at the end where part of the range is not mapped.
    pub(super) fn visit(&self, range: &Range<u64>, visit: Visit<'_>) -> Result<()> {
        let mappings = self.read_mappings();
        for (whole, vma) in mappings.vmas.overlapping(range.clone()) {
            visit(whole.start.max(range.start)..whole.end.min(range.end), vma)?;
        }
        if mappings.vmas.is_covered(range.clone()) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Throws pages away (`MADV_DONTNEED`): anonymous memory reads as zeros afterwards, private file mappings show the
    /// file again.
    ///
    /// # Errors
    /// `EINVAL` for special mappings, for locked ones and for those of files as `flags` say; `EPERM` for sealed ones that
    /// are not writable; `ENOMEM`.
    pub fn discard(&self, range: Range<u64>, flags: DiscardFlags) -> Result<()> {
        let mut keep = VmaFlags::SPECIAL;
        keep.set(VmaFlags::LOCKED, !flags.contains(DiscardFlags::EVEN_LOCKED));
        let anon_only = flags.contains(DiscardFlags::ANON_ONLY);
        self.visit(&range, &mut |piece, vma| {
            if vma.flags.intersects(keep) || (anon_only && !vma.is_private_anon()) {
                return Err(Errno::EINVAL);
            }
            if vma.is_content_sealed() {
                return Err(Errno::EPERM);
            }
            if !vma.is_shared() {
                self.discard_private(piece, vma);
            }
            Ok(())
        })
    }

    fn discard_private(&self, range: Range<u64>, vma: &Vma) {
        let mut pages = self.pages.write();
        let pieces: Vec<(Range<u64>, Pma)> = pages
            .map
            .overlapping(range.clone())
            .map(|(whole, pma)| {
                let piece = whole.start.max(range.start)..whole.end.min(range.end);
                let source = pma.source.advanced(piece.start - whole.start);
                (piece, Pma { source, ..pma.clone() })
            })
            .collect();
        let mut batch = Batch::default();
        let mut freed = Vec::new();
        for (piece, pma) in pieces {
            if !(vma.is_private_anon() && self.clear_in_place(&piece, &pma)) {
                freed.append(&mut take_pages(&mut pages, piece, &mut batch));
            }
        }
        self.lose(pages, batch, freed);
    }

    /// Empties frames that only this address space has, without any change to the stub's mappings: the host's kernel
    /// takes the pages away and brings zeros on the next touch.
    fn clear_in_place(&self, piece: &Range<u64>, pma: &Pma) -> bool {
        let PageSource::Memory(offset) = pma.source else { return false };
        let len = piece.end - piece.start;
        if self.memory.is_hole(offset..offset + len) {
            return true; // It reads as zeros already, as most of a thread's stack does when the thread ends.
        }
        let exclusive =
            || (offset..offset + len).step_by(PAGE_SIZE as usize).all(|at| self.memory.is_exclusive(at));
        !pma.cow && exclusive() && self.memory.clear(offset, len).is_ok()
    }

    /// Brings in the pages of `range` that the guest may access: what a memory lock does.
    ///
    /// # Errors
    /// As [`Self::populate`].
    pub fn populate_locked(&self, range: Range<u64>) -> Result<()> {
        let mut parts = Vec::new();
        let mapped = self.visit(&range, &mut |piece, vma| {
            if vma.is_accessible() {
                parts.push((piece, vma.fill_access()));
            }
            Ok(())
        });
        for (part, access) in parts {
            self.populate(part, access)?;
        }
        mapped
    }

    /// Brings all pages of `range` in, as a load or store by the guest would.
    ///
    /// # Errors
    /// `ENOMEM` where part of the range is not mapped; `EFAULT` where a page cannot be had or accessed; `EINTR` where
    /// the calling task has been killed.
    pub fn populate(&self, range: Range<u64>, access: Access) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            if is_current_killed() {
                return Err(Errno::EINTR);
            }
            let pages = self.pages.read();
            if let Some((whole, pma)) = pages.map.get(at).filter(|(_, pma)| !(access.write && pma.cow)) {
                let end = whole.end.min(range.end).min(at + POPULATE_STEP);
                if let PageSource::Memory(offset) = pma.source.advanced(at - whole.start) {
                    self.touch(offset, end - at)?;
                }
                at = end;
                continue;
            }
            drop(pages);
            self.fault_in(at, access).map_err(|error| match error {
                FaultError::Unmapped | FaultError::NoMemory => Errno::ENOMEM,
                FaultError::Denied | FaultError::Bus => Errno::EFAULT,
            })?;
        }
        Ok(())
    }

    /// Makes frames present in host memory.
    fn touch(&self, offset: u64, len: u64) -> Result<()> {
        let mut at = offset;
        let end = offset + len;
        while at < end {
            match self.memory.next_present(at, end) {
                Some(run) if run.start == at => at = run.end,
                next => {
                    let stop = next.map_or(end, |run| run.start);
                    while at < stop {
                        self.memory.slice(at, 1)?.read(&mut [0])?;
                        at += PAGE_SIZE;
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds and removes flags of the mappings in `range`.
    ///
    /// # Errors
    /// `ENOMEM` where part of the range is not mapped; `EINVAL` where `may` refuses one.
    pub fn change_flags(
        &self,
        range: Range<u64>,
        add: VmaFlags,
        remove: VmaFlags,
        may: &dyn Fn(VmaFlags) -> bool,
    ) -> Result<()> {
        if add.is_empty() && remove.is_empty() {
            return self
                .visit(&range, &mut |_, vma| if may(vma.flags) { Ok(()) } else { Err(Errno::EINVAL) });
        }
        let mut mappings = self.write_mappings();
        if mappings.vmas.overlapping(range.clone()).any(|(_, vma)| !may(vma.flags)) {
            return Err(Errno::EINVAL);
        }
        self.set_flags(&mut mappings, range, add, remove)
    }

    /// [`Self::change_flags`] of whatever mappings there are.
    pub(super) fn set_flags(
        &self,
        mappings: &mut Mappings,
        range: Range<u64>,
        add: VmaFlags,
        remove: VmaFlags,
    ) -> Result<()> {
        if mappings.vmas.len() + 2 > self.memory.max_mappings() {
            return Err(Errno::ENOMEM);
        }
        mappings.vmas.update(range.clone(), |_, vma| {
            vma.flags.remove(remove);
            vma.flags.insert(add);
        });
        if mappings.vmas.is_covered(range) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// Names anonymous memory (`PR_SET_VMA_ANON_NAME`); `None` takes the name away.
    ///
    /// # Errors
    /// `ENOMEM` where part of the range is not mapped, or there are too many mappings; `EBADF` where part is not
    /// anonymous.
    pub fn set_anon_name(&self, addr: UserAddr, len: u64, name: Option<&str>) -> Result<()> {
        let range = Self::page_range(addr, len)?;
        let name: Option<Arc<str>> = name.map(Arc::from);
        let mut mappings = self.write_mappings();
        if mappings.vmas.len() + 2 > self.memory.max_mappings() {
            return Err(Errno::ENOMEM);
        }
        if mappings
            .vmas
            .overlapping(range.clone())
            .any(|(_, vma)| vma.object.as_ref().is_some_and(|o| o.file.is_some()))
        {
            return Err(Errno::EBADF);
        }
        mappings.vmas.update(range.clone(), |_, vma| vma.anon_name.clone_from(&name));
        if mappings.vmas.is_covered(range) { Ok(()) } else { Err(Errno::ENOMEM) }
    }
}
