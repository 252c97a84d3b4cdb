//! Control groups of version 1 that guests make for themselves (`man 7 cgroups`): hierarchies of groups, each for some
//! controllers, and which group a process is in.
//!
//! Container managers inside a container need them to start anything. The host's limits on the sandbox are another
//! matter, and stand above whatever is set here. A group keeps the values that are written to it; `pids.max` holds for
//! clone(2). Processes are in groups as wholes: a thread that is moved takes its process with it.
//!
//! Locks: the list of hierarchies → a group's children → a process's memberships, a group's values: leaves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use abi::{Errno, Result};
use parking_lot::Mutex;

use super::{TaskSet, ThreadGroup};

/// The controllers that there are.
pub const CONTROLLERS: [&str; 6] = ["cpuset", "cpu", "cpuacct", "memory", "devices", "pids"];
/// Hierarchies, groups of one, and levels of groups at most.
const MAX_HIERARCHIES: usize = 32;
const MAX_GROUPS: u32 = 4096;
const MAX_DEPTH: usize = 32;
/// The longest value that is kept.
const MAX_VALUE: usize = 4096;

/// A hierarchy: its controllers, and the tree of its groups.
#[derive(Debug)]
pub struct Hierarchy {
    id: u32,
    /// In the order of [`CONTROLLERS`].
    controllers: Vec<&'static str>,
    /// `name=` of one that may have no controllers.
    name: Option<String>,
    root: Arc<Cgroup>,
    groups: Arc<AtomicU32>,
}

/// A group.
#[derive(Debug)]
pub struct Cgroup {
    hierarchy: u32,
    name: String,
    parent: Weak<Self>,
    /// Groups of the whole hierarchy.
    groups: Arc<AtomicU32>,
    /// `None` once it is removed.
    children: Mutex<Option<BTreeMap<String, Arc<Self>>>>,
    values: Mutex<BTreeMap<&'static str, String>>,
}

/// The groups that a process is in, by hierarchy; the root of those that are not named.
pub(super) type Memberships = BTreeMap<u32, Arc<Cgroup>>;

/// All hierarchies of a sandbox.
#[derive(Debug, Default)]
pub struct Hierarchies {
    list: Mutex<Vec<Arc<Hierarchy>>>,
}

impl Hierarchies {
    /// The hierarchy of exactly these controllers and this name, made where nobody has mounted it yet.
    ///
    /// # Errors
    /// `EINVAL` for an unknown controller or for none and no name, `EBUSY` where a controller belongs to another
    /// hierarchy, `ENOSPC`.
    pub fn find(&self, wanted: &[&str], name: Option<&str>) -> Result<Arc<Hierarchy>> {
        let is_known = |wanted: &&str| CONTROLLERS.contains(wanted);
        if !wanted.iter().all(is_known) || wanted.is_empty() && name.is_none() {
            return Err(Errno::EINVAL);
        }
        let controllers: Vec<_> = CONTROLLERS.into_iter().filter(|own| wanted.contains(own)).collect();
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
        if list.iter().any(is_taken) {
            return Err(Errno::EBUSY);
        }
        if list.len() >= MAX_HIERARCHIES {
            return Err(Errno::ENOSPC);
        }
        let id = list.len() as u32 + 1;
        let groups = Arc::new(AtomicU32::new(1));
        let root = Cgroup::new(id, String::new(), Weak::new(), &groups);
        let fresh = Arc::new(Hierarchy { id, controllers, name: name.map(str::to_owned), root, groups });
        list.push(fresh.clone());
        Ok(fresh)
    }

    /// All, the youngest first.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Hierarchy>> {
        self.list.lock().iter().rev().cloned().collect()
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

    /// How many groups it has.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.groups.load(Ordering::Relaxed)
    }

    /// Whether it has none: never, there is the root.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
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

impl Cgroup {
    fn new(hierarchy: u32, name: String, parent: Weak<Self>, groups: &Arc<AtomicU32>) -> Arc<Self> {
        let children = Mutex::new(Some(BTreeMap::new()));
        Arc::new(Self { hierarchy, name, parent, groups: groups.clone(), children, values: Mutex::default() })
    }

    /// The group that it is in.
    #[must_use]
    pub fn parent(&self) -> Option<Arc<Self>> {
        self.parent.upgrade()
    }

    /// It and the groups that it is in, upwards.
    fn line(self: &Arc<Self>) -> impl Iterator<Item = Arc<Self>> {
        std::iter::successors(Some(self.clone()), |group| group.parent())
    }

    /// Its path from the top.
    #[must_use]
    pub fn path(self: &Arc<Self>) -> String {
        let mut names: Vec<_> = self.line().map(|group| group.name.clone()).collect();
        names.reverse();
        if names.len() == 1 { "/".into() } else { names.join("/") }
    }

