//! Links that lead to places, not paths: `cwd`, `root`, `exe`, and the name spaces in `ns`.

use std::sync::{Arc, Weak};

use abi::{Errno, FileType, OpenFlags, Result};
use kernel::Task;
use kernel::vfs::{Attr, Caller, FileOps, Inode, InodeCommon, LinkTarget, VfsPath};

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

/// The kinds of name spaces, as they are called in `ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NsKind {
    Cgroup,
    Ipc,
    Mnt,
    Net,
    Pid,
    PidForChildren,
    Time,
    TimeForChildren,
    User,
    Uts,
}

const KINDS: [(&str, NsKind); 10] = [
    ("cgroup", NsKind::Cgroup),
    ("ipc", NsKind::Ipc),
    ("mnt", NsKind::Mnt),
    ("net", NsKind::Net),
    ("pid", NsKind::Pid),
    ("pid_for_children", NsKind::PidForChildren),
    ("time", NsKind::Time),
    ("time_for_children", NsKind::TimeForChildren),
    ("user", NsKind::User),
    ("uts", NsKind::Uts),
];

impl NsKind {
    /// The word in front of the number.
    fn word(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Mnt => "mnt",
            Self::Net => "net",
            Self::Pid | Self::PidForChildren => "pid",
            Self::Time | Self::TimeForChildren => "time",
            Self::User => "user",
            Self::Uts => "uts",
        }
    }

    fn id(self, task: &Task) -> u64 {
        let spaces = task.namespaces();
        match self {
            Self::Cgroup => spaces.cgroup.id().0,
            Self::Ipc => spaces.ipc.id().0,
            Self::Mnt => spaces.mnt.id(),
            Self::Net => spaces.net.id().0,
            Self::Pid => task.pid_ns().id().0,
            Self::PidForChildren => spaces.pid_for_children.id().0,
            Self::Time | Self::TimeForChildren => spaces.time.id().0,
            Self::User => task.creds().user_ns.id().0,
            Self::Uts => spaces.uts.id().0,
        }
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
        let found = KINDS.iter().position(|(known, _)| known.as_bytes() == name).ok_or(Errno::ENOENT)?;
        let ino = self.attr.ino.wrapping_add(1000 + found as u64);
        let attr = Attr {
            uid: self.attr.uid,
            gid: self.attr.gid,
            ..self.proc.inodes.attr_numbered(ino, FileType::Symlink, 0o777)
        };
        let target = NsLink { proc: self.proc.clone(), task: self.task.clone(), kind: KINDS[found].1 };
        Ok(Link::new(attr, target))
    }

    fn next(&self, _task: &Task, from: u64) -> Option<Entry> {
        let (name, _) = KINDS.get(usize::try_from(from).ok()?)?;
        Some(Entry {
            name: name.as_bytes().to_vec(),
            ino: self.attr.ino.wrapping_add(1000 + from),
            file_type: FileType::Symlink,
            next: from + 1,
        })
    }
}

struct NsLink {
    proc: Arc<Proc>,
    task: Weak<Task>,
    kind: NsKind,
}

impl NsLink {
    fn find(&self, caller: &Caller<'_>) -> Result<(Arc<Task>, u64)> {
        let task = alive(&self.task)?;
        if let Some(viewer) = caller.task {
            access::check(viewer, &task)?;
        }
        let id = self.kind.id(&task);
        Ok((task, id))
    }
}

impl Target for NsLink {
    fn text(&self, caller: &Caller<'_>) -> Result<Vec<u8>> {
        let (_, id) = self.find(caller)?;
        Ok(format!("{}:[{id}]", self.kind.word()).into_bytes())
    }

    fn place(&self, caller: &Caller<'_>) -> Result<LinkTarget> {
        let (task, id) = self.find(caller)?;
        let attr = self.proc.inodes.attr_numbered(id, FileType::Regular, 0o444);
        let inode = Arc::new(NsInode { common: InodeCommon::default(), attr });
        let viewer = caller.task.ok_or(Errno::ENOENT)?;
        let mount = viewer.fs().root().mount;
        let name = format!("{}:[{id}]", self.kind.word());
        Ok(LinkTarget::Place(task.kernel().vfs.unattached_path(&mount, inode, name.as_bytes())))
    }
}

/// A name space as a file: it can be told apart from others by its number.
struct NsInode {
    common: InodeCommon,
    attr: Attr,
}

struct OpenNs;

impl FileOps for OpenNs {
    fn is_seekable(&self) -> bool {
        false
    }
}

impl Inode for NsInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        Ok(self.attr)
    }

    fn open(self: Arc<Self>, _caller: &Caller<'_>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(OpenNs))
    }
}
