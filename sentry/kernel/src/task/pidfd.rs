//! Process descriptors (`man 2 pidfd_open`).

use std::sync::Arc;

use abi::{Errno, OpenFlags, Result};
use waiter::{Events, WaitQueue};

use super::{CurrentTask, Pid, Task, ThreadGroup};
use crate::vfs::{AnonKind, Fd, File, FileOps};

/// What a pidfd refers to. It outlives the task without keeping its number from reuse.
#[derive(Debug)]
pub struct PidFd {
    pid: Arc<Pid>,
    group: Arc<ThreadGroup>,
    task: Arc<Task>,
    /// `PIDFD_THREAD`: it stands for one thread.
    is_thread: bool,
}

impl PidFd {
    /// The identifier.
    #[must_use]
    pub fn pid(&self) -> &Arc<Pid> {
        &self.pid
    }

    /// The process.
    ///
    /// # Errors
    /// `ESRCH` once it has been reaped.
    pub fn thread_group(&self) -> Result<&Arc<ThreadGroup>> {
        if self.group.leader().is_none() { Err(Errno::ESRCH) } else { Ok(&self.group) }
    }

    /// The task.
    ///
    /// # Errors
    /// `ESRCH` once it is gone.
    pub fn task(&self) -> Result<&Arc<Task>> {
        self.thread_group()?;
        if self.is_thread && self.task.has_exited() && !self.task.is_leader() {
            return Err(Errno::ESRCH);
        }
        Ok(&self.task)
    }

    /// Whether it stands for one thread.
    #[must_use]
    pub fn is_thread(&self) -> bool {
        self.is_thread
    }
}

impl FileOps for PidFd {
    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        let has_ended = if self.is_thread { self.task.has_exited() } else { self.group.is_zombie() };
        let mut events = if has_ended { Events::READABLE } else { Events::empty() };
        if self.group.leader().is_none() {
            events |= Events::HUP;
        }
        events
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.group.exit_events())
    }

    fn fdinfo(&self) -> String {
        if self.group.leader().is_none() {
            return "Pid:\t-1\nNSpid:\t-1\n".to_owned();
        }
        let numbers: Vec<String> = self.pid.numbers().map(|number| number.to_string()).collect();
        format!("Pid:\t{}\nNSpid:\t{}\n", self.pid.number(), numbers.join("\t"))
    }
}

impl Task {
    /// Opens a pidfd on the process that `pid` is the number of.
    ///
    /// # Errors
    /// `EINVAL` once it has been reaped.
    pub(crate) fn pidfd_of(&self, pid: &Arc<Pid>) -> Result<Arc<File>> {
        let leader = pid.task().ok_or(Errno::EINVAL)?;
        Ok(self.open_pidfd(pid, &leader, false, false))
    }

    /// Opens a pidfd on `of`, which closes on exec.
    pub fn open_pidfd(&self, pid: &Arc<Pid>, of: &Arc<Task>, is_thread: bool, nonblock: bool) -> Arc<File> {
        let ops = Arc::new(PidFd {
            pid: pid.clone(),
            group: of.thread_group().clone(),
            task: of.clone(),
            is_thread,
        });
        let mut flags = OpenFlags::RDWR | OpenFlags::CLOEXEC;
        if nonblock {
            flags |= OpenFlags::NONBLOCK;
        }
        self.kernel().vfs.anon_file(AnonKind::Named("[pidfd]"), ops, flags, &self.creds())
    }
}

impl CurrentTask {
    /// The process descriptor behind `fd`.
    ///
    /// # Errors
    /// `EBADF` where there is none, or where it is another kind of file.
    pub fn with_pidfd<T>(&self, fd: Fd, f: impl FnOnce(&PidFd) -> Result<T>) -> Result<T> {
        let file = self.fd_table().get(fd)?;
        f(file.ops_as::<PidFd>().ok_or(Errno::EBADF)?)
    }
}
