//! System V semaphores (`man 2 semget`, `man 2 semop`, `man 2 semctl`).
//!
//! As in Linux, a set carries out the operations of those who wait: a call that makes something possible does it on
//! the waiter's behalf, in order of arrival, and nobody can slip in between. A waiting call is a [`Pending`] in the set's
//! queue, which its task holds, too.
//!
//! Locks: the `registry` comes before a set's `state`; a wait queue's own comes last.

mod operate;
mod set;
mod undo;

use std::sync::{Arc, Weak};

use abi::ipc::{SEMVMX, SemInfo};
use abi::{Errno, Result};
use host::heap::{self, Purpose};
use parking_lot::Mutex;

use super::common::IpcCommon;
use super::{IpcIds, IpcLimit, IpcSet};
use crate::task::Credentials;

pub use operate::Pending;
pub use set::SemSet;
pub use undo::UndoList;

/// The semaphore sets of an IPC name space.
#[derive(Debug)]
pub struct SemSets {
    this: Weak<Self>,
    common: IpcCommon,
    registry: Mutex<Registry>,
}

#[derive(Debug, Default)]
struct Registry {
    ids: IpcIds<SemSet>,
    /// Semaphores in all sets.
    semaphores: u64,
}

impl SemSets {
    /// No sets.
    #[must_use]
    pub(super) fn new(common: &IpcCommon) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            this: this.clone(),
            common: common.clone(),
            registry: Mutex::default(),
        })
    }

    /// semget(2).
    ///
    /// # Errors
    /// As semget(2).
    pub fn find_or_make(&self, key: i32, count: i32, flags: u32, creds: &Credentials) -> Result<i32> {
        let max = self.common.limit(IpcLimit::SemMsl);
        let count =
            u16::try_from(count).ok().filter(|&count| u64::from(count) <= max).ok_or(Errno::EINVAL)?;
        let mut registry = self.registry.lock();
        let Registry { ids, semaphores } = &mut *registry;
        let fits = |set: &SemSet| if count > set.len() { Err(Errno::EINVAL) } else { Ok(()) };
        let make = || {
            if count == 0 {
                return Err(Errno::EINVAL);
            }
            if *semaphores + u64::from(count) > self.common.limit(IpcLimit::SemMns) {
                return Err(Errno::ENOSPC);
            }
            heap::room_for(u64::from(count) * SEMAPHORE_COST, Purpose::Lasting)?;
            *semaphores += u64::from(count);
            Ok(SemSet::new(&self.this, self.common.perm(key, creds, flags), count, self.common.now()))
        };
        ids.find_or_make(key, flags, creds, self.common.limit(IpcLimit::SemMni), fits, make)
    }

    /// Most operations in one call.
    #[must_use]
    pub fn max_operations(&self) -> u64 {
        self.common.limit(IpcLimit::SemOpm)
    }

    /// `IPC_INFO` and `SEM_INFO`: limits or use, and the highest index in use.
    #[must_use]
    pub fn info(&self, wants_use: bool) -> (SemInfo, i32) {
        let limit = |which| i32::try_from(self.common.limit(which)).unwrap_or(i32::MAX);
        let registry = self.registry.lock();
        let mut info = SemInfo {
            semmap: limit(IpcLimit::SemMns),
            semmni: limit(IpcLimit::SemMni),
            semmns: limit(IpcLimit::SemMns),
            semmnu: limit(IpcLimit::SemMns),
            semmsl: limit(IpcLimit::SemMsl),
            semopm: limit(IpcLimit::SemOpm),
            semume: limit(IpcLimit::SemOpm),
            semusz: 20,
            semvmx: i32::from(SEMVMX),
            semaem: i32::from(SEMVMX),
        };
        if wants_use {
            info.semusz = i32::try_from(registry.ids.len()).unwrap_or(i32::MAX);
            info.semaem = i32::try_from(registry.semaphores).unwrap_or(i32::MAX);
        }
        (info, registry.ids.highest_index().max(0))
    }
}

impl IpcSet for SemSets {
    type Object = SemSet;

    fn with_ids<R>(&self, look: impl FnOnce(&IpcIds<SemSet>) -> R) -> R {
        look(&self.registry.lock().ids)
    }

    /// Whoever waits gets `EIDRM`.
    fn remove(&self, id: i32) {
        let mut registry = self.registry.lock();
        let removed = registry.ids.remove(id);
        registry.semaphores -= removed.as_ref().map_or(0, |set| u64::from(set.len()));
        drop(registry);
        if let Some(set) = removed {
            set.end();
        }
    }
}

/// What a semaphore takes, bytes.
const SEMAPHORE_COST: u64 = 6;
