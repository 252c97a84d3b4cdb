//! A mounted file system, and the types that mount(2) can name.

use std::any::Any;
use std::sync::Arc;

use abi::fs::Statfs;
use abi::{DeviceId, Errno, Result};

use super::{Caller, Inode};
use crate::task::NamespaceKind;
use crate::{Kernel, Task};

/// How long the VFS may believe what it has cached of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Names, present and absent, until the file system's own operations change them.
    Exclusive,
    /// Ask [`FileSystem::revalidate`] at each step.
    Revalidate,
    /// Nothing (proc: names come and go by themselves).
    Never,
}

/// An instance of a file system: what a mount shows.
pub trait FileSystem: Send + Sync + Any {
    /// The type's name, as in `/proc/mounts`.
    fn type_name(&self) -> &'static str;

    /// The root directory.
    fn root(&self) -> Arc<dyn Inode>;

    /// `st_dev` of its files.
    fn device(&self) -> DeviceId;

    /// What statfs(2) tells.
    ///
    /// # Errors
    /// `ENOSYS` where the file system has nothing to tell.
    fn statfs(&self) -> Result<Statfs> {
        Err(Errno::ENOSYS)
    }

    /// Whether names may be cached.
    fn caching(&self) -> Caching {
        Caching::Exclusive
    }

    /// Whether a cached name in `dir` still means `inode` (`None`: still absent).
    fn revalidate(&self, dir: &Arc<dyn Inode>, name: &[u8], inode: Option<&Arc<dyn Inode>>) -> bool {
        let _ = (dir, name, inode);
        true
    }

    /// How many file systems stand on each other here: 0 for one that stands on none. Each is a step of recursion, so
    /// their number is limited.
    fn stack_depth(&self) -> usize {
        0
    }

    /// Its mount options beyond the generic ones, as in `/proc/mounts` (`size=64k,mode=755`).
    fn options(&self) -> String {
        String::new()
    }

    /// What `viewer` sees as the root of a mount that shows `root`: mountinfo's fourth field, where the path within the file
    /// system is not what it should say.
    fn shown_root(&self, viewer: &Task, root: &Arc<dyn Inode>) -> Option<Vec<u8>> {
        let _ = (viewer, root);
        None
    }

    /// Changes its options (`MS_REMOUNT`).
    ///
    /// # Errors
    /// `EINVAL` for an option that it does not know or cannot change.
    fn remount(&self, options: &[u8]) -> Result<()> {
        if options.is_empty() { Ok(()) } else { Err(Errno::EINVAL) }
    }

    /// Writes everything back.
    ///
    /// # Errors
    /// `EIO`.
    fn sync(&self) -> Result<()> {
        Ok(())
    }
}

/// Towards which user name space mount(2) takes `CAP_SYS_ADMIN`. An instance belongs to that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountOwner {
    /// The sandbox's first.
    First,
    /// The caller's own.
    Caller,
    /// The owner of what the file system shows: the caller's name space of this kind.
    Of(NamespaceKind),
}

/// A type that mount(2) can name. File-system crates register theirs with the kernel.
pub trait FileSystemType: Send + Sync {
    /// The name.
    fn name(&self) -> &'static str;

    /// Makes an instance from mount(2)'s source and data.
    ///
    /// # Errors
    /// `EINVAL` for an option it does not know, `ENODEV`, `ENOMEM`.
    fn mount(
        &self,
        kernel: &Arc<Kernel>,
        caller: &Caller<'_>,
        source: &[u8],
        options: &[u8],
    ) -> Result<Arc<dyn FileSystem>>;

    /// Who may mount it.
    fn mount_owner(&self) -> MountOwner {
        MountOwner::First
    }

    /// Whether it takes no device (`nodev` in `/proc/filesystems`).
    fn needs_no_device(&self) -> bool {
        true
    }
}
