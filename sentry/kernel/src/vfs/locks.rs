//! Advisory locks on files: POSIX record locks, open-file-description locks, flock(2).
//!
//! POSIX and OFD locks are ranges and see each other; flock's lock the whole file and see only each other. A lock is
//! owned by a descriptor table or an open file, named by address, and goes when that closes the file.
//!
//! Locks: [`LockWaits`]', then a file's `state`, a leaf.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use abi::{Errno, Result};
use host::heap::{self, Purpose};
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use super::Inode;

/// Shared or exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Others may read-lock too.
    Read,
    /// Nobody else may lock.
    Write,
}

/// Whose lock it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockOwner {
    /// A POSIX lock: the descriptor table's.
    Table(usize),
    /// An OFD lock: the open file's.
    File(usize),
}

/// A lock on a range of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeLock {
    /// Shared or exclusive.
    pub kind: LockKind,
    /// Whose.
    pub owner: LockOwner,
    /// The process to tell of in `F_GETLK`; -1 for an open file's.
    pub pid: i32,
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
}

impl RangeLock {
    /// The last byte of a lock to the end of the file, however far that is.
    pub const TO_END: u64 = i64::MAX as u64;

    fn overlaps(&self, start: u64, end: u64) -> bool {
        self.start <= end && start <= self.end
    }

    fn conflicts(&self, other: &Self) -> bool {
        self.owner != other.owner
            && self.overlaps(other.start, other.end)
            && (self.kind == LockKind::Write || other.kind == LockKind::Write)
    }
}

#[derive(Debug, Default)]
struct State {
    ranges: Vec<RangeLock>,
    whole: Vec<(usize, LockKind)>,
}

/// All locks on one inode.
#[derive(Debug, Default)]
pub struct FileLocks {
    state: Mutex<State>,
    released: WaitQueue,
}

/// Who waits for which ranges of all files: owners that wait for each other would do so for ever.
#[derive(Default)]
pub struct LockWaits(Mutex<HashMap<LockOwner, Vec<Wish>>>);

struct Wish {
    of: Arc<dyn Inode>,
    lock: RangeLock,
}

/// A lock that is being waited for; dropping it ends the wait.
pub struct Waiting<'a> {
    waits: &'a LockWaits,
    of: Arc<dyn Inode>,
    lock: RangeLock,
}

impl LockWaits {
    /// Announces that the caller is going to wait for `lock` of `inode`.
    ///
    /// # Errors
    /// `EDEADLK` where the owner of a lock in the way waits, maybe by way of others, for one of the caller's.
    pub fn wait_for(&self, inode: &Arc<dyn Inode>, lock: &RangeLock) -> Result<Waiting<'_>> {
        let mut waits = self.0.lock();
        if matches!(lock.owner, LockOwner::Table(_)) && would_deadlock(&waits, inode, lock) {
            return Err(Errno::EDEADLK);
        }
        waits.entry(lock.owner).or_default().push(Wish { of: inode.clone(), lock: *lock });
        Ok(Waiting { waits: self, of: inode.clone(), lock: *lock })
    }
}

/// Whether waiting for `lock` closes a circle of owners that wait for each other.
fn would_deadlock(waits: &HashMap<LockOwner, Vec<Wish>>, inode: &Arc<dyn Inode>, lock: &RangeLock) -> bool {
    let mut seen: HashSet<LockOwner> = HashSet::new();
    let mut blockers = inode.common().locks().owners_in_the_way(lock);
    while let Some(owner) = blockers.pop() {
        if owner == lock.owner {
            return true;
        }
        if seen.insert(owner) {
            let wishes = waits.get(&owner).into_iter().flatten();
            blockers.extend(wishes.flat_map(|wish| wish.of.common().locks().owners_in_the_way(&wish.lock)));
        }
    }
    false
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut waits = self.waits.0.lock();
        let Some(wishes) = waits.get_mut(&self.lock.owner) else { return };
        let is_this = |wish: &Wish| Arc::ptr_eq(&wish.of, &self.of) && wish.lock == self.lock;
        // The inode outlives this: `self` holds it, too.
        wishes.iter().position(is_this).map(|at| wishes.swap_remove(at));
        if wishes.is_empty() {
            waits.remove(&self.lock.owner);
        }
    }
}

impl FileLocks {
    /// Notified with `IN` when a lock goes.
    #[must_use]
    pub fn queue(&self) -> &WaitQueue {
        &self.released
    }

    /// A lock that stands in the way of `wanted`.
    #[must_use]
    pub fn conflict(&self, wanted: &RangeLock) -> Option<RangeLock> {
        self.state.lock().conflict(wanted).copied()
    }

    /// Takes `wanted`, replacing what its owner has of the range.
    ///
    /// # Errors
    /// `EAGAIN` where another owner's lock is in the way.
    pub fn lock(&self, wanted: &RangeLock) -> Result<()> {
        let mut state = self.state.lock();
        if state.conflict(wanted).is_some() {
            return Err(Errno::EAGAIN);
        }
        if !state.ranges.is_empty() && heap::room_for(0, Purpose::Process).is_err() {
            return Err(Errno::ENOLCK);
        }
        let downgrades = state.carve(wanted.owner, wanted.start, wanted.end);
        state.insert(*wanted);
        drop(state);
        if downgrades {
            self.released.notify(Events::IN);
        }
        Ok(())
    }

