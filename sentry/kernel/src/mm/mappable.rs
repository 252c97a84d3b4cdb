//! What can be mapped: the seam between memory and files.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::{Errno, Result};
use parking_lot::Mutex;

use super::{Access, HostFile, MemoryManager};

/// Where the bytes of a mapped file are. The range starts at the offset asked for and may be shorter than asked.
#[derive(Clone, Debug)]
pub enum Backing {
    /// In the memory file (tmpfs, shared anonymous memory). The caller gets a reference to each page of the range.
    Memory {
        /// Byte offset in the [`super::MemoryFile`].
        offset: u64,
        /// Bytes, a page multiple.
        len: u64,
    },
    /// In a host file.
    Host {
        /// The file.
        file: Arc<HostFile>,
        /// Byte offset in it.
        offset: u64,
        /// Bytes, a page multiple.
        len: u64,
    },
}

/// A file (or shared anonymous object) that can be mapped.
///
/// A file has one [`MappingSet`], whatever number of `Mappable` values are made for it: the set's address is the file's
/// identity (for futexes, and for telling whether two mappings show the same file).
pub trait Mappable: Send + Sync {
    /// Finds the bytes of `offset..offset + len` (page multiples), allocating holes in memory-backed files.
    /// `access` tells whether the mapping may store through it. Called without any lock on the pages of an address
    /// space, so it may take the file's locks; it must not copy to or from guest memory.
    ///
    /// # Errors
    /// `ENXIO` where `offset` lies beyond the page that holds the last byte (the guest gets SIGBUS); `ENOMEM`, `ENOSPC`.
    fn backing(&self, offset: u64, len: u64, access: Access) -> Result<Backing>;

    /// Makes a hole, for objects that are no files.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where there is no such thing.
    fn punch(&self, offset: u64, end: u64) -> Result<()> {
        let _ = (offset, end);
        Err(Errno::EOPNOTSUPP)
    }

    /// A mapping of it comes to be: made, inherited by fork(2), or split off another.
    fn attach(&self) {}

    /// A mapping of it is gone. May be called with locks of the address space held.
    fn detach(&self) {}

    /// The size, if it is a System V segment: what shmdt(2) looks for.
    fn segment_len(&self) -> Option<u64> {
        None
    }

    /// What `/proc/[pid]/maps` shows as its name, for objects that are no files.
    fn label(&self) -> Option<String> {
        None
    }

    /// Where address spaces that map this file are recorded, so that truncation can take pages away from them.
    fn mappings(&self) -> &MappingSet;
}

/// The address spaces that map one file.
///
/// Locks: the list is a leaf and is not held while address spaces are changed.
#[derive(Debug, Default)]
pub struct MappingSet {
    /// Counts invalidations, so that whoever asked for backing before one does not map it after.
    generation: AtomicU64,
    /// By the address of the manager.
    spaces: Mutex<HashMap<usize, Weak<MemoryManager>>>,
    /// How many writable shared mappings are being made; negative while none may be (Linux's `i_mmap_writable`).
    intents: AtomicI64,
}

/// A writable shared mapping that is being made.
#[derive(Debug)]
pub struct WritableIntent<'a>(&'a MappingSet);

impl Drop for WritableIntent<'_> {
    fn drop(&mut self) {
        self.0.intents.fetch_sub(1, Ordering::SeqCst);
    }
}

impl MappingSet {
    /// Nobody maps the file.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes away all pages of file range `offset..end` from every address space (truncate, hole punching):
    /// the next access asks [`Mappable::backing`] again. Private copies survive unless `even_private` (truncation).
    ///
    /// The file's new state must be in place, so that a fault during this call already sees it. The file's own locks
    /// may be held.
    pub fn invalidate(&self, offset: u64, end: u64, even_private: bool) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        let mut done: HashSet<usize> = HashSet::new();
        loop {
            // A child of fork(2) may have joined and got pages of its parent before those were taken away.
            let joined: Vec<Arc<MemoryManager>> = {
                let mut spaces = self.spaces.lock();
                spaces.retain(|_, space| space.strong_count() > 0);
                let is_new = |at: &usize| !done.contains(at);
                spaces.iter().filter(|(at, _)| is_new(at)).filter_map(|(_, space)| space.upgrade()).collect()
            };
            if joined.is_empty() {
                return;
            }
            for space in joined {
                done.insert(Arc::as_ptr(&space).addr());
                space.invalidate(self, offset..end, even_private);
            }
        }
    }

    /// Notes that a writable shared mapping is about to be made, before the caller looks at the file's seals. It is to
    /// be kept until the mapping stands.
    ///
    /// # Errors
    /// `EPERM` while somebody seals the file.
    pub fn begin_writable(&self) -> Result<WritableIntent<'_>> {
        let more = |count: i64| (count >= 0).then(|| count.saturating_add(1));
        self.intents.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).map_err(|_| Errno::EPERM)?;
        Ok(WritableIntent(self))
    }

    /// Runs `seal` if there is no writable shared mapping, nor can be one before it returns.
    ///
    /// # Errors
    /// `EBUSY` where there is one, or about to be.
    pub fn without_writable(&self, seal: impl FnOnce()) -> Result<()> {
        const DENIED: i64 = -1;
        let denied = self.intents.compare_exchange(0, DENIED, Ordering::SeqCst, Ordering::SeqCst);
        denied.map_err(|_| Errno::EBUSY)?;
        let is_busy = self.has_writable();
        if !is_busy {
            seal();
        }
        self.intents.store(0, Ordering::SeqCst);
        if is_busy { Err(Errno::EBUSY) } else { Ok(()) }
    }

    /// Whether any address space maps the file, or did.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spaces.lock().values().all(|space| space.strong_count() == 0)
    }

    /// Whether anybody has, or may give itself, a writable shared mapping of the file: such a file cannot be sealed
    /// against writing. The file's own locks may be held.
    fn has_writable(&self) -> bool {
        let spaces: Vec<Arc<MemoryManager>> = self.spaces.lock().values().filter_map(Weak::upgrade).collect();
        spaces.iter().any(|space| space.may_write_to(self))
    }

    /// Changes with every invalidation.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Records that `space` maps the file.
    pub(crate) fn add(&self, space: &Weak<MemoryManager>) {
        let mut spaces = self.spaces.lock();
        if spaces.len() >= 64 && spaces.len().is_power_of_two() {
            spaces.retain(|_, space| space.strong_count() > 0);
        }
        spaces.insert(space.as_ptr().addr(), space.clone());
    }

    /// What tells this file from others while it is mapped.
    pub(crate) fn identity(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// A mapping's hold on the object it shows.
pub(crate) struct Attached(Arc<dyn Mappable>);

impl Attached {
    pub(crate) fn new(object: Arc<dyn Mappable>) -> Self {
        object.attach();
        Self(object)
    }

    /// The object, without counting as a mapping of it.
    pub(crate) fn object(&self) -> &Arc<dyn Mappable> {
        &self.0
    }
}

impl Clone for Attached {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.detach();
    }
}

impl std::ops::Deref for Attached {
    type Target = dyn Mappable;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}
