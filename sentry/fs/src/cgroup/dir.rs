//! A group as a directory.
//!
//! Locks: `files`, `known`: leaves.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use abi::{Errno, FileType, Result};
use kernel::task::cgroup::{Cgroup, Hierarchies, Hierarchy};
use kernel::vfs::{Attr, Caller, Inode, NewNode};
use kernel::{Kernel, Task};
use parking_lot::Mutex;

use super::file::{Definition, GroupFile};
use super::{files_v1, files_v2};
use crate::synth::{Attributes, Dir, DirContent, Entry, Inodes};

/// Which hierarchy a file system shows.
pub(super) enum Version {
    One(Arc<Hierarchy>),
    Two,
}

/// What all directories of a file system share.
pub(super) struct Context {
    pub(super) kernel: Weak<Kernel>,
    pub(super) inodes: Inodes,
    pub(super) version: Version,
}

impl Context {
    fn kernel(&self) -> Result<Arc<Kernel>> {
        self.kernel.upgrade().ok_or(Errno::ENODEV)
    }

    /// The files that `group` has now.
    fn files(&self, group: &Cgroup, all: &Hierarchies) -> Vec<&'static Definition> {
        match &self.version {
            Version::One(hierarchy) => files_v1::of(hierarchy.controllers()).collect(),
            Version::Two => files_v2::of(group.controllers(all)).collect(),
        }
    }
}

/// A group as a directory.
pub(super) struct GroupDir {
    context: Arc<Context>,
    group: Arc<Cgroup>,
    /// Who made it: its files are theirs, whoever the directory is given to.
    maker: Owner,
    attributes: Attributes,
    /// Its files that were looked at, so that they stay what they are.
    files: Mutex<HashMap<&'static str, Arc<dyn Inode>>>,
    /// Directories of the groups in it that were looked at, likewise.
    known: Mutex<HashMap<String, Arc<Dir<Self>>>>,
    /// Itself as a file of its file system.
    this: OnceLock<Weak<Dir<Self>>>,
}

/// Who owns a directory and the files in it, and the directory's permission bits.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

impl Owner {
    pub(super) const ROOT: Self = Self { uid: 0, gid: 0, mode: 0o755 };
}

impl GroupDir {
    pub(super) fn make(context: &Arc<Context>, group: Arc<Cgroup>, owner: Owner) -> Result<Arc<Dir<Self>>> {
        let kernel = context.kernel()?;
        let attr = context.inodes.attr(FileType::Directory, owner.mode);
        let attributes = Attributes::new(Attr { uid: owner.uid, gid: owner.gid, ..attr }, &kernel.timekeeper);
        let (files, known, this) = (Mutex::default(), Mutex::default(), OnceLock::new());
        let dir =
            Dir::new(Self { context: context.clone(), group, maker: owner, attributes, files, known, this });
        let _ = dir.content().this.set(Arc::downgrade(&dir));
        // Who may move tasks is asked of this one without its being looked up.
        let _ = dir.content().file("cgroup.procs");
        Ok(dir)
    }

    /// The file of this name.
    fn file(&self, name: &str) -> Result<Arc<dyn Inode>> {
        let kernel = self.context.kernel()?;
        let all = self.context.files(&self.group, &kernel.tasks.cgroups);
        let definition = all.into_iter().find(|file| file.name == name).ok_or(Errno::ENOENT)?;
        if let Some(known) = self.files.lock().get(name) {
            return Ok(known.clone());
        }
        let attr = self.context.inodes.attr(FileType::Regular, definition.mode);
        let attributes =
            Attributes::new(Attr { uid: self.maker.uid, gid: self.maker.gid, ..attr }, &kernel.timekeeper);
        let made = GroupFile::inode(attributes, &self.group, definition);
        let mut files = self.files.lock();
        if let Some(known) = files.get(name) {
            return Ok(known.clone());
        }
        files.insert(definition.name, made.clone());
        drop(files);
        if let (Version::Two, Some(dir)) = (&self.context.version, self.this.get().and_then(Weak::upgrade)) {
            definition.show(&self.group, &made, &(dir as Arc<dyn Inode>));
        }
        Ok(made)
    }

