//! semop(2): all operations of a call at once, or none and wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use abi::ipc::{IPC_NOWAIT, SEM_UNDO, SEMVMX, SemBuf};
use abi::{Errno, Result};
use parking_lot::Mutex;
use waiter::{Events, Notify};

use super::SemSet;
use super::set::State;
use crate::ipc::IpcAccess;
use crate::task::Credentials;

/// A call that waits until its operations are possible.
pub struct Pending {
    operations: Vec<SemBuf>,
    undo: Option<u64>,
    pid: i32,
    /// The index of the operation that is not possible.
    blocked_on: AtomicUsize,
    result: Mutex<Option<Result<()>>>,
    waiter: Arc<dyn Notify>,
}

impl Pending {
    /// A call of process `pid` with these operations (at least one), whose task hears by `waiter`; adjustments go to the
    /// undo list `undo`.
    #[must_use]
    pub fn new(operations: Vec<SemBuf>, undo: Option<u64>, pid: i32, waiter: Arc<dyn Notify>) -> Arc<Self> {
        let (blocked_on, result) = (AtomicUsize::new(0), Mutex::default());
        Arc::new(Self { operations, undo, pid, blocked_on, result, waiter })
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn result(&self) -> Option<Result<()>> {
        *self.result.lock()
    }

    pub(super) fn finish(&self, result: Result<()>) {
        *self.result.lock() = Some(result);
        self.waiter.notify(Events::IN);
    }

    /// The operation that it waits for.
    pub(super) fn blocked_on(&self) -> SemBuf {
        self.operations.get(self.blocked_on.load(Ordering::Relaxed)).copied().unwrap_or_default()
    }

    fn changes_something(&self) -> bool {
        self.operations.iter().any(|operation| operation.sem_op != 0)
    }
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pending({:?} of {})", self.operations, self.pid)
    }
}

/// What came of an attempt that is not an error.
enum Attempt {
    Done,
    /// The operation at this index is not possible now.
    Blocked(usize),
}

impl SemSet {
    /// Whether a call of `creds` may operate so on the set.
    ///
    /// # Errors
    /// `EFBIG`, `EACCES`.
    pub fn check_operations(&self, operations: &[SemBuf], creds: &Credentials) -> Result<()> {
        if operations.iter().any(|operation| operation.sem_num >= self.count) {
            return Err(Errno::EFBIG);
        }
        let changes = operations.iter().any(|operation| operation.sem_op != 0);
        self.state.lock().perm.check(creds, if changes { IpcAccess::Write } else { IpcAccess::Read })
    }

    /// Carries the call out, now or when that becomes possible: then its result says so. The operations have been
    /// checked by [`Self::check_operations`].
    ///
    /// # Errors
    /// `EIDRM`, `EAGAIN` for `IPC_NOWAIT`, `ERANGE`.
    pub fn operate(&self, call: &Arc<Pending>) -> Result<()> {
        let now = self.now();
        let mut state = self.state.lock();
        if state.is_removed {
            return Err(Errno::EIDRM);
        }
        match state.attempt(call)? {
            Attempt::Blocked(index) => {
                call.blocked_on.store(index, Ordering::Relaxed);
                state.pending.push_back(call.clone());
            }
            Attempt::Done => {
                state.operated_at = now;
                *call.result.lock() = Some(Ok(()));
                if call.changes_something() {
                    state.settle(now);
                }
            }
        }
        Ok(())
    }

    /// Ends a wait early, unless the call has been carried out meanwhile: its result is returned then.
    #[must_use]
    pub fn cancel(&self, call: &Arc<Pending>) -> Option<Result<()>> {
        let mut state = self.state.lock();
        state.pending.retain(|pending| !Arc::ptr_eq(pending, call));
        call.result()
    }

    /// Takes back what the undo list `list` remembers.
    pub(super) fn take_back(&self, list: u64, pid: i32) {
        let now = self.now();
        let mut state = self.state.lock();
        let Some(adjustments) = state.undo.remove(&list) else { return };
        for (index, adjustment) in adjustments {
            let index = usize::from(index);
            let value = i32::from(state.values[index]) + i32::from(adjustment);
            state.values[index] = value.clamp(0, i32::from(SEMVMX)) as u16;
            state.pids[index] = pid;
        }
        state.operated_at = now;
        state.settle(now);
    }
}

impl State {
    /// Carries out whatever has become possible for those who wait, the oldest first.
    pub(super) fn settle(&mut self, now: i64) {
        let mut at = 0;
        while let Some(call) = self.pending.get(at).cloned() {
            let result = match self.attempt(&call) {
                Ok(Attempt::Blocked(index)) => {
                    call.blocked_on.store(index, Ordering::Relaxed);
                    at += 1;
                    continue;
                }
                Ok(Attempt::Done) => {
                    self.operated_at = now;
                    Ok(())
                }
                Err(errno) => Err(errno),
            };
            self.pending.remove(at);
            call.finish(result);
            if result.is_ok() && call.changes_something() {
                at = 0;
            }
        }
    }

