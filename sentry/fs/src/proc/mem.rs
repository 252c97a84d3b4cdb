//! `/proc/[pid]/mem`: another process's memory.

use std::sync::{Arc, Weak};

use abi::{Errno, OpenFlags, Result, UserAddr};
use kernel::Task;
use kernel::mm::{IoDst, IoSrc, MemoryManager};
use kernel::vfs::{Attr, Caller, File, FileOps, Inode, InodeCommon, WriteAt};

use super::access;
use super::task_dir::alive;

/// Bytes moved in one step.
const STEP: usize = 64 << 10;

/// The file's inode.
pub(super) struct MemFile {
    common: InodeCommon,
    attr: Attr,
    task: Weak<Task>,
}

impl MemFile {
    pub(super) fn new(attr: Attr, task: Weak<Task>) -> Arc<Self> {
        Arc::new(Self { common: InodeCommon::default(), attr, task })
    }
}

impl Inode for MemFile {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        Ok(self.attr)
    }

    fn open(self: Arc<Self>, caller: &Caller<'_>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(OpenMem(of(caller.task, &*alive(&self.task)?)?)))
    }
}

/// The memory that `target` has at this moment, if `viewer` may look into it: a later execve(2) gives the process another
/// one. It is gone when its last user is, whoever holds this.
///
/// # Errors
/// `EACCES`.
pub(super) fn of(viewer: Option<&Task>, target: &Task) -> Result<Weak<MemoryManager>> {
    let take = || target.try_mm().as_ref().map(Arc::downgrade).unwrap_or_default();
    match viewer {
        Some(viewer) => access::inspect(viewer, target, take),
        None => Ok(take()),
    }
}

struct OpenMem(Weak<MemoryManager>);

impl FileOps for OpenMem {
    fn read(&self, _task: &Task, _file: &File, offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        let Some(mm) = self.0.upgrade() else { return Ok(0) };
        let mut buffer = vec![0; STEP.min(dst.remaining())];
        let mut done = 0;
        while dst.remaining() > 0 {
            let want = buffer.len().min(dst.remaining());
            let Some(at) = offset.checked_add(done as u64) else { break };
            let count = mm.read_forced(UserAddr(at), &mut buffer[..want]);
            if count == 0 {
                return if done == 0 { Err(Errno::EIO) } else { Ok(done) };
            }
            match dst.put(&buffer[..count]) {
                Ok(stored) => done += stored,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    fn write(&self, _task: &Task, _file: &File, at: WriteAt, src: &mut IoSrc<'_>) -> Result<(usize, u64)> {
        let WriteAt::Offset(offset) = at else { return Err(Errno::EINVAL) };
        let Some(mm) = self.0.upgrade() else { return Ok((0, offset)) };
        let mut buffer = vec![0; STEP.min(src.remaining())];
        let mut done = 0;
        while src.remaining() > 0 {
            let want = buffer.len().min(src.remaining());
            let got = match src.take(&mut buffer[..want]) {
                Ok(got) => got,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            let Some(at) = offset.checked_add(done as u64) else { break };
            let count = mm.write_forced(UserAddr(at), &buffer[..got]);
            done += count;
            if count < got {
                break;
            }
        }
        if done == 0 { Err(Errno::EIO) } else { Ok((done, offset + done as u64)) }
    }

    fn size(&self) -> Result<u64> {
        Err(Errno::EINVAL)
    }
}
