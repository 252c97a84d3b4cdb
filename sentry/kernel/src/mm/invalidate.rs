//! Taking pages of changed files away, and finding the files behind a range.

use std::ops::Range;
use std::sync::Arc;

use abi::{Errno, Result};

use super::Mappable;
use super::batch::Batch;
use super::manager::MemoryManager;
use super::mmap::take_pages;
use super::pma::{Pages, Pma};
use super::vma::{Vma, VmaFlags};
use crate::vfs::File;

/// A mapped piece of a file, found by address range.
pub struct FileRange {
    /// The file.
    pub file: Arc<File>,
    /// Bytes of the file.
    pub range: Range<u64>,
    /// The mapping is shared.
    pub is_shared: bool,
}

/// A piece of a shared mapping.
pub struct SharedRange {
    object: Arc<dyn Mappable>,
    file: Option<Arc<File>>,
    range: Range<u64>,
}

impl SharedRange {
    /// Makes a hole: in a file by `punch_file`, which gets the byte range.
    ///
    /// # Errors
    /// What `punch_file` or [`Mappable::punch`] says.
    pub fn punch(&self, punch_file: impl FnOnce(&File, Range<u64>) -> Result<()>) -> Result<()> {
        match &self.file {
            Some(file) => punch_file(file, self.range.clone()),
            None => self.object.punch(self.range.start, self.range.end),
        }
    }
}

impl MemoryManager {
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
            let _: () = files.extend(file_range(&self.read_mappings().vmas, &piece, vma));
            Ok(())
        });
        (files, result)
    }

    /// The shared mappings in `range` for `MADV_REMOVE`; the second value says whether all of it is mapped.
    ///
    /// # Errors
    /// `EINVAL` for private or locked mappings.
    pub fn shared_objects(&self, range: Range<u64>) -> Result<(Vec<SharedRange>, Result<()>)> {
        let mut found = Vec::new();
        let mappings = self.read_mappings();
        for (whole, vma) in mappings.vmas.overlapping(range.clone()) {
            let object = vma.object.as_ref().filter(|_| vma.is_shared()).ok_or(Errno::EINVAL)?;
            if vma.flags.contains(VmaFlags::LOCKED) {
                return Err(Errno::EINVAL);
            }
            let piece = whole.start.max(range.start)..whole.end.min(range.end);
            let start = object.offset + (piece.start - whole.start);
            found.push(SharedRange {
                object: object.mappable.object().clone(),
                file: object.file.clone(),
                range: start..start + (piece.end - piece.start),
            });
        }
        let covered = mappings.vmas.is_covered(range);
        Ok((found, if covered { Ok(()) } else { Err(Errno::ENOMEM) }))
    }

    /// Whether a shared mapping of the file may store to it.
    pub(super) fn may_write_to(&self, set: &super::MappingSet) -> bool {
        let writable = VmaFlags::SHARED | VmaFlags::MAY_WRITE;
        self.read_mappings().vmas.iter().any(|(_, vma)| {
            vma.flags.contains(writable)
                && vma.object.as_ref().is_some_and(|object| object.identity() == set.identity())
        })
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
        self.lose(pages, batch, freed);
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
