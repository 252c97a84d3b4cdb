//! The connection to one gofer, and what all mounts behind it share.

use std::collections::{HashSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use abi::{DeviceId, Errno, Result};
use gofer_protocol::{Call, Client as WireClient, Close, Forget, MountFlags, NodeId, Response};
use kernel::Kernel;
use kernel::vfs::FileSystem;
use parking_lot::Mutex;

use super::attr::Clock;
use super::events;
use super::inode::GoferInode;
use super::volume::{GoferFs, Volume};

/// Look-ups are given back in batches of so many.
const FORGET_BATCH: usize = 64;

/// Descriptors that are kept open though no file or mapping uses them: one run of an interpreter opens some two hundred
/// files, and a second message for each costs more than keeping them.
const IDLE_FILES: usize = 1024;

/// Descriptors of files that nobody has opened yet.
const AHEAD_FILES: usize = 32;

/// Bytes of all directory listings together.
const LISTING_BUDGET: usize = 32 << 20;

/// Open files that are mapped to be read, at most: each may take 128 KiB of the host's page tables.
const WINDOWS_MAX: usize = 256;

/// Look-ups that are still to be given back.
#[derive(Debug, Default)]
struct Forgotten {
    batch: Vec<Forget>,
    /// Some are of files without a name, which the gofer keeps open: on some hosts (NFS) they have another name meanwhile,
    /// in the directory where they were.
    has_deleted: bool,
}

/// Why look-ups are given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Nobody needs the node for now.
    Unused,
    /// Its file is gone.
    Deleted,
    /// The same, and the host may have space to free.
    DeletedLarge,
}

/// A file that was opened ahead: its directory and name.
type OpenedAhead = (Weak<GoferInode>, Arc<[u8]>);

/// A connection to one container's gofer. Locks: all leaves.
#[derive(Debug)]
pub struct Connection {
    client: WireClient,
    clock: Arc<Clock>,
    forgotten: Mutex<Forgotten>,
    /// Inodes that keep descriptors, the longest unused first.
    open_files: Mutex<VecDeque<Weak<GoferInode>>>,
    /// Files that were opened ahead, the oldest first. Some are not there any more.
    opened_ahead: Mutex<VecDeque<OpenedAhead>>,
    /// Directories that keep listings, the oldest first.
    listed: Mutex<VecDeque<Weak<GoferInode>>>,
    listed_bytes: AtomicUsize,
    /// Open files that are mapped to be read.
    windows: AtomicUsize,
}

/// Each time the list of directories with listings has grown by so many, it is tidied.
const LISTED_MAX: usize = 4096;

/// What a container has of its gofer: the mounts, by the index that the runtime gave them.
#[derive(Debug)]
pub struct Client {
    mounts: Vec<Arc<GoferFs>>,
}

/// Greets a container's gofer.
///
/// # Errors
/// As [`attach`].
pub fn connect(kernel: &Arc<Kernel>, socket: OwnedFd) -> Result<Arc<Client>> {
    let mounts = attach(socket, || kernel.vfs.allocate_device())?;
    Ok(Arc::new(Client { mounts }))
}

/// The file system that the gofer serves as number `index`; `exclusive` says whether nobody else changes it.
///
/// # Errors
/// `ENODEV` where there is no such mount; `EINVAL` where others may change it but the gofer does not watch.
pub fn mount(
    _kernel: &Arc<Kernel>,
    client: &Client,
    index: u32,
    exclusive: bool,
) -> Result<Arc<dyn FileSystem>> {
    let fs = usize::try_from(index).ok().and_then(|index| client.mounts.get(index)).ok_or(Errno::ENODEV)?;
    if !exclusive && !fs.volume().is_shared() {
        return Err(Errno::EINVAL);
    }
    Ok(fs.clone())
}

/// Greets the gofer at the other end of `socket` and returns its mounts in the order in which the runtime gave them.
/// `device` makes a device number for each.
///
/// # Errors
/// `EIO` where no gofer answers, or one that speaks otherwise; `EAGAIN` where no thread can be had for its events.
pub fn attach(socket: OwnedFd, mut device: impl FnMut() -> DeviceId) -> Result<Vec<Arc<GoferFs>>> {
    let (client, hello, events) = WireClient::connect(socket)?;
    let connection = Arc::new(Connection {
        client,
        clock: Arc::default(),
        forgotten: Mutex::default(),
        open_files: Mutex::default(),
        opened_ahead: Mutex::default(),
        listed: Mutex::default(),
        listed_bytes: AtomicUsize::new(0),
        windows: AtomicUsize::new(0),
    });
    let mut mounts = Vec::with_capacity(hello.mounts.len());
    for info in &hello.mounts {
        mounts.push(GoferFs::new(Volume::new(connection.clone(), info, device()), info)?);
    }
    let shared: Vec<Weak<Volume>> = hello
        .mounts
        .iter()
        .zip(&mounts)
        .filter(|(info, _)| info.flags.contains(MountFlags::SHARED))
        .map(|(_, fs)| Arc::downgrade(fs.volume()))
        .collect();
    match events {
        Some(events) => events::start(events, shared)?,
        // Without events, nothing shared may be believed.
        None if !shared.is_empty() => return Err(Errno::EIO),
        None => {}
    }
    Ok(mounts)
}

