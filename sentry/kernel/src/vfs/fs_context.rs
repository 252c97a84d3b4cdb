//! What path names are relative to: Linux's `fs_struct`.

use super::VfsPath;

/// Root, working directory and umask (`CLONE_FS` shares them).
#[derive(Debug)]
pub struct FsContext;

impl FsContext {
    /// The root directory.
    #[must_use]
    pub fn root(&self) -> VfsPath {
        unimplemented!()
    }

    /// The working directory.
    #[must_use]
    pub fn cwd(&self) -> VfsPath {
        unimplemented!()
    }

    /// The file mode creation mask.
    #[must_use]
    pub fn umask(&self) -> u32 {
        unimplemented!()
    }
}
