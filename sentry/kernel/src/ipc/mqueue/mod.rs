//! POSIX message queues (`man 7 mq_overview`) and their file system, of which each IPC name space has one.
//!
//! A queue is a file: mq_open(3) opens it through a mount that is in no tree, and `mount -t mqueue` shows the same
//! files. The directory holds the queues; a descriptor keeps an unlinked one alive.
//!
//! Locks: the directory's names, then a queue's state; leaves otherwise.

mod dir;
mod file;
mod notice;
mod queue;

use std::sync::Arc;

use abi::fs::Statfs;
use abi::mount::MountFlags;
use abi::mqueue::MqAttr;
use abi::resource::Resource;
use abi::{DeviceId, Errno, FileType, OpenFlags, Result};

use super::{IpcLimit, IpcLimits};
use crate::task::{Capability, NamespaceKind};
use crate::vfs::{
    Caching, Caller, File, FileSystem, FileSystemType, Inode, Mount, MountOwner, NewNode, Origin, Vfs,
    VfsPath, WalkFlags, check_access,
};
use crate::{CurrentTask, Kernel, Task};

use dir::QueueDir;
use file::QueueInode;
pub use file::queue_of;
pub use notice::Notice;
use notice::Told;
pub use queue::{Queue, QueueMessage};

const MQUEUE_MAGIC: i64 = 0x1980_0202;
/// `CAP_SYS_RESOURCE` goes beyond the name space's limits, up to these.
const HARD_LEN: u64 = 65536;
const HARD_MESSAGE: u64 = 16 << 20;

/// The queues of an IPC name space, as a file system.
#[derive(Debug)]
struct QueueFs {
    device: DeviceId,
    root: Arc<QueueDir>,
}

impl FileSystem for QueueFs {
    fn type_name(&self) -> &'static str {
        "mqueue"
    }

    fn root(&self) -> Arc<dyn Inode> {
        self.root.clone()
    }

    fn device(&self) -> DeviceId {
        self.device
    }

    fn statfs(&self) -> Result<Statfs> {
        Ok(Statfs {
            f_type: MQUEUE_MAGIC,
            f_bsize: 4096,
            f_frsize: 4096,
            f_namelen: abi::fs::NAME_MAX as i64,
            ..Statfs::default()
        })
    }

    /// Queues come and go by system calls that know nothing of dentries.
    fn caching(&self) -> Caching {
        Caching::Never
    }
}

/// The file system with the mount that the system calls go through.
#[derive(Debug)]
pub struct MessageQueues {
    fs: Arc<QueueFs>,
    mount: Arc<Mount>,
}

/// How mq_open(2) opens.
#[derive(Clone, Copy, Debug)]
pub struct QueueOpen {
    /// Access mode, `CREAT`, `EXCL`, `NONBLOCK`.
    pub flags: OpenFlags,
    /// Permission bits of a new queue, the umask applied.
    pub mode: u32,
    /// Its sizes; `None` for the defaults.
    pub attr: Option<MqAttr>,
}

impl MessageQueues {
    /// No queues.
    #[must_use]
    pub fn new(vfs: &Vfs, limits: &Arc<IpcLimits>) -> Self {
        let root = QueueDir::new(vfs.timekeeper(), limits);
        let fs = Arc::new(QueueFs { device: vfs.allocate_device(), root });
        let shared: Arc<dyn FileSystem> = fs.clone();
        let mount = vfs.new_mount(&shared, b"mqueue", MountFlags::empty());
        Self { fs, mount }
    }

    /// The file system, to be mounted where a guest can see it.
    #[must_use]
    pub fn fs(&self) -> Arc<dyn FileSystem> {
        self.fs.clone()
    }

    /// mq_open(2).
    ///
    /// # Errors
    /// As mq_open(2).
    pub fn open(&self, task: &Task, name: &[u8], how: &QueueOpen) -> Result<Arc<File>> {
        let creds = task.creds();
        let caller = Caller { creds: &creds, task: Some(task) };
        check_name(name)?;
        let (inode, is_new) = self.find_or_make(&caller, name, how)?;
        if !is_new {
            let read = if how.flags.is_readable() { 4 } else { 0 };
            let write = if how.flags.is_writable() { 2 } else { 0 };
            let shared: Arc<dyn Inode> = inode.clone();
            check_access(&caller, &shared, read | write)?;
        }
        let place = self.place(&caller, task, name, &inode);
        let ops = inode.open(&caller, how.flags)?;
        Ok(File::new(place, ops, how.flags, creds))
    }

