//! Control groups of version 1 as file systems: one for each hierarchy.
//!
//! All mounts of a hierarchy show one file system. When the last is gone, so is a hierarchy that has no groups. Lock:
//! `mounted`, before those of the hierarchies.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use abi::fs::Statfs;
use abi::{DeviceId, Errno, Result};
use kernel::task::cgroup::{Absent, CONTROLLERS, CgroupNamespace, Hierarchy};
use kernel::vfs::{Caching, Caller, FileSystem, FileSystemType, Inode};
use kernel::{Kernel, Task};
use parking_lot::Mutex;

use super::dir::{Context, GroupDir, Owner, Version};
use crate::synth::{Inodes, SynthFs};

const CGROUP_MAGIC: i64 = 0x0027_e0eb;

/// The type `cgroup`.
#[derive(Default)]
pub struct CgroupType {
    mounted: Arc<Mounted>,
}

/// Hierarchies as they are shown, by number.
type Mounted = Mutex<HashMap<u32, Shown>>;

/// What stays while the hierarchy does, and what the mounts of it share.
struct Shown {
    fs: Arc<SynthFs>,
    in_use: Weak<HierarchyFs>,
}

/// A hierarchy while it is mounted.
struct HierarchyFs {
    fs: Arc<SynthFs>,
    hierarchy: Arc<Hierarchy>,
    kernel: Weak<Kernel>,
    mounted: Arc<Mounted>,
}

impl Drop for HierarchyFs {
    fn drop(&mut self) {
        let Some(kernel) = self.kernel.upgrade() else { return };
        let mut mounted = self.mounted.lock();
        let id = self.hierarchy.id();
        // Somebody may have mounted it again meanwhile.
        let is_last = mounted.get(&id).is_some_and(|shown| shown.in_use.strong_count() == 0);
        if is_last && kernel.tasks.cgroups.give_up(&self.hierarchy) {
            mounted.remove(&id);
        }
    }
}

impl FileSystem for HierarchyFs {
    fn type_name(&self) -> &'static str {
        self.fs.type_name()
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.fs.root()
    }

    fn device(&self) -> DeviceId {
        self.fs.device()
    }

    fn statfs(&self) -> Result<Statfs> {
        self.fs.statfs()
    }

    fn caching(&self) -> Caching {
        self.fs.caching()
    }

    fn options(&self) -> String {
        self.fs.options()
    }

    fn shown_root(&self, viewer: &Task, root: &Arc<dyn Inode>) -> Option<Vec<u8>> {
        self.fs.shown_root(viewer, root)
    }
}

/// What mount(2) asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options<'a> {
    controllers: Vec<&'a str>,
    name: Option<&'a str>,
}

impl<'a> Options<'a> {
    /// Without a controller and a name, all controllers are meant.
    fn parse(text: &'a [u8]) -> Result<Self> {
        let text = std::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
        let mut options = Self::default();
        let mut is_all = false;
        for option in text.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                None if option == "all" => is_all = true,
                // Of these there is one way only.
                None if matches!(option, "xattr" | "clone_children" | "noprefix" | "none") => {}
                None => options.controllers.push(option),
                Some(("name", name)) if is_name(name) => options.name = Some(name),
                Some(("release_agent", _)) => {}
                Some(_) => return Err(Errno::EINVAL),
            }
        }
        if is_all || options.controllers.is_empty() && options.name.is_none() {
            options.controllers = CONTROLLERS.to_vec();
        }
        Ok(options)
    }
}

fn is_name(name: &str) -> bool {
    let is_known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty() && name.len() < 64 && name.chars().all(is_known)
}

impl FileSystemType for CgroupType {
    fn name(&self) -> &'static str {
        "cgroup"
    }

    fn mount(
        &self,
        kernel: &Arc<Kernel>,
        caller: &Caller<'_>,
        _source: &[u8],
        options: &[u8],
    ) -> Result<Arc<dyn FileSystem>> {
        let options = Options::parse(options)?;
        let is_inner = |task: &Task| CgroupNamespace::inside(&task.namespaces().cgroup).is_unshared();
        let absent = if caller.task.is_some_and(is_inner) { Absent::Refuse } else { Absent::Make };
        let mut mounted = self.mounted.lock();
        let hierarchy = kernel.tasks.cgroups.find(&options.controllers, options.name, absent)?;
        let known = mounted.get(&hierarchy.id());
        if let Some(in_use) = known.and_then(|shown| shown.in_use.upgrade()) {
            return Ok(in_use);
        }
        let fs = match known {
            Some(shown) => shown.fs.clone(),
            None => file_system(kernel, &hierarchy)?,
        };
        let (id, kernel, mounts) = (hierarchy.id(), Arc::downgrade(kernel), self.mounted.clone());
        let in_use = Arc::new(HierarchyFs { fs: fs.clone(), hierarchy, kernel, mounted: mounts });
        mounted.insert(id, Shown { fs, in_use: Arc::downgrade(&in_use) });
        Ok(in_use)
    }
}

fn file_system(kernel: &Arc<Kernel>, hierarchy: &Arc<Hierarchy>) -> Result<Arc<SynthFs>> {
    let inodes = Inodes::new(1, kernel.timekeeper.now());
    let version = Version::One(hierarchy.clone());
    let context = Arc::new(Context { kernel: Arc::downgrade(kernel), inodes, version });
    Ok(Arc::new(SynthFs {
        name: "cgroup",
        magic: CGROUP_MAGIC,
        device: kernel.vfs.allocate_device(),
        root: GroupDir::make(&context, hierarchy.root().clone(), Owner::ROOT)?,
        caching: Caching::Never,
        options: hierarchy.label(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_name_controllers() {
        let parse = |text: &'static str| Options::parse(text.as_bytes());
        assert_eq!(parse("cpu,cpuacct").unwrap().controllers, ["cpu", "cpuacct"]);
        assert_eq!(parse("").unwrap().controllers, CONTROLLERS);
        let named = Options { controllers: vec![], name: Some("systemd") };
        assert_eq!(parse("none,name=systemd"), Ok(named));
        for bad in ["nonsense=1", "name=", "name=a/b", "name=a b"] {
            assert_eq!(parse(bad), Err(Errno::EINVAL), "{bad}");
        }
    }
}
