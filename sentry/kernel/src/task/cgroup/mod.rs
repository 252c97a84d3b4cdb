//! Control groups (`man 7 cgroups`): the hierarchies of version 1 that guests mount, each for some controllers, and the
//! unified one of version 2, in which each container has a group of its own that its name space shows as the top.
//!
//! Container managers and systemd inside a container need them to start anything. The host's limits on the sandbox are
//! another matter, and stand above whatever is set here. A group keeps the values that are written to it; `pids.max`
//! holds. In version 1 processes are in groups as wholes: a thread that is moved takes its process with it. In
//! version 2 each task has a [`Membership`].
//!
//! Locks: [`Hierarchies::changes`] → the tree of tasks → the list of hierarchies → a group's children → a task's membership →
//! a process's memberships, a group's values: leaves.

mod attach;
mod bandwidth;
mod controllers;
mod devices;
mod event_file;
mod freezer;
mod group;
mod membership;
mod memory;
mod namespace;
mod threaded;
mod unified;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use abi::{Errno, Result};
use parking_lot::{Mutex, MutexGuard};

use super::{TaskSet, ThreadGroup};

pub use attach::Extent;
pub use bandwidth::CpuBandwidth;
pub use controllers::Controllers;
pub use devices::{AttachFlags, DeviceAccess, DeviceFilter, DeviceFilters};
pub use event_file::EventFile;
pub use freezer::{Freeze, Freezer};
pub use group::Cgroup;
pub(super) use membership::{Membership, Seat};
pub use memory::MemoryUse;
pub use namespace::CgroupNamespace;
pub use threaded::GroupType;
pub use unified::TreeLimit;

/// The controllers of version 1 that there are.
pub const CONTROLLERS: [&str; 6] = ["cpuset", "cpu", "cpuacct", "memory", "devices", "pids"];
/// The number of version 2's hierarchy.
const UNIFIED: u32 = 0;
/// Hierarchies of version 1 at most.
const MAX_HIERARCHIES: usize = 32;

/// A hierarchy of version 1: its controllers, and the tree of its groups.
#[derive(Debug)]
pub struct Hierarchy {
    id: u32,
    /// In the order of [`CONTROLLERS`].
    controllers: Vec<&'static str>,
    /// `name=` of one that may have no controllers.
    name: Option<String>,
    root: Arc<Cgroup>,
}

/// The groups that a process is in, by hierarchy of version 1; the root of those that are not named.
pub(super) type Memberships = BTreeMap<u32, Arc<Cgroup>>;

/// What becomes of a hierarchy that nobody has made yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absent {
    /// It is made.
    Make,
    /// It stays so.
    Refuse,
}

/// All hierarchies of a sandbox.
#[derive(Debug)]
pub struct Hierarchies {
    list: Mutex<Vec<Arc<Hierarchy>>>,
    /// The number of the youngest.
    last_id: AtomicU32,
    /// Version 2's top, which no container sees: the containers' groups are in it.
    unified: Arc<Cgroup>,
    /// Held while anything in version 2's hierarchy is changed, but for tasks that are made and end.
    changes: Mutex<()>,
    /// Programs that decide about devices in version 2.
    pub device_filters: DeviceFilters,
    /// How version 2's hierarchy is shown: the file system's.
    shown: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// Proof that nobody else changes version 2's hierarchy.
#[derive(Debug)]
pub struct Changing<'a>(#[expect(dead_code, reason = "held")] MutexGuard<'a, ()>);

impl Default for Hierarchies {
    fn default() -> Self {
        let (list, changes, shown) = (Mutex::default(), Mutex::default(), OnceLock::new());
        let (unified, device_filters) = (Cgroup::top(UNIFIED), DeviceFilters::default());
        Self { list, last_id: AtomicU32::new(UNIFIED), unified, changes, device_filters, shown }
    }
}

