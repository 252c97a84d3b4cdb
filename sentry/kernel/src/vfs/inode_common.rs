//! What the VFS keeps for every inode, whatever its file system: writers, locks, watches, the pipe of a FIFO, the
//! socket bound to a name.
//!
//! Most inodes never need more than the writer count: the rest is made when it is first asked for.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use abi::{Errno, Result};
use parking_lot::Mutex;

use super::inotify::WatchList;
use super::locks::{FileLocks, LockOwner, RangeLock};

type Anything = dyn Any + Send + Sync;

/// The VFS's part of an inode. A file system embeds one in each of its inodes.
#[derive(Debug, Default)]
pub struct InodeCommon {
    /// Above zero: open for writing so many times. Below: running so many times (`ETXTBSY`).
    writers: AtomicI32,
    /// It is known to have no file capabilities, so that writers need not look (Linux's `S_NOSEC`).
    lacks_capabilities: AtomicBool,
    /// It may get a name although it has none: made with `O_TMPFILE`, without `O_EXCL` (Linux's `I_LINKABLE`).
    linkable: AtomicBool,
    rare: OnceLock<Box<Rare>>,
}

/// What few inodes have. Locks: all leaves.
#[derive(Debug, Default)]
struct Rare {
    locks: FileLocks,
    watches: WatchList,
    fifo: Mutex<Option<Weak<Anything>>>,
    socket: Mutex<Option<Weak<Anything>>>,
    /// How long what is written will live (`F_SET_RW_HINT`): kept and shown.
    write_life: AtomicU64,
}

impl InodeCommon {
    /// Notes one more writer.
    ///
    /// # Errors
    /// `ETXTBSY` while a program runs from it.
    pub fn begin_write(&self) -> Result<()> {
        self.step(1, Errno::ETXTBSY)
    }

    /// A writer has gone.
    pub fn end_write(&self) {
        self.writers.fetch_sub(1, Ordering::AcqRel);
    }

    /// Keeps writers away, for a program that is about to run from it.
    ///
    /// # Errors
    /// `ETXTBSY` while it is open for writing.
    pub fn deny_write(&self) -> Result<()> {
        self.step(-1, Errno::ETXTBSY)
    }

    /// Undoes one [`Self::deny_write`].
    pub fn allow_write(&self) {
        self.writers.fetch_add(1, Ordering::AcqRel);
    }

    /// Says whether the file may get a first name.
    pub(super) fn set_linkable(&self, is_linkable: bool) {
        self.linkable.store(is_linkable, Ordering::Relaxed);
    }

    /// Whether link(2) may give it a name while it has none.
    pub(super) fn is_linkable(&self) -> bool {
        self.linkable.load(Ordering::Relaxed)
    }

    /// Whether it is known to have no file capabilities.
    pub(super) fn lacks_capabilities(&self) -> bool {
        self.lacks_capabilities.load(Ordering::Acquire)
    }

    /// Notes whether that is known.
    pub(super) fn set_lacks_capabilities(&self, is_known: bool) {
        self.lacks_capabilities.store(is_known, Ordering::Release);
    }

    /// Whether anybody has it open for writing.
    #[must_use]
    pub fn has_writers(&self) -> bool {
        self.writers.load(Ordering::Acquire) > 0
    }

    fn step(&self, by: i32, refusal: Errno) -> Result<()> {
        self.writers
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| {
                if now.signum() * by < 0 { None } else { now.checked_add(by) }
            })
            .map(|_| ())
            .map_err(|_| refusal)
    }

    /// Gives up the POSIX locks made through the descriptor table `owner`.
    pub(crate) fn release_posix_locks(&self, owner: usize) {
        if let Some(rare) = self.rare.get() {
            rare.locks.unlock(LockOwner::Table(owner), 0, RangeLock::TO_END);
        }
    }

    /// Gives up the flock(2) and OFD locks of the open file `owner`.
    pub(crate) fn release_file_locks(&self, owner: usize) {
        if let Some(rare) = self.rare.get() {
            rare.locks.unlock_whole(owner);
            rare.locks.unlock(LockOwner::File(owner), 0, RangeLock::TO_END);
        }
    }

    /// The advisory locks on the file.
    #[must_use]
    pub fn locks(&self) -> &FileLocks {
        &self.rare().locks
    }

    /// The advisory locks on the file, where anybody has ever asked for one.
    #[must_use]
    pub fn locks_if_any(&self) -> Option<&FileLocks> {
        self.rare.get().map(|rare| &rare.locks)
    }

    /// Who watches the file.
    pub(super) fn watches(&self) -> &WatchList {
        &self.rare().watches
    }

    /// Who watches the file, where anybody may.
    pub(super) fn watches_if_any(&self) -> Option<&WatchList> {
        self.rare.get().map(|rare| &rare.watches)
    }

    /// `F_GET_RW_HINT`.
    pub(crate) fn write_life(&self) -> u64 {
        self.rare.get().map_or(0, |rare| rare.write_life.load(Ordering::Relaxed))
    }

    /// `F_SET_RW_HINT`.
    pub(crate) fn set_write_life(&self, hint: u64) {
        self.rare().write_life.store(hint, Ordering::Relaxed);
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(Box::default)
    }

    /// The pipe behind a FIFO: the one that its openers share, or a new one where there is no opener.
    pub fn fifo<T: Any + Send + Sync>(&self, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        let mut slot = self.rare().fifo.lock();
        let found = slot.as_ref().and_then(Weak::upgrade).and_then(|pipe| pipe.downcast::<T>().ok());
        found.unwrap_or_else(|| {
            let pipe = make();
            let weak: Weak<T> = Arc::downgrade(&pipe);
            *slot = Some(weak);
            pipe
        })
    }

    /// Binds a socket to this inode (of type socket); connect(2) finds it by [`Self::bound_socket`].
    pub fn bind_socket<T: Any + Send + Sync>(&self, socket: &Arc<T>) {
        let weak: Weak<T> = Arc::downgrade(socket);
        *self.rare().socket.lock() = Some(weak);
    }

    /// The socket bound here, `None` where there is none or it has been closed (`ECONNREFUSED`).
    #[must_use]
    pub fn bound_socket<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.rare.get()?.socket.lock().as_ref()?.upgrade()?.downcast().ok()
    }
}
