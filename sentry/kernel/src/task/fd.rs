//! Conveniences of a task on its descriptors.

use std::sync::Arc;

use abi::Result;
use abi::resource::Resource;

use super::Task;
use crate::vfs::{Fd, File};

impl Task {
    /// Gives `file` the lowest free descriptor.
    ///
    /// # Errors
    /// `EMFILE` at `RLIMIT_NOFILE`.
    pub fn install_fd(&self, file: Arc<File>, close_on_exec: bool) -> Result<Fd> {
        self.fd_table().install(file, 0, self.limit(Resource::Nofile), close_on_exec)
    }
}
