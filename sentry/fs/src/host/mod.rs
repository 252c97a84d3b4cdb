//! Host descriptors in the guest: standard streams, and the terminal behind a container's console.

mod file;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::mount::MountFlags;
use abi::{FileType, OpenFlags, Result};
use kernel::Kernel;
use kernel::host_events::Readiness;
use kernel::task::Credentials;
use kernel::vfs::{File, FileSystem, Mount};
use parking_lot::Mutex;

pub use file::HostInode;

use crate::synth::{Builder, Inodes, SynthFs};

/// The hidden mount of donated descriptors, one per sandbox.
#[derive(Debug)]
pub struct HostFiles {
    mount: Arc<Mount>,
    readiness: Arc<Readiness>,
    next_ino: AtomicU64,
    /// Regular files in use: several descriptors of one host description share one position. A leaf lock.
    regular: Mutex<Vec<(Identity, Weak<File>)>>,
}

/// By what two descriptors are taken for the same: file, access mode, and position when they came.
type Identity = ((u64, u64), OpenFlags, u64);

impl HostFiles {
    /// A mount without files.
    #[must_use]
    pub fn new(kernel: &Kernel) -> Self {
        let inodes = Inodes::new(1, kernel.timekeeper.now());
        let fs: Arc<dyn FileSystem> =
            Arc::new(SynthFs::fixed(kernel, "hostfs", 0x0053_4846, Builder::new(&inodes).build()));
        let mount = kernel.vfs.new_mount(&fs, b"none", MountFlags::empty());
        Self { mount, readiness: Arc::default(), next_ino: AtomicU64::new(2), regular: Mutex::default() }
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
        let inode = HostInode::new(&self.readiness, fd, ino)?;
        let kind = match inode_type(&inode) {
            FileType::Fifo => "pipe",
            FileType::Socket => "socket",
            _ => "host",
        };
        let position = inode.host_position();
        let identity = inode.identity().map(|file| (file, flags, position));
        let mut regular = self.regular.lock();
        regular.retain(|(_, file)| file.strong_count() > 0);
        let twin = regular.iter().find(|(known, _)| Some(*known) == identity);
        if let Some(file) = twin.and_then(|(_, file)| file.upgrade()) {
            return Ok(file);
        }
        let path =
            kernel.vfs.unattached_path(&self.mount, inode.clone(), format!("{kind}:[{ino}]").as_bytes());
        let file = File::new(path, Arc::new(file::OpenHostFile(inode)), flags, creds.clone());
        *file.position() = position;
        regular.extend(identity.map(|identity| (identity, Arc::downgrade(&file))));
        Ok(file)
    }
}

fn inode_type(inode: &Arc<HostInode>) -> FileType {
    let inode: &dyn kernel::vfs::Inode = inode.as_ref();
    inode.file_type().unwrap_or(FileType::Regular)
}
