//! A small framework for file systems whose files are made up when they are read: proc, sysfs, devpts.
//!
//! A directory is a [`Dir`] around something that can look names up and list them ([`DirContent`]); a file is a
//! [`TextFile`] around something that can print itself ([`Content`]); trees that do not change are put together with
//! [`Builder`]. Inodes are cheap and made anew whenever a name is looked up; nothing here is cached.
//!
//! Locks: a text file's snapshot is held while its content is made, so contents must not read other such files.

mod attributes;
mod builder;
mod dir;
mod file;
mod link;
mod per_name;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::fs::Statfs;
use abi::{DeviceId, FileType, Result, Timespec};
use kernel::task::cgroup::CgroupNamespace;
use kernel::vfs::{Attr, Caching, FileSystem, Inode};
use kernel::{Kernel, Task};

pub use attributes::Attributes;
pub use builder::Builder;
pub use dir::{Dir, DirContent, Entry, StaticEntries};
pub use file::{Changes, Content, Show, TextFile, Until};
pub use link::{Link, Target};
pub use per_name::PerName;

/// Counts inode numbers and knows when the file system was made.
#[derive(Clone, Debug)]
pub struct Inodes {
    next: Arc<AtomicU64>,
    made_at: Timespec,
}

impl Inodes {
    /// Numbers from `first` on, for files dated `made_at`.
    #[must_use]
    pub fn new(first: u64, made_at: Timespec) -> Self {
        Self { next: Arc::new(AtomicU64::new(first)), made_at }
    }

    /// Attributes of a new file of root's.
    #[must_use]
    pub fn attr(&self, file_type: FileType, mode: u32) -> Attr {
        self.attr_numbered(self.next.fetch_add(1, Ordering::Relaxed), file_type, mode)
    }

    /// Attributes of a file of root's with a number of its own.
    #[must_use]
    pub fn attr_numbered(&self, ino: u64, file_type: FileType, mode: u32) -> Attr {
        Attr { blksize: 1024, ..Attr::new(ino, file_type as u32 | mode, self.made_at) }
    }
}

/// A made-up file system.
pub struct SynthFs {
    /// Its type's name.
    pub name: &'static str,
    /// `f_type` of statfs(2).
    pub magic: i64,
    /// `st_dev` of its files.
    pub device: DeviceId,
    /// The root directory.
    pub root: Arc<dyn Inode>,
    /// Whether names come and go by themselves.
    pub caching: Caching,
    /// Options as `/proc/mounts` shows them.
    pub options: String,
}

impl SynthFs {
    /// One whose names stay, without options.
    pub fn fixed(kernel: &Kernel, name: &'static str, magic: i64, root: Arc<dyn Inode>) -> Self {
        let device = kernel.vfs.allocate_device();
        Self { name, magic, device, root, caching: Caching::Exclusive, options: String::new() }
    }
}

impl FileSystem for SynthFs {
    fn type_name(&self) -> &'static str {
        self.name
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn device(&self) -> DeviceId {
        self.device
    }

    fn statfs(&self) -> Result<Statfs> {
        Ok(Statfs { f_type: self.magic, f_bsize: 4096, f_frsize: 4096, f_namelen: 255, ..Statfs::default() })
    }

    fn caching(&self) -> Caching {
        self.caching
    }

    fn options(&self) -> String {
        self.options.clone()
    }

    fn shown_root(&self, viewer: &Task, root: &Arc<dyn Inode>) -> Option<Vec<u8>> {
        let ns = CgroupNamespace::inside(&viewer.namespaces().cgroup);
        root.cgroup().map(|group| ns.path_of(group).into_bytes())
    }
}
