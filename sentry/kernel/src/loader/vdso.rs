//! The vDSO in guest memory: one copy of the image and of the clock page for all processes.

use std::sync::Arc;

use abi::{PAGE_SIZE, Result, UserAddr, page_ceil};
use platform::Protection;

use crate::mm::{Access, Backing, Mappable, MappingSet, MemoryFile, MemoryManager, MmapArgs, MmapFlags};
use crate::time::Timekeeper;

/// The clock page with the image behind it, as one mappable object.
#[derive(Debug)]
pub struct Vdso {
    memory: Arc<MemoryFile>,
    /// Where in the memory file the clock page is; the image follows.
    offset: u64,
    len: u64,
    mappings: MappingSet,
}

impl Vdso {
    /// Puts the image into guest memory.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(memory: &Arc<MemoryFile>) -> Result<Arc<Self>> {
        let image = vdso::IMAGE;
        let len = PAGE_SIZE + page_ceil(image.len() as u64).unwrap_or(PAGE_SIZE);
        let offset = memory.allocate(len)?;
        memory.slice(offset + PAGE_SIZE, image.len())?.write(image)?;
        Ok(Arc::new(Self { memory: memory.clone(), offset, len, mappings: MappingSet::new() }))
    }

    /// Where in the memory file the page is that the clocks are read from.
    #[must_use]
    pub fn clock_page(&self) -> u64 {
        self.offset
    }

    /// Has `timekeeper` keep that page up to date.
    pub(crate) fn follow(&self, timekeeper: &Timekeeper, cpu_count: usize) {
        timekeeper.share_with_vdso(&self.memory, self.offset, cpu_count);
    }

    /// Maps it into `mm`; returns the address of the image (`AT_SYSINFO_EHDR`).
    pub(super) fn map(self: &Arc<Self>, mm: &MemoryManager) -> Result<u64> {
        let read = Protection { read: true, ..Protection::default() };
        let base = mm.mmap(MmapArgs {
            prot: read,
            mappable: Some((self.clone(), 0)),
            name: Some("[vvar]"),
            ..MmapArgs::anonymous(UserAddr::NULL, self.len, MmapFlags::SPECIAL)
        })?;
        let image = UserAddr(base.0 + PAGE_SIZE);
        mm.mmap(MmapArgs {
            prot: Protection { execute: true, ..read },
            mappable: Some((self.clone(), PAGE_SIZE)),
            name: Some("[vdso]"),
            ..MmapArgs::anonymous(image, self.len - PAGE_SIZE, MmapFlags::SPECIAL | MmapFlags::FIXED)
        })?;
        Ok(image.0)
    }
}

impl Mappable for Vdso {
    fn backing(&self, offset: u64, len: u64, _access: Access) -> Result<Backing> {
        let len = len.min(self.len.saturating_sub(offset));
        if len == 0 {
            return Err(abi::Errno::ENXIO);
        }
        self.memory.retain(self.offset + offset, len);
        Ok(Backing::Memory { offset: self.offset + offset, len })
    }

    fn mappings(&self) -> &MappingSet {
        &self.mappings
    }
}

impl Drop for Vdso {
    fn drop(&mut self) {
        self.memory.release(self.offset, self.len);
    }
}
