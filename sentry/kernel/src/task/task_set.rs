//! All tasks of a sandbox.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use waiter::{Events, WaitQueue};

use super::cgroup::Hierarchies;
use super::load::LoadAverage;
use super::{CpuTimes, NamespaceId, NamespaceIds, Task, ThreadGroup, UserAccounts};

/// Proof that the tree of processes is locked: parents, children, process groups, who is a zombie.
pub type TreeGuard<'a> = MutexGuard<'a, Tree>;

/// What the tree lock protects besides the links in the thread groups themselves.
#[derive(Debug)]
pub struct Tree(());

/// Everything that runs in the sandbox.
///
/// Lock order: as the module of tasks says; `groups`, then `gone_times`, a leaf.
#[derive(Debug)]
pub struct TaskSet {
    tree: Mutex<Tree>,
    groups: Mutex<BTreeMap<u64, Arc<ThreadGroup>>>,
    next_id: AtomicU64,
    namespace_ids: NamespaceIds,
    forks: AtomicU64,
    live_tasks: AtomicU64,
    /// Processor time of processes that have been released.
    gone_times: Mutex<CpuTimes>,
    pub(super) load: LoadAverage,
    /// How often somebody has logged in.
    pub(super) logins: AtomicU32,
    /// Per-user counts.
    pub accounts: UserAccounts,
    /// Control groups that guests make.
    pub cgroups: Hierarchies,
    /// Told whenever a process has gone.
    gone: WaitQueue,
}

impl TaskSet {
    /// No tasks yet.
    #[must_use]
    pub fn new(namespace_ids: NamespaceIds) -> Self {
        Self {
            tree: Mutex::new(Tree(())),
            groups: Mutex::default(),
            next_id: AtomicU64::new(1),
            namespace_ids,
            forks: AtomicU64::new(0),
            live_tasks: AtomicU64::new(0),
            gone_times: Mutex::default(),
            load: LoadAverage::default(),
            logins: AtomicU32::new(0),
            accounts: UserAccounts::default(),
            cgroups: Hierarchies::default(),
            gone: WaitQueue::new(),
        }
    }

    /// Locks the tree of processes.
    pub fn tree(&self) -> TreeGuard<'_> {
        self.tree.lock()
    }

    /// An identity for a new name space.
    pub fn new_namespace_id(&self) -> NamespaceId {
        self.namespace_ids.next()
    }

    /// All processes of all containers, oldest first, zombies included.
    #[must_use]
    pub fn thread_groups(&self) -> Vec<Arc<ThreadGroup>> {
        self.groups.lock().values().cloned().collect()
    }

    /// Processor time of all processes that there are and were.
    #[must_use]
    pub fn cpu_times(&self) -> CpuTimes {
        let (groups, gone): (Vec<_>, _) = {
            let groups = self.groups.lock();
            (groups.values().cloned().collect(), *self.gone_times.lock())
        };
        gone + groups.iter().map(|group| group.cpu_times()).sum()
    }

    /// How many processes there are, zombies included.
    #[must_use]
    pub fn process_count(&self) -> u64 {
        self.groups.lock().len() as u64
    }

    /// All tasks of all containers.
    #[must_use]
    pub fn tasks(&self) -> Vec<Arc<Task>> {
        self.thread_groups().iter().flat_map(|group| group.tasks()).collect()
    }

    /// How many tasks were ever made (`processes` in `/proc/stat`).
    #[must_use]
    pub fn forks(&self) -> u64 {
        self.forks.load(Ordering::Relaxed)
    }

    /// How many tasks exist.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.live_tasks.load(Ordering::Relaxed)
    }

    /// Whether no task exists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Told whenever a process has been reaped.
    #[must_use]
    pub fn gone(&self) -> &WaitQueue {
        &self.gone
    }

    pub(crate) fn new_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// From now on `task`, whose process has it among its threads, is found by its number, and counts.
    pub(super) fn show_task(&self, _tree: &TreeGuard<'_>, task: &Arc<Task>) {
        self.forks.fetch_add(1, Ordering::Relaxed);
        self.live_tasks.fetch_add(1, Ordering::Relaxed);
        task.pid().set_task(Some(task.clone()));
    }

    pub(super) fn uncount_task(&self) {
        self.live_tasks.fetch_sub(1, Ordering::Relaxed);
    }

    /// A new process, with its first thread.
    pub(super) fn insert(&self, _tree: &TreeGuard<'_>, group: &Arc<ThreadGroup>) {
        self.groups.lock().insert(group.id(), group.clone());
        group.watch_cpu_limit();
    }

    pub(super) fn remove(&self, group: &ThreadGroup) {
        let times = group.cpu_times();
        let mut groups = self.groups.lock();
        let removed = groups.remove(&group.id());
        if removed.is_some() {
            let mut gone = self.gone_times.lock();
            *gone = *gone + times;
        }
        drop(groups);
        drop(removed);
        self.gone.notify(Events::IN);
    }
}
