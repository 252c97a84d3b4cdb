//! Mounts and mount name spaces.

use std::sync::Arc;

use super::FileSystem;

/// A file system at a place.
#[derive(Debug)]
pub struct Mount;

impl Mount {
    /// What is mounted.
    #[must_use]
    pub fn fs(&self) -> &Arc<dyn FileSystem> {
        unimplemented!()
    }
}

/// A tree of mounts.
#[derive(Debug)]
pub struct MountNamespace;
