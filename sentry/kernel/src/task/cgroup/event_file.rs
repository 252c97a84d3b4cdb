//! A file of a group whose text changes by itself (`cgroup.events`, `pids.events`): who waits for that with poll(2) or
//! inotify(7) is told.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::inotify::InotifyMask;
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use super::Cgroup;
use crate::vfs::{Inode, notify_inode};

/// Files that have changed: who waits for that is told when this is dropped, which is to be after all locks.
#[derive(Debug, Default)]
#[must_use = "dropped after the locks"]
pub(in crate::task) struct Untold(Vec<(Arc<Cgroup>, WhichFile)>);

/// Which of a group's files.
type WhichFile = fn(&Cgroup) -> &EventFile;

impl Untold {
    /// `cgroup.events` of a group has changed.
    pub(super) fn events(&mut self, group: Arc<Cgroup>) {
        self.0.push((group, Cgroup::events));
    }

    /// `pids.events` of a group has changed.
    pub(super) fn pids_events(&mut self, group: Arc<Cgroup>) {
        self.0.push((group, Cgroup::pids_events));
    }

    /// And these.
    pub(super) fn add(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        for (group, file) in self.0.drain(..) {
            file(&group).tell();
        }
    }
}

/// Such a file, as its group knows it.
pub struct EventFile {
    name: &'static str,
    count: AtomicU64,
    queue: WaitQueue,
    /// What anybody has looked at. A leaf lock.
    shown: Mutex<Option<Shown>>,
}

/// The file, and the directory that it is in.
#[derive(Clone)]
struct Shown {
    file: Weak<dyn Inode>,
    dir: Weak<dyn Inode>,
}

impl EventFile {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, count: AtomicU64::new(1), queue: WaitQueue::new(), shown: Mutex::new(None) }
    }

    /// How often its text has changed, from 1.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Told of each change.
    #[must_use]
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// It can be watched as `file` in `dir` from now on.
    pub fn show(&self, file: &Arc<dyn Inode>, dir: &Arc<dyn Inode>) {
        *self.shown.lock() = Some(Shown { file: Arc::downgrade(file), dir: Arc::downgrade(dir) });
    }

    /// Its text has changed.
    fn tell(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.queue.notify(Events::ERR | Events::PRI);
        let shown = self.shown.lock().clone();
        let Some(shown) = shown else { return };
        if let Some(file) = shown.file.upgrade() {
            notify_inode(&*file, InotifyMask::MODIFY, 0, b"");
        }
        if let Some(dir) = shown.dir.upgrade() {
            notify_inode(&*dir, InotifyMask::MODIFY, 0, self.name.as_bytes());
        }
    }
}

impl std::fmt::Debug for EventFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EventFile({}, {})", self.name, self.count())
    }
}
