//! Standard input, output and error of a process: donated host descriptors as the guest's files.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::OpenFlags;
use control::{ContainerConfig, Exec, Failure};
use fs::host::HostFiles;
use fs::tty::open_console;
use kernel::Kernel;
use kernel::task::{ControllingTerminal, Credentials};
use kernel::vfs::{FdTable, MountNamespace};

use crate::donated::Donated;

/// The descriptors of a process to be.
pub(crate) struct Streams {
    /// (number in the guest, descriptor).
    fds: Vec<(i32, OwnedFd)>,
    /// Where the first three streams are one terminal of the host's in raw mode: its window's size, if that is known.
    console: Option<Option<(u16, u16)>>,
    /// The guest's terminal in front of it, once there is one.
    terminal: Option<Arc<dyn ControllingTerminal>>,
}

impl Streams {
    /// The streams of a container's first process.
    pub(crate) fn of_container(config: &ContainerConfig, donated: &Donated) -> Result<Self, Failure> {
        let console = config.terminal.then_some(config.window);
        Self::new(&config.stdio, &config.pass_fds, console, donated)
    }

    /// The streams of a further process.
    pub(crate) fn of_exec(exec: &Exec, donated: &Donated) -> Result<Self, Failure> {
        let is_terminal = exec.process["terminal"].as_bool().unwrap_or(false);
        Self::new(&exec.stdio, &exec.pass_fds, is_terminal.then_some(exec.window), donated)
    }

    fn new(
        stdio: &[u32; 3],
        passed: &[(i32, u32)],
        console: Option<Option<(u16, u16)>>,
        donated: &Donated,
    ) -> Result<Self, Failure> {
        let standard = (0..).zip(stdio.iter().copied());
        let all = standard.chain(passed.iter().copied());
        let fds =
            all.map(|(number, index)| Ok((number, donated.take(index)?))).collect::<Result<_, Failure>>()?;
        Ok(Self { fds, console, terminal: None })
    }

    /// The process's descriptor table. To be called once.
    pub(crate) fn open(
        &mut self,
        kernel: &Arc<Kernel>,
        host: &HostFiles,
        namespace: &MountNamespace,
        creds: &Arc<Credentials>,
        limit: u64,
    ) -> Result<Arc<FdTable>, Failure> {
        let table = FdTable::new();
        let refused = |number: i32| {
            move |errno: abi::Errno| {
                Failure::host(format!("cannot use descriptor {number} of the process: {errno}"))
            }
        };
        for (number, fd) in self.fds.drain(..) {
            let is_console = self.console.is_some() && number < 3;
            let file = match (is_console, &self.terminal) {
                (true, Some(_)) => table.get(0),
                (true, None) => {
                    let window = self.console.flatten();
                    let opened = open_console(kernel, host.readiness(), namespace, creds, fd, window);
                    opened.map(|(file, terminal)| {
                        self.terminal = Some(terminal);
                        file
                    })
                }
                (false, _) => {
                    let flags = host::fs::status_flags(fd.as_fd()).unwrap_or(OpenFlags::RDWR);
                    host.open(kernel, creds, fd, flags & OpenFlags::ACCMODE)
                }
            };
            let file = file.map_err(refused(number))?;
            table.install_at(number, file, limit.max(3), false).map_err(refused(number))?;
        }
        Ok(table)
    }

    /// The terminal that is to control the process's session.
    pub(crate) fn terminal(&self) -> Option<Arc<dyn ControllingTerminal>> {
        self.terminal.clone()
    }
}
