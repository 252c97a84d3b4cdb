//! Links that lead to places, not paths: `cwd`, `root`, `exe`, and the name spaces in `ns`.

use std::sync::{Arc, Weak};

use abi::{Errno, FileType, Result};
use kernel::Task;
use kernel::task::{NamespaceKind, NamespaceRef};
use kernel::vfs::{Attr, Caller, Inode, LinkTarget, VfsPath};

use super::task_dir::alive;
use super::{Proc, access};
use crate::synth::{DirContent, Entry, Link, Target};

/// Which place of a task.
#[derive(Clone, Copy)]
pub(super) enum PlaceOf {
    Cwd,
    Root,
    Exe,
}

/// A link to a place of a task.
pub(super) struct PlaceLink {
    pub(super) task: Weak<Task>,
    pub(super) place: PlaceOf,
}

/// The text of a place as the caller sees it.
pub(super) fn text_for(caller: &Caller<'_>, place: &VfsPath) -> Result<Vec<u8>> {
    let viewer = caller.task.ok_or(Errno::ENOENT)?;
    Ok(place.text(&viewer.fs().root()))
}

impl PlaceLink {
    fn find(&self, caller: &Caller<'_>) -> Result<VfsPath> {
        let task = alive(&self.task)?;
        if let Some(viewer) = caller.task {
            access::check(viewer, &task)?;
        }
        if task.has_exited() {
            return Err(Errno::ENOENT);
        }
        match self.place {
            PlaceOf::Cwd => Ok(task.fs().cwd()),
            PlaceOf::Root => Ok(task.fs().root()),
            PlaceOf::Exe => {
                let exe = task.thread_group().exe().or_else(|| task.try_mm().and_then(|mm| mm.image().exe));
                exe.map(|exe| exe.path().clone()).ok_or(Errno::ENOENT)
            }
        }
    }
}

impl Target for PlaceLink {
    fn text(&self, caller: &Caller<'_>) -> Result<Vec<u8>> {
        text_for(caller, &self.find(caller)?)
    }

    fn place(&self, caller: &Caller<'_>) -> Result<LinkTarget> {
        self.find(caller).map(LinkTarget::Place)
    }
}

/// `/proc/[pid]/ns`.
pub(super) struct NsDir {
    pub(super) proc: Arc<Proc>,
    pub(super) task: Weak<Task>,
    pub(super) attr: Attr,
}

impl DirContent for NsDir {
    fn attr(&self) -> Result<Attr> {
        Ok(self.attr)
    }

    fn lookup(&self, _caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        let names = NamespaceKind::NAMES;
        let found = names.iter().position(|(known, _)| known.as_bytes() == name).ok_or(Errno::ENOENT)?;
        let ino = self.attr.ino.wrapping_add(1000 + found as u64);
        let attr = Attr {
            uid: self.attr.uid,
            gid: self.attr.gid,
            ..self.proc.inodes.attr_numbered(ino, FileType::Symlink, 0o777)
        };
        let target = NsLink { task: self.task.clone(), kind: names[found].1 };
        Ok(Link::new(attr, target))
    }

    fn next(&self, _task: &Task, from: u64) -> Option<Entry> {
        let names = NamespaceKind::NAMES;
        let (name, _) = names.get(usize::try_from(from).ok()?)?;
        Some(Entry {
            name: name.as_bytes().to_vec(),
            ino: self.attr.ino.wrapping_add(1000 + from),
            file_type: FileType::Symlink,
            next: from + 1,
        })
    }
}

struct NsLink {
    task: Weak<Task>,
    kind: NamespaceKind,
}

impl NsLink {
    fn find(&self, caller: &Caller<'_>) -> Result<(Arc<Task>, NamespaceRef)> {
        let task = alive(&self.task)?;
        if let Some(viewer) = caller.task {
            access::check(viewer, &task)?;
        }
        let namespace = self.kind.of(&task);
        Ok((task, namespace))
    }
}

impl Target for NsLink {
    fn text(&self, caller: &Caller<'_>) -> Result<Vec<u8>> {
        self.find(caller).map(|(_, namespace)| namespace.text().into_bytes())
    }

    fn place(&self, caller: &Caller<'_>) -> Result<LinkTarget> {
        let (_, namespace) = self.find(caller)?;
        Ok(LinkTarget::Place(namespace.place(caller.task.ok_or(Errno::ENOENT)?)))
    }
}
