//! Name spaces as files: what `/proc/[pid]/ns/*` opens, and what setns(2) takes (`man 7 namespaces`).

use std::any::Any;
use std::sync::Arc;

use abi::sched::CloneFlags;
use abi::{Errno, FileType, OpenFlags, Result};

use super::{NamespaceId, OtherNamespace, PidNamespace, Task, UserNamespace, UtsNamespace};
use crate::vfs::{Attr, Caller, File, FileOps, Inode, InodeCommon, MountNamespace, VfsPath};

/// The kinds of name spaces that have a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "Linux's names")]
pub enum NamespaceKind {
    User,
    Mnt,
    Uts,
    Ipc,
    Net,
    Cgroup,
    Pid,
    PidForChildren,
    Time,
    TimeForChildren,
}

/// A name space of any kind.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "Linux's names")]
pub enum NamespaceRef {
    User(Arc<UserNamespace>),
    Mnt(Arc<MountNamespace>),
    Uts(Arc<UtsNamespace>),
    Ipc(Arc<OtherNamespace>),
    Net(Arc<OtherNamespace>),
    Cgroup(Arc<OtherNamespace>),
    Pid(Arc<PidNamespace>),
    Time(Arc<OtherNamespace>),
}

impl NamespaceKind {
    /// Those that setns(2) can enter through a pidfd, in the order in which that is done.
    pub(super) const ENTERED: [Self; 8] =
        [Self::User, Self::Mnt, Self::Uts, Self::Ipc, Self::Pid, Self::Cgroup, Self::Net, Self::Time];

    /// All, with their names in `/proc/[pid]/ns`.
    pub const NAMES: [(&'static str, Self); 10] = [
        ("cgroup", Self::Cgroup),
        ("ipc", Self::Ipc),
        ("mnt", Self::Mnt),
        ("net", Self::Net),
        ("pid", Self::Pid),
        ("pid_for_children", Self::PidForChildren),
        ("time", Self::Time),
        ("time_for_children", Self::TimeForChildren),
        ("user", Self::User),
        ("uts", Self::Uts),
    ];

    /// The flag that makes a new one.
    pub(super) fn flag(self) -> CloneFlags {
        match self {
            Self::User => CloneFlags::NEWUSER,
            Self::Mnt => CloneFlags::NEWNS,
            Self::Uts => CloneFlags::NEWUTS,
            Self::Ipc => CloneFlags::NEWIPC,
            Self::Net => CloneFlags::NEWNET,
            Self::Cgroup => CloneFlags::NEWCGROUP,
            Self::Pid | Self::PidForChildren => CloneFlags::NEWPID,
            Self::Time | Self::TimeForChildren => CloneFlags::NEWTIME,
        }
    }

    /// The one that `task` is in.
    #[must_use]
    pub fn of(self, task: &Task) -> NamespaceRef {
        let set = task.namespaces();
        match self {
            Self::User => NamespaceRef::User(task.creds().user_ns.clone()),
            Self::Mnt => NamespaceRef::Mnt(set.mnt.clone()),
            Self::Uts => NamespaceRef::Uts(set.uts.clone()),
            Self::Ipc => NamespaceRef::Ipc(set.ipc.clone()),
            Self::Net => NamespaceRef::Net(set.net.clone()),
            Self::Cgroup => NamespaceRef::Cgroup(set.cgroup.clone()),
            Self::Pid => NamespaceRef::Pid(task.pid_ns()),
            Self::PidForChildren => NamespaceRef::Pid(set.pid_for_children.clone()),
            Self::Time | Self::TimeForChildren => NamespaceRef::Time(set.time.clone()),
        }
    }
}

impl NamespaceRef {
    /// Its identity.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        match self {
            Self::User(ns) => ns.id(),
            Self::Mnt(ns) => ns.id(),
            Self::Uts(ns) => ns.id(),
            Self::Ipc(ns) | Self::Net(ns) | Self::Cgroup(ns) | Self::Time(ns) => ns.id(),
            Self::Pid(ns) => ns.id(),
        }
    }

    /// The type's name.
    fn type_name(&self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Mnt(_) => "mnt",
            Self::Uts(_) => "uts",
            Self::Ipc(_) => "ipc",
            Self::Net(_) => "net",
            Self::Cgroup(_) => "cgroup",
            Self::Pid(_) => "pid",
            Self::Time(_) => "time",
        }
    }

    /// The text of its link: `uts:[4026531838]`.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}:[{}]", self.type_name(), self.id().0)
    }

    /// Its file, which is in no directory.
    #[must_use]
    pub fn place(&self, task: &Task) -> VfsPath {
        let mode = FileType::Regular as u32 | 0o444;
        let attr = Attr::new(self.id().0, mode, task.kernel().timekeeper.now());
        let inode = NamespaceInode { common: InodeCommon::default(), attr, namespace: self.clone() };
        let vfs = &task.kernel().vfs;
        vfs.unattached_path(vfs.namespace_files(), Arc::new(inode), self.text().as_bytes())
    }

    /// The one whose file this is.
    pub(crate) fn of_inode(inode: &Arc<dyn Inode>) -> Option<Self> {
        let any: &dyn Any = &**inode;
        any.downcast_ref::<NamespaceInode>().map(|inode| inode.namespace.clone())
    }

    pub(super) fn flag(&self) -> CloneFlags {
        match self {
            Self::User(_) => CloneFlags::NEWUSER,
            Self::Mnt(_) => CloneFlags::NEWNS,
            Self::Uts(_) => CloneFlags::NEWUTS,
            Self::Ipc(_) => CloneFlags::NEWIPC,
            Self::Net(_) => CloneFlags::NEWNET,
            Self::Cgroup(_) => CloneFlags::NEWCGROUP,
            Self::Pid(_) => CloneFlags::NEWPID,
            Self::Time(_) => CloneFlags::NEWTIME,
        }
    }

    /// The user name space that owns it; its parent for a user name space.
    pub(crate) fn owner(&self) -> Option<Arc<UserNamespace>> {
        match self {
            Self::User(ns) => ns.parent().cloned(),
            Self::Mnt(ns) => Some(ns.user_ns().clone()),
            Self::Uts(ns) => Some(ns.user_ns().clone()),
            Self::Ipc(ns) | Self::Net(ns) | Self::Cgroup(ns) | Self::Time(ns) => Some(ns.user_ns().clone()),
            Self::Pid(ns) => Some(ns.user_ns().clone()),
        }
    }
}

