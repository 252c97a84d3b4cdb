//! Puts trees together that do not change.

use std::sync::Arc;

use abi::FileType;
use kernel::vfs::Inode;

use super::{Content, Dir, Inodes, Link, StaticEntries, Target, TextFile};

/// A directory in the making.
#[derive(Clone)]
pub struct Builder {
    inodes: Inodes,
    mode: u32,
    list: Vec<(String, Arc<dyn Inode>)>,
}

impl Builder {
    /// An empty directory, readable by all.
    #[must_use]
    pub fn new(inodes: &Inodes) -> Self {
        Self { inodes: inodes.clone(), mode: 0o555, list: Vec::new() }
    }

    /// Sets the directory's permission bits.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, name: &str, mode: u32, content: impl Content) -> Self {
        let attr = self.inodes.attr(FileType::Regular, mode);
        self.node(name, TextFile::new(attr, content))
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(self, name: &str, target: impl Target) -> Self {
        let attr = self.inodes.attr(FileType::Symlink, 0o777);
        self.node(name, Link::new(attr, target))
    }

    /// Adds a directory that `fill` fills.
    #[must_use]
    pub fn dir(self, name: &str, fill: impl FnOnce(Self) -> Self) -> Self {
        let dir = fill(Self::new(&self.inodes)).build();
        self.node(name, dir)
    }

    /// Adds any file.
    #[must_use]
    pub fn node(mut self, name: &str, inode: Arc<dyn Inode>) -> Self {
        self.list.push((name.to_owned(), inode));
        self
    }

    /// The entries alone, for a directory that adds others.
    #[must_use]
    pub fn entries(self) -> StaticEntries {
        StaticEntries::new(self.inodes.attr(FileType::Directory, self.mode), self.list)
    }

    /// The directory.
    #[must_use]
    pub fn build(self) -> Arc<Dir<StaticEntries>> {
        Dir::new(self.entries())
    }
}
