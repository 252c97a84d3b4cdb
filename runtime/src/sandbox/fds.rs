//! The descriptors that are donated to a sandbox, by index.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Descriptors in the order in which they will be passed.
#[derive(Debug, Default)]
pub(crate) struct FdTable(Vec<OwnedFd>);

impl FdTable {
    /// Adds one; its index.
    pub(crate) fn add(&mut self, fd: impl Into<OwnedFd>) -> u32 {
        self.0.push(fd.into());
        self.0.len() as u32 - 1
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u32 {
        self.0.len() as u32
    }

    /// All of them.
    pub(crate) fn borrowed(&self) -> Vec<BorrowedFd<'_>> {
        self.0.iter().map(AsFd::as_fd).collect()
    }
}
