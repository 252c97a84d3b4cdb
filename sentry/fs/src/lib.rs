//! The file systems that a guest can see: from the host through a gofer, in memory, and made up.
#![forbid(unsafe_code)]

pub mod cgroup;
pub mod dev;
pub mod gofer;
pub mod host;
pub mod overlay;
pub mod proc;
pub mod synth;
pub mod sys;
pub mod tmpfs;
pub mod tty;

use std::sync::Arc;

use abi::Result;
use kernel::Kernel;

/// Makes all file-system types and device drivers of this crate known to the kernel.
///
/// # Errors
/// `ENOMEM`.
pub fn register(kernel: &Arc<Kernel>) -> Result<()> {
    tmpfs::register(kernel)?;
    kernel.vfs.register_type(Arc::new(overlay::OverlayType));
    kernel.vfs.register_type(Arc::new(proc::ProcType::new(kernel)));
    kernel.vfs.register_type(Arc::new(sys::SysfsType));
    kernel.vfs.register_type(Arc::new(cgroup::v1::CgroupType::default()));
    kernel.vfs.register_type(Arc::new(cgroup::v2::Cgroup2Type));
    kernel.vfs.register_type(Arc::new(kernel::ipc::QueueFsType));
    dev::register(kernel);
    tty::register(kernel);
    Ok(())
}
