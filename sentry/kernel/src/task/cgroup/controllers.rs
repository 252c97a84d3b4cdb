//! The controllers of version 2, and which of them a group has and gives on (`cgroup.controllers`,
//! `cgroup.subtree_control`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::{Errno, Result};
use bitflags::bitflags;

use super::threaded::GroupType;
use super::{Cgroup, Changing, CpuBandwidth, Hierarchies};

bitflags! {
    /// Controllers of version 2.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Controllers: u32 {
        /// Processors and memory nodes.
        const CPUSET = 1;
        /// Processor time.
        const CPU = 2;
        /// Block devices.
        const IO = 4;
        /// Memory.
        const MEMORY = 8;
        /// Numbers of tasks.
        const PIDS = 16;
    }
}

impl Controllers {
    /// Those that tell threads of a process apart.
    pub const THREADED: Self = Self::CPUSET.union(Self::CPU).union(Self::PIDS);

    /// Names, in the order in which they are told.
    const NAMES: [(&'static str, Self); 5] = [
        ("cpuset", Self::CPUSET),
        ("cpu", Self::CPU),
        ("io", Self::IO),
        ("memory", Self::MEMORY),
        ("pids", Self::PIDS),
    ];

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, controller)| *controller)
    }

    /// Their names.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        Self::NAMES.iter().filter(|(_, own)| self.contains(*own)).map(|(name, _)| *name).collect()
    }
}

/// What `cgroup.subtree_control` is told: what to enable and what to disable.
fn parse(text: &str) -> Result<(Controllers, Controllers)> {
    let (mut enable, mut disable) = (Controllers::empty(), Controllers::empty());
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let named = |name: &str| Controllers::named(name).ok_or(Errno::EINVAL);
        if let Some(name) = word.strip_prefix('+') {
            enable |= named(name)?;
            disable -= named(name)?;
        } else {
            let name = word.strip_prefix('-').ok_or(Errno::EINVAL)?;
            disable |= named(name)?;
            enable -= named(name)?;
        }
    }
    Ok((enable, disable))
}

impl Cgroup {
    /// The controllers that it has (`cgroup.controllers`).
    #[must_use]
    pub fn controllers(&self, all: &Hierarchies) -> Controllers {
        let Some(parent) = self.parent() else { return all.unified_controllers() };
        let given =
            if parent.parent().is_none() { all.unified_controllers() } else { parent.subtree_control() };
        if self.is_threaded() { given & Controllers::THREADED } else { given }
    }

    /// The controllers that the groups in it have.
    #[must_use]
    pub fn subtree_control(&self) -> Controllers {
        Controllers::from_bits_truncate(self.unified.control.load(Ordering::Acquire))
    }

    /// What is in use below the containers' own groups; it stays so while the caller holds the hierarchy's lock.
    pub(super) fn uses_below(&self) -> Controllers {
        self.children().iter().fold(self.subtree_control(), |sum, child| sum | child.uses_below())
    }

    /// Enables and disables controllers for the groups in it, as `cgroup.subtree_control` is told.
    ///
    /// # Errors
    /// `EINVAL` for what is no controller, `ENOENT` for one that it does not have itself, `EBUSY` for one that a group
    /// below gives on or where it has tasks of its own, `EOPNOTSUPP` among threads, `ENODEV` where it was removed.
    pub fn set_subtree_control(self: &Arc<Self>, all: &Hierarchies, text: &str) -> Result<()> {
        let (mut enable, mut disable) = parse(text)?;
        let changing = all.change();
        self.check_alive()?;
        let now = self.subtree_control();
        enable -= now;
        disable &= now;
        if !self.controllers(all).contains(enable) {
            return Err(Errno::ENOENT);
        }
        if self.children().iter().any(|child| child.subtree_control().intersects(disable)) {
            return Err(Errno::EBUSY);
        }
        if !enable.is_empty() {
            self.check_enable(&changing, enable)?;
        }
        self.unified.control.store(((now | enable) - disable).bits(), Ordering::Release);
        for child in self.children() {
            child.forget_values(disable);
        }
        Ok(())
    }

    /// Whether controllers may be enabled: not beside tasks of its own, except among threads.
    fn check_enable(self: &Arc<Self>, changing: &Changing<'_>, enable: Controllers) -> Result<()> {
        let group_type = self.group_type(changing);
        if !self.domain().is_valid_domain(changing) {
            return Err(Errno::EOPNOTSUPP);
        }
        let is_among_threads = matches!(group_type, GroupType::Threaded | GroupType::DomainThreaded);
        if !Controllers::THREADED.contains(enable) {
            if is_among_threads {
                return Err(Errno::EOPNOTSUPP);
            }
        } else if self.can_be_thread_root(changing) || self.is_threaded() {
            return Ok(());
        }
        if self.has_tasks() { Err(Errno::EBUSY) } else { Ok(()) }
    }

    /// What belonged to controllers that it does not have any more.
    fn forget_values(&self, gone: Controllers) {
        let prefixes: Vec<_> = gone.names().iter().map(|name| format!("{name}.")).collect();
        self.keep_values(|name| !prefixes.iter().any(|prefix| name.starts_with(prefix)));
        if gone.contains(Controllers::PIDS) {
            self.set_max_tasks(u64::MAX);
        }
        if gone.contains(Controllers::CPU) {
            self.set_bandwidth(CpuBandwidth::default());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Absent;
    use super::*;

    #[test]
    fn the_last_word_on_a_controller_counts() {
        assert_eq!(
            parse("+memory  -pids +pids"),
            Ok((Controllers::MEMORY | Controllers::PIDS, Controllers::empty()))
        );
        assert_eq!(parse(""), Ok((Controllers::empty(), Controllers::empty())));
        for bad in ["memory", "+nonsense", "+", "-devices", "+cpu,memory"] {
            assert_eq!(parse(bad), Err(Errno::EINVAL), "{bad}");
        }
    }

    #[test]
    fn controllers_come_from_above() {
        let all = Hierarchies::default();
        let top = all.unified().make("box").unwrap();
        assert_eq!(top.controllers(&all), Controllers::all());
        let child = top.make("child").unwrap();
        assert_eq!(child.controllers(&all), Controllers::empty());
        assert_eq!(child.set_subtree_control(&all, "+pids"), Err(Errno::ENOENT));
        assert_eq!(top.set_subtree_control(&all, "+pids +memory"), Ok(()));
        assert_eq!(child.set_subtree_control(&all, "+pids"), Ok(()));
        assert_eq!(top.set_subtree_control(&all, "-pids"), Err(Errno::EBUSY));
        assert_eq!(all.find(&["memory"], None, Absent::Make).unwrap_err(), Errno::EBUSY, "version 2 has it");
        assert_eq!(child.set_subtree_control(&all, "-pids"), Ok(()));
        assert_eq!(top.set_subtree_control(&all, "-pids -memory"), Ok(()));
        assert!(all.find(&["memory"], None, Absent::Make).is_ok());
        assert_eq!(top.set_subtree_control(&all, "+memory"), Err(Errno::ENOENT));
    }
}
