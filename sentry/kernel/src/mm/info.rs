//! What `/proc/[pid]` tells about an address space.

use std::borrow::Cow;
use std::sync::Arc;

use platform::Protection;

use super::manager::MemoryManager;
use super::pma::PageSource;
use super::vma::VmaFlags;
use crate::vfs::File;

/// One line of `/proc/[pid]/maps`, with what `smaps` adds.
#[derive(Clone)]
pub struct VmaInfo {
    /// First address.
    pub start: u64,
    /// Behind the last address.
    pub end: u64,
    /// Rights.
    pub prot: Protection,
    /// Properties.
    pub flags: VmaFlags,
    /// Byte offset in the file, 0 for anonymous memory.
    pub offset: u64,
    /// The mapped file: its path, device and inode.
    pub file: Option<Arc<File>>,
    /// `[heap]`, `[stack]`, `[vdso]`, or `/dev/zero (deleted)` for shared anonymous memory.
    pub name: Option<Cow<'static, str>>,
    /// Set by the program (`[anon:…]`).
    pub anon_name: Option<Arc<str>>,
    /// What is in memory.
    pub usage: Usage,
}

impl VmaInfo {
    /// Addresses, rights and offset, as a line of `/proc/[pid]/maps` begins.
    #[must_use]
    pub fn line_start(&self) -> String {
        let flag = |on: bool, letter: char| if on { letter } else { '-' };
        format!(
            "{:08x}-{:08x} {}{}{}{} {:08x}",
            self.start,
            self.end,
            flag(self.prot.read, 'r'),
            flag(self.prot.write, 'w'),
            flag(self.prot.execute, 'x'),
            if self.flags.contains(VmaFlags::SHARED) { 's' } else { 'p' },
            self.offset
        )
    }
}

/// Memory in use, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Own anonymous pages.
    pub anon: u64,
    /// Pages of files.
    pub file: u64,
    /// Pages of tmpfs files and shared anonymous memory.
    pub shmem: u64,
}

impl Usage {
    /// The resident set.
    #[must_use]
    pub fn rss(&self) -> u64 {
        self.anon + self.file + self.shmem
    }

    fn add(&mut self, other: Self) {
        self.anon += other.anon;
        self.file += other.file;
        self.shmem += other.shmem;
    }
}

/// Sums over an address space, bytes: `/proc/[pid]/{statm,status}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Mapped.
    pub size: u64,
    /// Private and writable, without stacks.
    pub data: u64,
    /// Stacks.
    pub stack: u64,
    /// Executable file mappings.
    pub text: u64,
    /// Executable mappings of libraries (not the program's own code).
    pub lib: u64,
    /// Locked.
    pub locked: u64,
    /// In memory.
    pub usage: Usage,
}

impl MemoryManager {
    /// All mappings, in ascending order.
    #[must_use]
    pub fn vmas(&self) -> Vec<VmaInfo> {
        let mappings = self.read_mappings();
        let describe = |(range, vma): (std::ops::Range<u64>, &super::vma::Vma)| {
            let object = vma.object.as_ref();
            let file = object.and_then(|object| object.file.clone());
            VmaInfo {
                start: range.start,
                end: range.end,
                prot: vma.prot,
                flags: vma.flags,
                offset: object.map_or(0, |object| object.offset),
                file,
                name: vma.name.map(Cow::Borrowed).or_else(|| object?.mappable.label().map(Cow::Owned)),
                anon_name: vma.anon_name.clone(),
                usage: self.usage_of(range.start, range.end),
            }
        };
        mappings.vmas.iter().map(describe).collect()
    }

    /// How many there are.
    #[must_use]
    pub fn mapping_count(&self) -> usize {
        self.read_mappings().vmas.len()
    }

    /// Sums over all mappings.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        let mappings = self.read_mappings();
        let code = mappings.image.start_code..mappings.image.end_code;
        for (range, vma) in mappings.vmas.iter() {
            let len = range.end - range.start;
            totals.size += len;
            if vma.is_data() {
                totals.data += len;
            }
            if vma.flags.contains(VmaFlags::GROWSDOWN) {
                totals.stack += len;
            }
            if vma.flags.contains(VmaFlags::LOCKED) {
                totals.locked += len;
            }
            if vma.prot.execute && !vma.prot.write && vma.object.is_some() {
                if range.start < code.end && range.end > code.start {
                    totals.text += len;
                } else {
                    totals.lib += len;
                }
            }
            totals.usage.add(self.usage_of(range.start, range.end));
        }
        totals
    }

    /// Adds the frames that it shows, wherever in the memory file they are, touched or not.
    pub(crate) fn collect_frames(&self, frames: &mut Vec<std::ops::Range<u64>>) {
        for (range, pma) in self.pages.read().map.iter() {
            if let PageSource::Memory(offset) = pma.source {
                frames.push(offset..offset + (range.end - range.start));
            }
        }
    }

    fn usage_of(&self, start: u64, end: u64) -> Usage {
        let mut usage = Usage::default();
        let pages = self.pages.read();
        for (whole, pma) in pages.map.overlapping(start..end) {
            let at = whole.start.max(start);
            let len = whole.end.min(end) - at;
            match (pma.source.advanced(at - whole.start), pma.anon) {
                (PageSource::Host(..), _) => usage.file += len,
                (PageSource::Memory(offset), true) => usage.anon += self.memory.resident(offset, len),
                (PageSource::Memory(offset), false) => usage.shmem += self.memory.resident(offset, len),
            }
        }
        usage
    }
}

impl std::fmt::Debug for VmaInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{:x} {:?} {:?}", self.start, self.end, self.prot, self.flags)
    }
}