    /// Carries out all operations of a call, or none.
    fn attempt(&mut self, call: &Pending) -> Result<Attempt> {
        for (index, operation) in call.operations.iter().enumerate() {
            let outcome = self.operate_one(operation, call.undo);
            if outcome == Ok(true) {
                continue;
            }
            for done in call.operations[..index].iter().rev() {
                self.revert_one(done, call.undo);
            }
            outcome?;
            let must_not_wait = u32::from(operation.sem_flg as u16) & IPC_NOWAIT != 0;
            return if must_not_wait { Err(Errno::EAGAIN) } else { Ok(Attempt::Blocked(index)) };
        }
        for operation in &call.operations {
            self.pids[usize::from(operation.sem_num)] = call.pid;
        }
        Ok(Attempt::Done)
    }

    /// Says `false` where it is not possible now.
    fn operate_one(&mut self, operation: &SemBuf, undo: Option<u64>) -> Result<bool> {
        let index = usize::from(operation.sem_num);
        let value = self.values[index];
        if operation.sem_op == 0 {
            return Ok(value == 0);
        }
        let Ok(result) = u16::try_from(i32::from(value) + i32::from(operation.sem_op)) else {
            return Ok(false);
        };
        if result > SEMVMX {
            return Err(Errno::ERANGE);
        }
        if let Some(list) = undo.filter(|_| operation.sem_flg & SEM_UNDO != 0) {
            let slot = self.undo.entry(list).or_default().entry(operation.sem_num).or_default();
            *slot = slot.checked_sub(operation.sem_op).ok_or(Errno::ERANGE)?;
        }
        self.values[index] = result;
        Ok(true)
    }

    /// Takes one operation back whose effect was just made.
    fn revert_one(&mut self, operation: &SemBuf, undo: Option<u64>) {
        let value = &mut self.values[usize::from(operation.sem_num)];
        *value = value.wrapping_add_signed(operation.sem_op.wrapping_neg());
        if let Some(list) = undo.filter(|_| operation.sem_op != 0 && operation.sem_flg & SEM_UNDO != 0) {
            let slot = self.undo.entry(list).or_default().entry(operation.sem_num).or_default();
            *slot = slot.wrapping_add(operation.sem_op);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Weak};

    use abi::Errno;
    use abi::ipc::{IPC_NOWAIT, SEM_UNDO, SemBuf};
    use waiter::Parker;

    use super::{Pending, SemSet};
    use crate::ipc::Perm;
    use crate::task::{Credentials, NamespaceId, UserNamespace};

    fn set(count: u16) -> Arc<SemSet> {
        let user_ns = UserNamespace::initial(NamespaceId(1));
        let perm = Perm::new(0, &Credentials::root(user_ns.clone()), &user_ns, 0o600);
        SemSet::new(&Weak::new(), perm, count, 0)
    }

    fn call(operations: &[(u16, i16, i16)]) -> Arc<Pending> {
        let operations =
            operations.iter().map(|&(sem_num, sem_op, sem_flg)| SemBuf { sem_num, sem_op, sem_flg });
        Pending::new(operations.collect(), Some(1), 7, Arc::new(Parker::new()))
    }

    #[test]
    fn operations_are_all_or_nothing() {
        let set = set(2);
        let both = call(&[(0, 2, SEM_UNDO), (1, -1, SEM_UNDO)]);
        set.operate(&both).unwrap();
        assert_eq!((both.result(), set.values()), (None, vec![0, 0]));
        assert_eq!(set.waiters(1, false), Ok(1));
        set.operate(&call(&[(1, 1, 0)])).unwrap();
        assert_eq!((both.result(), set.values()), (Some(Ok(())), vec![2, 0]));
        set.take_back(1, 9);
        assert_eq!((set.values(), set.last_pid(1)), (vec![0, 1], Ok(9)));
    }

    #[test]
    fn waiters_come_before_those_who_arrive_later() {
        let set = set(1);
        let waiting = call(&[(0, -1, 0)]);
        set.operate(&waiting).unwrap();
        set.operate(&call(&[(0, 1, 0)])).unwrap();
        assert_eq!(waiting.result(), Some(Ok(())));
        let late = call(&[(0, -1, IPC_NOWAIT as i16)]);
        assert_eq!(set.operate(&late), Err(Errno::EAGAIN));
    }

    #[test]
    fn values_and_adjustments_have_limits() {
        let set = set(1);
        set.operate(&call(&[(0, 32767, SEM_UNDO)])).unwrap();
        assert_eq!(set.operate(&call(&[(0, 1, 0)])), Err(Errno::ERANGE));
        set.operate(&call(&[(0, -1, 0)])).unwrap();
        set.operate(&call(&[(0, 1, SEM_UNDO)])).unwrap();
        set.set_value(0, 5, 1).unwrap();
        set.operate(&call(&[(0, -5, SEM_UNDO), (0, 0, 0)])).unwrap();
        set.take_back(1, 1);
        assert_eq!(set.values(), [5]);
        let waiting = call(&[(0, 0, 0)]);
        set.operate(&waiting).unwrap();
        set.end();
        assert_eq!(waiting.result(), Some(Err(Errno::EIDRM)));
    }
}
