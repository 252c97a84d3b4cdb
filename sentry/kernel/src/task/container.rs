//! A container: what was started together from one OCI bundle, and can be frozen and killed together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::{Errno, Result, Signal};
use parking_lot::Mutex;

use super::cgroup::{Cgroup, Freeze, Freezer, Seat};
use super::{PidNamespace, TaskSet, ThreadGroup, TreeGuard};
use crate::keys::Key;

/// A container of the sandbox.
#[derive(Debug)]
pub struct Container {
    id: String,
    pid_ns: Arc<PidNamespace>,
    /// Its group in version 2's hierarchy of control groups.
    cgroup: Arc<Cgroup>,
    /// Its first process heeds the outside as any other does.
    heeds_outside: AtomicBool,
    /// Nothing is started in it any more. Set under the tree lock.
    is_ended: AtomicBool,
    /// The session keyring of what is started in it.
    session_keyring: Mutex<Option<Arc<Key>>>,
}

impl Container {
    /// A container named `id`, whose first process will be numbered in `pid_ns`.
    ///
    /// # Errors
    /// `EINVAL` for a name that is none, `ENOSPC`.
    pub fn new(id: &str, pid_ns: Arc<PidNamespace>, tasks: &TaskSet) -> Result<Arc<Self>> {
        let changing = tasks.cgroups.change();
        // The last of this name may not be gone for good.
        let names = std::iter::once(id.to_owned()).chain((2..).map(|number| format!("{id}.{number}")));
        let mut made = names.map(|name| tasks.cgroups.unified().make(&name));
        let cgroup = made.find(|made| !matches!(made, Err(Errno::EEXIST))).ok_or(Errno::EEXIST)??;
        drop(changing);
        Ok(Arc::new(Self {
            id: id.to_owned(),
            pid_ns,
            cgroup,
            heeds_outside: AtomicBool::new(false),
            is_ended: AtomicBool::new(false),
            session_keyring: Mutex::default(),
        }))
    }

    /// The name that the container manager knows it by.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The session keyring of what is started in it, made by `make` when that is first.
    pub(crate) fn session_keyring(&self, make: impl FnOnce() -> Result<Arc<Key>>) -> Result<Arc<Key>> {
        let mut slot = self.session_keyring.lock();
        if let Some(known) = &*slot {
            return Ok(known.clone());
        }
        let key = make()?;
        *slot = Some(key.clone());
        Ok(key)
    }

    /// The pid name space of its processes.
    #[must_use]
    pub fn pid_ns(&self) -> &Arc<PidNamespace> {
        &self.pid_ns
    }

    /// Its group in version 2's hierarchy of control groups.
    #[must_use]
    pub fn cgroup(&self) -> &Arc<Cgroup> {
        &self.cgroup
    }

    /// A seat in its group for a process that is started from outside, or, where that gives controllers on, in that of its
    /// first process, as runc does.
    ///
    /// # Errors
    /// `EAGAIN`.
    pub(super) fn seat(&self, tasks: &TaskSet) -> Result<Seat> {
        let changing = tasks.cgroups.change();
        let first = || self.pid_ns.init().and_then(|init| init.leader()).map(|leader| leader.cgroup());
        let moved = if self.cgroup.subtree_control().is_empty() { None } else { first() };
        let (seat, untold) =
            moved.filter(|group| !group.is_removed()).as_ref().unwrap_or(&self.cgroup).seat_for_new();
        drop(changing);
        drop(untold);
        seat.ok_or(Errno::EAGAIN)
    }

    /// Limits how many tasks it may have at a time (the cgroup's `pids.max`). Those that are there stay.
    pub fn set_max_tasks(&self, max: u64) {
        self.cgroup.set_max_tasks(max);
    }

    /// How many tasks it may have at a time.
    #[must_use]
    pub fn max_tasks(&self) -> u64 {
        self.cgroup.max_tasks()
    }

    /// Its processes.
    #[must_use]
    pub fn thread_groups(self: &Arc<Self>, tasks: &TaskSet) -> Vec<Arc<ThreadGroup>> {
        let mut groups = tasks.thread_groups();
        groups.retain(|group| Arc::ptr_eq(group.container(), self));
        groups
    }

    /// Sends a signal to each process of it, those that are just being made included, as the container manager does.
    pub fn signal_all(self: &Arc<Self>, tasks: &TaskSet, signal: Signal) {
        tasks.signal_from_outside(|| self.thread_groups(tasks), signal);
    }

    /// Kills each process of it for good: none can be started any more.
    pub fn end(self: &Arc<Self>, tasks: &TaskSet) {
        let members = || {
            self.is_ended.store(true, Ordering::SeqCst);
            self.thread_groups(tasks)
        };
        tasks.signal_from_outside(members, Signal::KILL);
        self.thaw(tasks);
    }

    /// Whether nothing is started in it any more.
    pub(super) fn has_ended(&self, _tree: &TreeGuard<'_>) -> bool {
        self.is_ended.load(Ordering::SeqCst)
    }

    /// Its first program is no init: signals from outside the sandbox that end any other end that, too.
    pub fn heed_outside(&self) {
        self.heeds_outside.store(true, Ordering::Relaxed);
    }

    pub(crate) fn heeds_outside(&self) -> bool {
        self.heeds_outside.load(Ordering::Relaxed)
    }

    /// Stops all guest code of it: when this returns, none runs until [`Self::thaw`], and blocked calls wait for that.
    pub fn freeze(&self, tasks: &TaskSet) {
        self.cgroup.pause(tasks);
    }

    /// Whether it is to stand still.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.cgroup.is_paused()
    }

    /// Lets it run again.
    pub fn thaw(&self, tasks: &TaskSet) {
        self.cgroup.set_freeze(tasks, Freezer::MANAGER, Freeze::Thawed);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.cgroup.remove_tree();
    }
}
