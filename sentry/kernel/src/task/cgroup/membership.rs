//! A task's membership in a group of version 2's hierarchy.
//!
//! A [`Seat`] is what counts, in its group and all above: a [`Presence`] until the task exits, which makes groups
//! populated, and a [`PidsCharge`] until it has been waited for, as Linux has it (`cgroup_exit`, `cgroup_release`). A child
//! is given a seat in its parent's group before it is made, and takes another if its parent was moved meanwhile. All
//! other changes are made under the lock of the tree, so that what is added up under it is never counted twice or missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::{Errno, Result};
use parking_lot::Mutex;

use super::Cgroup;
use super::event_file::Untold;
use super::freezer::Motion;
use crate::task::{CpuTimes, Task, TaskSet, TreeGuard};

/// One running task more in a group; dropping it makes it one less.
#[derive(Debug)]
struct Presence {
    /// `None` once it has ended.
    group: Option<Arc<Cgroup>>,
    /// Those that stand still are counted.
    motion: Motion,
}

impl Presence {
    fn begin(group: &Arc<Cgroup>, untold: &mut Untold) -> Self {
        group.unified.tasks.fetch_add(1, Ordering::AcqRel);
        for above in group.line() {
            if above.unified.tasks_below.fetch_add(1, Ordering::SeqCst) == 0 {
                untold.events(above.clone());
            }
            if above.is_freezing() {
                above.update_frozen(untold);
            }
        }
        Self { group: Some(group.clone()), motion: Motion::Going }
    }

    fn set_motion(&mut self, motion: Motion, untold: &mut Untold) {
        let Some(group) = self.group.as_ref().filter(|_| self.motion != motion) else { return };
        self.motion = motion;
        match motion {
            Motion::Still => group.begin_still(untold),
            Motion::Going => group.end_still(untold),
        }
    }

    fn end(&mut self) -> Untold {
        let mut untold = Untold::default();
        self.set_motion(Motion::Going, &mut untold);
        let Some(group) = self.group.take() else { return untold };
        group.unified.tasks.fetch_sub(1, Ordering::AcqRel);
        for above in group.line() {
            if above.unified.tasks_below.fetch_sub(1, Ordering::SeqCst) == 1 {
                untold.events(above.clone());
            }
            if above.is_freezing() {
                above.update_frozen(&mut untold);
            }
        }
        untold
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// One task more by what `pids.max` limits; dropping it makes it one less.
#[derive(Debug)]
struct PidsCharge {
    group: Arc<Cgroup>,
}

impl PidsCharge {
    /// Whatever the limits are.
    fn forced(group: &Arc<Cgroup>) -> Self {
        for above in group.line() {
            above.unified.pids.count_up(u64::MAX);
        }
        Self { group: group.clone() }
    }

    /// `None` where the limits, here or above, allow no more.
    fn within_limits(group: &Arc<Cgroup>, untold: &mut Untold) -> Option<Self> {
        for above in group.line() {
            if !above.unified.pids.count_up(above.max_tasks()) {
                group.line().take_while(|counted| !Arc::ptr_eq(counted, &above)).for_each(count_down);
                above.note_refusal(untold);
                return None;
            }
        }
        Some(Self { group: group.clone() })
    }
}

fn count_down(group: Arc<Cgroup>) {
    group.unified.pids.count.fetch_sub(1, Ordering::AcqRel);
}

impl Drop for PidsCharge {
    fn drop(&mut self) {
        self.group.line().for_each(count_down);
    }
}

/// Tasks as `pids.max` counts them, and the most that there were.
#[derive(Debug, Default)]
pub(super) struct PidsCount {
    count: AtomicU64,
    peak: AtomicU64,
}

impl PidsCount {
    /// Counts one more, if that makes no more than `max`.
    fn count_up(&self, max: u64) -> bool {
        let fits = |count: u64| (count < max).then_some(count + 1);
        let before = self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits);
        if let Ok(before) = before {
            self.peak.fetch_max(before + 1, Ordering::Relaxed);
        }
        before.is_ok()
    }
}

/// A task's place in a group.
#[derive(Debug)]
pub(in crate::task) struct Seat {
    group: Arc<Cgroup>,
    presence: Presence,
    charge: PidsCharge,
    /// [`Cgroup::kills`] when it was given.
    kills: u64,
}

impl Cgroup {
    /// A seat for a task that is moved here, and who is to be told of it.
    fn seat(self: &Arc<Self>) -> (Seat, Untold) {
        let mut untold = Untold::default();
        let presence = Presence::begin(self, &mut untold);
        let charge = PidsCharge::forced(self);
        (Seat { group: self.clone(), presence, charge, kills: self.kills() }, untold)
    }