impl Hierarchies {
    /// The hierarchy of exactly these controllers and this name, made where there is none yet.
    ///
    /// # Errors
    /// `EINVAL` for an unknown controller or for none and no name, `EBUSY` where a controller belongs to another
    /// hierarchy or is in use in version 2's, `EPERM` where it would have to be made and is not to be, `ENOSPC`.
    pub fn find(&self, wanted: &[&str], name: Option<&str>, absent: Absent) -> Result<Arc<Hierarchy>> {
        let is_known = |wanted: &&str| CONTROLLERS.contains(wanted);
        if !wanted.iter().all(is_known) || wanted.is_empty() && name.is_none() {
            return Err(Errno::EINVAL);
        }
        let controllers: Vec<_> = CONTROLLERS.into_iter().filter(|own| wanted.contains(own)).collect();
        let _changing = self.change();
        let mut list = self.list.lock();
        let same =
            |known: &&Arc<Hierarchy>| known.controllers == controllers && known.name.as_deref() == name;
        if let Some(known) = list.iter().find(same) {
            return Ok(known.clone());
        }
        let is_taken = |known: &Arc<Hierarchy>| {
            known.controllers.iter().any(|own| controllers.contains(own))
                || name.is_some() && known.name.as_deref() == name
        };
        let wanted = controllers.iter().filter_map(|name| Controllers::named(name)).collect();
        if list.iter().any(is_taken) || self.unified.uses_below().intersects(wanted) {
            return Err(Errno::EBUSY);
        }
        if absent == Absent::Refuse {
            return Err(Errno::EPERM);
        }
        if list.len() >= MAX_HIERARCHIES {
            return Err(Errno::ENOSPC);
        }
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let root = Cgroup::top(id);
        let fresh = Arc::new(Hierarchy { id, controllers, name: name.map(str::to_owned), root });
        list.push(fresh.clone());
        Ok(fresh)
    }

    /// Gives a hierarchy up that has no groups but the top; says whether that is so. Its controllers are free again.
    pub fn give_up(&self, hierarchy: &Hierarchy) -> bool {
        let _changing = self.change();
        let mut list = self.list.lock();
        let is_empty = hierarchy.root.child_count() == 0;
        if is_empty {
            list.retain(|known| known.id != hierarchy.id);
        }
        is_empty
    }

    /// All of version 1, the youngest first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Hierarchy>> {
        self.list.lock().iter().rev().cloned().collect()
    }

    /// Version 2's top.
    #[must_use]
    pub fn unified(&self) -> &Arc<Cgroup> {
        &self.unified
    }

    /// The controllers that no hierarchy of version 1 has taken from version 2's.
    #[must_use]
    pub fn unified_controllers(&self) -> Controllers {
        let list = self.list.lock();
        let taken =
            list.iter().flat_map(|known| &known.controllers).filter_map(|name| Controllers::named(name));
        Controllers::all() - taken.collect()
    }

    /// Nobody else changes version 2's hierarchy meanwhile.
    pub fn change(&self) -> Changing<'_> {
        Changing(self.changes.lock())
    }

    /// What a file system keeps with version 2's hierarchy, made by `make` at the first call; `None` where it is of
    /// another type.
    pub fn shown<T: Any + Send + Sync>(&self, make: impl FnOnce() -> Arc<T>) -> Option<Arc<T>> {
        let shown = self.shown.get_or_init(|| make() as Arc<dyn Any + Send + Sync>);
        shown.clone().downcast::<T>().ok()
    }
}

impl Hierarchy {
    /// Its number, from 1.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its controllers.
    #[must_use]
    pub fn controllers(&self) -> &[&'static str] {
        &self.controllers
    }

    /// The group at the top.
    #[must_use]
    pub fn root(&self) -> &Arc<Cgroup> {
        &self.root
    }

    /// As `/proc/[pid]/cgroup` and mount options name it.
    #[must_use]
    pub fn label(&self) -> String {
        let name = self.name.as_ref().map(|name| format!("name={name}"));
        self.controllers.iter().map(ToString::to_string).chain(name).collect::<Vec<_>>().join(",")
    }

