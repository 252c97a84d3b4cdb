//! The [`File`]: an open file description.
//!
//! Locks: `position` is held over a read or write that uses it, so it comes before everything in a file system; `owner`
//! is a leaf.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use abi::{Errno, OpenFlags, Result};
use parking_lot::{Mutex, MutexGuard};
use waiter::{Events, Registration};

use super::async_notice::{AsyncNotice, Owner};
use super::epoll::Watchers;
use super::promise::Holder;
use super::{Fd, FileOps, Inode, VfsPath, inotify};
use crate::Task;
use crate::mm::{IoDst, IoSrc};
use crate::task::Credentials;
use crate::vfs::WriteAt;

/// The flags that `fcntl(F_SETFL)` may change, other than `O_ASYNC` (see [`File::set_async`]).
pub const SETTABLE_FLAGS: OpenFlags =
    OpenFlags::APPEND.union(OpenFlags::NONBLOCK).union(OpenFlags::DIRECT).union(OpenFlags::NOATIME);

/// An open file description: what descriptors refer to, shared by dup(2) and fork(2).
pub struct File {
    path: VfsPath,
    ops: Arc<dyn FileOps>,
    flags: AtomicU32,
    position: Mutex<u64>,
    creds: Arc<Credentials>,
    /// Counted in its inode as a writer.
    is_counted: bool,
    /// Opening it has made the file.
    has_created: AtomicBool,
    owner: Mutex<Owner>,
    /// `O_ASYNC`: its registration with the wait queue.
    listening: Mutex<Option<Registration>>,
    holder: Holder,
    /// The epoll instances that watch it.
    watchers: OnceLock<Arc<Watchers>>,
}

/// Who is told of `O_ASYNC` readiness (`fcntl(F_SETOWN)`, `F_SETSIG`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SignalOwner {
    /// `F_OWNER_TID`, `F_OWNER_PID` or `F_OWNER_PGRP`.
    pub kind: i32,
    /// The number, 0 for nobody.
    pub id: i32,
    /// The signal; 0 means SIGIO.
    pub signal: i32,
}

impl File {
    /// An open file on `path` with behaviour `ops`. It counts as a writer of the inode where its flags say so and the
    /// caller has made that claim with [`super::InodeCommon::begin_write`]; for anonymous files that does not matter.
    #[must_use]
    pub fn new(path: VfsPath, ops: Arc<dyn FileOps>, flags: OpenFlags, creds: Arc<Credentials>) -> Arc<Self> {
        Arc::new(Self::make(path, ops, flags, creds, false))
    }

    /// As [`Self::new`], for a file that has been counted as a writer.
    pub(super) fn new_writer(
        path: VfsPath,
        ops: Arc<dyn FileOps>,
        flags: OpenFlags,
        creds: Arc<Credentials>,
    ) -> Arc<Self> {
        Arc::new(Self::make(path, ops, flags, creds, true))
    }

    fn make(
        path: VfsPath,
        ops: Arc<dyn FileOps>,
        flags: OpenFlags,
        creds: Arc<Credentials>,
        is_counted: bool,
    ) -> Self {
        // These steer the open itself and are not kept (Linux: `f_flags &= ~(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC)`).
        let once =
            OpenFlags::CREAT | OpenFlags::EXCL | OpenFlags::NOCTTY | OpenFlags::TRUNC | OpenFlags::CLOEXEC;
        Self {
            path,
            ops,
            flags: AtomicU32::new(flags.bits() & !once.bits()),
            position: Mutex::new(0),
            creds,
            is_counted,
            has_created: AtomicBool::new(false),
            owner: Mutex::default(),
            listening: Mutex::new(None),
            holder: Holder::default(),
            watchers: OnceLock::new(),
        }
    }

    /// What was opened, and through which mount. Pipes and sockets have a path in a hidden mount of their own.
    #[must_use]
    pub fn path(&self) -> &VfsPath {
        &self.path
    }

    /// The file that was opened.
    #[must_use]
    pub fn inode(&self) -> &Arc<dyn Inode> {
        self.path.dentry.inode()
    }

    /// The behaviour.
    #[must_use]
    pub fn ops(&self) -> &Arc<dyn FileOps> {
        &self.ops
    }

    /// What it is ready for now.
    #[must_use]
    pub fn poll(&self) -> Events {
        self.settle_posted();
        self.ops.poll(self)
    }

    /// The epoll instances that watch it, unless it is one.
    pub(super) fn watchers(&self) -> &Arc<Watchers> {
        self.watchers.get_or_init(Arc::default)
    }

    /// Whether somebody may be told when it is closed.
    pub(crate) fn is_watched(&self) -> bool {
        inotify::is_watched(self) || self.listening.lock().is_some() || self.watchers.get().is_some()
    }

