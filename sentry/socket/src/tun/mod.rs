//! `/dev/net/tun`: interfaces whose other end is a program (Linux's `Documentation/networking/tuntap.rst`).
//!
//! A file becomes the other end of an interface by `TUNSETIFF`: what the stack sends there it reads, what it writes the
//! stack receives. Tun carries IP packets, tap Ethernet frames. With `IFF_VNET_HDR` long segments and open checksums go
//! over as they are. An interface goes with its file unless it was made to stay (`TUNSETPERSIST`).
//!
//! [`TunLink`] is the stack's device, [`file`] the file, [`header`] what stands before a packet there.

mod control;
mod file;
mod header;
mod link;

use std::sync::Arc;

use abi::{DeviceId, Errno, OpenFlags, Result};
use kernel::vfs::{DeviceDriver, DeviceKind, FileOps};
use kernel::{Kernel, Task};

use crate::inet::NetNamespace;
pub(crate) use header::TunFlags;
pub(crate) use link::{TunLink, of};

/// Device numbers of `/dev/net/tun`.
const MAJOR: u32 = 10;
const MINOR: u32 = 200;

/// Opens `/dev/net/tun`.
struct TunDriver;

impl DeviceDriver for TunDriver {
    fn open(&self, task: &Task, id: DeviceId, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        if id.minor != MINOR {
            return Err(Errno::ENXIO);
        }
        Ok(Arc::new(file::TunFile::new(NetNamespace::of(task)?)))
    }
}

/// Registers the device.
pub fn register(kernel: &Kernel) {
    kernel.vfs.register_device(DeviceKind::Char, MAJOR, Arc::new(TunDriver));
}
