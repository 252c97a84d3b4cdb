//! Freezing groups of version 2 (`cgroup.freeze`), and containers as a whole.
//!
//! Whoever freezes marks the groups and tells their tasks, whose blocked calls end as they do for a signal, and begin
//! again afterwards (`kernel/cgroup/freezer.c` in Linux's tree). A task *stands still* while it is frozen, or stopped, or
//! waits for its vfork(2) child; a group is frozen once all of its running tasks and those below stand still.
//!
//! Locks: whether a group is frozen is a leaf, below memberships.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bitflags::bitflags;
use parking_lot::Mutex;

use super::Cgroup;
use super::event_file::Untold;
use crate::task::{Task, TaskSet, Work};

/// How long a pause waits for tasks that are in long calls of the host, as long as none runs guest code.
const PATIENCE: Duration = Duration::from_secs(1);

bitflags! {
    /// Who wants a group frozen.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Freezer: u8 {
        /// Whoever wrote to `cgroup.freeze`.
        const WRITER = 1;
        /// The container's manager, who pauses it.
        const MANAGER = 2;
    }
}

/// Whether a task stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Motion {
    /// It only waits until somebody lets it go on.
    Still,
    /// It runs, or may.
    Going,
}

/// What is wanted of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// That its tasks stand still.
    Frozen,
    /// That they run.
    Thawed,
}

/// Of one group.
#[derive(Debug, Default)]
pub(super) struct FreezeState {
    /// A [`Freezer`].
    wanted_by: AtomicU8,
    /// Somebody wants it, here or above.
    is_freezing: AtomicBool,
    /// `cgroup.events` says so.
    is_frozen: Mutex<bool>,
    /// Running tasks in it and below that stand still.
    still_below: AtomicU64,
}

impl FreezeState {
    /// Of a new group in one that is freezing or not.
    pub(super) fn inherit(&self, above: &Self) {
        let is_freezing = above.is_freezing.load(Ordering::SeqCst);
        self.is_freezing.store(is_freezing, Ordering::SeqCst);
        *self.is_frozen.lock() = is_freezing;
    }
}

impl Cgroup {
    /// `cgroup.freeze`.
    #[must_use]
    pub fn wants_freeze(&self) -> bool {
        self.unified.freeze.wanted_by.load(Ordering::SeqCst) & Freezer::WRITER.bits() != 0
    }

    /// Whether a container's manager wants it frozen.
    pub(in crate::task) fn is_paused(&self) -> bool {
        self.unified.freeze.wanted_by.load(Ordering::SeqCst) & Freezer::MANAGER.bits() != 0
    }

    /// Whether its tasks are not to run.
    #[must_use]
    pub fn is_freezing(&self) -> bool {
        self.unified.freeze.is_freezing.load(Ordering::SeqCst)
    }

