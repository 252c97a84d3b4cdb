//! The descriptor table.

use std::sync::Arc;

use abi::Result;

use super::File;

/// A descriptor number as a guest names it.
pub type Fd = i32;

/// The descriptors of one or more tasks (`CLONE_FILES` shares a table).
#[derive(Debug, Default)]
pub struct FdTable;

impl FdTable {
    /// The open file behind `fd`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get(&self, fd: Fd) -> Result<Arc<File>> {
        let _ = fd;
        unimplemented!()
    }

    /// Gives `file` the lowest free number from `min` on, below the task's `RLIMIT_NOFILE`.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn install(&self, file: Arc<File>, min: Fd, limit: u64, close_on_exec: bool) -> Result<Fd> {
        let _ = (file, min, limit, close_on_exec);
        unimplemented!()
    }
}
