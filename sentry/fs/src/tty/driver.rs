//! The devices `/dev/tty`, `/dev/console` and `/dev/ptmx` (`man 4 tty`, `man 4 console`).

use std::any::Any;
use std::sync::Arc;

use abi::{DeviceId, Errno, OpenFlags, Result};
use kernel::Task;
use kernel::vfs::{Caller, DeviceDriver, FileOps};

use super::devpts::DevPts;
use super::{PTMX_MINOR, PTS_MAJOR, Replica, Terminal};

/// Major numbers 5 and 136.
#[derive(Debug)]
pub(super) struct TerminalDevices;

/// The controlling terminal of `task`.
fn controlling(task: &Task) -> Result<Arc<Terminal>> {
    let terminal: Arc<dyn Any + Send + Sync> =
        task.thread_group().session().terminal().ok_or(Errno::ENXIO)?;
    terminal.downcast().map_err(|_| Errno::ENXIO)
}

/// The devpts that `task` sees, the one mounted last first.
fn visible_devpts(task: &Task) -> Result<Arc<DevPts>> {
    let mounts = task.namespaces().mnt.mounts();
    let as_devpts = |mount: Arc<kernel::vfs::Mount>| {
        let fs: Arc<dyn Any + Send + Sync> = mount.fs().clone();
        fs.downcast::<DevPts>().ok()
    };
    mounts.into_iter().rev().find_map(as_devpts).ok_or(Errno::ENXIO)
}

impl DeviceDriver for TerminalDevices {
    fn open(&self, task: &Task, id: DeviceId, flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        const TTY: u32 = 0;
        const CONSOLE: u32 = 1;
        let creds = task.creds();
        let caller = Caller { creds: &creds, task: Some(task) };
        match (id.major, id.minor) {
            (PTS_MAJOR, index) => {
                let node = visible_devpts(task)?.instance().node(index).ok_or(Errno::ENXIO)?;
                kernel::vfs::Inode::open(node, &caller, flags)
            }
            (_, TTY | CONSOLE) => Ok(Replica::open(&controlling(task)?, Some(task), flags)?),
            (_, PTMX_MINOR) => visible_devpts(task)?.instance().open_master(&caller),
            _ => Err(Errno::ENXIO),
        }
    }
}
