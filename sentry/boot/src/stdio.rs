//! Standard input, output and error of a process: donated host descriptors as the guest's files.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::{OpenFlags, Result as AbiResult};
use control::{ContainerConfig, Exec, Failure};
use kernel::task::{ControllingTerminal, Credentials};
use kernel::vfs::{AnonKind, FdTable, File, FileOps, WriteAt};
use kernel::{Kernel, Task};
use kernel::mm::{IoDst, IoSrc};

use crate::sandbox::Donated;

/// The descriptors of a process to be.
pub(crate) struct Streams {
    fds: Vec<(i32, OwnedFd)>,
}

struct Temp(OwnedFd);
impl FileOps for Temp {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> AbiResult<usize> {
        dst.fill_with(1 << 20, &mut |slices| host::memory::readv(self.0.as_fd(), slices))
    }
    fn write(&self, _task: &Task, _file: &File, _at: WriteAt, src: &mut IoSrc<'_>) -> AbiResult<(usize, u64)> {
        src.drain_with(1 << 20, &mut |slices| host::memory::writev(self.0.as_fd(), slices)).map(|n| (n, 0))
    }
    fn is_seekable(&self) -> bool { false }
}

impl Streams {
    pub(crate) fn of_container(config: &ContainerConfig, donated: &mut Donated) -> Result<Self, Failure> {
        Self::new(&config.stdio, &config.pass_fds, donated)
    }

    pub(crate) fn of_exec(exec: &Exec, _terminal: bool, donated: &mut Donated) -> Result<Self, Failure> {
        Self::new(&exec.stdio, &exec.pass_fds, donated)
    }

    fn new(stdio: &[u32; 3], pass: &[(i32, u32)], donated: &mut Donated) -> Result<Self, Failure> {
        let mut fds = Vec::new();
        for (number, index) in (0..).zip(stdio) {
            fds.push((number, donated.take(*index)?));
        }
        for (number, index) in pass {
            fds.push((*number, donated.take(*index)?));
        }
        Ok(Self { fds })
    }

    pub(crate) fn open(&mut self, kernel: &Arc<Kernel>, creds: &Arc<Credentials>, limit: u64) -> Result<Arc<FdTable>, Failure> {
        let table = FdTable::new();
        for (number, fd) in self.fds.drain(..) {
            let file = kernel.vfs.anon_file(AnonKind::Pipe, Arc::new(Temp(fd)), OpenFlags::RDWR, creds);
            table.install_at(number, file, limit, false).map_err(|errno| Failure::host(errno.to_string()))?;
        }
        Ok(table)
    }

    pub(crate) fn terminal(&self) -> Option<Arc<dyn ControllingTerminal>> {
        None
    }
}