    /// Who was promised what it has.
    pub(crate) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Has calls carried out that a task has posted to it: before anybody else uses the file.
    pub(super) fn settle_posted(&self) {
        self.holder.settle();
    }

    /// The behaviour, if it is of this kind.
    #[must_use]
    pub fn ops_as<T: FileOps>(&self) -> Option<&T> {
        let ops: &dyn std::any::Any = self.ops.as_ref();
        ops.downcast_ref()
    }

    /// Who opened it.
    #[must_use]
    pub fn creds(&self) -> &Arc<Credentials> {
        &self.creds
    }

    /// Access mode and status flags as of now.
    #[must_use]
    pub fn flags(&self) -> OpenFlags {
        OpenFlags::from_bits_retain(self.flags.load(Ordering::Relaxed))
    }

    /// Whether it was opened with `O_PATH`: nothing but its place can be used.
    #[must_use]
    pub fn is_path_only(&self) -> bool {
        self.flags().contains(OpenFlags::PATH)
    }

    /// Whether calls return `EAGAIN` rather than wait.
    #[must_use]
    pub fn is_nonblocking(&self) -> bool {
        self.flags().contains(OpenFlags::NONBLOCK)
    }

    /// Whether it may be read.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn check_readable(&self) -> Result<()> {
        if self.flags().is_readable() { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// Whether it may be written.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn check_writable(&self) -> Result<()> {
        if self.flags().is_writable() { Ok(()) } else { Err(Errno::EBADF) }
    }

    /// Replaces the flags in `mask` by those in `flags` (`F_SETFL`, `FIONBIO`).
    pub fn set_flags(&self, mask: OpenFlags, flags: OpenFlags) {
        let (clear, set) = (!mask.bits(), (flags & mask).bits());
        let _ =
            self.flags.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| Some((now & clear) | set));
    }

    /// Whether opening it has made the file (`F_CREATED_QUERY`).
    #[must_use]
    pub fn has_created(&self) -> bool {
        self.has_created.load(Ordering::Relaxed)
    }

    /// Notes that opening it has made the file.
    pub(super) fn note_created(&self) {
        self.has_created.store(true, Ordering::Relaxed);
    }

    /// The position, locked for a call that moves it.
    pub fn position(&self) -> MutexGuard<'_, u64> {
        self.position.lock()
    }

    /// Who holds the flock(2) and OFD locks made through this description.
    pub(crate) fn lock_owner(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Who is told of readiness.
    #[must_use]
    pub fn signal_owner(&self) -> SignalOwner {
        self.owner.lock().shown
    }

    /// Sets who is told of readiness; numbers are of `task`'s pid name space.
    ///
    /// # Errors
    /// `ESRCH` where nobody has that number.
    pub fn set_signal_owner(&self, task: &Task, owner: SignalOwner) -> Result<()> {
        let target = match owner.id {
            0 => None,
            id => Some(task.pid_ns().pid(id).ok_or(Errno::ESRCH)?),
        };
        *self.owner.lock() = Owner { shown: owner, target, creds: Some(task.creds()) };
        Ok(())
    }

    /// Sets the signal that tells of readiness; 0 is SIGIO without details.
    pub fn set_ready_signal(&self, signal: i32) {
        self.owner.lock().shown.signal = signal;
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner.lock().clone()
    }

    /// Begins or ends telling the owner of readiness (`O_ASYNC`); `fd` is what the signals say.
    pub fn set_async(self: &Arc<Self>, task: &Task, fd: Fd, is_on: bool) {
        let now = if is_on { AsyncNotice::start(task, self, fd) } else { None };
        let before = std::mem::replace(&mut *self.listening.lock(), now);
        drop(before);
        self.set_flags(OpenFlags::ASYNC, if is_on { OpenFlags::ASYNC } else { OpenFlags::empty() });
    }

    /// Reads into memory of ours from `offset` on, as much as there is and fits (the loader, sendfile).
    ///
    /// # Errors
    /// What [`FileOps::read`] says.
    pub fn read_kernel(&self, task: &Task, offset: u64, to: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < to.len() {
            let mut dst = IoDst::kernel(&mut to[done..]);
            match self.ops.read(task, self, offset + done as u64, &mut dst) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    /// Writes memory of ours at `offset`; returns the bytes taken.
    ///
    /// # Errors
    /// What [`FileOps::write`] says.
    pub fn write_kernel(&self, task: &Task, offset: u64, from: &[u8]) -> Result<usize> {
        let mut src = IoSrc::kernel(from);
        self.ops.write(task, self, WriteAt::Offset(offset), &mut src).map(|(count, _)| count)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let common = self.inode().common();
        common.release_file_locks(self.lock_owner());
        if self.is_counted {
            common.end_write();
        }
        inotify::on_close(self);
    }
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).field("flags", &self.flags()).finish_non_exhaustive()
    }
}
