//! procfs (`man 5 proc`).
//!
//! Nothing is cached: names are looked up and texts made whenever they are read, for the task that reads. An instance
//! shows the processes of one pid name space: that of the task that mounted it, or of whoever looks where the container
//! manager did. What tasks may see of each other follows Linux's ptrace access checks ([`access`]).

mod access;
mod cpuinfo;
mod fds;
mod id_maps;
mod links;
mod locks;
mod maps;
mod mem;
mod mounts;
mod net;
mod root;
mod stat;
mod status;
mod sysctl;
mod sysctl_ipc;
mod sysctl_net;
mod system;
mod sysvipc;
mod task_dir;
mod task_files;

use std::sync::Arc;

use abi::{Errno, Result};
use kernel::task::{NamespaceKind, PidNamespace, Tid};
use kernel::vfs::{Caching, Caller, FileSystem, FileSystemType, Inode, MountOwner};
use kernel::{Kernel, Task};

use crate::synth::{Inodes, SynthFs};
pub(crate) use root::parse_number;
use sysctl::Sysctl;

/// What all files of an instance share.
struct Proc {
    /// `None`: that of whoever looks.
    pid_ns: Option<Arc<PidNamespace>>,
    inodes: Inodes,
}

impl Proc {
    /// The pid name space whose numbers `viewer` sees here.
    fn pid_ns(&self, viewer: &Task) -> Arc<PidNamespace> {
        self.pid_ns.clone().unwrap_or_else(|| viewer.pid_ns())
    }

    /// The task that `viewer` finds under this number.
    fn task(&self, viewer: &Task, tid: Tid) -> Result<Arc<Task>> {
        self.pid_ns(viewer).task(tid).ok_or(Errno::ENOENT)
    }
}

/// The type `proc`.
#[derive(Debug)]
pub struct ProcType {
    sysctl: Arc<Sysctl>,
}

impl ProcType {
    /// The type, with Linux's default settings below `/proc/sys`.
    #[must_use]
    pub fn new(kernel: &Kernel) -> Self {
        Self { sysctl: Arc::new(Sysctl::new(kernel)) }
    }
}

impl FileSystemType for ProcType {
    fn name(&self) -> &'static str {
        "proc"
    }

    fn mount(
        &self,
        kernel: &Arc<Kernel>,
        caller: &Caller<'_>,
        _source: &[u8],
        options: &[u8],
    ) -> Result<Arc<dyn FileSystem>> {
        let mut shown = Vec::new();
        for option in options.split(|&byte| byte == b',').filter(|option| !option.is_empty()) {
            let option = std::str::from_utf8(option).map_err(|_| Errno::EINVAL)?;
            // Hiding processes and subsets are accepted as a wish; access checks hold all the same.
            match option.split_once('=') {
                Some(("hidepid" | "gid" | "subset", _)) => shown.push(option.to_owned()),
                _ => return Err(Errno::EINVAL),
            }
        }
        let inodes = Inodes::new(root::FIRST_INO, kernel.timekeeper.now());
        let pid_ns = caller.task.map(Task::pid_ns);
        let proc = Arc::new(Proc { pid_ns, inodes });
        let root: Arc<dyn Inode> = root::make(&proc, kernel, &self.sysctl);
        Ok(Arc::new(SynthFs {
            name: "proc",
            magic: 0x9fa0,
            device: kernel.vfs.allocate_device(),
            root,
            caching: Caching::Never,
            options: shown.join(","),
        }))
    }

    fn mount_owner(&self) -> MountOwner {
        MountOwner::Of(NamespaceKind::Pid)
    }
}
