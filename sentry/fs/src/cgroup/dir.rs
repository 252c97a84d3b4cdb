//! A group as a directory.
//!
//! Locks: `known`, then those of the hierarchy; `files`, a leaf.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use abi::{Errno, FileType, Result};
use host::heap::{self, Purpose};
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

    /// All files that a group may have.
    fn definitions(&self) -> &'static [Definition] {
        match &self.version {
            Version::One(_) => files_v1::FILES,
            Version::Two => files_v2::FILES,
        }
    }

    /// Whether `group` has that file now.
    fn has(&self, file: &Definition, group: &Cgroup, all: &Hierarchies) -> bool {
        match &self.version {
            Version::One(hierarchy) => files_v1::is_of(file, hierarchy.controllers()),
            Version::Two => files_v2::is_of(file, group.controllers(all)),
        }
    }
}

/// The inode number of a group's directory; those of its files come after it.
fn dir_number(group: &Cgroup) -> u64 {
    group.number() * NUMBERS + 1
}

/// Inode numbers that belong to a group, and positions in its listing that belong to its files. Groups in it come behind
/// these, in the order of their numbers, so that a listing goes on where it was whatever has come and gone.
const NUMBERS: u64 = 64;
const _: () =
    assert!(files_v1::FILES.len() < NUMBERS as usize - 1 && files_v2::FILES.len() < NUMBERS as usize - 1);

/// About what a file that somebody has looked at takes.
const FILE_COST: u64 = 512;

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
        let attr = context.inodes.attr_numbered(dir_number(&group), FileType::Directory, owner.mode);
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
        let named = self.context.definitions().iter().enumerate().find(|(_, file)| file.name == name);
        let (index, definition) = named.ok_or(Errno::ENOENT)?;
        if !self.context.has(definition, &self.group, &kernel.tasks.cgroups) {
            return Err(Errno::ENOENT);
        }
        if let Some(known) = self.files.lock().get(name) {
            return Ok(known.clone());
        }
        heap::room_for(FILE_COST, Purpose::Lasting)?;
        let attr =
            self.context.inodes.attr_numbered(self.number_of(index), FileType::Regular, definition.mode);
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
        let mut known = self.known.lock();
        let Some(group) = self.group.child(name) else {
            known.remove(name);
            return Err(Errno::ENOENT);
        };
        self.know(&mut known, group, owner)
    }

    /// The directory of a group in it, as [`Self::child`].
    fn know(
        &self,
        known: &mut HashMap<String, Arc<Dir<Self>>>,
        group: Arc<Cgroup>,
        owner: Owner,
    ) -> Result<Arc<Dir<Self>>> {
        if let Some(dir) = known.get(group.name()).filter(|dir| Arc::ptr_eq(&dir.content().group, &group)) {
            return Ok(dir.clone());
        }
        if group.is_containers() {
            // These go with their containers, without being removed by name.
            known.retain(|_, dir| !dir.content().group.is_removed());
        }
        let made = Self::make(&self.context, group.clone(), owner)?;
        known.insert(group.name().to_owned(), made.clone());
        Ok(made)
    }

    /// The inode number of the file with that definition.
    fn number_of(&self, index: usize) -> u64 {
        dir_number(&self.group) + 1 + index as u64
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
        Ok(Attr { nlink: 2 + self.group.child_count() as u32, ..self.attributes.attr() })
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
        let all = &task.kernel().tasks.cgroups;
        let mut files = self.context.definitions().iter().enumerate();
        let is_next = |(index, file): &(usize, &Definition)| {
            *index as u64 >= from && self.context.has(file, &self.group, all)
        };
        if let Some((index, file)) = files.find(is_next) {
            let (name, ino) = (file.name.as_bytes().to_vec(), self.number_of(index));
            return Some(Entry { name, ino, file_type: FileType::Regular, next: index as u64 + 1 });
        }
        let group = self.group.child_from(from.saturating_sub(NUMBERS))?;
        let (name, ino) = (group.name().as_bytes().to_vec(), dir_number(&group));
        Some(Entry { name, ino, file_type: FileType::Directory, next: NUMBERS + group.number() + 1 })
    }

    fn create(&self, _caller: &Caller<'_>, name: &[u8], node: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        if node.file_type != FileType::Directory {
            return Err(Errno::EPERM);
        }
        let name = std::str::from_utf8(name).map_err(|_| Errno::EINVAL)?;
        let kernel = self.context.kernel()?;
        let all = &kernel.tasks.cgroups;
        // Of version 2, any of them may come to be there.
        let is_taken = |file: &Definition| {
            file.name == name && (self.group.is_unified() || self.context.has(file, &self.group, all))
        };
        if self.context.definitions().iter().any(is_taken) {
            return Err(Errno::EEXIST);
        }
        // Whoever looks the name up meanwhile is to find the directory as its maker's.
        let mut known = self.known.lock();
        let group = match &self.context.version {
            Version::One(_) => self.group.make(name)?,
            Version::Two => self.group.make_unified(all, name)?,
        };
        Ok(self.know(&mut known, group, Owner { uid: node.uid, gid: node.gid, mode: node.mode })?)
    }

    fn remove(&self, _caller: &Caller<'_>, name: &[u8]) -> Result<()> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let kernel = self.context.kernel()?;
        match &self.context.version {
            Version::One(_) => self.group.remove(name, &kernel.tasks)?,
            Version::Two => self.group.remove_unified(&kernel.tasks, name)?,
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
