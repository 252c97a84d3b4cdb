//! Mapping an ELF file's segments.

use std::sync::Arc;

use abi::{Errno, PAGE_SIZE, Result, UserAddr, page_ceil, page_floor};
use platform::Protection;

use super::elf::{Header, LoadSegment, Segments};
use crate::mm::{Mappable, MemoryManager, MmapArgs, MmapFlags, Place, SharedTexts};
use crate::vfs::File;

/// Where a file is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// Near this address if it is position-independent.
    Near(u64),
    /// Wherever there is room.
    Anywhere,
}

/// An ELF file that can be mapped.
pub(super) struct Object {
    pub(super) file: Arc<File>,
    pub(super) mappable: Arc<dyn Mappable>,
    pub(super) header: Header,
    pub(super) segments: Segments,
}

/// Where its parts are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mapped {
    /// What is added to the addresses in the file.
    pub(super) bias: u64,
    pub(super) entry: u64,
    /// Behind the last byte.
    pub(super) end: u64,
}

impl Object {
    /// Maps all segments into `mm`, with the call sites of `texts` rewritten.
    ///
    /// # Errors
    /// What mmap(2) says; `EFAULT` where the part behind a segment's data cannot be cleared.
    pub(super) fn map(&self, mm: &MemoryManager, base: Base, texts: Option<&SharedTexts>) -> Result<Mapped> {
        let span = self.segments.span();
        let bias = if self.header.is_dynamic { self.place(mm, base)?.wrapping_sub(span.start) } else { 0 };
        let (min, max) = mm.bounds();
        let (start, end) = (span.start.wrapping_add(bias), span.end.wrapping_add(bias));
        if start < min.0 || end > max.0 || start > end {
            return Err(Errno::ENOMEM);
        }
        for segment in &self.segments.load {
            self.map_segment(mm, segment, bias)?;
            let is_text = segment.prot.read && segment.prot.execute && !segment.prot.write;
            if let Some(texts) = texts.filter(|_| is_text && segment.file_len > 0) {
                self.share_text(mm, segment, start, bias, texts)?;
            }
        }
        let last =
            self.segments.load.iter().map(|segment| segment.vaddr + segment.mem_len).max().unwrap_or(0);
        Ok(Mapped { bias, entry: self.header.entry.wrapping_add(bias), end: last.wrapping_add(bias) })
    }

    /// Shows a segment that has been mapped, of an object that begins at `start`, with its call sites rewritten, if that is
    /// to be had. The thunks come below the object, where its heap does not grow.
    fn share_text(
        &self,
        mm: &MemoryManager,
        segment: &LoadSegment,
        start: u64,
        bias: u64,
        texts: &SharedTexts,
    ) -> Result<()> {
        let at = page_floor(segment.vaddr).wrapping_add(bias);
        let len = page_ceil(segment.file_len + segment.vaddr % PAGE_SIZE).ok_or(Errno::ENOMEM)?;
        let below = at.wrapping_sub(start).saturating_add(PAGE_SIZE);
        let place = Place { offset: page_floor(segment.offset), len, below };
        let text = texts.of(mm.memory(), &*self.mappable, place);
        text.map_or(Ok(()), |text| mm.show_text(text, at))
    }

    /// Free space for all of it, aligned as it asks.
    fn place(&self, mm: &MemoryManager, base: Base) -> Result<u64> {
        let span = self.segments.span();
        let align = self.segments.align;
        let len = (span.end - span.start).checked_add(align - PAGE_SIZE).ok_or(Errno::ENOMEM)?;
        let hint = if let Base::Near(hint) = base { hint } else { 0 };
        mm.find_space(hint, len)?.checked_next_multiple_of(align).ok_or(Errno::ENOMEM)
    }

    /// Maps one segment. The sums cannot overflow: [`Self::map`] has found the whole span within the address space.
    fn map_segment(&self, mm: &MemoryManager, segment: &LoadSegment, bias: u64) -> Result<()> {
        let start = page_floor(segment.vaddr).wrapping_add(bias);
        let data_end = segment.vaddr.wrapping_add(bias) + segment.file_len;
        let mut zero_start = start;
        if segment.file_len > 0 {
            zero_start = page_ceil(data_end).ok_or(Errno::ENOMEM)?;
            mm.mmap(MmapArgs {
                prot: segment.prot,
                mappable: Some((self.mappable.clone(), page_floor(segment.offset))),
                file: Some(self.file.clone()),
                ..MmapArgs::anonymous(
                    UserAddr(start),
                    zero_start - start,
                    MmapFlags::FIXED | MmapFlags::SEGMENT,
                )
            })?;
            let tail = (zero_start - data_end) as usize;
            if segment.mem_len > segment.file_len
                && segment.prot.write
                && mm.zero_some(UserAddr(data_end), tail) < tail
            {
                return Err(Errno::EFAULT);
            }
        }
        let end = page_ceil(segment.vaddr.wrapping_add(bias) + segment.mem_len).ok_or(Errno::ENOMEM)?;
        if end > zero_start {
            // Linux gives the rest of a segment no more than the rights to read and write, and execution where asked.
            let prot = Protection { read: true, write: true, execute: segment.prot.execute };
            let args = MmapArgs::anonymous(UserAddr(zero_start), end - zero_start, MmapFlags::FIXED);
            mm.mmap(MmapArgs { prot, ..args })?;
        }
        Ok(())
    }
}