    /// Says whether it is new.
    fn find_or_make(
        &self,
        caller: &Caller<'_>,
        name: &[u8],
        how: &QueueOpen,
    ) -> Result<(Arc<QueueInode>, bool)> {
        loop {
            if let Some(inode) = self.fs.root.find(name) {
                let is_exclusive = how.flags.contains(OpenFlags::CREAT | OpenFlags::EXCL);
                return if is_exclusive { Err(Errno::EEXIST) } else { Ok((inode, false)) };
            }
            if !how.flags.contains(OpenFlags::CREAT) {
                return Err(Errno::ENOENT);
            }
            check_access(caller, &self.fs.root(), 3)?;
            let node = NewNode {
                file_type: FileType::Regular,
                mode: how.mode,
                uid: caller.creds.fsuid,
                gid: caller.creds.fsgid,
                rdev: DeviceId::default(),
                target: b"",
            };
            match self.fs.root.make(caller, name, &node, how.attr.as_ref()) {
                // Somebody was quicker.
                Err(Errno::EEXIST) => {}
                made => return made.map(|inode| (inode, true)),
            }
        }
    }

    /// The place that the descriptor shows.
    fn place(&self, caller: &Caller<'_>, task: &Task, name: &[u8], inode: &Arc<QueueInode>) -> VfsPath {
        let vfs = &task.kernel().vfs;
        let found = vfs.lookup(caller, &Origin::at_root(self.mount.root_path()), name, WalkFlags::empty());
        let is_same = |place: &VfsPath| std::ptr::addr_eq(Arc::as_ptr(place.inode()), Arc::as_ptr(inode));
        // It may have been unlinked meanwhile.
        found.ok().filter(is_same).unwrap_or_else(|| vfs.unattached_path(&self.mount, inode.clone(), name))
    }

    /// mq_unlink(2).
    ///
    /// # Errors
    /// As mq_unlink(2).
    pub fn unlink(&self, task: &CurrentTask, name: &[u8]) -> Result<()> {
        let creds = task.creds();
        let caller = Caller { creds: &creds, task: Some(task) };
        check_name(name)?;
        task.kernel().vfs.unlink(&caller, &Origin::at_root(self.mount.root_path()), name)
    }
}

/// A name is one component, without the slash that the C library takes off.
fn check_name(name: &[u8]) -> Result<()> {
    if name.is_empty() {
        return Err(Errno::ENOENT);
    }
    if name.len() > abi::fs::NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    if name.contains(&b'/') || name == b"." || name == b".." { Err(Errno::EACCES) } else { Ok(()) }
}

/// The sizes of a new queue: (messages, bytes of a message).
fn sizes(caller: &Caller<'_>, limits: &IpcLimits, attr: Option<&MqAttr>) -> Result<(u64, u64)> {
    let limit = |which| limits.get(which);
    let (most, largest) = (limit(IpcLimit::QueueLen), limit(IpcLimit::QueueMessage));
    let Some(attr) = attr else {
        let defaults = (limit(IpcLimit::DefaultQueueLen), limit(IpcLimit::DefaultQueueMessage));
        return Ok((most.min(defaults.0), largest.min(defaults.1)));
    };
    let positive = |value: i64| u64::try_from(value).ok().filter(|&value| value > 0).ok_or(Errno::EINVAL);
    let wanted = (positive(attr.mq_maxmsg)?, positive(attr.mq_msgsize)?);
    let is_privileged = caller.creds.capable(Capability::SysResource);
    let allowed = if is_privileged { (HARD_LEN, HARD_MESSAGE) } else { (most, largest) };
    if wanted.0 > allowed.0 || wanted.1 > allowed.1 { Err(Errno::EINVAL) } else { Ok(wanted) }
}

/// What a queue counts as against `RLIMIT_MSGQUEUE`: as on Linux, its messages and what holds them.
fn accounted_bytes(len: u64, message: u64) -> u64 {
    const HEADER: u64 = 48;
    const TREE_NODE: u64 = 48;
    let nodes = len.min(u64::from(abi::mqueue::MQ_PRIO_MAX));
    len.saturating_mul(HEADER + message).saturating_add(nodes * TREE_NODE)
}

/// The caller's `RLIMIT_MSGQUEUE`; none before there are tasks.
fn byte_limit(caller: &Caller<'_>) -> u64 {
    caller.task.map_or(u64::MAX, |task| task.limit(Resource::Msgqueue))
}

/// The type `mqueue`: a mount shows the queues of the mounting task's IPC name space.
#[derive(Debug)]
pub struct QueueFsType;

impl FileSystemType for QueueFsType {
    fn name(&self) -> &'static str {
        "mqueue"
    }

    fn mount(
        &self,
        _kernel: &Arc<Kernel>,
        caller: &Caller<'_>,
        _source: &[u8],
        _options: &[u8],
    ) -> Result<Arc<dyn FileSystem>> {
        let task = caller.task.ok_or(Errno::EINVAL)?;
        Ok(super::IpcNamespace::of(task).queues.fs())
    }

    fn mount_owner(&self) -> MountOwner {
        MountOwner::Of(NamespaceKind::Ipc)
    }
}
