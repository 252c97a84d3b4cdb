//! tmpfs: files in the guest's memory (`man 5 tmpfs`).
//!
//! Content is frames of the [`MemoryFile`], shared with mappings, so that `read`, `write` and `mmap` agree by
//! construction. A directory keeps its children alive; nothing else does but open files and the dentry cache.

mod content;
mod dir;
mod file;
mod inode;
mod options;
#[cfg(test)]
mod tests;
mod usage;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use abi::fs::Statfs;
use abi::{DeviceId, FileType, PAGE_SIZE, Result};
use kernel::Kernel;
use kernel::mm::MemoryFile;
use kernel::time::Timekeeper;
use kernel::vfs::{Caller, FileSystem, FileSystemType, Inode, MountOwner, NewNode};

use inode::{Shared, TmpInode};
use options::Options;
use usage::{UNLIMITED, Usage};

const TMPFS_MAGIC: i64 = 0x0102_1994;

/// What a new tmpfs is like.
#[derive(Clone, Copy, Debug)]
pub struct TmpfsConfig {
    /// `st_dev`.
    pub device: DeviceId,
    /// Most bytes of content; `None` for no limit.
    pub max_bytes: Option<u64>,
    /// Most files; `None` for no limit.
    pub max_inodes: Option<u64>,
    /// The root directory's permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// It serves memfd_create(2).
    pub is_for_memfds: bool,
}

impl TmpfsConfig {
    /// Without limits, `1777`, root's.
    #[must_use]
    pub fn new(device: DeviceId) -> Self {
        Self { device, max_bytes: None, max_inodes: None, mode: 0o1777, uid: 0, gid: 0, is_for_memfds: false }
    }
}

/// A file system in the guest's memory.
#[derive(Debug)]
pub struct Tmpfs {
    device: DeviceId,
    root: Arc<TmpInode>,
    usage: Arc<Usage>,
    memory: Arc<MemoryFile>,
}

impl Tmpfs {
    /// An empty file system.
    ///
    /// # Errors
    /// `ENOSPC` where not even a root is allowed.
    pub fn new(
        memory: &Arc<MemoryFile>,
        timekeeper: &Arc<Timekeeper>,
        config: &TmpfsConfig,
    ) -> Result<Arc<Self>> {
        let max_pages = config.max_bytes.map_or(UNLIMITED, |bytes| bytes.div_ceil(PAGE_SIZE));
        let usage = Arc::new(Usage::new(max_pages, config.max_inodes.unwrap_or(UNLIMITED)));
        let shared = Arc::new(Shared {
            memory: memory.clone(),
            timekeeper: timekeeper.clone(),
            usage: usage.clone(),
            next_ino: AtomicU64::new(1),
            is_sealable: config.is_for_memfds,
        });
        let node = NewNode {
            file_type: FileType::Directory,
            mode: config.mode,
            uid: config.uid,
            gid: config.gid,
            rdev: DeviceId::default(),
            target: b"",
        };
        let root = TmpInode::new(&shared, &node, 1)?;
        Ok(Arc::new(Self { device: config.device, root, usage, memory: memory.clone() }))
    }
}

impl FileSystem for Tmpfs {
    fn type_name(&self) -> &'static str {
        "tmpfs"
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn device(&self) -> DeviceId {
        self.device
    }

    fn statfs(&self) -> Result<Statfs> {
        let (used, max) = self.usage.pages();
        let max = max.min(self.memory.limit() / PAGE_SIZE);
        let (inodes, max_inodes) = self.usage.inodes();
        let max_inodes = max_inodes.min(max.max(inodes));
        let free = max.saturating_sub(used);
        Ok(Statfs {
            f_type: TMPFS_MAGIC,
            f_bsize: PAGE_SIZE as i64,
            f_frsize: PAGE_SIZE as i64,
            f_blocks: max,
            f_bfree: free,
            f_bavail: free,
            f_files: max_inodes,
            f_ffree: max_inodes.saturating_sub(inodes),
            f_namelen: abi::fs::NAME_MAX as i64,
            ..Statfs::default()
        })
    }

