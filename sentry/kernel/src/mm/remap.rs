//! mremap(2).

use std::ops::Range;

use abi::{Errno, Result, UserAddr, page_ceil};
use bitflags::bitflags;
use segment::Segment;

use super::batch::Batch;
use super::layout::MIN_ADDR;
use super::manager::{Mappings, MemoryManager};
use super::mmap::{EAGER, MmapArgs, MmapFlags};
use super::pma::Pma;
use super::seal::check_unsealed;
use super::vma::{Vma, VmaFlags};

bitflags! {
    /// Flags of mremap(2), with Linux's values.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RemapFlags: u32 {
        /// The mapping may go elsewhere.
        const MAYMOVE = 1;
        /// To the address given.
        const FIXED = 2;
        /// What is at the old address stays mapped, without its pages.
        const DONTUNMAP = 4;
    }
}

/// A checked request.
struct Request {
    old: Range<u64>,
    new_len: u64,
    flags: RemapFlags,
    new_addr: u64,
}

/// Mappings to drop once no lock is held.
type Removed = Vec<(Range<u64>, Vma)>;

impl MemoryManager {
    /// mremap(2).
    ///
    /// # Errors
    /// As mremap(2): `EINVAL`, `EFAULT`, `ENOMEM`, `EAGAIN`.
    pub fn mremap(
        &self,
        addr: UserAddr,
        old_len: u64,
        new_len: u64,
        flags: RemapFlags,
        new_addr: UserAddr,
    ) -> Result<UserAddr> {
        let request = self.check_remap(addr, old_len, new_len, flags, new_addr)?;
        let mut removed = Removed::new();
        let mut mappings = self.write_mappings();
        let result = self.remap_locked(&mut mappings, &request, &mut removed);
        drop(mappings);
        drop(removed);
        let to = result?;
        let old_len = request.old.end - request.old.start;
        if request.new_len > old_len {
            self.fill_added(to + old_len..to + request.new_len);
        }
        Ok(UserAddr(to))
    }

    /// remap_file_pages(2): shows another part of the shared object that is mapped at `addr`.
    ///
    /// # Errors
    /// `EINVAL` where the range is not inside one shared mapping; as mmap(2).
    pub fn remap_file_pages(&self, addr: UserAddr, len: u64, offset: u64) -> Result<()> {
        let range = Self::page_range(addr, len)?;
        let args = {
            let mappings = self.read_mappings();
            let (whole, vma) = mappings.vmas.get(range.start).ok_or(Errno::EINVAL)?;
            let object = vma.object.as_ref().filter(|_| vma.is_shared()).ok_or(Errno::EINVAL)?;
            if whole.end < range.end {
                return Err(Errno::EINVAL);
            }
            MmapArgs {
                prot: vma.prot,
                mappable: Some((object.mappable.object().clone(), offset)),
                file: object.file.clone(),
                may_write: vma.flags.contains(VmaFlags::MAY_WRITE),
                may_exec: vma.flags.contains(VmaFlags::MAY_EXEC),
                ..MmapArgs::anonymous(addr, len, MmapFlags::SHARED | MmapFlags::FIXED)
            }
        };
        self.mmap(args).map(|_| ())
    }

    fn check_remap(
        &self,
        addr: UserAddr,
        old_len: u64,
        new_len: u64,
        flags: RemapFlags,
        new_addr: UserAddr,
    ) -> Result<Request> {
        let moves = flags.contains(RemapFlags::MAYMOVE);
        let to_address = flags.contains(RemapFlags::FIXED);
        // With DONTUNMAP the address is a hint, but checked as strictly.
        let names_address = flags.intersects(RemapFlags::FIXED | RemapFlags::DONTUNMAP);
        if names_address && !moves {
            return Err(Errno::EINVAL);
        }
        let old = Self::page_range(addr, old_len)?;
        let new_len = page_ceil(new_len).filter(|&len| len > 0).ok_or(Errno::EINVAL)?;
        let old_size = old.end - old.start;
        if flags.contains(RemapFlags::DONTUNMAP) && old_size != new_len {
            return Err(Errno::EINVAL);
        }
        if new_len > self.bounds.end {
            return Err(if names_address { Errno::EINVAL } else { Errno::ENOMEM });
        }
        if names_address {
            let new = Self::page_range(new_addr, new_len)?;
            if new.end > self.bounds.end || (new.start < old.end && old.start < new.end) {
                return Err(Errno::EINVAL);
            }
            if to_address && new.start < MIN_ADDR.max(self.bounds.start) {
                return Err(Errno::EPERM);
            }
        }
        Ok(Request { old, new_len, flags, new_addr: new_addr.0 })
    }

