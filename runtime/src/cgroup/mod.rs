//! The sandbox's control groups on the host, by plain file writes: version 1, version 2, and both at once (hybrid:
//! version 1 has the controllers, version 2 only the processes).
//!
//! A sandbox's cgroup holds all its processes, the gofers of its containers included, so limits hold for the whole.
//! `cgroupsPath` has runc's meaning: absolute paths are below the root of each hierarchy, relative ones below the
//! caller's own cgroup, and `slice:prefix:name` is systemd's form: with `--systemd-cgroup` systemd makes the unit, without
//! it we make the directories that the unit would have.

mod layout;
mod path;
mod stats;
mod systemd;
mod v1;
mod v2;

use std::fs::File;
use std::path::{Path, PathBuf};

pub(crate) use layout::Layout;
use path::UnitName;
pub(crate) use path::is_ancestor;
use serde::{Deserialize, Serialize};
use serde_json::Value;
pub(crate) use systemd::Holder;

use crate::error::{Context, Error, Result};
use crate::logging;

/// A container's cgroup as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupRecord {
    /// The cgroup's directories: one per hierarchy of version 1, or one of version 2.
    pub(crate) dirs: Vec<CgroupDir>,
    /// The directories that we made, parents first.
    pub(crate) made: Vec<PathBuf>,
    /// The unit of systemd's whose cgroup it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<String>,
    /// It is a pod's: its limits are not those of one container.
    #[serde(default)]
    pub(crate) is_pods: bool,
}

/// A cgroup that has just been made.
#[derive(Debug)]
pub(crate) struct Made {
    /// What is written down of it.
    pub(crate) record: CgroupRecord,
    /// What keeps it there until the first process of the container is in it.
    pub(crate) holder: Option<Holder>,
}

/// One directory of a cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupDir {
    /// The hierarchy's controllers (`cpu`, `memory`; `name=systemd`), or none for version 2.
    pub(crate) controllers: Vec<String>,
    /// Where.
    pub(crate) path: PathBuf,
}

/// Makes the cgroup that a configuration asks for and sets its limits.
///
/// `note` gets the record before anything is made, to be written down: whoever finds it can remove what an interrupted
/// caller left. A host that does not let us is an error, or a warning where `lenient` (rootless callers rarely may).
pub(crate) fn create(
    layout: &Layout,
    cgroups_path: &str,
    resources: &Value,
    systemd: bool,
    lenient: bool,
    note: impl FnOnce(&CgroupRecord) -> Result<()>,
) -> Result<Option<Made>> {
    if systemd && !systemd::is_running() {
        return Err(Error::new(
            "--systemd-cgroup: systemd does not run on this host; leave the flag out, or let Docker use \
             native.cgroupdriver=cgroupfs",
        ));
    }
    let place = path::relative(cgroups_path, systemd)?;
    let unit = if systemd { UnitName::parse(cgroups_path)? } else { None };
    let mut record = plan(layout, &place);
    if let Some(unit) = &unit {
        record.unit = Some(unit.name.clone());
        record.made.clear();
    }
    note(&record)?;
    let holder = unit.map(|unit| start_unit(&unit, layout, &place, &mut record, resources)).transpose();
    let made = holder.and_then(|holder| {
        record.made.iter().try_for_each(|dir| make_dir(dir))?;
        match layout {
            Layout::None => return Err(Error::new("no cgroup file system is mounted at /sys/fs/cgroup")),
            // systemd sees to its own.
            Layout::V2 { .. } if record.unit.is_some() => {}
            Layout::V2 { root, own } => v2::pass_controllers(root, &place.below_root(own)),
            Layout::V1 { hierarchies } => v1::prepare(hierarchies, &place)?,
        }
        record.write_limits(resources)?;
        Ok(holder)
    });
    match made {
        Ok(holder) => Ok(Some(Made { record, holder })),
        Err(error) => {
            record.remove();
            if lenient {
                logging::warning(format!("no limits are set: {error}"));
                return Ok(None);
            }
            Err(Error::new(format!(
                "{error}: run with --ignore-cgroups if limits are not needed, or let this user write to the cgroup"
            )))
        }
    }
}

/// Has systemd make a cgroup. Of version 1's hierarchies systemd uses a few: what it has not made is ours to make.
fn start_unit(
    unit: &UnitName,
    layout: &Layout,
    place: &path::Place,
    record: &mut CgroupRecord,
    resources: &Value,
) -> Result<Holder> {
    let holder = Holder::start()?;
    systemd::start(unit, &holder, resources, record.version())?;
    record.made = plan(layout, place).made;
    Ok(holder)
}

/// Removes the directories of a cgroup of which only the path is known, where nothing is in them. Those above it stay:
/// nobody knows any more who made them.
pub(crate) fn remove_if_empty(layout: &Layout, cgroups_path: &str, systemd: bool) {
    let Ok(place) = path::relative(cgroups_path, systemd) else { return };
    if let (true, Ok(Some(unit))) = (systemd && systemd::is_running(), UnitName::parse(cgroups_path)) {
        systemd::stop(&unit.name);
    }
    for dir in plan(layout, &place).dirs.iter().filter(|dir| dir.path.exists()) {
        remove_dir(&dir.path);
    }
}