    /// A seat for a task that is being made, `None` where there are as many as `pids.max` allows, here or above; and
    /// who is to be told of it.
    pub(in crate::task) fn seat_for_new(self: &Arc<Self>) -> (Option<Seat>, Untold) {
        let mut untold = Untold::default();
        let kills = self.kills();
        let charge = PidsCharge::within_limits(self, &mut untold);
        let seat = charge.map(|charge| {
            let presence = Presence::begin(self, &mut untold);
            Seat { group: self.clone(), presence, charge, kills }
        });
        (seat, untold)
    }

    /// How many tasks are in it and below, zombies included (`pids.current`).
    #[must_use]
    pub fn charged_tasks(&self) -> u64 {
        self.unified.pids.count.load(Ordering::Acquire)
    }

    /// The most that there were.
    #[must_use]
    pub fn task_peak(&self) -> u64 {
        self.unified.pids.peak.load(Ordering::Relaxed)
    }

    fn note_refusal(self: &Arc<Self>, untold: &mut Untold) {
        self.unified.refused.fetch_add(1, Ordering::Relaxed);
        for group in self.line() {
            group.unified.refused_below.fetch_add(1, Ordering::Relaxed);
            untold.pids_events(group);
        }
    }

    /// Processor time of the tasks in it and below, those that have ended or left included.
    #[must_use]
    pub fn cpu_times(self: &Arc<Self>, tasks: &TaskSet) -> CpuTimes {
        // Under this lock tasks come and go, and removed groups leave theirs to those above.
        let _tree = tasks.tree();
        let all = tasks.tasks();
        let present = all.iter().filter_map(|task| task.cpu_times_in(self));
        self.spent_below() + present.sum()
    }

    fn spent_below(&self) -> CpuTimes {
        let own = *self.unified.spent.lock();
        self.children().iter().fold(own, |sum, child| sum + child.spent_below())
    }
}

/// Which group a task is in.
#[derive(Debug)]
pub(in crate::task) struct Membership(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    group: Arc<Cgroup>,
    /// `None` once the task has exited.
    presence: Option<Presence>,
    /// `None` once it has been waited for.
    charge: Option<PidsCharge>,
    /// [`Cgroup::kills`] when it came.
    kills: u64,
    /// Processor time that was spent elsewhere.
    before: CpuTimes,
}

impl Membership {
    pub(in crate::task) fn new(seat: Seat) -> Self {
        let Seat { group, presence, charge, kills } = seat;
        let before = CpuTimes::default();
        Self(Mutex::new(Inner { group, presence: Some(presence), charge: Some(charge), kills, before }))
    }
}

impl Task {
    /// The group of version 2's hierarchy that it is in, or was in when it exited.
    #[must_use]
    pub fn cgroup(&self) -> Arc<Cgroup> {
        self.membership.0.lock().group.clone()
    }

    /// A seat for a child, in its own group.
    ///
    /// # Errors
    /// `EAGAIN`.
    pub(in crate::task) fn seat_for_child(&self) -> Result<Seat> {
        // Under the lock: the group cannot lose its last task meanwhile.
        let (seat, untold) = self.membership.0.lock().group.seat_for_new();
        drop(untold);
        seat.ok_or(Errno::EAGAIN)
    }

