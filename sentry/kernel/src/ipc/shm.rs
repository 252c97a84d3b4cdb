//! System V shared memory (`man 2 shmget`, `man 2 shmat`, `man 2 shmctl`).
//!
//! Locks: a set's `ids` comes before a segment's `state`; both are leaves otherwise, so mappings may come and go with
//! locks of an address space held.

use std::sync::{Arc, Weak};

use abi::ipc::{IPC_PRIVATE, IpcPerm, SHM_DEST, SHM_LOCKED, ShmLimits, ShmUse, ShmidDs};
use abi::{Errno, PAGE_SIZE, Result, page_ceil};
use parking_lot::Mutex;

use super::common::IpcCommon;
use super::{IpcIds, IpcLimit, IpcObject, IpcSet, Perm};
use crate::mm::{Access, Backing, Mappable, MappingSet, MemoryFile, SharedAnon};
use crate::task::Credentials;

/// A segment.
#[derive(Debug)]
pub struct ShmSegment {
    set: Weak<ShmSet>,
    pages: Arc<SharedAnon>,
    size: u64,
    creator_pid: i32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    perm: Perm,
    id: i32,
    mappings: u64,
    attached_at: i64,
    detached_at: i64,
    changed_at: i64,
    last_pid: i32,
    /// To be removed with the last detach.
    is_doomed: bool,
    is_locked: bool,
}

/// The segments of an IPC name space.
#[derive(Debug)]
pub struct ShmSet {
    this: Weak<Self>,
    memory: Arc<MemoryFile>,
    common: IpcCommon,
    ids: Mutex<IpcIds<ShmSegment>>,
}

impl ShmSet {
    /// No segments.
    #[must_use]
    pub(super) fn new(memory: &Arc<MemoryFile>, common: &IpcCommon) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            memory: memory.clone(),
            common: common.clone(),
            ids: Mutex::default(),
        })
    }

    /// shmget(2).
    ///
    /// # Errors
    /// As shmget(2).
    pub fn find_or_make(
        &self,
        key: i32,
        size: u64,
        flags: u32,
        creds: &Credentials,
        pid: i32,
    ) -> Result<i32> {
        let fits = |segment: &ShmSegment| if size > segment.size { Err(Errno::EINVAL) } else { Ok(()) };
        let mut ids = self.ids.lock();
        let used = ids.iter().map(|(_, segment)| segment.len() / PAGE_SIZE).sum();
        let make = || self.make(key, size, flags, creds, pid, used);
        let id = ids.find_or_make(key, flags, creds, self.common.limit(IpcLimit::ShmMni), fits, make)?;
        ids.get(id)?.state.lock().id = id;
        Ok(id)
    }

    fn make(
        &self,
        key: i32,
        size: u64,
        flags: u32,
        creds: &Credentials,
        pid: i32,
        used_pages: u64,
    ) -> Result<Arc<ShmSegment>> {
        let max = self.common.limit(IpcLimit::ShmMax);
        let len = page_ceil(size).filter(|&len| len > 0 && size <= max).ok_or(Errno::EINVAL)?;
        // So the pages of all segments can be added up, whatever the limit is.
        let all_pages = used_pages.checked_add(len / PAGE_SIZE).ok_or(Errno::ENOSPC)?;
        if all_pages > self.common.limit(IpcLimit::ShmAll) {
            return Err(Errno::ENOSPC);
        }
        if i64::try_from(len).is_err() {
            return Err(Errno::EINVAL);
        }
        if len > self.memory.limit() && flags & abi::ipc::SHM_NORESERVE == 0 {
            return Err(Errno::ENOMEM);
        }
        let state = State {
            perm: self.common.perm(key, creds, flags),
            id: 0,
            mappings: 0,
            attached_at: 0,
            detached_at: 0,
            changed_at: self.common.now(),
            last_pid: 0,
            is_doomed: false,
            is_locked: false,
        };
        Ok(Arc::new(ShmSegment {
            set: self.this.clone(),
            pages: SharedAnon::lasting(&self.memory, len),
            size,
            creator_pid: pid,
            state: Mutex::new(state),
        }))
    }

    /// `IPC_INFO`: limits, and the highest index in use.
    #[must_use]
    pub fn limits(&self) -> (ShmLimits, i32) {
        let limits = ShmLimits {
            shmmax: self.common.limit(IpcLimit::ShmMax),
            shmmin: 1,
            shmmni: self.common.limit(IpcLimit::ShmMni),
            shmseg: self.common.limit(IpcLimit::ShmMni),
            shmall: self.common.limit(IpcLimit::ShmAll),
            ..ShmLimits::default()
        };
        (limits, self.ids.lock().highest_index().max(0))
    }

    /// `SHM_INFO`: use, and the highest index in use.
    #[must_use]
    pub fn usage(&self) -> (ShmUse, i32) {
        let ids = self.ids.lock();
        let mut usage = ShmUse { used_ids: ids.len() as i32, ..ShmUse::default() };
        for (_, segment) in ids.iter() {
            usage.shm_tot += segment.pages.len() / PAGE_SIZE;
            usage.shm_rss += segment.pages.resident() / PAGE_SIZE;
        }
        (usage, ids.highest_index().max(0))
    }
}

