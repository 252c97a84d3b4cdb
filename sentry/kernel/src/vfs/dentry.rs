//! The [`Dentry`]: a name in a file system's tree, with what is known of the names below it.

use std::sync::Arc;

use super::{Inode, Mount};

/// A name in a tree. Locks: a dentry's children map is a leaf except for the file system's own calls.
#[derive(Debug)]
pub struct Dentry;

impl Dentry {
    /// The file that the name stands for.
    #[must_use]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        unimplemented!()
    }
}

/// A dentry seen through a mount: Linux's `struct path`.
#[derive(Clone, Debug)]
pub struct VfsPath {
    /// The mount.
    pub mount: Arc<Mount>,
    /// The name.
    pub dentry: Arc<Dentry>,
}