    fn owners_in_the_way(&self, wanted: &RangeLock) -> Vec<LockOwner> {
        let state = self.state.lock();
        state.ranges.iter().filter(|lock| lock.conflicts(wanted)).map(|lock| lock.owner).collect()
    }

    /// Gives up what `owner` has of a range.
    pub fn unlock(&self, owner: LockOwner, start: u64, end: u64) {
        let changed = self.state.lock().carve(owner, start, end);
        if changed {
            self.released.notify(Events::IN);
        }
    }

    /// flock(2) for an open file, replacing its lock of the other kind.
    ///
    /// # Errors
    /// `EAGAIN` where another open file's lock is in the way; the old lock is gone then, as on Linux.
    pub fn lock_whole(&self, owner: usize, kind: LockKind) -> Result<()> {
        let mut state = self.state.lock();
        if state.whole.contains(&(owner, kind)) {
            return Ok(());
        }
        let had_one = state.drop_whole(owner);
        let is_blocked =
            state.whole.iter().any(|(_, other)| kind == LockKind::Write || *other == LockKind::Write);
        if !is_blocked {
            state.whole.push((owner, kind));
        }
        drop(state);
        if had_one {
            self.released.notify(Events::IN);
        }
        if is_blocked { Err(Errno::EAGAIN) } else { Ok(()) }
    }

    /// Gives up an open file's flock(2) lock.
    pub fn unlock_whole(&self, owner: usize) {
        let had_one = self.state.lock().drop_whole(owner);
        if had_one {
            self.released.notify(Events::IN);
        }
    }

    /// The locks there are, for `/proc/locks`: ranges, then whole-file ones with their kind.
    #[must_use]
    pub fn list(&self) -> (Vec<RangeLock>, Vec<LockKind>) {
        let state = self.state.lock();
        (state.ranges.clone(), state.whole.iter().map(|(_, kind)| *kind).collect())
    }
}

impl State {
    fn conflict(&self, wanted: &RangeLock) -> Option<&RangeLock> {
        self.ranges.iter().find(|lock| lock.conflicts(wanted))
    }

    fn drop_whole(&mut self, owner: usize) -> bool {
        let before = self.whole.len();
        self.whole.retain(|(of, _)| *of != owner);
        self.whole.len() != before
    }

    /// Takes `start..=end` out of the owner's locks; says whether it had any of it.
    fn carve(&mut self, owner: LockOwner, start: u64, end: u64) -> bool {
        let mut rest = Vec::new();
        let before = self.ranges.len();
        self.ranges.retain(|lock| {
            if lock.owner != owner || !lock.overlaps(start, end) {
                return true;
            }
            if lock.start < start {
                rest.push(RangeLock { end: start - 1, ..*lock });
            }
            if lock.end > end {
                rest.push(RangeLock { start: end + 1, ..*lock });
            }
            false
        });
        let changed = self.ranges.len() != before;
        self.ranges.extend(rest);
        changed
    }

    /// Adds a lock, joined with neighbours of the same kind.
    fn insert(&mut self, mut lock: RangeLock) {
        self.ranges.retain(|other| {
            let is_twin = other.owner == lock.owner && other.kind == lock.kind;
            let touches =
                other.start <= lock.end.saturating_add(1) && lock.start <= other.end.saturating_add(1);
            if is_twin && touches {
                lock.start = lock.start.min(other.start);
                lock.end = lock.end.max(other.end);
                return false;
            }
            true
        });
        self.ranges.push(lock);
    }
}

#[cfg(test)]
mod tests {
    use abi::Errno;

    use super::{FileLocks, LockKind, LockOwner, RangeLock};

    fn range(owner: usize, kind: LockKind, start: u64, end: u64) -> RangeLock {
        RangeLock { kind, owner: LockOwner::Table(owner), pid: owner as i32, start, end }
    }

    #[test]
    fn ranges_split_join_and_conflict() {
        let locks = FileLocks::default();
        locks.lock(&range(1, LockKind::Write, 0, 99)).unwrap();
        assert_eq!(locks.lock(&range(2, LockKind::Read, 50, 60)), Err(Errno::EAGAIN));
        locks.unlock(LockOwner::Table(1), 40, 69);
        locks.lock(&range(2, LockKind::Read, 50, 60)).unwrap();
        assert_eq!(locks.list().0.len(), 3);
        locks.unlock(LockOwner::Table(2), 0, RangeLock::TO_END);
        locks.lock(&range(1, LockKind::Write, 40, 69)).unwrap();
        assert_eq!(locks.list().0, vec![range(1, LockKind::Write, 0, 99)]);
    }

    #[test]
    fn whole_file_locks_upgrade_by_giving_up() {
        let locks = FileLocks::default();
        locks.lock_whole(1, LockKind::Read).unwrap();
        locks.lock_whole(2, LockKind::Read).unwrap();
        assert_eq!(locks.lock_whole(1, LockKind::Write), Err(Errno::EAGAIN));
        locks.lock_whole(2, LockKind::Write).unwrap();
        locks.unlock_whole(2);
        locks.lock_whole(1, LockKind::Write).unwrap();
    }
}
