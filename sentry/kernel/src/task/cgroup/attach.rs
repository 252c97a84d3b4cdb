//! Moving tasks between groups of version 2: who may, and where to (`cgroup.procs`, `cgroup.threads`, `CLONE_INTO_CGROUP`).

use std::sync::Arc;

use abi::{Errno, Result};

use super::event_file::Untold;
use super::{Cgroup, CgroupNamespace, Changing, Seat};
use crate::task::{Capability, Credentials, Task, ThreadGroup};
use crate::vfs::{Caller, File, MAY_WRITE, check_access};

/// What is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// A process with all its threads.
    Process,
    /// A thread alone.
    Thread,
}

impl Cgroup {
    /// Moves `task`, or its process, here, by the rights of `creds` and in the view of `ns`.
    ///
    /// # Errors
    /// `EACCES` without the right to write to `cgroup.procs` where the ways from there and to here part, `ENOENT` out of
    /// the mover's name space, `EBUSY` where it gives controllers on, `EOPNOTSUPP` where it can hold no such task,
    /// `ENODEV` where it was removed.
    pub fn attach(
        self: &Arc<Self>,
        mover: &Task,
        (creds, ns): (&Arc<Credentials>, &CgroupNamespace),
        task: &Arc<Task>,
        extent: Extent,
    ) -> Result<()> {
        let tasks = &mover.kernel().tasks;
        // Told after all locks.
        let mut untold = Untold::default();
        let changing = tasks.cgroups.change();
        self.check_alive()?;
        // A process is where its first thread is, whichever is named.
        let leader = if extent == Extent::Process { task.thread_group().leader() } else { None };
        let from = leader.as_ref().unwrap_or(task).cgroup();
        self.check_write_between(mover, creds, &from)?;
        self.check_attach(&changing, &ns.unified(&tasks.cgroups), &from, extent)?;
        let tree = tasks.tree();
        match extent {
            Extent::Thread => untold.add(task.move_to(&tree, self)),
            Extent::Process => {
                for thread in task.thread_group().tasks() {
                    untold.add(thread.move_to(&tree, self));
                }
            }
        }
        Ok(())
    }

    fn check_attach(
        self: &Arc<Self>,
        changing: &Changing<'_>,
        top: &Arc<Self>,
        from: &Arc<Self>,
        extent: Extent,
    ) -> Result<()> {
        if !from.is_below(top) || !self.is_below(top) {
            return Err(Errno::ENOENT);
        }
        let domain = self.domain();
        if !domain.is_valid_domain(changing) {
            return Err(Errno::EOPNOTSUPP);
        }
        let takes_threads = self.is_threaded() || self.can_be_thread_root(changing);
        if !takes_threads && !self.subtree_control().is_empty() {
            return Err(Errno::EBUSY);
        }
        if extent == Extent::Thread && !Arc::ptr_eq(&domain, &from.domain()) {
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(())
    }

    /// Whether `creds` may write to `cgroup.procs` where the ways from `from` and to here part.
    fn check_write_between(
        self: &Arc<Self>,
        mover: &Task,
        creds: &Arc<Credentials>,
        from: &Arc<Self>,
    ) -> Result<()> {
        let common = from.line().find(|above| self.is_below(above)).ok_or(Errno::EACCES)?;
        common.check_write(mover, creds)
    }

    /// Whether `creds` may write to its `cgroup.procs`: root's, while nobody has looked at the file.
    fn check_write(&self, mover: &Task, creds: &Arc<Credentials>) -> Result<()> {
        match self.procs_file() {
            Some(file) => check_access(&Caller { creds, task: Some(mover) }, &file, MAY_WRITE),
            None if creds.fsuid == 0 || creds.capable(Capability::DacOverride) => Ok(()),
            None => Err(Errno::EACCES),
        }
    }

    /// The processes in it, zombies not included, and with a domain of threads those of the groups that belong to it.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a threaded group.
    pub fn processes(self: &Arc<Self>, task: &Task) -> Result<Vec<Arc<ThreadGroup>>> {
        if self.is_threaded() {
            return Err(Errno::EOPNOTSUPP);
        }
        let is_in = |process: &Arc<ThreadGroup>| {
            let leader = process.leader().or_else(|| process.tasks().first().cloned());
            !process.has_ended() && leader.is_some_and(|leader| Arc::ptr_eq(&leader.cgroup().domain(), self))
        };
        Ok(task.kernel().tasks.thread_groups().into_iter().filter(is_in).collect())
    }

    /// The threads in it.
    #[must_use]
    pub fn threads(self: &Arc<Self>, task: &Task) -> Vec<Arc<Task>> {
        let is_in = |thread: &Arc<Task>| !thread.has_exited() && Arc::ptr_eq(&thread.cgroup(), self);
        task.kernel().tasks.tasks().into_iter().filter(is_in).collect()
    }
}

impl Task {
    /// A seat for a child in the group whose directory `dir` is.
    ///
    /// # Errors
    /// `EBADF` where it is no directory of version 2's hierarchy; as [`Cgroup::attach`]; `EAGAIN`.
    pub(in crate::task) fn seat_in(&self, dir: &File, extent: Extent) -> Result<Seat> {
        let group = dir.path().inode().cgroup().cloned().ok_or(Errno::EBADF)?;
        let (all, creds, from) = (&self.kernel().tasks.cgroups, self.creds(), self.cgroup());
        let (seat, untold) = {
            let changing = all.change();
            group.check_alive()?;
            group.check_write(self, &creds)?;
            group.check_write_between(self, &creds, &from)?;
            let top = CgroupNamespace::inside(&self.namespaces().cgroup).unified(all);
            group.check_attach(&changing, &top, &from, extent)?;
            group.seat_for_new()
        };
        drop(untold);
        seat.ok_or(Errno::EAGAIN)
    }
}