/// The directories of a cgroup at `place`, and those of them that are to be made.
fn plan(layout: &Layout, place: &path::Place) -> CgroupRecord {
    let mut record = CgroupRecord { dirs: Vec::new(), made: Vec::new(), unit: None, is_pods: false };
    let mut add = |root: &Path, own: &Path, controllers: Vec<String>| {
        let mut path = root.to_path_buf();
        for part in place.below_root(own).components() {
            path.push(part);
            if !path.exists() {
                record.made.push(path.clone());
            }
        }
        record.dirs.push(CgroupDir { controllers, path });
    };
    match layout {
        Layout::None => {}
        Layout::V2 { root, own } => add(root, own, Vec::new()),
        Layout::V1 { hierarchies } => {
            hierarchies.iter().for_each(|one| add(&one.root, &one.own, one.controllers.clone()));
        }
    }
    record
}

/// Makes a directory; its parents again, where another container's end has just removed them.
fn make_dir(dir: &Path) -> Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the cgroup {}", dir.display()))
}

impl CgroupRecord {
    /// Whether it is of version 2.
    pub(crate) fn is_v2(&self) -> bool {
        self.dirs.iter().any(|dir| dir.controllers.is_empty())
    }

    /// The directory of version 1 with a controller, or that of version 2.
    fn dir_of(&self, controller: &str) -> Option<&Path> {
        let has =
            |dir: &&CgroupDir| dir.controllers.is_empty() || dir.controllers.iter().any(|c| c == controller);
        self.dirs.iter().find(has).map(|dir| dir.path.as_path())
    }

    /// The version, for systemd.
    fn version(&self) -> systemd::Version {
        if self.is_v2() { systemd::Version::Two } else { systemd::Version::One }
    }

    /// Whether it came with the container, and goes with it.
    pub(crate) fn is_ours(&self) -> bool {
        self.unit.is_some() || !self.made.is_empty()
    }

    /// Changes the limits to those of an OCI `resources` object; absent ones stay as they are.
    pub(crate) fn apply(&self, resources: &Value) -> Result<()> {
        if let Some(unit) = &self.unit {
            systemd::set(unit, resources, self.version())?;
        }
        self.write_limits(resources)
    }

    /// Writes limits to the cgroup's files.
    fn write_limits(&self, resources: &Value) -> Result<()> {
        if resources.is_null() {
            return Ok(());
        }
        if self.is_v2() { v2::apply(self, resources) } else { v1::apply(self, resources) }
    }

    /// The directory in which a process can be born, for version 2.
    pub(crate) fn birthplace(&self) -> Result<Option<File>> {
        let Some(dir) = self.dirs.first().filter(|_| self.is_v2()) else { return Ok(None) };
        let opened = File::open(&dir.path);
        opened.map(Some).with_context(|| format!("cannot open the cgroup {}", dir.path.display()))
    }

    /// Moves a process into it.
    pub(crate) fn add(&self, pid: i32) -> Result<()> {
        for dir in &self.dirs {
            write(&dir.path.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// The processes in it, where it is ours alone: in one that was there before others may be at home.
    pub(crate) fn own_pids(&self) -> Vec<i32> {
        let is_ours = |dir: &&CgroupDir| self.unit.is_some() || self.made.contains(&dir.path);
        let Some(dir) = self.dirs.first().filter(is_ours) else {
            return Vec::new();
        };
        let text = std::fs::read_to_string(dir.path.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Removes the directories that we made, as far as nobody else uses them, and the unit.
    pub(crate) fn remove(&self) {
        if let Some(unit) = &self.unit {
            systemd::stop(unit);
        }
        for dir in self.made.iter().rev() {
            if self.dirs.iter().any(|own| own.path == *dir) {
                remove_dir(dir);
            } else {
                // Others may be in it by now.
                let _ = std::fs::remove_dir(dir);
            }
        }
    }
}

/// Removes one cgroup. A process that has just ended may still be on its way out: that takes moments.
fn remove_dir(dir: &Path) {
    for attempt in 0..6_u32 {
        match std::fs::remove_dir(dir) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(std::time::Duration::from_millis(1 << attempt));
            }
            _ => return,
        }
    }
    logging::warning(format!("cannot remove the cgroup {}: processes are in it", dir.display()));
}

/// Writes a control file.
fn write(path: &Path, value: &str) -> Result<()> {
    // Not created where it is missing: a missing file means a missing controller.
    let written = File::options().write(true).open(path).and_then(|mut file| {
        use std::io::Write;
        file.write_all(value.as_bytes())
    });
    written.with_context(|| format!("cannot write \"{}\" to {}", value.trim_end(), path.display()))
}

/// Reads a number from a control file.
fn read_number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The processors in a list such as `0-2,7` (`man 7 cpuset`, "List format").
pub(crate) fn parse_cpu_list(text: &str) -> Option<Vec<u32>> {
    /// More than any kernel is built for.
    const MAX: u32 = 8192;
    // A set: a list may name one as often as it likes.
    let mut named = vec![false; MAX as usize];
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?);
        if first > last || last >= MAX {
            return None;
        }
        named[first as usize..=last as usize].fill(true);
    }
    Some((0..MAX).zip(named).filter_map(|(cpu, is_named)| is_named.then_some(cpu)).collect())
}

#[cfg(test)]
mod tests;