const NS_GET_USERNS: u32 = 0xb701;
const NS_GET_PARENT: u32 = 0xb702;
const NS_GET_NSTYPE: u32 = 0xb703;
const NS_GET_OWNER_UID: u32 = 0xb704;

/// An open name space.
#[derive(Debug)]
pub struct NamespaceFile(pub NamespaceRef);

impl NamespaceFile {
    fn open(task: &Task, namespace: NamespaceRef) -> Result<u64> {
        let place = namespace.place(task);
        let file = File::new(place, Arc::new(Self(namespace)), OpenFlags::CLOEXEC, task.creds());
        Ok(task.install_fd(file, true)? as u64)
    }
}

/// A name space as an inode, to be told apart from others by its number.
struct NamespaceInode {
    common: InodeCommon,
    attr: Attr,
    namespace: NamespaceRef,
}

impl Inode for NamespaceInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        Ok(self.attr)
    }

    fn open(self: Arc<Self>, _caller: &Caller<'_>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(NamespaceFile(self.namespace.clone())))
    }
}

impl FileOps for NamespaceFile {
    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        let own = task.creds().user_ns.clone();
        match command {
            NS_GET_NSTYPE => Ok(self.0.flag().bits()),
            NS_GET_USERNS => {
                let owner = self.0.owner().filter(|owner| own.contains(owner)).ok_or(Errno::EPERM)?;
                Self::open(task, NamespaceRef::User(owner))
            }
            NS_GET_PARENT => match &self.0 {
                NamespaceRef::User(ns) => {
                    let parent = ns.parent().filter(|parent| own.contains(parent)).ok_or(Errno::EPERM)?;
                    Self::open(task, NamespaceRef::User(parent.clone()))
                }
                NamespaceRef::Pid(ns) => {
                    let parent = ns.parent().filter(|parent| task.pid_ns().contains(parent));
                    Self::open(task, NamespaceRef::Pid(parent.ok_or(Errno::EPERM)?.clone()))
                }
                _ => Err(Errno::EINVAL),
            },
            NS_GET_OWNER_UID => match &self.0 {
                NamespaceRef::User(ns) => {
                    task.mm().write_object(abi::UserAddr(arg), &own.from_kernel_uid(ns.owner()))?;
                    Ok(0)
                }
                _ => Err(Errno::EINVAL),
            },
            _ => Err(Errno::ENOTTY),
        }
    }
}