    /// Whether they all stand still.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        *self.unified.freeze.is_frozen.lock()
    }

    /// Freezes or thaws it and what is below. Tasks come to stand still by and by.
    pub fn set_freeze(self: &Arc<Self>, tasks: &TaskSet, by: Freezer, wanted: Freeze) {
        // Told after the lock.
        let mut untold = Untold::default();
        let _changing = tasks.cgroups.change();
        let wanted_by = &self.unified.freeze.wanted_by;
        match wanted {
            Freeze::Frozen => wanted_by.fetch_or(by.bits(), Ordering::SeqCst),
            Freeze::Thawed => wanted_by.fetch_and(!by.bits(), Ordering::SeqCst),
        };
        let mut changed = Vec::new();
        self.spread_freeze(&mut changed);
        if changed.is_empty() {
            return;
        }
        // Tasks made meanwhile see the flag before they first run.
        for task in tasks.tasks().iter().filter(|task| task.cgroup().is_below(self)) {
            task.heed_freeze();
        }
        for group in changed {
            group.update_frozen(&mut untold);
        }
    }

    fn spread_freeze(self: &Arc<Self>, changed: &mut Vec<Arc<Self>>) {
        let own = &self.unified.freeze;
        let is_above = self.parent().is_some_and(|parent| parent.is_freezing());
        let is_freezing = is_above || own.wanted_by.load(Ordering::SeqCst) != 0;
        if own.is_freezing.swap(is_freezing, Ordering::SeqCst) == is_freezing {
            return;
        }
        changed.push(self.clone());
        for child in self.children() {
            child.spread_freeze(changed);
        }
    }

    /// Takes in that tasks have come, gone, or changed what they do.
    pub(super) fn update_frozen(self: &Arc<Self>, untold: &mut Untold) {
        let own = &self.unified.freeze;
        let mut is_frozen = own.is_frozen.lock();
        let still = own.still_below.load(Ordering::SeqCst);
        let now = self.is_freezing() && still >= self.unified.tasks_below.load(Ordering::SeqCst);
        if std::mem::replace(&mut *is_frozen, now) != now {
            untold.events(self.clone());
        }
    }

    /// Counts a task that stands still, here and above.
    pub(super) fn begin_still(self: &Arc<Self>, untold: &mut Untold) {
        for group in self.line() {
            group.unified.freeze.still_below.fetch_add(1, Ordering::SeqCst);
            group.update_frozen(untold);
        }
    }

    /// Counts a task that does not any more.
    pub(super) fn end_still(self: &Arc<Self>, untold: &mut Untold) {
        for group in self.line() {
            group.unified.freeze.still_below.fetch_sub(1, Ordering::SeqCst);
            group.update_frozen(untold);
        }
    }

    /// Freezes a container's group, and waits until no guest code of it runs, nor any call but those that wait for the
    /// host.
    pub(in crate::task) fn pause(self: &Arc<Self>, tasks: &TaskSet) {
        self.set_freeze(tasks, Freezer::MANAGER, Freeze::Frozen);
        let patient_until = Instant::now() + PATIENCE;
        while self.is_freezing() && !self.is_frozen() {
            let runs = |task: &Arc<Task>| task.cgroup().is_below(self) && task.wake().is_in_guest();
            if Instant::now() > patient_until && !tasks.tasks().iter().any(runs) {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// While it is there, a task stands still.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub(crate) struct Standing<'a> {
    task: &'a Task,
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        // One that is to freeze next goes on standing.
        if !self.task.is_to_freeze() || self.task.is_killed() {
            self.task.set_motion(Motion::Going);
        }
    }
}

impl Task {
    /// Whether it is not to run guest code: its group, or its container, is frozen.
    #[must_use]
    pub fn is_to_freeze(&self) -> bool {
        self.cgroup().is_freezing()
    }

    /// Looks at whether it is to freeze, wherever it is.
    pub(in crate::task) fn heed_freeze(&self) {
        if self.is_to_freeze() {
            self.wake().add(Work::FREEZE);
        } else {
            // Who is frozen waits there.
            self.wake().parker().unpark();
        }
    }

    /// It only waits until somebody lets it go on.
    pub(crate) fn stand_still(&self) -> Standing<'_> {
        self.set_motion(Motion::Still);
        Standing { task: self }
    }

    /// Waits until its group thaws, or it is killed.
    pub(in crate::task) fn stay_frozen(&self) {
        self.wake().clear(Work::FREEZE);
        self.set_motion(Motion::Still);
        while self.is_to_freeze() && !self.is_killed() {
            self.park();
        }
        self.set_motion(Motion::Going);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Hierarchies;
    use super::*;
    use crate::task::NamespaceIds;

    #[test]
    fn groups_without_tasks_are_frozen_at_once() {
        let tasks = TaskSet::new(NamespaceIds::default());
        let all: &Hierarchies = &tasks.cgroups;
        let top = all.unified().make("box").unwrap();
        let child = top.make_unified(all, "child").unwrap();
        let told = child.events().count();
        top.set_freeze(&tasks, Freezer::WRITER, Freeze::Frozen);
        assert!(top.is_frozen() && child.is_frozen() && top.wants_freeze() && !child.wants_freeze());
        assert_eq!(child.events().count(), told + 1);
        let late = child.make_unified(all, "late").unwrap();
        assert!(late.is_frozen());
        // Whoever else wants it is not overruled.
        top.set_freeze(&tasks, Freezer::MANAGER, Freeze::Frozen);
        top.set_freeze(&tasks, Freezer::WRITER, Freeze::Thawed);
        assert!(late.is_frozen() && !top.wants_freeze());
        top.set_freeze(&tasks, Freezer::MANAGER, Freeze::Thawed);
        assert!(!late.is_frozen() && !top.is_frozen());
    }
}