    /// Moves it to another group. One that has exited stays where it is.
    pub(super) fn move_to(&self, _tree: &TreeGuard<'_>, group: &Arc<Cgroup>) -> Untold {
        let mut own = self.membership.0.lock();
        if own.presence.is_none() || Arc::ptr_eq(&own.group, group) {
            return Untold::default();
        }
        let now = self.clock().times();
        own.leave(now);
        own.before = now;
        let (Seat { group, mut presence, charge, kills }, mut untold) = group.seat();
        own.group = group;
        (own.charge, own.kills) = (Some(charge), kills);
        if let Some(mut old) = own.presence.take() {
            presence.set_motion(old.motion, &mut untold);
            untold.add(old.end());
        }
        own.presence = Some(presence);
        drop(own);
        self.heed_freeze();
        untold
    }

    /// A child goes where its parent is, if that was moved since the child was given its seat.
    pub(in crate::task) fn follow(&self, tree: &TreeGuard<'_>, parent: &Task) -> Untold {
        self.move_to(tree, &parent.cgroup())
    }

    /// It has exited.
    pub(in crate::task) fn leave_cgroup(&self, _tree: &TreeGuard<'_>) -> Untold {
        let mut own = self.membership.0.lock();
        let Some(mut presence) = own.presence.take() else { return Untold::default() };
        own.leave(self.clock().times());
        presence.end()
    }

    /// It has been waited for, or need not be.
    pub(in crate::task) fn release_pids_charge(&self) {
        self.membership.0.lock().charge = None;
    }

    /// The processor time that it has spent in `group` or below, while it is there.
    fn cpu_times_in(&self, group: &Arc<Cgroup>) -> Option<CpuTimes> {
        let own = self.membership.0.lock();
        let is_there = own.presence.is_some() && own.group.is_below(group);
        is_there.then(|| since(self.clock().times(), own.before))
    }

    /// Whether it stands still from now on, as its groups count it.
    pub(super) fn set_motion(&self, motion: Motion) {
        let mut untold = Untold::default();
        let mut own = self.membership.0.lock();
        if let Some(presence) = &mut own.presence {
            presence.set_motion(motion, &mut untold);
        }
        drop(own);
    }

    /// Whether its group has been killed since it was given its seat: a child that is being made elsewhere than where its
    /// parent is was not found there.
    pub(in crate::task) fn was_killed_with_group(&self, _tree: &TreeGuard<'_>) -> bool {
        let own = self.membership.0.lock();
        own.group.kills() != own.kills
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
        let first = child.seat_for_new().0.unwrap();
        let told = top.events().count();
        let second = top.seat_for_new().0.unwrap();
        assert_eq!((child.charged_tasks(), top.charged_tasks(), top.task_peak()), (1, 2, 2));
        assert!(child.seat_for_new().0.is_none());
        assert_eq!((top.refused_tasks(), child.refused_tasks()), ((1, 1), (0, 0)));
        assert_eq!((child.charged_tasks(), top.charged_tasks()), (1, 2));
        let moved = child.seat().0;
        assert_eq!(top.charged_tasks(), 3, "moves are not refused");
        assert_eq!(top.events().count(), told, "it was populated all the time");
        drop((first, moved));
        assert!(!child.is_populated() && top.is_populated());
        drop(second);
        assert!(top.events().count() > told);
        assert_eq!(all.unified().charged_tasks(), 0);
    }

    #[test]
    fn zombies_are_charged_and_populate_nothing() {
        let all = Hierarchies::default();
        let top = all.unified().make("box").unwrap();
        let Seat { presence, charge, .. } = top.seat_for_new().0.unwrap();
        let told = top.events().count();
        drop(presence);
        assert!(!top.is_populated() && top.charged_tasks() == 1 && top.events().count() == told + 1);
        drop(charge);
        assert_eq!(top.charged_tasks(), 0);
    }
}