    /// The groups in it, by name.
    #[must_use]
    pub fn children(&self) -> Vec<Arc<Self>> {
        self.children.lock().iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The group in it of this name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<Arc<Self>> {
        self.children.lock().as_ref()?.get(name).cloned()
    }

    /// Makes a group in it.
    ///
    /// # Errors
    /// `EEXIST`; `ENOENT` where it was removed; `ENOSPC` with too many, `EINVAL` for a name with a line's end in it.
    pub fn make(self: &Arc<Self>, name: &str) -> Result<Arc<Self>> {
        if name.contains('\n') {
            return Err(Errno::EINVAL);
        }
        let mut children = self.children.lock();
        let children = children.as_mut().ok_or(Errno::ENOENT)?;
        if children.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let one_more = |groups: u32| (groups < MAX_GROUPS).then_some(groups + 1);
        if self.line().count() >= MAX_DEPTH
            || self.groups.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err()
        {
            return Err(Errno::ENOSPC);
        }
        let child = Self::new(self.hierarchy, name.to_owned(), Arc::downgrade(self), &self.groups);
        children.insert(name.to_owned(), child.clone());
        Ok(child)
    }

    /// Removes a group in it.
    ///
    /// # Errors
    /// `ENOENT`; `EBUSY` where there are processes or groups in it.
    pub fn remove(&self, name: &str, tasks: &TaskSet) -> Result<()> {
        let mut children = self.children.lock();
        let children = children.as_mut().ok_or(Errno::ENOENT)?;
        let child = children.get(name).ok_or(Errno::ENOENT)?;
        let mut inner = child.children.lock();
        if !inner.as_ref().is_some_and(BTreeMap::is_empty) || !child.members(tasks).is_empty() {
            return Err(Errno::EBUSY);
        }
        *inner = None;
        drop(inner);
        children.remove(name);
        self.groups.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    /// The living processes in it.
    #[must_use]
    pub fn members(&self, tasks: &TaskSet) -> Vec<Arc<ThreadGroup>> {
        let is_in = |process: &Arc<ThreadGroup>| match process.cgroup(self.hierarchy) {
            Some(group) => std::ptr::eq(&*group, self),
            None => self.parent.strong_count() == 0 && self.name.is_empty(),
        };
        tasks.thread_groups().into_iter().filter(|process| !process.is_zombie() && is_in(process)).collect()
    }

    /// How many tasks are in it and the groups below.
    #[must_use]
    pub fn task_count(self: &Arc<Self>, tasks: &TaskSet) -> u64 {
        let is_root = self.parent.strong_count() == 0 && self.name.is_empty();
        let is_below = |process: &Arc<ThreadGroup>| {
            let group = process.cgroup(self.hierarchy);
            group.map_or(is_root, |group| group.line().any(|above| Arc::ptr_eq(&above, self)))
        };
        let processes =
            tasks.thread_groups().into_iter().filter(|process| !process.is_zombie() && is_below(process));
        processes.map(|process| process.tasks().len() as u64).sum()
    }

    /// Moves a process here.
    ///
    /// # Errors
    /// `ENODEV` where the group was removed.
    pub fn take(self: &Arc<Self>, process: &ThreadGroup) -> Result<()> {
        let children = self.children.lock();
        if children.is_none() {
            return Err(Errno::ENODEV);
        }
        process.set_cgroup(self.hierarchy, self.clone());
        Ok(())
    }

    /// A value that was written, here or where `inherits` in the next group above that has one.
    #[must_use]
    pub fn value(self: &Arc<Self>, name: &str, inherits: bool) -> Option<String> {
        let levels = if inherits { usize::MAX } else { 1 };
        self.line().take(levels).find_map(|group| group.values.lock().get(name).cloned())
    }

    /// Keeps a value.
    ///
    /// # Errors
    /// `E2BIG`.
    pub fn set_value(&self, name: &'static str, value: &str) -> Result<()> {
        if value.len() > MAX_VALUE {
            return Err(Errno::E2BIG);
        }
        self.values.lock().insert(name, value.to_owned());
        Ok(())
    }

    /// Whether one more task may be in it, by `pids.max` here and above.
    fn has_room(self: &Arc<Self>, tasks: &TaskSet) -> bool {
        self.line().all(|group| {
            let max = group.value("pids.max", false).and_then(|text| text.parse::<u64>().ok());
            max.is_none_or(|max| group.task_count(tasks) < max)
        })
    }
}

impl ThreadGroup {
    /// Whether its groups have room for one more task.
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
        let both = all.find(&["cpuacct", "cpu"], None).unwrap();
        assert_eq!(both.label(), "cpu,cpuacct");
        assert!(Arc::ptr_eq(&both, &all.find(&["cpu", "cpuacct"], None).unwrap()));
        assert_eq!(all.find(&["cpu"], None).unwrap_err(), Errno::EBUSY);
        assert_eq!(all.find(&["nonsense"], None).unwrap_err(), Errno::EINVAL);
        assert_eq!(all.find(&[], None).unwrap_err(), Errno::EINVAL);
        assert_eq!(all.find(&[], Some("systemd")).unwrap().label(), "name=systemd");
    }

    #[test]
    fn groups_are_made_and_removed() {
        let (all, tasks) = (Hierarchies::default(), TaskSet::new(NamespaceIds::default()));
        let hierarchy = all.find(&["memory"], None).unwrap();
        let docker = hierarchy.root().make("docker").unwrap();
        let box_ = docker.make("box").unwrap();
        assert_eq!((hierarchy.root().path(), box_.path()), ("/".into(), "/docker/box".into()));
        assert_eq!(hierarchy.root().make("docker").unwrap_err(), Errno::EEXIST);
        assert_eq!(hierarchy.root().remove("docker", &tasks), Err(Errno::EBUSY));
        docker.set_value("memory.limit_in_bytes", "7").unwrap();
        assert_eq!(box_.value("memory.limit_in_bytes", false), None);
        assert_eq!(box_.value("memory.limit_in_bytes", true).as_deref(), Some("7"));
        assert_eq!((docker.remove("box", &tasks), hierarchy.len()), (Ok(()), 2));
        assert_eq!(box_.make("late").unwrap_err(), Errno::ENOENT, "it is gone");
        assert_eq!(docker.remove("box", &tasks), Err(Errno::ENOENT));
    }

    #[test]
    fn there_are_only_so_many() {
        let hierarchy = Hierarchies::default().find(&["pids"], None).unwrap();
        let deepest = (1..MAX_DEPTH).fold(hierarchy.root().clone(), |group, _| group.make("x").unwrap());
        assert_eq!(deepest.make("x").unwrap_err(), Errno::ENOSPC);
    }
}