    fn remap_locked(&self, mappings: &mut Mappings, request: &Request, removed: &mut Removed) -> Result<u64> {
        let Request { old, new_len, flags, new_addr } = request;
        let (whole, vma) = mappings.vmas.get(old.start).ok_or(Errno::EFAULT)?;
        let vma = piece_of(vma, old.start - whole.start);
        let old_len = old.end - old.start;
        if old_len == 0 && (!vma.is_shared() || !flags.contains(RemapFlags::MAYMOVE)) {
            return Err(Errno::EINVAL);
        }
        if vma.flags.contains(VmaFlags::SPECIAL)
            && (*new_len > old_len || flags.contains(RemapFlags::DONTUNMAP))
        {
            return Err(Errno::EINVAL);
        }
        let whole_end = whole.end;
        if old_len.min(*new_len) > whole_end - old.start {
            return Err(Errno::EFAULT);
        }
        let to_address = flags.contains(RemapFlags::FIXED);
        check_unsealed(&mappings.vmas, old)?;
        if to_address {
            check_unsealed(&mappings.vmas, &(*new_addr..new_addr + new_len))?;
        }
        if !to_address && !flags.contains(RemapFlags::DONTUNMAP) && old_len > 0 && *new_len <= old_len {
            removed.append(&mut self.unmap_locked(mappings, old.start + new_len..old.end));
            return Ok(old.start);
        }
        if *new_len > old_len {
            let more = if old_len == 0 { *new_len } else { new_len - old_len };
            if vma.flags.contains(VmaFlags::LOCKED) {
                self.check_locks(mappings, more)?;
            }
            self.check_address_space(mappings, more)?;
            if vma.is_data() {
                self.check_data(mappings, more)?;
                if !vma.flags.contains(VmaFlags::NORESERVE) && more > self.memory.limit() {
                    return Err(Errno::ENOMEM);
                }
            }
        }
        if !to_address
            && old_len > 0
            && *new_len > old_len
            && old.end == whole_end
            && let Some(addr) = self.extend(mappings, old, *new_len, &vma)?
        {
            return Ok(addr);
        }
        if !flags.contains(RemapFlags::MAYMOVE) {
            return Err(Errno::ENOMEM);
        }
        if mappings.vmas.len() + 3 > self.memory.max_mappings() {
            return Err(Errno::ENOMEM);
        }
        let to = if to_address {
            removed.append(&mut self.unmap_locked(mappings, *new_addr..new_addr + new_len));
            *new_addr
        } else {
            let hint = if flags.contains(RemapFlags::DONTUNMAP) { *new_addr } else { 0 };
            mappings.layout.find(&mappings.vmas, hint, *new_len, false)?
        };
        self.relocate(mappings, request, to, vma, removed)
    }

    /// Grows a mapping where it is, if there is room.
    fn extend(
        &self,
        mappings: &mut Mappings,
        old: &Range<u64>,
        new_len: u64,
        vma: &Vma,
    ) -> Result<Option<u64>> {
        let more = old.end..old.start + new_len;
        if more.end > self.bounds.end || !mappings.vmas.is_vacant(more.clone()) {
            return Ok(None);
        }
        let tail = piece_of(vma, old.end - old.start);
        mappings.vmas.insert(more.clone(), tail.clone());
        self.back_growth(more, &tail);
        Ok(Some(old.start))
    }

    /// Frames for the part of an anonymous mapping that is new. The mapping has grown already: where there are none to
    /// be had now, its faults will ask again.
    fn back_growth(&self, range: Range<u64>, vma: &Vma) {
        if !vma.is_private_anon()
            || !vma.is_accessible()
            || range.is_empty()
            || range.end - range.start > EAGER
        {
            return;
        }
        let _ = self.fill_anon(&mut self.pages.write(), range, vma);
    }

    /// Moves mapping and pages to `to`.
    fn relocate(
        &self,
        mappings: &mut Mappings,
        request: &Request,
        to: u64,
        mut vma: Vma,
        removed: &mut Removed,
    ) -> Result<u64> {
        let Request { old, new_len, flags, .. } = request;
        let moved = (old.end - old.start).min(*new_len);
        let keep = flags.contains(RemapFlags::DONTUNMAP) || old.is_empty();
        if !keep {
            // Pages beyond a smaller new size go; the rest is taken out below, with its pages.
            removed.append(&mut self.unmap_locked(mappings, old.start + moved..old.end));
            removed.append(&mut mappings.vmas.remove(old.start..old.start + moved));
        } else if flags.contains(RemapFlags::DONTUNMAP) {
            // The locking moves with the pages.
            let unlock = VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT;
            mappings.vmas.update(old.clone(), |_, vma| vma.flags.remove(unlock));
        }
        if old.is_empty() {
            vma.flags.remove(VmaFlags::LOCKED | VmaFlags::LOCK_ON_FAULT);
        }
        mappings.vmas.insert(to..to + new_len, vma.clone());
        let mut pages = self.pages.write();
        let mut batch = Batch::default();
        let taken: Vec<(Range<u64>, Pma)> = pages.map.remove(old.start..old.start + moved);
        if taken.iter().any(|(_, pma)| pma.mapped.is_some()) {
            batch.unmap(old.start..old.start + moved);
        }
        for (range, mut pma) in taken {
            pma.mapped = None;
            let range = range.start - old.start + to..range.end - old.start + to;
            batch.refresh(range.clone(), &mut pma, false);
            pages.map.insert(range, pma);
        }
        let result = batch.commit(&mut pages, &*self.space);
        drop(pages);
        // Where the host refused, faults bring the pages back one by one.
        result.or_else(|error| if self.pages.read().is_broken { Err(error) } else { Ok(()) })?;
        self.back_growth(to + moved..to + new_len, &piece_of(&vma, moved));
        Ok(to)
    }
}

/// The mapping as it looks from `at` bytes behind its start.
fn piece_of(vma: &Vma, at: u64) -> Vma {
    vma.clone().split_off(at)
}
