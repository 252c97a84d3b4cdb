//! Control groups of version 1 as file systems: one for each hierarchy.
//!
//! All mounts of a hierarchy show one file system. Lock: `mounted`, a leaf.

use std::collections::HashMap;
use std::sync::Arc;

use abi::{Errno, Result};
use kernel::Kernel;
use kernel::task::cgroup::{CONTROLLERS, Hierarchy};
use kernel::vfs::{Caching, Caller, FileSystem, FileSystemType};
use parking_lot::Mutex;

use super::dir::{Context, GroupDir, Owner, Version};
use crate::synth::{Inodes, SynthFs};

const CGROUP_MAGIC: i64 = 0x0027_e0eb;

/// The type `cgroup`.
#[derive(Default)]
pub struct CgroupType {
    mounted: Mutex<HashMap<u32, Arc<SynthFs>>>,
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
                Some(("name", name)) if !name.is_empty() && name.len() < 64 => options.name = Some(name),
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

impl FileSystemType for CgroupType {
    fn name(&self) -> &'static str {
        "cgroup"
    }

    fn mount(
        &self,
        kernel: &Arc<Kernel>,
        _caller: &Caller<'_>,
        _source: &[u8],
        options: &[u8],
    ) -> Result<Arc<dyn FileSystem>> {
        let options = Options::parse(options)?;
        let hierarchy = kernel.tasks.cgroups.find(&options.controllers, options.name)?;
        let mut mounted = self.mounted.lock();
        let fs = match mounted.get(&hierarchy.id()) {
            Some(known) => known.clone(),
            None => file_system(kernel, &hierarchy)?,
        };
        mounted.insert(hierarchy.id(), fs.clone());
        Ok(fs)
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
        assert_eq!(parse("nonsense=1"), Err(Errno::EINVAL));
    }
}
