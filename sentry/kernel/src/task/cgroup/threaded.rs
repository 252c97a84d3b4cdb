//! Kinds of groups of version 2 (`cgroup.type`): domains, which hold processes as wholes, and threaded ones, in which the
//! threads of a process are told apart. The rules are those of `kernel/cgroup/cgroup.c` in Linux's tree.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::{Errno, Result};

use super::{Cgroup, Changing, Controllers, Hierarchies};

/// What `cgroup.type` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupType {
    /// A group for processes.
    Domain,
    /// One in which threaded groups are.
    DomainThreaded,
    /// One below a threaded group that has not become one itself: nothing can be in it.
    DomainInvalid,
    /// A group for threads of its domain's processes.
    Threaded,
}

impl GroupType {
    /// As it is written.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::DomainThreaded => "domain threaded",
            Self::DomainInvalid => "domain invalid",
            Self::Threaded => "threaded",
        }
    }
}

impl Cgroup {
    /// Whether it is a threaded group.
    #[must_use]
    pub fn is_threaded(&self) -> bool {
        self.unified.is_threaded.load(Ordering::Acquire)
    }

    /// The group for whole processes that it belongs to: itself, or the first above that is not threaded.
    #[must_use]
    pub fn domain(self: &Arc<Self>) -> Arc<Self> {
        self.line().find(|group| !group.is_threaded()).unwrap_or_else(|| self.clone())
    }

    /// What kind of group it is.
    #[must_use]
    pub fn group_type(self: &Arc<Self>, changing: &Changing<'_>) -> GroupType {
        if self.is_threaded() {
            GroupType::Threaded
        } else if !self.is_valid_domain(changing) {
            GroupType::DomainInvalid
        } else if self.is_thread_root(changing) {
            GroupType::DomainThreaded
        } else {
            GroupType::Domain
        }
    }

    /// Whether it may become the domain of threaded groups.
    pub(super) fn can_be_thread_root(&self, _changing: &Changing<'_>) -> bool {
        if self.parent().is_none() {
            return true;
        }
        let has_domains = || self.children().iter().any(|child| !child.is_threaded() && child.is_populated());
        !self.is_threaded() && !has_domains() && Controllers::THREADED.contains(self.subtree_control())
    }

    fn is_thread_root(&self, _changing: &Changing<'_>) -> bool {
        let has_threaded = || self.children().iter().any(|child| child.is_threaded());
        let competes = || self.has_tasks() && self.subtree_control().intersects(Controllers::THREADED);
        !self.is_threaded() && (has_threaded() || competes())
    }

    pub(super) fn is_valid_domain(self: &Arc<Self>, changing: &Changing<'_>) -> bool {
        let is_in_the_way = |above: &Arc<Self>| {
            above.is_threaded() || above.parent().is_some() && above.is_thread_root(changing)
        };
        !self.is_threaded() && !self.line().skip(1).any(|above| is_in_the_way(&above))
    }

    /// Makes it threaded, which it then stays.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where it or what is above has processes or controllers that are not for threads, `ENOENT` where it
    /// was removed.
    pub fn make_threaded(self: &Arc<Self>, all: &Hierarchies) -> Result<()> {
        let changing = all.change();
        self.check_alive().map_err(|_| Errno::ENOENT)?;
        if self.is_threaded() {
            return Ok(());
        }
        let domain = self.parent().ok_or(Errno::EOPNOTSUPP)?.domain();
        let is_free = !self.is_populated() && Controllers::THREADED.contains(self.subtree_control());
        if !is_free || !domain.is_valid_domain(&changing) || !domain.can_be_thread_root(&changing) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.unified.is_threaded.store(true, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threaded_group_makes_its_parent_a_thread_root() {
        let all = Hierarchies::default();
        let top = all.unified().make("box").unwrap();
        let [a, b] = ["a", "b"].map(|name| top.make(name).unwrap());
        let below = a.make("below").unwrap();
        let kind = |group: &Arc<Cgroup>| group.group_type(&all.change());
        assert_eq!(kind(&a), GroupType::Domain);
        assert_eq!(a.make_threaded(&all), Ok(()));
        assert_eq!(
            [kind(&top), kind(&a), kind(&b)].map(GroupType::text),
            ["domain threaded", "threaded", "domain invalid"]
        );
        assert_eq!(kind(&below), GroupType::DomainInvalid);
        assert_eq!(top.set_subtree_control(&all, "+memory"), Err(Errno::EOPNOTSUPP));
        assert_eq!(top.set_subtree_control(&all, "+pids"), Ok(()));
        assert_eq!(below.make_threaded(&all), Ok(()));
        assert_eq!(a.controllers(&all), Controllers::PIDS);
    }
}
