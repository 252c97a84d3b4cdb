//! What execve(2) leaves behind in an address space: where the program's parts are (`man 2 prctl`, PR_SET_MM).

use std::sync::Arc;

use abi::Result;

use super::MemoryManager;
use crate::vfs::File;

/// Where the program's parts are, for `/proc/[pid]` and prctl(2).
#[derive(Clone, Default)]
#[allow(missing_docs, reason = "Linux's names; man 5 proc_pid_stat")]
pub struct ProgramImage {
    pub start_code: u64,
    pub end_code: u64,
    pub start_data: u64,
    pub end_data: u64,
    pub start_stack: u64,
    pub arg_start: u64,
    pub arg_end: u64,
    pub env_start: u64,
    pub env_end: u64,
    /// The auxiliary vector as it was put on the stack.
    pub auxv: Arc<[u8]>,
    /// The program, for `/proc/[pid]/exe`.
    pub exe: Option<Arc<File>>,
    /// Keeps writers away from the program.
    pub running: Option<Arc<RunningFile>>,
    /// The address of the vDSO, 0 without one.
    pub vdso: u64,
}

/// A program file that cannot be opened for writing while this value lives (`ETXTBSY`).
#[derive(Debug)]
pub struct RunningFile(Arc<File>);

impl RunningFile {
    /// Keeps writers away from `file`.
    ///
    /// # Errors
    /// `ETXTBSY` where there is one already.
    pub fn new(file: &Arc<File>) -> Result<Arc<Self>> {
        file.inode().common().deny_write()?;
        Ok(Arc::new(Self(file.clone())))
    }
}

impl Drop for RunningFile {
    fn drop(&mut self) {
        self.0.inode().common().allow_write();
    }
}

impl std::fmt::Debug for ProgramImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProgramImage")
            .field("start_code", &self.start_code)
            .field("start_stack", &self.start_stack)
            .finish_non_exhaustive()
    }
}

impl MemoryManager {
    /// Where the program's parts are.
    #[must_use]
    pub fn image(&self) -> ProgramImage {
        self.read_mappings().image.clone()
    }

    /// Changes what [`Self::image`] tells.
    pub fn update_image(&self, change: impl FnOnce(&mut ProgramImage)) {
        let mut mappings = self.write_mappings();
        // The old program may be closed by this, which must not happen under the lock.
        let old = mappings.image.clone();
        change(&mut mappings.image);
        drop(mappings);
        drop(old);
    }
}
