//! Conveniences of a task on its descriptors.

use std::sync::Arc;

use abi::resource::Resource;
use abi::{Result, UserAddr};
use zerocopy::IntoBytes;

use super::Task;
use crate::vfs::{Fd, File, ReservedFds};

impl Task {
    /// Gives `file` the lowest free descriptor.
    ///
    /// # Errors
    /// `EMFILE` at `RLIMIT_NOFILE`.
    pub fn install_fd(&self, file: Arc<File>, close_on_exec: bool) -> Result<Fd> {
        self.fd_table().install(file, 0, self.limit(Resource::Nofile), close_on_exec)
    }

    /// Sets `count` numbers aside, to tell the guest of them before they mean anything.
    ///
    /// # Errors
    /// `EMFILE` at `RLIMIT_NOFILE`.
    pub fn reserve_fds(&self, count: usize) -> Result<ReservedFds> {
        self.fd_table().reserve(count, self.limit(Resource::Nofile))
    }

    /// Gives two files the lowest free descriptors and stores their numbers at `addr`. Where that fails, no descriptor
    /// was ever there.
    ///
    /// # Errors
    /// `EMFILE`, `EFAULT`.
    pub fn install_fd_pair(&self, files: [Arc<File>; 2], close_on_exec: bool, addr: UserAddr) -> Result<()> {
        let reserved = self.reserve_fds(files.len())?;
        self.mm().write(addr, reserved.numbers().as_bytes())?;
        reserved.commit(files, close_on_exec);
        Ok(())
    }
}