    /// The directory of a group in it, which is made as `owner`'s where nobody has looked at it yet.
    fn child(&self, name: &str, owner: Owner) -> Result<Arc<Dir<Self>>> {
        let Some(group) = self.group.child(name) else {
            self.known.lock().remove(name);
            return Err(Errno::ENOENT);
        };
        let is_same = |dir: &&Arc<Dir<Self>>| Arc::ptr_eq(&dir.content().group, &group);
        if let Some(known) = self.known.lock().get(name).filter(is_same) {
            return Ok(known.clone());
        }
        let made = Self::make(&self.context, group.clone(), owner)?;
        let mut all = self.known.lock();
        match all.get(name).filter(is_same) {
            Some(known) => Ok(known.clone()),
            None => {
                all.insert(name.to_owned(), made.clone());
                Ok(made)
            }
        }
    }

    /// The directory of `group`, which is it or below it.
    pub(super) fn descend(dir: &Arc<Dir<Self>>, group: &Arc<Cgroup>) -> Result<Arc<Dir<Self>>> {
        let mut names: Vec<_> = group.line().collect();
        names.reverse();
        let below = names.iter().skip_while(|above| !Arc::ptr_eq(above, &dir.content().group)).skip(1);
        let mut at = dir.clone();
        for group in below {
            at = at.content().child(group.name(), Owner::ROOT)?;
        }
        Ok(at)
    }
}

impl DirContent for GroupDir {
    fn attr(&self) -> Result<Attr> {
        Ok(Attr { nlink: 2 + self.group.children().len() as u32, ..self.attributes.attr() })
    }

    fn lookup(&self, _caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        if self.group.is_removed() {
            return Err(Errno::ENOENT);
        }
        match self.file(name) {
            Err(Errno::ENOENT) => Ok(self.child(name, Owner::ROOT)?),
            found => found,
        }
    }

    fn next(&self, task: &Task, from: u64) -> Option<Entry> {
        if self.group.is_removed() {
            return None;
        }
        let files = self.context.files(&self.group, &task.kernel().tasks.cgroups);
        let at = usize::try_from(from).ok()?;
        let (name, inode, file_type) = match files.get(at) {
            Some(file) => (file.name.to_owned(), self.file(file.name).ok()?, FileType::Regular),
            None => {
                let group = self.group.children().into_iter().nth(at - files.len())?;
                let dir: Arc<dyn Inode> = self.child(group.name(), Owner::ROOT).ok()?;
                (group.name().to_owned(), dir, FileType::Directory)
            }
        };
        Some(Entry { name: name.into_bytes(), ino: inode.attr().ok()?.ino, file_type, next: from + 1 })
    }

    fn create(&self, _caller: &Caller<'_>, name: &[u8], node: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        if node.file_type != FileType::Directory {
            return Err(Errno::EPERM);
        }
        let name = std::str::from_utf8(name).map_err(|_| Errno::EINVAL)?;
        let kernel = self.context.kernel()?;
        let all = &kernel.tasks.cgroups;
        match &self.context.version {
            Version::One(hierarchy)
                if files_v1::of(hierarchy.controllers()).any(|file| file.name == name) =>
            {
                return Err(Errno::EEXIST);
            }
            Version::One(_) => self.group.make(name)?,
            // Any of them may come to be there.
            Version::Two if files_v2::FILES.iter().any(|file| file.name == name) => {
                return Err(Errno::EEXIST);
            }
            Version::Two => self.group.make_unified(all, name)?,
        };
        Ok(self.child(name, Owner { uid: node.uid, gid: node.gid, mode: node.mode })?)
    }

    fn remove(&self, _caller: &Caller<'_>, name: &[u8]) -> Result<()> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let kernel = self.context.kernel()?;
        match &self.context.version {
            Version::One(_) => self.group.remove(name, &kernel.tasks)?,
            Version::Two => self.group.remove_unified(&kernel.tasks.cgroups, name)?,
        }
        self.known.lock().remove(name);
        Ok(())
    }

    fn attributes(&self) -> Option<&Attributes> {
        Some(&self.attributes)
    }

    fn cgroup(&self) -> Option<&Arc<Cgroup>> {
        matches!(self.context.version, Version::Two).then_some(&self.group)
    }
}
