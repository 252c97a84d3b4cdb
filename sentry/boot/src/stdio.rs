//! Standard input, output and error of a process: donated host descriptors as the guest's files.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::OpenFlags;
use control::{ContainerConfig, Exec, Failure};
use fs::host::HostFiles;
use kernel::Kernel;
use kernel::task::{ControllingTerminal, Credentials};
use kernel::vfs::FdTable;

use crate::sandbox::Donated;

/// The descriptors of a process to be.
pub(crate) struct Streams {
    /// (number in the guest, descriptor).
    fds: Vec<(i32, OwnedFd)>,
}

impl Streams {
    /// Those of a container's first process.
    pub(crate) fn of_container(config: &ContainerConfig, donated: &mut Donated) -> Result<Self, Failure> {
        Self::new(&config.stdio, &config.pass_fds, donated)
    }

    /// Those of a further process.
    pub(crate) fn of_exec(exec: &Exec, donated: &mut Donated) -> Result<Self, Failure> {
        Self::new(&exec.stdio, &exec.pass_fds, donated)
    }

    fn new(stdio: &[u32; 3], passed: &[(i32, u32)], donated: &mut Donated) -> Result<Self, Failure> {
        let standard = (0..).zip(stdio.iter().copied());
        let all = standard.chain(passed.iter().copied());
        let fds =
            all.map(|(number, index)| Ok((number, donated.take(index)?))).collect::<Result<_, Failure>>()?;
        Ok(Self { fds })
    }

    /// The process's descriptor table. To be called once.
    pub(crate) fn open(
        &mut self,
        kernel: &Arc<Kernel>,
        host: &HostFiles,
        creds: &Arc<Credentials>,
        limit: u64,
    ) -> Result<Arc<FdTable>, Failure> {
        let table = FdTable::new();
        for (number, fd) in self.fds.drain(..) {
            let flags = host::fs::status_flags(fd.as_fd()).unwrap_or(OpenFlags::RDWR) & OpenFlags::ACCMODE;
            let opened = host.open(kernel, creds, fd, flags);
            let installed = opened.and_then(|file| table.install_at(number, file, limit.max(3), false));
            installed.map_err(|errno| {
                Failure::host(format!("cannot use descriptor {number} of the process: {errno}"))
            })?;
        }
        Ok(table)
    }

    /// The terminal that is to control the process's session.
    pub(crate) fn terminal(&self) -> Option<Arc<dyn ControllingTerminal>> {
        None
    }
}
