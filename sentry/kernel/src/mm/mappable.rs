//! What can be mapped: the seam between memory and files.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use abi::Result;

/// Where the bytes of a mapped file are. The range starts at the offset asked for and may be shorter than asked.
#[derive(Clone, Debug)]
pub enum Backing {
    /// In the memory file (tmpfs, shared anonymous memory). The caller gets a reference to each page of the range.
    Memory {
        /// Byte offset in the [`super::MemoryFile`].
        offset: u64,
        /// Bytes, a page multiple.
        len: u64,
    },
    /// In a host file.
    Host {
        /// The file.
        file: Arc<HostFile>,
        /// Byte offset in it.
        offset: u64,
        /// Bytes, a page multiple.
        len: u64,
    },
}

/// A host file that can be mapped into stubs, with the sentry's own view of it for copies.
#[derive(Debug)]
pub struct HostFile {
    fd: OwnedFd,
}

impl HostFile {
    /// Wraps a descriptor donated by a gofer.
    #[must_use]
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The descriptor.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A file (or shared anonymous object) that can be mapped.
pub trait Mappable: Send + Sync {
    /// Finds the bytes of `offset..offset + len` (page multiples), allocating holes in memory-backed files.
    /// `write` tells whether the mapping may store through it.
    ///
    /// # Errors
    /// `ENXIO` where `offset` lies beyond the page that holds the last byte (the guest gets SIGBUS); `ENOMEM`, `ENOSPC`.
    fn backing(&self, offset: u64, len: u64, write: bool) -> Result<Backing>;

    /// Where address spaces that map this file are recorded, so that truncation can take pages away from them.
    fn mappings(&self) -> &MappingSet;
}

/// The address ranges, in any number of address spaces, that map one file.
#[derive(Debug, Default)]
pub struct MappingSet;

impl MappingSet {
    /// Nobody maps the file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes away all pages of file range `offset..end` from every address space (truncate, hole punching):
    /// the next access asks [`Mappable::backing`] again. Private copies survive unless `even_private` (truncation).
    pub fn invalidate(&self, offset: u64, end: u64, even_private: bool) {
        let _ = (offset, end, even_private);
        unimplemented!()
    }
}
