//! Device nodes, and the drivers behind them.
//!
//! `/dev` itself is a tmpfs; [`populate`] puts the usual nodes and links into it.

mod kmsg;
mod memory;

use std::sync::Arc;

use abi::{DeviceId, Errno, FileType, Result};
use kernel::Kernel;
use kernel::vfs::{Caller, DeviceKind, FileSystem, FileSystemType, Inode, NewNode};

pub use memory::MemoryDevices;

/// (name, mode, major, minor) of the character devices.
const NODES: &[(&str, u32, u32, u32)] = &[
    ("null", 0o666, 1, 3),
    ("zero", 0o666, 1, 5),
    ("full", 0o666, 1, 7),
    ("random", 0o666, 1, 8),
    ("urandom", 0o666, 1, 9),
    ("kmsg", 0o644, 1, 11),
    ("tty", 0o666, 5, 0),
    ("console", 0o600, 5, 1),
];

/// `/dev/net/tun`.
const TUN: DeviceId = DeviceId { major: 10, minor: 200 };

/// Symbolic links.
const LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Directories that something is mounted on.
const DIRECTORIES: &[(&str, u32)] = &[("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)];

fn new_node(file_type: FileType, mode: u32) -> NewNode<'static> {
    NewNode { file_type, mode, uid: 0, gid: 0, rdev: DeviceId::default(), target: b"" }
}

/// Makes the usual names in `dir`, the root of a fresh `/dev`. Those that exist already stay.
///
/// # Errors
/// What the file system says: `ENOSPC`, `EROFS`.
pub fn populate(caller: &Caller<'_>, dir: &Arc<dyn Inode>) -> Result<()> {
    let make = |name: &str, node: &NewNode<'_>| match dir.create(caller, name.as_bytes(), node) {
        Ok(_) | Err(Errno::EEXIST) => Ok(()),
        Err(errno) => Err(errno),
    };
    for &(name, mode, major, minor) in NODES {
        let rdev = DeviceId { major, minor };
        make(name, &NewNode { rdev, ..new_node(FileType::Char, mode) })?;
    }
    if let Ok(net) = dir.create(caller, b"net", &new_node(FileType::Directory, 0o755)) {
        net.create(caller, b"tun", &NewNode { rdev: TUN, ..new_node(FileType::Char, 0o666) })?;
    }
    for &(name, target) in LINKS {
        make(name, &NewNode { target: target.as_bytes(), ..new_node(FileType::Symlink, 0o777) })?;
    }
    for &(name, mode) in DIRECTORIES {
        make(name, &new_node(FileType::Directory, mode))?;
    }
    Ok(())
}

/// The type `devtmpfs`: a tmpfs with the usual nodes in it. Unlike Linux's, each mount is one of its own.
#[derive(Debug)]
pub struct DevtmpfsType;

impl FileSystemType for DevtmpfsType {
    fn name(&self) -> &'static str {
        "devtmpfs"
    }

    fn mount(
        &self,
        kernel: &Arc<Kernel>,
        caller: &Caller<'_>,
        source: &[u8],
        options: &[u8],
    ) -> Result<Arc<dyn FileSystem>> {
        let options = if options.is_empty() { b"mode=755" } else { options };
        let fs = kernel.vfs.fs_type(b"tmpfs")?.mount(kernel, caller, source, options)?;
        populate(caller, &fs.root())?;
        Ok(fs)
    }
}

/// Registers the drivers of all devices.
pub fn register(kernel: &Kernel) {
    kernel.vfs.register_type(Arc::new(DevtmpfsType));
    kernel.vfs.register_device(DeviceKind::Char, memory::MAJOR, Arc::new(MemoryDevices));
}