    /// The group that a process is in.
    #[must_use]
    pub fn group_of(&self, process: &ThreadGroup) -> Arc<Cgroup> {
        process.cgroup(self.id).unwrap_or_else(|| self.root.clone())
    }
}

impl ThreadGroup {
    /// Whether its groups of version 1 have room for one more task.
    pub(super) fn may_grow(&self, tasks: &TaskSet) -> bool {
        // Only groups of the controller have the value, and most processes are in none.
        self.memberships().values().all(|group| group.has_room(tasks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::NamespaceIds;

    #[test]
    fn a_controller_belongs_to_one_hierarchy() {
        let all = Hierarchies::default();
        let both = all.find(&["cpuacct", "cpu"], None, Absent::Make).unwrap();
        assert_eq!(both.label(), "cpu,cpuacct");
        assert!(Arc::ptr_eq(&both, &all.find(&["cpu", "cpuacct"], None, Absent::Make).unwrap()));
        assert_eq!(all.find(&["cpu"], None, Absent::Make).unwrap_err(), Errno::EBUSY);
        assert_eq!(all.find(&["nonsense"], None, Absent::Make).unwrap_err(), Errno::EINVAL);
        assert_eq!(all.find(&[], None, Absent::Make).unwrap_err(), Errno::EINVAL);
        assert_eq!(all.find(&[], Some("systemd"), Absent::Make).unwrap().label(), "name=systemd");
        assert_eq!(all.unified_controllers(), Controllers::all() - Controllers::CPU);
        assert_eq!(all.find(&["pids"], None, Absent::Refuse).unwrap_err(), Errno::EPERM);
    }

    #[test]
    fn a_hierarchy_without_groups_can_be_given_up() {
        let all = Hierarchies::default();
        let (first, second) = (
            all.find(&["cpu"], None, Absent::Make).unwrap(),
            all.find(&["pids"], None, Absent::Make).unwrap(),
        );
        second.root().make("child").unwrap();
        assert_eq!((all.give_up(&first), all.give_up(&second)), (true, false));
        assert_eq!(all.unified_controllers(), Controllers::all() - Controllers::PIDS);
        let again = all.find(&["cpu"], None, Absent::Make).unwrap();
        assert_eq!((second.id(), again.id()), (2, 3), "processes may remember the first");
    }

    #[test]
    fn groups_are_made_and_removed() {
        let (all, tasks) = (Hierarchies::default(), TaskSet::new(NamespaceIds::default()));
        let hierarchy = all.find(&["memory"], None, Absent::Make).unwrap();
        let docker = hierarchy.root().make("docker").unwrap();
        let box_ = docker.make("box").unwrap();
        assert_eq!((hierarchy.root().path(), box_.path()), ("/".into(), "/docker/box".into()));
        assert_eq!(hierarchy.root().make("docker").unwrap_err(), Errno::EEXIST);
        assert_eq!(hierarchy.root().remove("docker", &tasks), Err(Errno::EBUSY));
        docker.set_value("memory.limit_in_bytes", "7").unwrap();
        assert_eq!(box_.value("memory.limit_in_bytes"), None);
        assert_eq!(box_.inherited_value("memory.limit_in_bytes").as_deref(), Some("7"));
        assert_eq!((docker.remove("box", &tasks), hierarchy.root().count()), (Ok(()), 2));
        assert_eq!(box_.make("late").unwrap_err(), Errno::ENOENT, "it is gone");
        assert_eq!(docker.remove("box", &tasks), Err(Errno::ENOENT));
    }

    #[test]
    fn there_are_only_so_many() {
        let hierarchy = Hierarchies::default().find(&["pids"], None, Absent::Make).unwrap();
        let deepest =
            (1..group::MAX_DEPTH).fold(hierarchy.root().clone(), |group, _| group.make("x").unwrap());
        assert_eq!(deepest.make("x").unwrap_err(), Errno::ENOSPC);
    }
}
