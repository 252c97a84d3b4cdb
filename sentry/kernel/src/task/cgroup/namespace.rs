//! cgroup name spaces (`man 7 cgroup_namespaces`): the groups that paths are relative to.

use std::sync::Arc;

use super::{Cgroup, Hierarchies, Memberships, UNIFIED};
use crate::task::{OtherNamespace, Task};

/// What is in a cgroup name space: its group in each hierarchy, the top of those that are not named.
#[derive(Debug, Default)]
pub struct CgroupNamespace {
    groups: Memberships,
    /// A guest has made it.
    is_unshared: bool,
}

impl CgroupNamespace {
    /// What is in `ns`.
    #[must_use]
    pub fn inside(ns: &OtherNamespace) -> Arc<Self> {
        ns.content(Arc::default).unwrap_or_default()
    }

    /// Makes `ns`, which nobody has used yet, one with `group` as version 2's top.
    pub fn begin_at(ns: &OtherNamespace, group: &Arc<Cgroup>) {
        let groups = Memberships::from([(UNIFIED, group.clone())]);
        let _ = ns.content(|| Arc::new(Self { groups, is_unshared: false }));
    }

    /// Makes `ns`, which nobody has used yet, one with the groups that a task is in.
    pub(in crate::task) fn begin_with(ns: &OtherNamespace, task: &Task) {
        let mut groups = task.thread_group().memberships();
        groups.insert(UNIFIED, task.cgroup());
        let _ = ns.content(|| Arc::new(Self { groups, is_unshared: true }));
    }

    /// Whether a guest has made it: in those no hierarchies of version 1 are made.
    #[must_use]
    pub fn is_unshared(&self) -> bool {
        self.is_unshared
    }

    /// The top of version 2's hierarchy.
    #[must_use]
    pub fn unified(&self, all: &Hierarchies) -> Arc<Cgroup> {
        self.groups.get(&UNIFIED).unwrap_or(all.unified()).clone()
    }

    /// The path of `group` as it is seen from here: upwards, where it is not below.
    #[must_use]
    pub fn path_of(&self, group: &Arc<Cgroup>) -> String {
        match self.groups.get(&group.hierarchy()) {
            Some(top) => group.path_from(top),
            None => group.path(),
        }
    }
}

impl Cgroup {
    /// Its path from `top`, a group of the same hierarchy.
    fn path_from(self: &Arc<Self>, top: &Arc<Self>) -> String {
        let (mut own, mut tops): (Vec<_>, Vec<_>) = (self.line().collect(), top.line().collect());
        while let (Some(a), Some(b)) = (own.last(), tops.last())
            && Arc::ptr_eq(a, b)
        {
            own.pop();
            tops.pop();
        }
        let up = "/..".repeat(tops.len());
        let down: String = own.iter().rev().map(|group| format!("/{}", group.name())).collect();
        if up.is_empty() && down.is_empty() { "/".into() } else { up + &down }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_relative_to_a_name_space() {
        let all = Hierarchies::default();
        let top = all.unified().make("one").unwrap();
        let (a, b) = (top.make("a").unwrap(), top.make("b").unwrap());
        let inner = a.make("x").unwrap();
        assert_eq!(inner.path_from(&top), "/a/x");
        assert_eq!((inner.path_from(&a), a.path_from(&a)), ("/x".into(), "/".into()));
        assert_eq!((b.path_from(&a), top.path_from(&inner)), ("/../b".into(), "/../..".into()));
    }
}