impl IpcSet for ShmSet {
    type Object = ShmSegment;

    fn with_ids<R>(&self, look: impl FnOnce(&IpcIds<ShmSegment>) -> R) -> R {
        look(&self.ids.lock())
    }

    /// At once, or with the last detach.
    fn remove(&self, id: i32) {
        let mut ids = self.ids.lock();
        let Ok(segment) = ids.get(id) else { return };
        let mut state = segment.state.lock();
        state.is_doomed = true;
        state.perm.key = IPC_PRIVATE;
        ids.make_private(id);
        let removed = if state.mappings == 0 { ids.remove(id) } else { None };
        drop(state);
        drop(ids);
        drop(removed);
    }
}

impl IpcObject for ShmSegment {
    type Description = ShmidDs;

    fn perm(&self) -> Perm {
        self.state.lock().perm.clone()
    }

    fn set_perm(&self, perm: Perm) {
        self.state.lock().perm = perm;
    }

    fn describe(&self, creds: &Credentials) -> ShmidDs {
        let state = self.state.lock();
        let mut perm: IpcPerm = state.perm.show(creds);
        for (flag, bit) in [(state.is_doomed, SHM_DEST), (state.is_locked, SHM_LOCKED)] {
            perm.mode |= if flag { bit } else { 0 };
        }
        ShmidDs {
            shm_perm: perm,
            shm_segsz: self.size,
            shm_atime: state.attached_at,
            shm_dtime: state.detached_at,
            shm_ctime: state.changed_at,
            shm_cpid: self.creator_pid,
            shm_lpid: state.last_pid,
            shm_nattch: state.mappings,
            ..ShmidDs::default()
        }
    }

    fn set(&self, creds: &Credentials, new: &ShmidDs) -> Result<()> {
        let mut state = self.state.lock();
        state.perm.check_owner(creds)?;
        state.perm.set(creds, &new.shm_perm)?;
        state.changed_at = self.set.upgrade().map_or(0, |set| set.common.now());
        Ok(())
    }
}

impl ShmSegment {
    /// Bytes, in whole pages.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.pages.len()
    }

    /// Whether it has no bytes: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// `SHM_LOCK` and `SHM_UNLOCK`.
    pub fn set_locked(&self, is_locked: bool) {
        self.state.lock().is_locked = is_locked;
    }

    /// Notes who attached or detached it last.
    pub fn touch(&self, pid: i32) {
        self.state.lock().last_pid = pid;
    }

    /// Bytes in memory.
    #[must_use]
    pub fn resident(&self) -> u64 {
        self.pages.resident()
    }
}

impl Mappable for ShmSegment {
    fn backing(&self, offset: u64, len: u64, access: Access) -> Result<Backing> {
        self.pages.backing(offset, len, access)
    }

    fn mappings(&self) -> &MappingSet {
        self.pages.mappings()
    }

    fn punch(&self, offset: u64, end: u64) -> Result<()> {
        self.pages.punch(offset, end)
    }

    fn attach(&self) {
        let now = self.set.upgrade().map_or(0, |set| set.common.now());
        let mut state = self.state.lock();
        state.mappings += 1;
        state.attached_at = now;
    }

    fn detach(&self) {
        let Some(set) = self.set.upgrade() else { return };
        let now = set.common.now();
        let mut ids = set.ids.lock();
        let mut state = self.state.lock();
        state.mappings = state.mappings.saturating_sub(1);
        state.detached_at = now;
        let removed = if state.mappings == 0 && state.is_doomed { ids.remove(state.id) } else { None };
        drop(state);
        drop(ids);
        drop(removed);
    }

    fn segment_len(&self) -> Option<u64> {
        Some(self.pages.len())
    }

    fn label(&self) -> Option<String> {
        Some(format!("/SYSV{:08x} (deleted)", self.state.lock().perm.key))
    }
}
