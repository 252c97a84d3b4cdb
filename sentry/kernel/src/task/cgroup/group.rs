//! A group: a name in a tree, and the values that were written to it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::{Errno, Result};
use host::heap::{self, Purpose};
use parking_lot::Mutex;

use super::UNIFIED;
use super::unified::Unified;
use crate::task::{TaskSet, ThreadGroup};
use crate::vfs::Inode;

/// Groups of one hierarchy or one container, and levels of groups at most.
const MAX_GROUPS: u32 = 4096;
pub(super) const MAX_DEPTH: usize = 32;
/// About what a group takes with its directory, and a value besides its text.
const GROUP_COST: u64 = 3 << 10;
const VALUE_COST: u64 = 100;
/// The longest value that is kept.
const MAX_VALUE: usize = 4096;

/// A group.
///
/// A group holds its parent, which holds it until it is removed.
pub struct Cgroup {
    hierarchy: u32,
    name: String,
    /// Tells it from all others that there are and were in its hierarchy; younger ones have greater numbers.
    number: u64,
    parent: Option<Arc<Self>>,
    /// The last number that was given in the hierarchy.
    last_number: Arc<AtomicU64>,
    /// Groups that are counted together.
    groups: Arc<AtomicU32>,
    /// `None` once it is removed.
    children: Mutex<Option<Children>>,
    values: Mutex<BTreeMap<&'static str, String>>,
    /// `cgroup.procs`, once there is one: it says who may move tasks. A leaf lock.
    procs_file: Mutex<Option<Weak<dyn Inode>>>,
    pub(super) unified: Unified,
}

/// The groups in a group.
#[derive(Default)]
struct Children {
    by_name: BTreeMap<String, Arc<Cgroup>>,
    by_number: BTreeMap<u64, Arc<Cgroup>>,
}

impl std::fmt::Debug for Cgroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cgroup({}, {:?})", self.hierarchy, self.name)
    }
}

impl Cgroup {
    /// The top of a hierarchy.
    pub(super) fn top(hierarchy: u32) -> Arc<Self> {
        Arc::new(Self {
            hierarchy,
            name: String::new(),
            number: 0,
            parent: None,
            last_number: Arc::default(),
            groups: Arc::new(AtomicU32::new(1)),
            children: Mutex::new(Some(Children::default())),
            values: Mutex::default(),
            procs_file: Mutex::new(None),
            unified: Unified::default(),
        })
    }

    /// A group in it, which is not among its children yet.
    fn below(self: &Arc<Self>, name: &str) -> Arc<Self> {
        // Containers do not count each other's groups.
        let is_container = self.hierarchy == UNIFIED && self.parent.is_none();
        let groups = if is_container { Arc::new(AtomicU32::new(1)) } else { self.groups.clone() };
        Arc::new(Self {
            hierarchy: self.hierarchy,
            name: name.to_owned(),
            number: self.last_number.fetch_add(1, Ordering::Relaxed) + 1,
            parent: Some(self.clone()),
            last_number: self.last_number.clone(),
            groups,
            children: Mutex::new(Some(Children::default())),
            values: Mutex::default(),
            procs_file: Mutex::new(None),
            unified: Unified::default(),
        })
    }

    pub(super) fn hierarchy(&self) -> u32 {
        self.hierarchy
    }

    /// The group that it is in.
    #[must_use]
    pub fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// It and the groups that it is in, upwards.
    pub fn line(self: &Arc<Self>) -> impl Iterator<Item = Arc<Self>> {
        std::iter::successors(Some(self.clone()), |group| group.parent.clone())
    }

    /// Whether it is `above` or below it.
    #[must_use]
    pub fn is_below(self: &Arc<Self>, above: &Arc<Self>) -> bool {
        self.line().any(|group| Arc::ptr_eq(&group, above))
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
        self.children.lock().iter().flat_map(|children| children.by_name.values()).cloned().collect()
    }

    /// How many groups are in it.
    #[must_use]
    pub fn child_count(&self) -> usize {
        self.children.lock().as_ref().map_or(0, |children| children.by_name.len())
    }

    /// The oldest group in it whose number is at least `number`.
    #[must_use]
    pub fn child_from(&self, number: u64) -> Option<Arc<Self>> {
        let children = self.children.lock();
        children.as_ref()?.by_number.range(number..).next().map(|(_, child)| child.clone())
    }

