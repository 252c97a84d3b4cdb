//! The directory of an IPC name space's queues.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::mqueue::MqAttr;
use abi::{Errno, FileType, OpenFlags, Result};
use parking_lot::Mutex;

use super::{Queue, QueueInode, accounted_bytes, byte_limit, sizes};
use crate::Task;
use crate::ipc::{IpcLimit, IpcLimits};
use crate::task::Capability;
use crate::time::Timekeeper;
use crate::vfs::{
    Attr, Caller, DirEntry, File, FileOps, Inode, InodeCommon, KeptAttr, NewNode, Readdir, SetAttr,
};

/// `st_size` of the directory's entries and of queues: the length of what reading one says.
const FILE_SIZE: u64 = 80;
const ROOT_INO: u64 = 1;

/// The root directory.
#[derive(Debug)]
pub(super) struct QueueDir {
    common: InodeCommon,
    attr: KeptAttr,
    names: Mutex<Names>,
    limits: Arc<IpcLimits>,
    timekeeper: Arc<Timekeeper>,
}

#[derive(Debug, Default)]
struct Names {
    queues: BTreeMap<Vec<u8>, (u64, Arc<QueueInode>)>,
    /// Inode numbers are positions in the listing, too.
    last_ino: u64,
}

impl QueueDir {
    pub(super) fn new(timekeeper: &Arc<Timekeeper>, limits: &Arc<IpcLimits>) -> Arc<Self> {
        let mode = FileType::Directory as u32 | 0o1777;
        let attr = Attr { size: FILE_SIZE, ..Attr::new(ROOT_INO, mode, timekeeper.now()) };
        Arc::new(Self {
            common: InodeCommon::default(),
            attr: KeptAttr::new(attr, timekeeper),
            names: Mutex::new(Names { last_ino: ROOT_INO, ..Names::default() }),
            limits: limits.clone(),
            timekeeper: timekeeper.clone(),
        })
    }

    /// The queue of this name.
    pub(super) fn find(&self, name: &[u8]) -> Option<Arc<QueueInode>> {
        self.names.lock().queues.get(name).map(|(_, inode)| inode.clone())
    }

    /// Makes a queue.
    ///
    /// # Errors
    /// `EEXIST`; `ENOSPC` where there are too many; `EINVAL` for its sizes; `EMFILE` beyond `RLIMIT_MSGQUEUE`.
    pub(super) fn make(
        &self,
        caller: &Caller<'_>,
        name: &[u8],
        node: &NewNode<'_>,
        attr: Option<&MqAttr>,
    ) -> Result<Arc<QueueInode>> {
        let mut names = self.names.lock();
        if names.queues.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let is_full = names.queues.len() as u64 >= self.limits.get(IpcLimit::Queues);
        if is_full && !caller.creds.capable(Capability::SysResource) {
            return Err(Errno::ENOSPC);
        }
        let (len, message) = sizes(caller, &self.limits, attr)?;
        let charge = match caller.task {
            None => None,
            Some(task) => {
                let account = task.kernel().tasks.accounts.get(caller.creds.uid);
                let charge = account.charge_queue(accounted_bytes(len, message), byte_limit(caller));
                Some(charge.ok_or(Errno::EMFILE)?)
            }
        };
        names.last_ino += 1;
        let (ino, mode) = (names.last_ino, FileType::Regular as u32 | node.mode & 0o7777);
        let new = Attr::new(ino, mode, self.timekeeper.now());
        let attr = Attr { uid: node.uid, gid: node.gid, size: FILE_SIZE, ..new };
        let inode = QueueInode::new(attr, Queue::new(len, message), &self.timekeeper, charge);
        names.queues.insert(name.to_vec(), (ino, inode.clone()));
        self.note_change();
        Ok(inode)
    }

    fn note_change(&self) {
        self.attr.update(|attr, now| (attr.mtime, attr.ctime) = (now, now));
    }
}

impl Inode for QueueDir {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        Ok(self.attr.get())
    }

    fn set_attr(&self, _caller: &Caller<'_>, change: &SetAttr) -> Result<()> {
        self.attr.set(change);
        Ok(())
    }

    fn lookup(&self, _caller: &Caller<'_>, name: &[u8]) -> Result<Arc<dyn Inode>> {
        self.find(name).map(|inode| inode as Arc<dyn Inode>).ok_or(Errno::ENOENT)
    }

    /// A file made here is a queue of the default size.
    fn create(&self, caller: &Caller<'_>, name: &[u8], node: &NewNode<'_>) -> Result<Arc<dyn Inode>> {
        if node.file_type != FileType::Regular {
            return Err(Errno::EPERM);
        }
        self.make(caller, name, node, None).map(|inode| inode as Arc<dyn Inode>)
    }

    fn unlink(&self, _caller: &Caller<'_>, name: &[u8], _child: &Arc<dyn Inode>) -> Result<()> {
        let (_, inode) = self.names.lock().queues.remove(name).ok_or(Errno::ENOENT)?;
        inode.lose_name();
        self.note_change();
        Ok(())
    }

    fn open(self: Arc<Self>, _caller: &Caller<'_>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(OpenDir(self)))
    }
}

/// The directory, open.
struct OpenDir(Arc<QueueDir>);

impl FileOps for OpenDir {
    /// Positions are inode numbers: 0 and 1 for `.` and `..`.
    fn readdir(&self, _task: &Task, _file: &File, from: u64, take: Readdir<'_>) -> Result<u64> {
        let mut at = from;
        for name in [&b"."[..], b".."].into_iter().skip(usize::try_from(from).unwrap_or(2)) {
            let entry = DirEntry { name, ino: ROOT_INO, file_type: FileType::Directory, next: at + 1 };
            if !take(&entry) {
                return Ok(at);
            }
            at += 1;
        }
        let mut queues: Vec<(u64, Vec<u8>)> = {
            let names = self.0.names.lock();
            let rest = names.queues.iter().filter(|(_, (ino, _))| *ino >= at);
            rest.map(|(name, (ino, _))| (*ino, name.clone())).collect()
        };
        queues.sort_unstable();
        for (ino, name) in queues {
            if !take(&DirEntry { name: &name, ino, file_type: FileType::Regular, next: ino + 1 }) {
                break;
            }
            at = ino + 1;
        }
        Ok(at)
    }
}
