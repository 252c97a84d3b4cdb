//! Host descriptors in the guest: standard streams, and the terminal behind a container's console.

mod file;
mod readiness;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::mount::MountFlags;
use abi::{FileType, OpenFlags, Result};
use kernel::Kernel;
use kernel::task::Credentials;
use kernel::vfs::{Caching, File, FileSystem, Mount};

pub use file::HostFile;
pub(crate) use readiness::normalize;
pub use readiness::{HostSource, Readiness};

use crate::synth::{Builder, Inodes, SynthFs};

/// The hidden mount of donated descriptors, one per sandbox.
#[derive(Debug)]
pub struct HostFiles {
    mount: Arc<Mount>,
    readiness: Arc<Readiness>,
    next_ino: AtomicU64,
}

impl HostFiles {
    /// A mount without files.
    #[must_use]
    pub fn new(kernel: &Kernel) -> Self {
        let inodes = Inodes::new(1, kernel.timekeeper.now());
        let fs: Arc<dyn FileSystem> = Arc::new(SynthFs {
            name: "hostfs",
            magic: 0x0053_4846,
            device: kernel.vfs.allocate_device(),
            root: Builder::new(&inodes).build(),
            caching: Caching::Exclusive,
            options: String::new(),
        });
        let mount = kernel.vfs.new_mount(&fs, b"none", MountFlags::empty());
        Self { mount, readiness: Arc::default(), next_ino: AtomicU64::new(2) }
    }

    /// The watcher of host descriptors.
    #[must_use]
    pub fn readiness(&self) -> &Arc<Readiness> {
        &self.readiness
    }

    /// An open file on `fd`. `flags` say whether it may be read and written, as the host has opened it.
    ///
    /// # Errors
    /// What the host says of the descriptor.
    pub fn open(
        &self,
        kernel: &Kernel,
        creds: &Arc<Credentials>,
        fd: OwnedFd,
        flags: OpenFlags,
    ) -> Result<Arc<File>> {
        let ino = self.next_ino.fetch_add(1, Ordering::Relaxed);
        let inode = HostFile::new(&self.readiness, fd, ino)?;
        let kind = match inode_type(&inode) {
            FileType::Fifo => "pipe",
            FileType::Socket => "socket",
            _ => "host",
        };
        let path =
            kernel.vfs.unattached_path(&self.mount, inode.clone(), format!("{kind}:[{ino}]").as_bytes());
        let position = inode.host_position();
        let file = File::new(path, Arc::new(file::OpenHostFile(inode)), flags, creds.clone());
        *file.position() = position;
        Ok(file)
    }
}

fn inode_type(inode: &Arc<HostFile>) -> FileType {
    let inode: &dyn kernel::vfs::Inode = inode.as_ref();
    inode.mode().ok().and_then(FileType::from_mode).unwrap_or(FileType::Regular)
}
