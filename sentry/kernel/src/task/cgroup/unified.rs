//! What groups of version 2 have besides those of version 1: limits of their tree, freezing, killing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use abi::{Errno, Result, Signal};
use parking_lot::Mutex;

use super::devices::Attached;
use super::freezer::FreezeState;
use super::membership::PidsCount;
use super::memory::MemoryLook;
use super::{Cgroup, Controllers, CpuBandwidth, EventFile, Hierarchies, UNIFIED};
use crate::task::{CpuTimes, Task, TaskSet};

/// The state of a group of version 2; that of others stays as it is made.
#[derive(Debug)]
pub(super) struct Unified {
    /// Running tasks in it, and in it and below.
    pub(super) tasks: AtomicU64,
    pub(super) tasks_below: AtomicU64,
    /// Tasks in it and below that have not been waited for.
    pub(super) pids: PidsCount,
    /// `pids.max`, and how often it was met: here, and here and below.
    pub(super) max_tasks: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) refused_below: AtomicU64,
    pub(super) is_threaded: AtomicBool,
    pub(super) control: AtomicU32,
    pub(super) freeze: FreezeState,
    /// How often its processes were killed all at once. Changed under the tree lock.
    kills: AtomicU64,
    max_depth: AtomicU32,
    max_descendants: AtomicU32,
    /// Processor time of tasks that have left, and of removed groups. A leaf lock.
    pub(super) spent: Mutex<CpuTimes>,
    pub(super) memory: MemoryLook,
    /// `cpu.max`. A leaf lock.
    pub(super) bandwidth: Mutex<CpuBandwidth>,
    pub(super) devices: Attached,
    pub(super) events: EventFile,
    pub(super) pids_events: EventFile,
}

impl Default for Unified {
    fn default() -> Self {
        Self {
            tasks: AtomicU64::new(0),
            tasks_below: AtomicU64::new(0),
            pids: PidsCount::default(),
            max_tasks: AtomicU64::new(u64::MAX),
            refused: AtomicU64::new(0),
            refused_below: AtomicU64::new(0),
            is_threaded: AtomicBool::new(false),
            control: AtomicU32::new(0),
            freeze: FreezeState::default(),
            kills: AtomicU64::new(0),
            max_depth: AtomicU32::new(u32::MAX),
            max_descendants: AtomicU32::new(u32::MAX),
            spent: Mutex::default(),
            memory: MemoryLook::default(),
            bandwidth: Mutex::default(),
            devices: Attached::default(),
            events: EventFile::new("cgroup.events"),
            pids_events: EventFile::new("pids.events"),
        }
    }
}

/// A limit of a group's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TreeLimit {
    /// `cgroup.max.depth`.
    Depth,
    /// `cgroup.max.descendants`.
    Descendants,
}

impl Cgroup {
    /// Whether it is of version 2.
    #[must_use]
    pub fn is_unified(&self) -> bool {
        self.hierarchy() == UNIFIED
    }

    /// Whether it is a container's own: what is set for it is not its tasks' business.
    #[must_use]
    pub fn is_containers(&self) -> bool {
        self.is_unified() && self.parent().is_some_and(|parent| parent.parent().is_none())
    }

    /// Whether there are running tasks in it or below.
    #[must_use]
    pub fn is_populated(&self) -> bool {
        self.unified.tasks_below.load(Ordering::Acquire) != 0
    }

    pub(super) fn has_tasks(&self) -> bool {
        self.unified.tasks.load(Ordering::Acquire) != 0
    }

    /// How many tasks may be in it and below (`pids.max`); `u64::MAX` for as many as there are.
    #[must_use]
    pub fn max_tasks(&self) -> u64 {
        self.unified.max_tasks.load(Ordering::Relaxed)
    }

    /// Changes that. Those that are there stay.
    pub fn set_max_tasks(&self, max: u64) {
        self.unified.max_tasks.store(max, Ordering::Relaxed);
    }