    fn options(&self) -> String {
        let mut list = Vec::new();
        let (_, max_pages) = self.usage.pages();
        if max_pages != UNLIMITED && max_pages != default_pages(&self.memory) {
            list.push(format!("size={}k", max_pages.saturating_mul(PAGE_SIZE / 1024)));
        }
        let (_, max_inodes) = self.usage.inodes();
        if max_inodes != UNLIMITED {
            list.push(format!("nr_inodes={max_inodes}"));
        }
        let attr = self.root.attr();
        if let Ok(attr) = attr {
            if attr.mode & 0o7777 != 0o1777 {
                list.push(format!("mode={:o}", attr.mode & 0o7777));
            }
            if attr.uid != 0 {
                list.push(format!("uid={}", attr.uid));
            }
            if attr.gid != 0 {
                list.push(format!("gid={}", attr.gid));
            }
        }
        list.join(",")
    }

    fn remount(&self, options: &[u8]) -> Result<()> {
        let options = Options::parse(options, self.memory.limit())?;
        self.usage.set_limits(options.max_pages, options.max_inodes)
    }
}

/// Makes tmpfs known to mount(2), and gives memfd_create(2) a file system.
///
/// # Errors
/// As [`Tmpfs::new`].
pub fn register(kernel: &Kernel) -> Result<()> {
    kernel.vfs.register_type(Arc::new(TmpfsType { name: "tmpfs" }));
    kernel.vfs.register_type(Arc::new(TmpfsType { name: "ramfs" }));
    let config = TmpfsConfig { is_for_memfds: true, ..TmpfsConfig::new(kernel.vfs.allocate_device()) };
    let memfds: Arc<dyn FileSystem> = Tmpfs::new(&kernel.memory, &kernel.timekeeper, &config)?;
    kernel.vfs.set_memfd_fs(&memfds);
    Ok(())
}

/// How large a file system may grow of which no size is said: `/proc/mounts` leaves that out.
fn default_pages(memory: &MemoryFile) -> u64 {
    memory.limit() / 2 / PAGE_SIZE
}

/// The type `tmpfs`, and `ramfs`, which is the same without a size.
#[derive(Debug)]
pub struct TmpfsType {
    /// `tmpfs` or `ramfs`.
    pub name: &'static str,
}

impl FileSystemType for TmpfsType {
    fn name(&self) -> &'static str {
        self.name
    }

    fn mount(
        &self,
        kernel: &Arc<Kernel>,
        caller: &Caller<'_>,
        _source: &[u8],
        options: &[u8],
    ) -> Result<Arc<dyn FileSystem>> {
        let options = Options::parse(options, kernel.memory.limit())?;
        let ns = &caller.creds.user_ns;
        let uid = options.uid.and_then(|uid| ns.to_kernel_uid(uid));
        let gid = options.gid.and_then(|gid| ns.to_kernel_gid(gid));
        let default_pages = if self.name == "ramfs" { UNLIMITED } else { default_pages(&kernel.memory) };
        let max_pages = options.max_pages.unwrap_or(default_pages);
        let config = TmpfsConfig {
            max_bytes: (max_pages != UNLIMITED).then(|| max_pages.saturating_mul(PAGE_SIZE)),
            max_inodes: options.max_inodes,
            mode: options.mode.unwrap_or(0o1777),
            uid: uid.unwrap_or(caller.creds.fsuid),
            gid: gid.unwrap_or(caller.creds.fsgid),
            ..TmpfsConfig::new(kernel.vfs.allocate_device())
        };
        let fs = Tmpfs::new(&kernel.memory, &kernel.timekeeper, &config)?;
        Ok(fs)
    }

    fn mount_owner(&self) -> MountOwner {
        MountOwner::Caller
    }
}