impl Connection {
    /// Makes a call. A gofer that hangs is waited for until the task is killed, as Linux waits for a file server; what
    /// is cached of the files concerned may be out of date then.
    pub(super) fn call<'a, C: Call<'a>>(&self, request: &C) -> Result<Response<C>> {
        self.client.call_while(request, || !kernel::task::is_current_killed())
    }

    /// Orders what is asked of this gofer and changed through it.
    pub(super) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// Calls made so far.
    #[cfg(test)]
    pub(super) fn call_count(&self) -> u64 {
        self.client.call_count()
    }

    /// Whether one more open file may be mapped; then [`Self::window_gone`] must follow.
    pub(super) fn takes_window(&self) -> bool {
        let fits = |count: usize| (count < WINDOWS_MAX).then_some(count + 1);
        self.windows.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok()
    }

    /// It is not mapped any more.
    pub(super) fn window_gone(&self) {
        self.windows.fetch_sub(1, Ordering::Relaxed);
    }

    /// Gives look-ups back, sooner or later.
    pub(super) fn forget(&self, node: NodeId, count: u32, reason: Reason) {
        let forgotten = {
            let mut forgotten = self.forgotten.lock();
            forgotten.batch.push(Forget { node, count });
            forgotten.has_deleted |= reason != Reason::Unused;
            if forgotten.batch.len() < FORGET_BATCH && reason != Reason::DeletedLarge {
                return;
            }
            std::mem::take(&mut *forgotten)
        };
        self.client.forget(&Close { nodes: forgotten.batch });
    }

    /// Gives deleted files back now: a directory goes, which they may still be in, or their space is wanted. Says whether
    /// there were any; the gofer hears of it before the next request.
    pub(super) fn forget_deleted(&self) -> bool {
        let forgotten = {
            let mut forgotten = self.forgotten.lock();
            if !forgotten.has_deleted {
                return false;
            }
            std::mem::take(&mut *forgotten)
        };
        self.client.forget(&Close { nodes: forgotten.batch });
        true
    }

    /// Notes that `inode` has a descriptor, and closes one of another that nobody uses where there are too many.
    pub(super) fn keep_open(&self, inode: &Weak<GoferInode>) {
        let mut candidates = Vec::new();
        {
            let mut open = self.open_files.lock();
            open.push_back(inode.clone());
            // A few at a time: files in use go round.
            while open.len() > IDLE_FILES && candidates.len() < 4 {
                candidates.extend(open.pop_front());
            }
        }
        for candidate in candidates {
            let is_busy = candidate.upgrade().is_some_and(|inode| !inode.close_idle());
            if is_busy {
                self.open_files.lock().push_back(candidate);
            }
        }
    }

    /// Closes all descriptors that nobody uses: this process has too many.
    pub(super) fn close_idle_files(&self) {
        let candidates = std::mem::take(&mut *self.open_files.lock());
        let is_busy = |inode: &Weak<GoferInode>| inode.upgrade().is_some_and(|inode| !inode.close_idle());
        let busy: Vec<_> = candidates.into_iter().filter(is_busy).collect();
        self.open_files.lock().extend(busy);
    }

    /// Notes that `name` in `dir` was opened ahead, and gives the oldest such file up where there are too many.
    pub(super) fn keep_ahead(&self, dir: &Weak<GoferInode>, name: Arc<[u8]>) {
        let oldest = {
            let mut ahead = self.opened_ahead.lock();
            ahead.push_back((dir.clone(), name));
            if ahead.len() > AHEAD_FILES { ahead.pop_front() } else { None }
        };
        if let Some((dir, name)) = oldest
            && let Some(dir) = dir.upgrade()
        {
            dir.give_up_ahead(&name);
        }
    }

    /// Accounts for a listing that `dir` now keeps, and takes others away where the budget is exceeded.
    pub(super) fn keep_listing(&self, dir: &Weak<GoferInode>, bytes: usize) {
        self.listing_grew(bytes);
        {
            let mut listed = self.listed.lock();
            listed.push_back(dir.clone());
            // Directories that are gone, or that were fetched again.
            if listed.len().is_multiple_of(LISTED_MAX) {
                let mut seen = HashSet::new();
                listed.retain(|dir| dir.strong_count() > 0 && seen.insert(dir.as_ptr()));
            }
        }
        while self.listed_bytes.load(Ordering::Relaxed) > LISTING_BUDGET {
            let Some(oldest) = self.listed.lock().pop_front() else { return };
            if let Some(oldest) = oldest.upgrade() {
                oldest.drop_listing();
            }
        }
    }

    /// A listing has more names.
    pub(super) fn listing_grew(&self, bytes: usize) {
        self.listed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A listing is gone.
    pub(super) fn listing_gone(&self, bytes: usize) {
        // Never below nothing: what grew may be told after it is gone.
        let less = |all: usize| Some(all.saturating_sub(bytes));
        let _ = self.listed_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}
