//! A semaphore set: its values, and what semctl(2) does with them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Weak};

use abi::ipc::{SEMVMX, SemidDs};
use abi::{Errno, Result};
use parking_lot::Mutex;

use super::{Pending, SemSets};
use crate::ipc::{IpcObject, Perm};
use crate::task::Credentials;

/// A set of semaphores.
#[derive(Debug)]
pub struct SemSet {
    pub(super) sets: Weak<SemSets>,
    pub(super) count: u16,
    pub(super) state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) perm: Perm,
    pub(super) operated_at: i64,
    pub(super) changed_at: i64,
    pub(super) values: Vec<u16>,
    /// Who changed each last.
    pub(super) pids: Vec<i32>,
    /// Calls that wait, oldest first.
    pub(super) pending: VecDeque<Arc<Pending>>,
    /// By undo list: what to add to which semaphores when it ends.
    pub(super) undo: HashMap<u64, BTreeMap<u16, i16>>,
    pub(super) is_removed: bool,
}

impl IpcObject for SemSet {
    type Description = SemidDs;

    fn perm(&self) -> Perm {
        self.state.lock().perm.clone()
    }

    fn set_perm(&self, perm: Perm) {
        self.state.lock().perm = perm;
    }

    fn describe(&self, creds: &Credentials) -> SemidDs {
        let state = self.state.lock();
        SemidDs {
            sem_perm: state.perm.show(creds),
            sem_otime: state.operated_at,
            sem_ctime: state.changed_at,
            sem_nsems: u64::from(self.count),
            ..SemidDs::default()
        }
    }

    fn set(&self, creds: &Credentials, new: &SemidDs) -> Result<()> {
        let now = self.now();
        let mut state = self.state.lock();
        state.perm.check_owner(creds)?;
        state.perm.set(creds, &new.sem_perm)?;
        state.changed_at = now;
        Ok(())
    }
}

impl SemSet {
    pub(super) fn new(sets: &Weak<SemSets>, perm: Perm, count: u16, now: i64) -> Arc<Self> {
        let len = usize::from(count);
        let state = State {
            perm,
            operated_at: 0,
            changed_at: now,
            values: vec![0; len],
            pids: vec![0; len],
            pending: VecDeque::new(),
            undo: HashMap::new(),
            is_removed: false,
        };
        Arc::new(Self { sets: sets.clone(), count, state: Mutex::new(state) })
    }

    pub(super) fn now(&self) -> i64 {
        self.sets.upgrade().map_or(0, |sets| sets.common.now())
    }

    /// Number of semaphores.
    #[must_use]
    pub fn len(&self) -> u16 {
        self.count
    }

    /// Whether it has none: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The state, if there is such a semaphore.
    fn locked(&self, index: i32) -> Result<(usize, parking_lot::MutexGuard<'_, State>)> {
        let index = u16::try_from(index).ok().filter(|&index| index < self.count).ok_or(Errno::EINVAL)?;
        let state = self.state.lock();
        if state.is_removed { Err(Errno::EIDRM) } else { Ok((usize::from(index), state)) }
    }

    /// `GETVAL`.
    ///
    /// # Errors
    /// `EINVAL`, `EIDRM`.
    pub fn value(&self, index: i32) -> Result<u16> {
        self.locked(index).map(|(index, state)| state.values[index])
    }

    /// `GETPID`.
    ///
    /// # Errors
    /// `EINVAL`, `EIDRM`.
    pub fn last_pid(&self, index: i32) -> Result<i32> {
        self.locked(index).map(|(index, state)| state.pids[index])
    }

    /// `GETALL`.
    #[must_use]
    pub fn values(&self) -> Vec<u16> {
        self.state.lock().values.clone()
    }

    /// `GETNCNT` (waiting for an increase) and `GETZCNT` (waiting for zero).
    ///
    /// # Errors
    /// `EINVAL`, `EIDRM`.
    pub fn waiters(&self, index: i32, for_zero: bool) -> Result<u64> {
        let (index, state) = self.locked(index)?;
        let waits = |pending: &&Arc<Pending>| {
            let operation = pending.blocked_on();
            usize::from(operation.sem_num) == index && (operation.sem_op == 0) == for_zero
        };
        Ok(state.pending.iter().filter(waits).count() as u64)
    }

    /// `SETVAL`.
    ///
    /// # Errors
    /// `EINVAL`, `EIDRM`, `ERANGE`.
    pub fn set_value(&self, index: i32, value: i32, pid: i32) -> Result<()> {
        let now = self.now();
        let value = u16::try_from(value).ok().filter(|&value| value <= SEMVMX).ok_or(Errno::ERANGE)?;
        let (index, mut state) = self.locked(index)?;
        for list in state.undo.values_mut() {
            list.remove(&(index as u16));
        }
        state.values[index] = value;
        state.pids[index] = pid;
        state.changed_at = now;
        state.settle(now);
        Ok(())
    }

    /// `SETALL`, with as many values as there are semaphores.
    ///
    /// # Errors
    /// `ERANGE`, `EIDRM`.
    pub fn set_values(&self, values: &[u16], pid: i32) -> Result<()> {
        if values.iter().any(|&value| value > SEMVMX) {
            return Err(Errno::ERANGE);
        }
        let now = self.now();
        let mut state = self.state.lock();
        if state.is_removed {
            return Err(Errno::EIDRM);
        }
        for (slot, value) in state.values.iter_mut().zip(values) {
            *slot = *value;
        }
        state.pids.fill(pid);
        state.undo.clear();
        state.changed_at = now;
        state.settle(now);
        Ok(())
    }

    /// Its end: nobody waits any longer.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.is_removed = true;
        state.undo.clear();
        for pending in state.pending.drain(..) {
            pending.finish(Err(Errno::EIDRM));
        }
    }
}
