//! A queue as a file.

use std::sync::Arc;

use abi::{Errno, OpenFlags, Result};
use waiter::{Events, WaitQueue};

use super::Queue;
use crate::Task;
use crate::mm::IoDst;
use crate::task::AccountCharge;
use crate::time::Timekeeper;
use crate::vfs::{Attr, Caller, File, FileOps, Inode, InodeCommon, KeptAttr, SetAttr};

/// The inode of a queue.
#[derive(Debug)]
pub(super) struct QueueInode {
    common: InodeCommon,
    attr: KeptAttr,
    queue: Arc<Queue>,
    /// Counts against its maker's `RLIMIT_MSGQUEUE`.
    _charge: Option<AccountCharge>,
}

impl QueueInode {
    pub(super) fn new(
        attr: Attr,
        queue: Queue,
        timekeeper: &Arc<Timekeeper>,
        charge: Option<AccountCharge>,
    ) -> Arc<Self> {
        Arc::new(Self {
            common: InodeCommon::default(),
            attr: KeptAttr::new(attr, timekeeper),
            queue: Arc::new(queue),
            _charge: charge,
        })
    }

    /// A name was taken from it.
    pub(super) fn lose_name(&self) {
        self.attr.update(|attr, now| {
            attr.nlink = attr.nlink.saturating_sub(1);
            attr.ctime = now;
        });
    }
}

impl Inode for QueueInode {
    fn common(&self) -> &InodeCommon {
        &self.common
    }

    fn attr(&self) -> Result<Attr> {
        Ok(self.attr.get())
    }

    /// Truncation is accepted and does nothing.
    fn set_attr(&self, _caller: &Caller<'_>, change: &SetAttr) -> Result<()> {
        self.attr.set(change);
        Ok(())
    }

    fn open(self: Arc<Self>, _caller: &Caller<'_>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>> {
        Ok(Arc::new(QueueFile { inode: self }))
    }
}

/// A queue that is open: what the `mq_*` calls take.
#[derive(Debug)]
struct QueueFile {
    inode: Arc<QueueInode>,
}

impl QueueFile {
    /// The queue.
    fn queue(&self) -> &Arc<Queue> {
        &self.inode.queue
    }
}

impl FileOps for QueueFile {
    fn read(&self, task: &Task, _file: &File, offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        let text = self.queue().describe(task);
        let rest = usize::try_from(offset).ok().and_then(|at| text.as_bytes().get(at..)).unwrap_or_default();
        if rest.is_empty() { Ok(0) } else { dst.put(rest) }
    }

    fn size(&self) -> Result<u64> {
        self.inode.attr().map(|attr| attr.size)
    }

    fn poll(&self, _file: &File) -> Events {
        self.queue().readiness()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(self.queue().waiters())
    }

    /// Closing any descriptor of the queue ends the process's notification.
    fn flush(&self, task: &Task) -> Result<()> {
        self.queue().clear_notice(task.thread_group());
        Ok(())
    }
}

/// The queue behind a descriptor.
///
/// # Errors
/// `EBADF` where it is not one.
pub fn queue_of(file: &File) -> Result<Arc<Queue>> {
    file.ops_as::<QueueFile>().map(|file| file.queue().clone()).ok_or(Errno::EBADF)
}
