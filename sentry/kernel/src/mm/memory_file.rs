//! The guest's physical memory: one sparse memfd, mapped once in the sentry (the direct map).

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use abi::Result;
use host::memory::VolatileSlice;

/// Allocates pages of the memory file and counts who refers to them.
///
/// Frames are named by their byte offset in the file. Every page handed out reads as zeros. A page is freed when its
/// last reference goes; its memory then returns to the host, or is zeroed and kept for the next allocation.
#[derive(Debug)]
pub struct MemoryFile;

impl MemoryFile {
    /// A memory file that can hold `limit` bytes of guest pages.
    ///
    /// # Errors
    /// What the host says to `memfd_create`, `ftruncate` or `mmap`.
    pub fn new(limit: u64) -> Result<Arc<Self>> {
        let _ = limit;
        unimplemented!()
    }

    /// The file, for the platform to map.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        unimplemented!()
    }

    /// `len` bytes (a page multiple) of contiguous zeroed frames, each with one reference.
    ///
    /// # Errors
    /// `ENOMEM` above the limit.
    pub fn allocate(&self, len: u64) -> Result<u64> {
        let _ = len;
        unimplemented!()
    }

    /// Adds a reference to each page of the range.
    pub fn retain(&self, offset: u64, len: u64) {
        let _ = (offset, len);
        unimplemented!()
    }

    /// Drops a reference from each page of the range.
    pub fn release(&self, offset: u64, len: u64) {
        let _ = (offset, len);
        unimplemented!()
    }

    /// The bytes themselves, through the direct map.
    ///
    /// # Errors
    /// `EFAULT` outside the file.
    pub fn slice(&self, offset: u64, len: usize) -> Result<VolatileSlice<'_>> {
        let _ = (offset, len);
        unimplemented!()
    }

    /// Bytes in frames that are referred to.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        unimplemented!()
    }
}
