//! madvise(2)'s effects, populating, mincore(2), and memory locks.

use std::ops::Range;

use abi::{Errno, PAGE_SIZE, Result, UserAddr};

use super::batch::Batch;
use super::fault::{Access, FaultError};
use super::manager::MemoryManager;
use super::mmap::take_pages;
use super::pma::{PageSource, Pages, Pma};
use super::vma::{Vma, VmaFlags};
use crate::vfs::File;
use std::sync::Arc;

/// A mapped piece of a file, found by address range.
pub struct FileRange {
    /// The file.
    pub file: Arc<File>,
    /// Bytes of the file.
    pub range: Range<u64>,
    /// The mapping is shared.
    pub is_shared: bool,
}

/// What is done to a range of mappings, one mapping at a time.
type Visit<'f> = &'f mut dyn FnMut(Range<u64>, &Vma) -> Result<()>;

impl MemoryManager {
    /// Calls `visit` with the part of each mapping in `range`.
    ///
    /// # Errors
    /// What `visit` says; `ENOMEM` at the end where part of the range is not mapped.
    fn visit(&self, range: &Range<u64>, visit: Visit<'_>) -> Result<()> {
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
    /// `EINVAL` for locked or special mappings, and with `anon_only` (`MADV_FREE`) for mappings of files; `ENOMEM`.
    pub fn discard(&self, range: Range<u64>, anon_only: bool) -> Result<()> {
        self.visit(&range, &mut |piece, vma| {
            if vma.flags.intersects(VmaFlags::LOCKED | VmaFlags::SPECIAL)
                || (anon_only && !vma.is_private_anon())
            {
                return Err(Errno::EINVAL);
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
        if batch.commit(&mut pages, &*self.space).is_err() {
            pages.is_broken = true;
        }
        drop(pages);
        self.release_all(freed);
    }

    /// Empties frames that only this address space has, without any change to the stub's mappings: the host's kernel
    /// takes the pages away and brings zeros on the next touch.
    fn clear_in_place(&self, piece: &Range<u64>, pma: &Pma) -> bool {
        let PageSource::Memory(offset) = pma.source else { return false };
        let len = piece.end - piece.start;
        let exclusive =
            || (offset..offset + len).step_by(PAGE_SIZE as usize).all(|at| self.memory.is_exclusive(at));
        !pma.cow && exclusive() && self.memory.clear(offset, len).is_ok()
    }

    /// Brings all pages of `range` in, as a load or store by the guest would.
    ///
    /// # Errors
    /// `ENOMEM` where part of the range is not mapped; `EFAULT` where a page cannot be had or accessed.
    pub fn populate(&self, range: Range<u64>, write: bool) -> Result<()> {
        let mut at = range.start;
        while at < range.end {
            let pages = self.pages.read();
            if let Some((whole, pma)) = pages.map.get(at).filter(|(_, pma)| !(write && pma.cow)) {
                let end = whole.end.min(range.end);
                if let PageSource::Memory(offset) = pma.source.advanced(at - whole.start) {
                    self.touch(offset, end - at)?;
                }
                at = end;
                continue;
            }
            drop(pages);
            self.fault_in(at, Access::of(write)).map_err(|error| match error {
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
        let mut mappings = self.write_mappings();
        if mappings.vmas.overlapping(range.clone()).any(|(_, vma)| !may(vma.flags)) {
            return Err(Errno::EINVAL);
        }
        if mappings.vmas.len() + 2 > super::manager::MAX_MAPPINGS {
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
    /// `ENOMEM` where part of the range is not mapped; `EBADF` where part is not anonymous.
    pub fn set_anon_name(&self, addr: UserAddr, len: u64, name: Option<&str>) -> Result<()> {
        let range = Self::page_range(addr, len)?;
        let name: Option<Arc<str>> = name.map(Arc::from);
        let mut mappings = self.write_mappings();
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

    /// The files mapped in `range`, for msync(2) and `MADV_REMOVE`.
    ///
    /// # Errors
    /// `ENOMEM` where part of the range is not mapped; `EBUSY` where a part is locked and `unless_locked` is set.
    pub fn mapped_files(&self, range: Range<u64>, unless_locked: bool) -> (Vec<FileRange>, Result<()>) {
        let mut files = Vec::new();
        let result = self.visit(&range, &mut |piece, vma| {
            if unless_locked && vma.flags.contains(VmaFlags::LOCKED) {
                return Err(Errno::EBUSY);
            }
            Ok(files.extend(file_range(&self.read_mappings().vmas, &piece, vma)))
        });
        (files, result)
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
    pub(super) fn present_runs(&self, source: &PageSource, len: u64) -> Vec<Range<u64>> {
        let PageSource::Memory(offset) = source else { return vec![0..len] };
        let (mut runs, mut at) = (Vec::new(), *offset);
        while let Some(run) = self.memory.next_present(at, offset + len) {
            at = run.end;
            runs.push(run.start - offset..run.end - offset);
        }
        runs
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

    /// All addresses with a mapping, in ascending order.
    #[must_use]
    pub fn mapped_ranges(&self) -> Vec<Range<u64>> {
        self.read_mappings().vmas.iter().map(|(range, _)| range).collect()
    }

    /// Takes the pages of a changed file away: see [`super::MappingSet::invalidate`].
    pub(super) fn invalidate(&self, set: &super::MappingSet, file: Range<u64>, even_private: bool) {
        let mappings = self.read_mappings();
        let mut ranges = Vec::new();
        for (range, vma) in mappings.vmas.iter() {
            let Some(object) = vma.object.as_ref().filter(|object| object.identity() == set.identity())
            else {
                continue;
            };
            let start = file.start.max(object.offset);
            let end = file.end.min(object.offset.saturating_add(range.end - range.start));
            if start < end {
                ranges.push(range.start + (start - object.offset)..range.start + (end - object.offset));
            }
        }
        if ranges.is_empty() {
            return;
        }
        let mut pages = self.pages.write();
        let mut batch = Batch::default();
        let mut freed = Vec::new();
        for range in ranges {
            let lost = |pma: &Pma| even_private || !pma.anon;
            for piece in pieces(&pages, &range, &lost) {
                freed.append(&mut take_pages(&mut pages, piece, &mut batch));
            }
        }
        if batch.commit(&mut pages, &*self.space).is_err() {
            pages.is_broken = true;
        }
        drop(pages);
        self.release_all(freed);
    }
}

/// The parts of `range` whose pages are `wanted`.
fn pieces(pages: &Pages, range: &Range<u64>, wanted: &dyn Fn(&Pma) -> bool) -> Vec<Range<u64>> {
    let cut = |whole: Range<u64>| whole.start.max(range.start)..whole.end.min(range.end);
    pages.map.overlapping(range.clone()).filter(|(_, pma)| wanted(pma)).map(|(whole, _)| cut(whole)).collect()
}

fn file_range(vmas: &segment::SegmentMap<Vma>, piece: &Range<u64>, vma: &Vma) -> Option<FileRange> {
    let object = vma.object.as_ref()?;
    let (whole, _) = vmas.get(piece.start)?;
    let start = object.offset + (piece.start - whole.start);
    let file = object.file.clone()?;
    Some(FileRange { file, range: start..start + (piece.end - piece.start), is_shared: vma.is_shared() })
}