    /// Its number: no other group of its hierarchy has or had it.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The group in it of this name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<Arc<Self>> {
        self.children.lock().as_ref()?.by_name.get(name).cloned()
    }

    /// How many groups are counted together with it.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.groups.load(Ordering::Relaxed)
    }

    /// Whether it was removed.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.children.lock().is_none()
    }

    /// # Errors
    /// `ENODEV` where it was removed.
    pub fn check_alive(&self) -> Result<()> {
        if self.is_removed() { Err(Errno::ENODEV) } else { Ok(()) }
    }

    /// Whose `cgroup.procs` a file is.
    pub fn show_procs_file(&self, file: &Arc<dyn Inode>) {
        *self.procs_file.lock() = Some(Arc::downgrade(file));
    }

    pub(super) fn procs_file(&self) -> Option<Arc<dyn Inode>> {
        self.procs_file.lock().as_ref()?.upgrade()
    }

    /// Makes a group in it.
    ///
    /// # Errors
    /// `EEXIST`; `ENOENT` where it was removed; `ENOSPC` with too many, `ENOMEM`, `EINVAL` for a name with a line's end in
    /// it.
    pub fn make(self: &Arc<Self>, name: &str) -> Result<Arc<Self>> {
        if name.contains('\n') {
            return Err(Errno::EINVAL);
        }
        let mut children = self.children.lock();
        let children = children.as_mut().ok_or(Errno::ENOENT)?;
        if children.by_name.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        heap::room_for(GROUP_COST, Purpose::Lasting)?;
        let one_more = |groups: u32| (groups < MAX_GROUPS).then_some(groups + 1);
        if self.line().count() >= MAX_DEPTH
            || self.groups.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err()
        {
            return Err(Errno::ENOSPC);
        }
        let child = self.below(name);
        children.by_name.insert(name.to_owned(), child.clone());
        children.by_number.insert(child.number, child.clone());
        Ok(child)
    }

    /// Removes a group of version 1 in it.
    ///
    /// # Errors
    /// `ENOENT`; `EBUSY` where there are processes or groups in it.
    pub fn remove(&self, name: &str, tasks: &TaskSet) -> Result<()> {
        self.remove_if(name, |child| child.members(tasks).is_empty())
    }

    /// Removes a group in it, if no group is in that and `is_empty` says so: nothing joins it meanwhile.
    ///
    /// # Errors
    /// `ENOENT`; `EBUSY`.
    pub(super) fn remove_if(&self, name: &str, is_empty: impl FnOnce(&Self) -> bool) -> Result<()> {
        let mut children = self.children.lock();
        let children = children.as_mut().ok_or(Errno::ENOENT)?;
        let child = children.by_name.get(name).ok_or(Errno::ENOENT)?.clone();
        let mut inner = child.children.lock();
        if !inner.as_ref().is_some_and(|inner| inner.by_name.is_empty()) || !is_empty(&child) {
            return Err(Errno::EBUSY);
        }
        *inner = None;
        drop(inner);
        children.by_name.remove(name);
        children.by_number.remove(&child.number);
        self.groups.fetch_sub(1, Ordering::Relaxed);
        Ok(())
    }

    /// The living processes in it, a group of version 1.
    #[must_use]
    pub fn members(&self, tasks: &TaskSet) -> Vec<Arc<ThreadGroup>> {
        let is_in = |process: &Arc<ThreadGroup>| match process.cgroup(self.hierarchy) {
            Some(group) => std::ptr::eq(&*group, self),
            None => self.parent.is_none(),
        };
        tasks.thread_groups().into_iter().filter(|process| !process.is_zombie() && is_in(process)).collect()
    }

    /// How many tasks are in it, a group of version 1, and the groups below.
    #[must_use]
    pub fn task_count(self: &Arc<Self>, tasks: &TaskSet) -> u64 {
        let processes =
            tasks.thread_groups().into_iter().filter(|process| !process.is_zombie() && self.holds(process));
        processes.map(|process| process.tasks().len() as u64).sum()
    }

    /// Whether a process is in it, a group of version 1, or below.
    pub(super) fn holds(self: &Arc<Self>, process: &ThreadGroup) -> bool {
        process.cgroup(self.hierarchy).map_or(self.parent.is_none(), |group| group.is_below(self))
    }

    /// Moves a process here, in a hierarchy of version 1.
    ///
    /// # Errors
    /// `ENODEV` where the group was removed.
    pub fn take(self: &Arc<Self>, tasks: &TaskSet, process: &ThreadGroup) -> Result<()> {
        // A child that is being made takes its parent's groups under this lock.
        let tree = tasks.tree();
        let children = self.children.lock();
        if children.is_none() {
            return Err(Errno::ENODEV);
        }
        process.set_cgroup(&tree, self.hierarchy, self.clone());
        Ok(())
    }

    /// A value that was written.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<String> {
        self.values.lock().get(name).cloned()
    }

    /// A value that was written, here or in the next group above that has one.
    #[must_use]
    pub fn inherited_value(self: &Arc<Self>, name: &str) -> Option<String> {
        self.line().find_map(|group| group.value(name))
    }

    /// Keeps a value.
    ///
    /// # Errors
    /// `E2BIG`, `ENOMEM`.
    pub fn set_value(&self, name: &'static str, value: &str) -> Result<()> {
        if value.len() > MAX_VALUE {
            return Err(Errno::E2BIG);
        }
        heap::room_for(VALUE_COST + value.len() as u64, Purpose::Lasting)?;
        self.values.lock().insert(name, value.to_owned());
        Ok(())
    }

    pub(super) fn keep_values(&self, is_kept: impl Fn(&str) -> bool) {
        self.values.lock().retain(|name, _| is_kept(name));
    }

    /// Whether one more task may be in it, by `pids.max` of version 1 here and above.
    pub(super) fn has_room(self: &Arc<Self>, tasks: &TaskSet) -> bool {
        self.line().all(|group| {
            let max = group.value("pids.max").and_then(|text| text.parse::<u64>().ok());
            max.is_none_or(|max| group.task_count(tasks) < max)
        })
    }
}