    /// How many tasks were not made because of limits of this group and those below, and of this one alone.
    #[must_use]
    pub fn refused_tasks(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.unified.refused_below), count(&self.unified.refused))
    }

    /// `cgroup.events`: changes when it becomes populated or empty, frozen or thawed.
    #[must_use]
    pub fn events(&self) -> &EventFile {
        &self.unified.events
    }

    /// `pids.events`.
    #[must_use]
    pub fn pids_events(&self) -> &EventFile {
        &self.unified.pids_events
    }

    fn limit(&self, which: TreeLimit) -> &AtomicU32 {
        match which {
            TreeLimit::Depth => &self.unified.max_depth,
            TreeLimit::Descendants => &self.unified.max_descendants,
        }
    }

    /// A limit of its tree; `None` where there is none.
    #[must_use]
    pub fn tree_limit(&self, which: TreeLimit) -> Option<u32> {
        Some(self.limit(which).load(Ordering::Relaxed)).filter(|limit| *limit != u32::MAX)
    }

    /// Changes that.
    pub fn set_tree_limit(&self, which: TreeLimit, limit: Option<u32>) {
        self.limit(which).store(limit.unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// How many groups are below it.
    #[must_use]
    pub fn descendants(&self) -> u32 {
        self.children().iter().fold(0, |sum, child| sum + 1 + child.descendants())
    }

    /// Makes a group of version 2 in it.
    ///
    /// # Errors
    /// As [`Self::make`]; `EAGAIN` beyond `cgroup.max.depth` and `cgroup.max.descendants`, `ENODEV` where it was removed.
    pub fn make_unified(self: &Arc<Self>, all: &Hierarchies, name: &str) -> Result<Arc<Self>> {
        let _changing = all.change();
        self.check_alive()?;
        for (level, above) in (1..).zip(self.line()) {
            let is_full = |which, count: u32| above.tree_limit(which).is_some_and(|limit| count > limit);
            if is_full(TreeLimit::Depth, level) || is_full(TreeLimit::Descendants, above.descendants() + 1) {
                return Err(Errno::EAGAIN);
            }
        }
        let child =
            self.make(name).map_err(|errno| if errno == Errno::ENOSPC { Errno::EAGAIN } else { errno })?;
        child.unified.freeze.inherit(&self.unified.freeze);
        Ok(child)
    }

    /// Removes a group of version 2 in it.
    ///
    /// # Errors
    /// `ENOENT`; `EBUSY` where there are tasks or groups in it.
    pub fn remove_unified(&self, tasks: &TaskSet, name: &str) -> Result<()> {
        let _changing = tasks.cgroups.change();
        // Whoever adds processor time up finds it below or here.
        let _tree = tasks.tree();
        let child = self.child(name).ok_or(Errno::ENOENT)?;
        self.remove_if(name, |child| !child.is_populated())?;
        let spent = *child.unified.spent.lock();
        let mut own = self.unified.spent.lock();
        *own = *own + spent;
        Ok(())
    }

    /// Takes away all that is below it, and it: its container has ended.
    pub(in crate::task) fn remove_tree(&self) {
        for child in self.children() {
            child.remove_tree();
        }
        if let Some(parent) = self.parent() {
            let _ = parent.remove_if(self.name(), |_| true);
        }
    }

    /// Kills all processes in it and below, those that are just being made included, as `killer` can: the first process
    /// of its own pid name space is spared.
    ///
    /// # Errors
    /// `EOPNOTSUPP` for a threaded group.
    pub fn kill(self: &Arc<Self>, killer: &Task) -> Result<()> {
        if self.is_threaded() {
            return Err(Errno::EOPNOTSUPP);
        }
        let is_below = |task: &Arc<Task>| task.cgroup().is_below(self);
        let members = || {
            // Under the tree lock: a child that begins here is either found, or sees this.
            self.unified.kills.fetch_add(1, Ordering::AcqRel);
            let mut groups = killer.kernel().tasks.thread_groups();
            groups.retain(|group| group.tasks().iter().any(is_below));
            groups
        };
        killer.signal_all(members, Signal::KILL);
        Ok(())
    }

    /// How often its processes were killed all at once, by itself or with those above.
    pub(super) fn kills(self: &Arc<Self>) -> u64 {
        self.line().map(|group| group.unified.kills.load(Ordering::Acquire)).sum()
    }

    /// The nearest group from here upwards that has a controller.
    #[must_use]
    pub fn effective(self: &Arc<Self>, all: &Hierarchies, controller: Controllers) -> Arc<Self> {
        let has = |group: &Arc<Self>| group.controllers(all).contains(controller);
        self.line().find(has).unwrap_or_else(|| all.unified().clone())
    }
}
