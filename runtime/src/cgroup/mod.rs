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
pub(crate) use systemd::{Holder, Unit};

use crate::error::{Context, Error, Result};
use crate::logging;

/// A container's cgroup as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CgroupRecord {
    /// The cgroup's directories: one per hierarchy of version 1, or one of version 2.
    pub(crate) dirs: Vec<CgroupDir>,
    /// The directories that we made, parents first.
    pub(crate) made: Vec<PathBuf>,
    /// The unit of systemd's whose cgroup it is, or was to be where its start was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<Unit>,
    /// It is a pod's: its limits are not those of one container.
    #[serde(default)]
    pub(crate) is_pods: bool,
}

/// Who may be in a new container's cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// The container alone.
    Alone,
    /// Whoever else the pod has.
    Pod,
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
/// caller left. A host that does not let us is an error, or a warning where `lenient` (rootless callers rarely may). A
/// container's cgroup is its alone: one that has processes already is refused, unless `sharing` allows it.
pub(crate) fn create(
    layout: &Layout,
    cgroups_path: &str,
    resources: &Value,
    systemd: bool,
    sharing: Sharing,
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
    if sharing == Sharing::Alone {
        record.refuse_inhabited()?;
    }
    if let Some(unit) = &unit {
        record.unit = Some(Unit::new(unit));
        record.made.clear();
    }
    note(&record)?;
    let holder = unit.map(|unit| start_unit(&unit, layout, &place, &mut record, resources)).transpose();
    let made = holder.and_then(|holder| {
        record.make_dirs()?;
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
    if let Some(ours) = &record.unit {
        systemd::start(unit, ours, &holder, resources, record.version())?;
    }
    record.made = plan(layout, place).made;
    Ok(holder)
}

/// Removes the directories of a cgroup of which only the path is known, where nothing is in them. Those above it stay:
/// nobody knows any more who made them. A unit of systemd's is left alone: nobody knows whose it is, and one without a
/// process goes by itself.
pub(crate) fn remove_if_empty(layout: &Layout, cgroups_path: &str) {
    let Ok(place) = path::relative(cgroups_path, false) else { return };
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

/// The processes in one cgroup.
fn pids_in(dir: &Path) -> Vec<i32> {
    let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
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

    /// Refuses a cgroup that is there already and has processes: they would get the new container's limits, and end
    /// with it.
    fn refuse_inhabited(&self) -> Result<()> {
        let Some((dir, count)) =
            self.dirs.iter().map(|dir| (&dir.path, pids_in(&dir.path).len())).find(|(_, count)| *count > 0)
        else {
            return Ok(());
        };
        Err(Error::new(format!(
            "the container's cgroup is not empty: {} has {count} processes already, perhaps another container's: give \
             $.linux.cgroupsPath a name of its own, or end them",
            dir.display()
        )))
    }

    /// Makes the directories that are to be made. Whose last part another caller has made meanwhile is not ours; parents
    /// are made again, where another container's end has just removed them.
    fn make_dirs(&mut self) -> Result<()> {
        let mut others = Vec::new();
        for dir in &self.made {
            let is_leaf = self.dirs.iter().any(|leaf| leaf.path == *dir);
            let parents = if is_leaf { dir.parent().unwrap_or(dir) } else { dir };
            let made = std::fs::create_dir_all(parents).and_then(|()| match is_leaf {
                true => std::fs::create_dir(dir),
                false => Ok(()),
            });
            match made {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => others.push(dir.clone()),
                other => other.with_context(|| format!("cannot make the cgroup {}", dir.display()))?,
            }
        }
        self.made.retain(|dir| !others.contains(dir));
        Ok(())
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
    pub(crate) fn clone_directory(&self) -> Result<Option<File>> {
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
        let is_ours = |dir: &&CgroupDir| {
            self.made.contains(&dir.path) || self.unit.as_ref().is_some_and(systemd::is_there)
        };
        let Some(dir) = self.dirs.first().filter(is_ours) else {
            return Vec::new();
        };
        pids_in(&dir.path)
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

#[cfg(test)]
mod tests;
