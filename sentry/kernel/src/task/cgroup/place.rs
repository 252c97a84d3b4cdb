//! A task's place in version 2's hierarchy.
//!
//! A [`Seat`] is what counts: in its group and all above. A child is given one in its parent's group before it is made,
//! and takes another if its parent was moved meanwhile (under the lock of the tree, as moves are). A task that has exited
//! keeps its group and loses its seat.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::{Errno, Result};
use parking_lot::Mutex;

use super::Cgroup;
use crate::task::{CpuTimes, Task, TreeGuard};

/// One task more in a group; dropping it makes it one less.
#[derive(Debug)]
pub(in crate::task) struct Seat {
    group: Arc<Cgroup>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.group.unified.tasks.fetch_sub(1, Ordering::AcqRel);
        self.group.count_down(None);
    }
}

impl Cgroup {
    /// Counts a task that is moved here.
    pub(in crate::task) fn seat(self: &Arc<Self>) -> Seat {
        self.unified.tasks.fetch_add(1, Ordering::AcqRel);
        for group in self.line() {
            group.count_up(u64::MAX);
        }
        Seat { group: self.clone() }
    }

    /// Counts a task that is being made.
    ///
    /// # Errors
    /// `EAGAIN` where there are as many as `pids.max` allows, here or above.
    pub(in crate::task) fn seat_for_new(self: &Arc<Self>) -> Result<Seat> {
        self.unified.tasks.fetch_add(1, Ordering::AcqRel);
        for group in self.line() {
            if !group.count_up(group.max_tasks()) {
                self.unified.tasks.fetch_sub(1, Ordering::AcqRel);
                self.count_down(Some(&group));
                group.note_refusal();
                return Err(Errno::EAGAIN);
            }
        }
        Ok(Seat { group: self.clone() })
    }

    /// Counts one more, if that makes no more than `max`.
    fn count_up(&self, max: u64) -> bool {
        let fits = |count: u64| (count < max).then_some(count + 1);
        match self.unified.tasks_below.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits) {
            Err(_) => false,
            Ok(before) => {
                self.unified.peak.fetch_max(before + 1, Ordering::Relaxed);
                if before == 0 {
                    self.events().tell();
                }
                true
            }
        }
    }

    /// Counts one less, upwards to `end`.
    fn count_down(self: &Arc<Self>, end: Option<&Arc<Self>>) {
        for group in self.line().take_while(|group| !end.is_some_and(|end| Arc::ptr_eq(group, end))) {
            if group.unified.tasks_below.fetch_sub(1, Ordering::AcqRel) == 1 {
                group.events().tell();
            }
        }
    }

    fn note_refusal(self: &Arc<Self>) {
        self.unified.refused.fetch_add(1, Ordering::Relaxed);
        for group in self.line() {
            group.unified.refused_below.fetch_add(1, Ordering::Relaxed);
            group.pids_events().tell();
        }
    }
}

/// Which group a task is in.
#[derive(Debug)]
pub(in crate::task) struct Place(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    group: Arc<Cgroup>,
    /// `None` once the task has exited.
    seat: Option<Seat>,
    /// Processor time that was spent elsewhere.
    before: CpuTimes,
}

impl Place {
    pub(in crate::task) fn new(seat: Seat) -> Self {
        Self(Mutex::new(Inner { group: seat.group.clone(), seat: Some(seat), before: CpuTimes::default() }))
    }
}

impl Task {
    /// The group of version 2's hierarchy that it is in, or was in when it exited.
    #[must_use]
    pub fn cgroup(&self) -> Arc<Cgroup> {
        self.place.0.lock().group.clone()
    }

    /// A seat for a child, in its own group.
    ///
    /// # Errors
    /// `EAGAIN`.
    pub(in crate::task) fn seat_for_child(&self) -> Result<Seat> {
        // Under the lock: the group cannot lose its last task meanwhile.
        self.place.0.lock().group.seat_for_new()
    }

    /// Takes a place elsewhere. One that has exited stays where it is.
    pub(super) fn change_place(&self, _tree: &TreeGuard<'_>, group: &Arc<Cgroup>) {
        let mut place = self.place.0.lock();
        if place.seat.is_none() || Arc::ptr_eq(&place.group, group) {
            return;
        }
        let now = self.clock().times();
        place.leave(now);
        place.before = now;
        let old = place.seat.replace(group.seat());
        place.group = group.clone();
        drop(place);
        drop(old);
        self.wake().add(crate::task::Work::FREEZE);
    }

    /// A child takes the place of its parent, if that was moved since the child was given its own.
    pub(in crate::task) fn follow(&self, tree: &TreeGuard<'_>, parent: &Task) {
        self.change_place(tree, &parent.cgroup());
    }

    /// It has exited.
    pub(in crate::task) fn leave_place(&self) {
        let mut place = self.place.0.lock();
        let seat = place.seat.take();
        if seat.is_some() {
            place.leave(self.clock().times());
        }
        drop(place);
        drop(seat);
    }

    /// The processor time that it has spent in `group` or below, while it is there.
    pub(super) fn cpu_times_in(&self, group: &Arc<Cgroup>) -> Option<CpuTimes> {
        let place = self.place.0.lock();
        let is_there = place.seat.is_some() && place.group.line().any(|above| Arc::ptr_eq(&above, group));
        is_there.then(|| since(self.clock().times(), place.before))
    }

    /// Whether it is not to run guest code: its container, or its group, is frozen.
    #[must_use]
    pub fn is_to_freeze(&self) -> bool {
        self.container().is_frozen() || self.cgroup().is_freezing()
    }
}

impl Inner {
    /// What the task has spent since it came stays with the group.
    fn leave(&self, now: CpuTimes) {
        let mut spent = self.group.unified.spent.lock();
        *spent = *spent + since(now, self.before);
    }
}

fn since(now: CpuTimes, before: CpuTimes) -> CpuTimes {
    CpuTimes {
        user_ns: now.user_ns.saturating_sub(before.user_ns),
        system_ns: now.system_ns.saturating_sub(before.system_ns),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Hierarchies;
    use super::*;

    #[test]
    fn limits_above_hold() {
        let all = Hierarchies::default();
        let top = all.unified().make("box").unwrap();
        let child = top.make("child").unwrap();
        top.set_max_tasks(2);
        let first = child.seat_for_new().unwrap();
        let told = top.events().count();
        let second = top.seat_for_new().unwrap();
        assert_eq!((child.task_count_below(), top.task_count_below(), top.task_peak()), (1, 2, 2));
        assert_eq!(child.seat_for_new().unwrap_err(), Errno::EAGAIN);
        assert_eq!((top.refused_tasks(), child.refused_tasks()), ((1, 1), (0, 0)));
        assert_eq!((child.task_count_below(), top.task_count_below()), (1, 2));
        let moved = child.seat();
        assert_eq!(top.task_count_below(), 3, "moves are not refused");
        assert_eq!(top.events().count(), told, "it was populated all the time");
        drop((first, moved));
        assert!(!child.is_populated() && top.is_populated());
        drop(second);
        assert!(top.events().count() > told);
        assert_eq!(all.unified().task_count_below(), 0);
    }
}
