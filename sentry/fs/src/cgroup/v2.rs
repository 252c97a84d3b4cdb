//! Control groups of version 2 as file systems. There is one hierarchy; each group that some name space has as its top
//! is the root of a file system of its own, which shows the same directories as the others.
//!
//! Its options are as most hosts' init sets them: name spaces are limits of delegation, and protection of memory counts for
//! what is below. Lock: `mounted`, a leaf.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use abi::{DeviceId, Errno, Result};
use kernel::Kernel;
use kernel::task::NamespaceKind;
use kernel::task::cgroup::{Cgroup, CgroupNamespace};
use kernel::vfs::{Caching, Caller, FileSystem, FileSystemType, MountOwner};
use parking_lot::Mutex;

use super::dir::{Context, GroupDir, Owner, Version};
use crate::synth::{Dir, Inodes, SynthFs};

const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// Options that mount(2) may name. They say what is so.
const OPTIONS: [&str; 7] = [
    "nsdelegate",
    "favordynmods",
    "memory_localevents",
    "memory_recursiveprot",
    "memory_hugetlb_accounting",
    "pids_localevents",
    "",
];

/// The type `cgroup2`.
#[derive(Debug)]
pub struct Cgroup2Type;

impl FileSystemType for Cgroup2Type {
    fn name(&self) -> &'static str {
        "cgroup2"
    }

    fn mount(
        &self,
        kernel: &Arc<Kernel>,
        caller: &Caller<'_>,
        _source: &[u8],
        options: &[u8],
    ) -> Result<Arc<dyn FileSystem>> {
        let options = std::str::from_utf8(options).map_err(|_| Errno::EINVAL)?;
        if !options.split(',').all(|option| OPTIONS.contains(&option)) {
            return Err(Errno::EINVAL);
        }
        let all = &kernel.tasks.cgroups;
        let top = caller.task.map(|task| CgroupNamespace::inside(&task.namespaces().cgroup).unified(all));
        show(kernel, top.as_ref().unwrap_or(all.unified()))
    }

    fn mount_owner(&self) -> MountOwner {
        MountOwner::Of(NamespaceKind::Cgroup)
    }
}

/// What all of these file systems share.
struct Shown {
    device: DeviceId,
    top: Arc<Dir<GroupDir>>,
    /// Those that are in use, by the address of the group at the top.
    mounted: Mutex<HashMap<usize, Weak<SynthFs>>>,
}

/// The file system with `group` at the top.
///
/// # Errors
/// `ENOENT` where it was removed.
pub fn show(kernel: &Arc<Kernel>, group: &Arc<Cgroup>) -> Result<Arc<dyn FileSystem>> {
    let all = &kernel.tasks.cgroups;
    let context = Arc::new(Context {
        kernel: Arc::downgrade(kernel),
        inodes: Inodes::new(1, kernel.timekeeper.now()),
        version: Version::Two,
    });
    let top = GroupDir::make(&context, all.unified().clone(), Owner::ROOT)?;
    let make = || Arc::new(Shown { device: kernel.vfs.allocate_device(), top, mounted: Mutex::default() });
    let shown = all.shown(make).ok_or(Errno::ENODEV)?;
    let root = GroupDir::descend(&shown.top, group)?;
    let mut mounted = shown.mounted.lock();
    mounted.retain(|_, fs| fs.strong_count() != 0);
    let key = Arc::as_ptr(group) as usize;
    if let Some(known) = mounted.get(&key).and_then(Weak::upgrade) {
        return Ok(known);
    }
    let fs = Arc::new(SynthFs {
        name: "cgroup2",
        magic: CGROUP2_MAGIC,
        device: shown.device,
        root,
        caching: Caching::Never,
        options: "nsdelegate,memory_recursiveprot".into(),
    });
    mounted.insert(key, Arc::downgrade(&fs));
    Ok(fs)
}
