//! Control groups of version 1 as file systems (`man 7 cgroups`): one for each hierarchy, whose directories are groups.
//! What a group's files say and take is [`super::files`]'s; what groups are, [`kernel::task::cgroup`]'s.
//!
//! All mounts of a hierarchy show one file system. Lock: `mounted`, a leaf.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use abi::{Errno, FileType, Result};
use kernel::task::cgroup::{CONTROLLERS, Cgroup, Hierarchy};
use kernel::vfs::{Attr, Caching, Caller, FileSystem, FileSystemType, Inode, NewNode};
use kernel::{Kernel, Task};
use parking_lot::Mutex;

use super::files::{self, GroupFile};
use crate::synth::{Builder, Dir, DirContent, Entry, Inodes, StaticEntries, SynthFs};

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
        let fs = mounted.entry(hierarchy.id()).or_insert_with(|| file_system(kernel, &hierarchy));
        Ok(fs.clone())
    }
}

fn file_system(kernel: &Arc<Kernel>, hierarchy: &Arc<Hierarchy>) -> Arc<SynthFs> {
    let inodes = Inodes::new(1, kernel.timekeeper.now());
    let context =
        Context { kernel: Arc::downgrade(kernel), inodes: inodes.clone(), hierarchy: hierarchy.clone() };
    let attr = inodes.attr(FileType::Directory, 0o755);
    Arc::new(SynthFs {
        name: "cgroup",
        magic: CGROUP_MAGIC,
        device: kernel.vfs.allocate_device(),
        root: GroupDir::make(&Arc::new(context), hierarchy.root().clone(), attr),
        caching: Caching::Never,
        options: hierarchy.label(),
    })
}

/// What all directories of a file system share.
struct Context {
    kernel: Weak<Kernel>,
    inodes: Inodes,
    hierarchy: Arc<Hierarchy>,
}

/// A group as a directory.
struct GroupDir {
    context: Arc<Context>,
    group: Arc<Cgroup>,
    files: StaticEntries,
    attr: Attr,
    /// Directories of the groups in it that were looked at, so that they keep their numbers. A leaf lock.
    known: Mutex<HashMap<String, Arc<dyn Inode>>>,
}

impl GroupDir {
    fn make(context: &Arc<Context>, group: Arc<Cgroup>, attr: Attr) -> Arc<dyn Inode> {
        let own = files::of(context.hierarchy.controllers());
        let files = own.fold(Builder::new(&context.inodes), |dir, file| {
            let attr =
                Attr { uid: attr.uid, gid: attr.gid, ..context.inodes.attr(FileType::Regular, file.mode) };
            dir.node(file.name, GroupFile::inode(attr, &group, file))
        });
        let context = context.clone();
        Dir::new(Self { context, group, files: files.entries(), attr, known: Mutex::default() })
    }

    /// The directory of a group in it.
    fn child(&self, name: &str, attr: impl FnOnce(Attr) -> Attr) -> Result<Arc<dyn Inode>> {
        let Some(group) = self.group.child(name) else {
            self.known.lock().remove(name);
            return Err(Errno::ENOENT);
        };
        if let Some(known) = self.known.lock().get(name) {
            return Ok(known.clone());
        }
        let fresh = self.context.inodes.attr(FileType::Directory, 0o755);
        let made = Self::make(&self.context, group, attr(fresh));
        Ok(self.known.lock().entry(name.to_owned()).or_insert(made).clone())
    }
}

impl DirContent for GroupDir {
    fn attr(&self) -> Result<Attr> {
        Ok(Attr { nlink: 2 + self.group.children().len() as u32, ..self.attr })
    }

    fn lookup(&self, caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        match self.files.lookup(caller, name) {
            Err(Errno::ENOENT) => {
                self.child(std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?, |attr| attr)
            }
            found => found,
        }
    }

    fn next(&self, task: &Task, from: u64) -> Option<Entry> {
        if let Some(entry) = self.files.next(task, from) {
            return Some(entry);
        }
        let at = usize::try_from(from - self.files.len()).ok()?;
        let group = self.group.children().into_iter().nth(at)?;
        let ino = self.child(group.name(), |attr| attr).ok()?.attr().ok()?.ino;
        let name = group.name().as_bytes().to_vec();
        Some(Entry { name, ino, file_type: FileType::Directory, next: from + 1 })
    }

    fn create(&self, _caller: &Caller<'_>, name: &[u8], node: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        if node.file_type != FileType::Directory {
            return Err(Errno::EPERM);
        }
        let name = std::str::from_utf8(name).map_err(|_| Errno::EINVAL)?;
        let is_file = files::of(self.context.hierarchy.controllers()).any(|file| file.name == name);
        if is_file {
            return Err(Errno::EEXIST);
        }
        self.group.make(name)?;
        self.known.lock().remove(name);
        let (uid, gid, mode) = (node.uid, node.gid, FileType::Directory as u32 | node.mode);
        self.child(name, |attr| Attr { uid, gid, mode, ..attr })
    }

    fn remove(&self, _caller: &Caller<'_>, name: &[u8]) -> Result<()> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let kernel = self.context.kernel.upgrade().ok_or(Errno::ENODEV)?;
        self.group.remove(name, &kernel.tasks)?;
        self.known.lock().remove(name);
        Ok(())
    }
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
