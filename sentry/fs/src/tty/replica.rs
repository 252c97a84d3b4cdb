//! The programs' side of a terminal as an open file: `/dev/pts/N`, `/dev/tty`, the console.

use std::sync::Arc;

use abi::termios::TOSTOP;
use abi::{OpenFlags, Result, Signal};
use kernel::Task;
use kernel::mm::{IoDst, IoSrc};
use kernel::task::Capability;
use kernel::vfs::{File, FileOps, WriteAt};
use waiter::{Events, WaitQueue};

use super::Terminal;
use super::ioctl::{Side, ioctl};

/// Longest piece of input that one read takes.
const MAX_READ: usize = 64 << 10;

/// An open terminal.
pub struct Replica(Arc<Terminal>);

impl Replica {
    /// Opens `terminal`. Without `O_NOCTTY` it may become the controlling terminal of `task`; there is no task where
    /// the sandbox opens a console for a process to come.
    ///
    /// # Errors
    /// `EIO` where it is locked or has been hung up, `EBUSY` where somebody has it for himself.
    pub fn open(terminal: &Arc<Terminal>, task: Option<&Task>, flags: OpenFlags) -> Result<Arc<Self>> {
        let is_privileged = task.is_none_or(|task| task.creds().capable(Capability::SysAdmin));
        terminal.open_replica(is_privileged)?;
        let replica = Arc::new(Self(terminal.clone()));
        if let Some(task) = task.filter(|_| !flags.contains(OpenFlags::NOCTTY)) {
            terminal.adopt_on_open(task);
        }
        Ok(replica)
    }

    /// The terminal.
    #[must_use]
    pub fn terminal(&self) -> &Arc<Terminal> {
        &self.0
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.0.close_replica();
    }
}

impl FileOps for Replica {
    fn read(&self, task: &Task, file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        if self.0.is_hung_up() {
            return Ok(0);
        }
        self.0.check_background(task, Signal::TTIN)?;
        let bytes = self.0.read_input(dst.remaining().min(MAX_READ), file.is_nonblocking())?;
        if bytes.is_empty() { Ok(0) } else { dst.put(&bytes) }
    }

    fn write(&self, task: &Task, _file: &File, _at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        let stops = self.0.state.lock().discipline.termios().c_lflag & TOSTOP != 0;
        if stops {
            self.0.check_background(task, Signal::TTOU)?;
        }
        let count = self.0.write_output(src.remaining(), &mut |to| src.take(to))?;
        Ok((count, 0))
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        self.0.poll_replica()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.0.replica_queue)
    }

    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        ioctl(&self.0, task, Side::Replica, command, arg)
    }
}
