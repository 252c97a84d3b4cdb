//! The descriptor table.
//!
//! Locks: `slots` is a leaf; files are closed, and what was posted to them settled, while it is not held.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use abi::{Errno, Result};
use parking_lot::{RwLock, RwLockWriteGuard};

use super::File;
use super::promise::Settle;
use crate::Task;

/// A descriptor number as a guest names it.
pub type Fd = i32;

/// No table grows beyond this, and the limit on open files not either (Linux's default of `fs.nr_open`).
pub const MAX_FDS: u64 = 1 << 20;

/// The descriptors of one or more tasks (`CLONE_FILES` shares a table).
///
/// The table's address is the owner of its POSIX locks, as in Linux.
#[derive(Debug, Default)]
pub struct FdTable {
    slots: RwLock<Slots>,
    /// Tasks that use the table beyond the first.
    sharers: AtomicUsize,
}

#[derive(Debug, Default, Clone)]
struct Slots {
    list: Vec<Option<Slot>>,
    /// No slot below this is free.
    first_free: usize,
    /// Numbers that are promised to files which are not there yet: neither free nor open.
    reserved: BTreeSet<usize>,
}

#[derive(Debug, Clone)]
struct Slot {
    file: Arc<File>,
    close_on_exec: bool,
}

/// A descriptor as [`FdTable::entries`] lists it.
#[derive(Clone, Debug)]
pub struct FdEntry {
    /// The number.
    pub fd: Fd,
    /// What it refers to.
    pub file: Arc<File>,
    /// `FD_CLOEXEC`.
    pub close_on_exec: bool,
}

impl FdTable {
    /// An empty table.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A copy for a child that does not share it.
    #[must_use]
    pub fn duplicate(&self) -> Arc<Self> {
        let mut slots = self.slots.read().clone();
        // What is promised is so here alone.
        let promised = std::mem::take(&mut slots.reserved);
        slots.first_free = promised.first().map_or(slots.first_free, |first| slots.first_free.min(*first));
        Arc::new(Self { slots: RwLock::new(slots), sharers: AtomicUsize::new(0) })
    }

    /// Another task uses the table (`CLONE_FILES`).
    pub fn share(&self) {
        self.sharers.fetch_add(1, Ordering::SeqCst);
    }

    /// A task no longer uses the table; says whether it was the last, which is to close everything.
    pub fn release(&self) -> bool {
        self.sharers
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |sharers| sharers.checked_sub(1))
            .is_err()
    }

    /// Whether more than one task uses it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.sharers.load(Ordering::SeqCst) != 0
    }

    /// The open file behind `fd`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn get(&self, fd: Fd) -> Result<Arc<File>> {
        loop {
            let file = self.slots.read().at(fd).map(|slot| slot.file.clone()).ok_or(Errno::EBADF)?;
            if !file.holder().is_held() {
                return Ok(file);
            }
            // It may be closed by that.
            file.settle_posted();
        }
    }

    /// Has `by` hold `file`, if it is still behind `fd` and nobody but the caller, who has one reference, uses it. Who
    /// looks it up from now on settles first: who did before is counted.
    pub(crate) fn hold(&self, fd: Fd, file: &Arc<File>, by: Weak<dyn Settle>) -> bool {
        let slots = self.slots.write();
        let is_there = slots.at(fd).is_some_and(|slot| Arc::ptr_eq(&slot.file, file));
        let is_free = is_there && Arc::strong_count(file) == 2;
        if is_free {
            file.holder().hold(by);
        }
        is_free
    }

    /// The slots, with nothing posted to the files that `find` finds and that are about to lose their numbers: who has
    /// a number next must not get what was meant for the one before.
    ///
    /// Ends, since a file that somebody else wanted is not promised again at once ([`super::promise`]).
    fn settled(&self, find: impl Fn(&Slots) -> Vec<Arc<File>>) -> RwLockWriteGuard<'_, Slots> {
        loop {
            let slots = self.slots.write();
            let held = find(&slots);
            if held.is_empty() {
                return slots;
            }
            drop(slots);
            held.iter().for_each(|file| file.settle_posted());
        }
    }

    /// [`Self::settled`] for one number.
    fn settled_at(&self, fd: Fd) -> RwLockWriteGuard<'_, Slots> {
        self.settled(|slots| slots.at(fd).and_then(Slot::held).into_iter().collect())
    }

    /// [`Self::settled`] for all numbers.
    fn all_settled(&self) -> RwLockWriteGuard<'_, Slots> {
        self.settled(|slots| slots.iter().filter_map(|(_, slot)| slot.held()).collect())
    }

    /// Gives `file` the lowest free number from `min` on, below the task's `RLIMIT_NOFILE`.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn install(&self, file: Arc<File>, min: Fd, limit: u64, close_on_exec: bool) -> Result<Fd> {
        let min = usize::try_from(min).map_err(|_| Errno::EINVAL)?;
        let mut slots = self.slots.write();
        let at = slots.lowest_free(min);
        if at as u64 >= limit.min(MAX_FDS) {
            return Err(Errno::EMFILE);
        }
        slots.put(at, Slot { file, close_on_exec });
        Fd::try_from(at).map_err(|_| Errno::EMFILE)
    }

    /// Sets the `count` lowest free numbers aside for files that are yet to be installed: nobody sees them before, or gets
    /// them instead.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn reserve(self: &Arc<Self>, count: usize, limit: u64) -> Result<ReservedFds> {
        let mut reserved = ReservedFds { table: self.clone(), fds: Vec::with_capacity(count) };
        let mut slots = self.slots.write();
        for _ in 0..count {
            let at = slots.lowest_free(0);
            let fd = Fd::try_from(at).ok().filter(|_| (at as u64) < limit.min(MAX_FDS));
            let Some(fd) = fd else {
                // Dropping what there is takes the lock.
                drop(slots);
                return Err(Errno::EMFILE);
            };
            slots.reserved.insert(at);
            reserved.fds.push(fd);
        }
        drop(slots);
        Ok(reserved)
    }

    /// Whether [`Self::install`] would find room: asked before an open(2) that creates something.
    ///
    /// # Errors
    /// `EMFILE`.
    pub fn check_room(&self, limit: u64) -> Result<()> {
        let limit = usize::try_from(limit.min(MAX_FDS)).unwrap_or(usize::MAX);
        let slots = self.slots.read();
        // Behind the last one there is always room: holes are looked for at the limit only.
        let has_room = slots.list.len() < limit || slots.list.iter().take(limit).any(Option::is_none);
        if has_room { Ok(()) } else { Err(Errno::EMFILE) }
    }

    /// Gives `file` the number `fd`; returns what had it before, for the caller to close (dup2(2)).
    ///
    /// # Errors
    /// `EBADF` for a number that is negative or beyond the limit, `EBUSY` for one that is just being given out.
    pub fn install_at(
        &self,
        fd: Fd,
        file: Arc<File>,
        limit: u64,
        close_on_exec: bool,
    ) -> Result<Option<Arc<File>>> {
        let at = usize::try_from(fd).map_err(|_| Errno::EBADF)?;
        if at as u64 >= limit.min(MAX_FDS) {
            return Err(Errno::EBADF);
        }
        let mut slots = self.settled_at(fd);
        if slots.reserved.contains(&at) {
            return Err(Errno::EBUSY);
        }
        let old = slots.put(at, Slot { file, close_on_exec });
        drop(slots);
        if let Some(old) = &old {
            self.release_locks(old);
        }
        Ok(old)
    }

    /// Takes `fd` out of the table, with the POSIX locks that the table's tasks hold on the file.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn take(&self, fd: Fd) -> Result<Arc<File>> {
        let file = self.settled_at(fd).take(fd).ok_or(Errno::EBADF)?;
        self.release_locks(&file);
        Ok(file)
    }

    /// close(2).
    ///
    /// # Errors
    /// `EBADF`, or what the file has to say at its end.
    pub fn close(&self, task: &Task, fd: Fd) -> Result<()> {
        self.take(fd)?.ops().flush(task)
    }

    /// Closes all of `first..=last`.
    pub fn close_range(&self, task: &Task, first: u32, last: u32) {
        self.close_where(task, &|fd, _| (first..=last).contains(&fd));
    }

    /// Closes what execve(2) closes.
    pub fn close_on_exec(&self, task: &Task) {
        self.close_where(task, &|_, close_on_exec| close_on_exec);
    }

    /// Closes everything: the last task of the table exits.
    pub fn close_all(&self, task: &Task) {
        self.close_where(task, &|_, _| true);
    }

    fn close_where(&self, task: &Task, which: &dyn Fn(u32, bool) -> bool) {
        let closed: Vec<Arc<File>> = {
            let is_meant = |fd: Fd, slot: &Slot| which(fd.unsigned_abs(), slot.close_on_exec);
            let mut slots = self.settled(|slots| {
                slots
                    .iter()
                    .filter(|(fd, slot)| is_meant(*fd, slot))
                    .filter_map(|(_, slot)| slot.held())
                    .collect()
            });
            let fds: Vec<Fd> =
                slots.iter().filter(|(fd, slot)| is_meant(*fd, slot)).map(|(fd, _)| fd).collect();
            fds.into_iter().filter_map(|fd| slots.take(fd)).collect()
        };
        for file in closed {
            self.release_locks(&file);
            // Nobody is left to hear of an error.
            let _ = file.ops().flush(task);
        }
    }

    /// Whether `fd` is closed by execve(2).
    ///
    /// # Errors
    /// `EBADF`.
    pub fn is_close_on_exec(&self, fd: Fd) -> Result<bool> {
        self.slots.read().at(fd).map(|slot| slot.close_on_exec).ok_or(Errno::EBADF)
    }

    /// Sets `FD_CLOEXEC`.
    ///
    /// # Errors
    /// `EBADF`.
    pub fn set_close_on_exec(&self, fd: Fd, on: bool) -> Result<()> {
        let mut slots = self.slots.write();
        slots.at_mut(fd).map(|slot| slot.close_on_exec = on).ok_or(Errno::EBADF)
    }

    /// Sets `FD_CLOEXEC` on all of `first..=last` (`CLOSE_RANGE_CLOEXEC`).
    pub fn set_close_on_exec_range(&self, first: u32, last: u32) {
        let mut slots = self.slots.write();
        let from = (first as usize).min(slots.list.len());
        for slot in slots.list[from..].iter_mut().take((last - first) as usize + 1).flatten() {
            slot.close_on_exec = true;
        }
    }

    /// All descriptors in order, as of now: `/proc/[pid]/fd`.
    #[must_use]
    pub fn entries(&self) -> Vec<FdEntry> {
        let slots = self.all_settled();
        slots
            .iter()
            .map(|(fd, slot)| FdEntry { fd, file: slot.file.clone(), close_on_exec: slot.close_on_exec })
            .collect()
    }

    /// How many descriptors are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all_settled().iter().count()
    }

    /// Whether no descriptor is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The lowest open descriptor from `fd` on.
    #[must_use]
    pub fn next_open(&self, fd: Fd) -> Option<Fd> {
        self.all_settled().iter_from(fd).next().map(|(fd, _)| fd)
    }

    /// Slots in use or not: `FDSize` of `/proc/[pid]/status`.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.read().list.len().next_power_of_two().max(64)
    }

    /// Who holds the POSIX locks made through this table.
    pub(crate) fn lock_owner(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn release_locks(&self, file: &File) {
        file.inode().common().release_posix_locks(self.lock_owner());
    }
}

/// Numbers that are set aside for files; free again where this is dropped.
#[derive(Debug)]
pub struct ReservedFds {
    table: Arc<FdTable>,
    fds: Vec<Fd>,
}

impl ReservedFds {
    /// The numbers.
    #[must_use]
    pub fn numbers(&self) -> &[Fd] {
        &self.fds
    }

    /// Installs the files, one for each number.
    pub fn commit(mut self, files: impl IntoIterator<Item = Arc<File>>, close_on_exec: bool) {
        let mut slots = self.table.slots.write();
        for (fd, file) in std::mem::take(&mut self.fds).into_iter().zip(files) {
            let at = fd.unsigned_abs() as usize;
            slots.reserved.remove(&at);
            slots.put(at, Slot { file, close_on_exec });
        }
    }
}

impl Drop for ReservedFds {
    fn drop(&mut self) {
        if self.fds.is_empty() {
            return;
        }
        let mut slots = self.table.slots.write();
        for fd in &self.fds {
            let at = fd.unsigned_abs() as usize;
            slots.reserved.remove(&at);
            slots.first_free = slots.first_free.min(at);
        }
    }
}

impl Drop for FdTable {
    fn drop(&mut self) {
        for slot in std::mem::take(&mut self.slots.get_mut().list).into_iter().flatten() {
            slot.file.inode().common().release_posix_locks(std::ptr::from_ref(self).addr());
        }
    }
}

impl Slot {
    /// The file, if somebody holds it.
    fn held(&self) -> Option<Arc<File>> {
        self.file.holder().is_held().then(|| self.file.clone())
    }
}

impl Slots {
    fn at(&self, fd: Fd) -> Option<&Slot> {
        self.list.get(usize::try_from(fd).ok()?)?.as_ref()
    }

    fn at_mut(&mut self, fd: Fd) -> Option<&mut Slot> {
        self.list.get_mut(usize::try_from(fd).ok()?)?.as_mut()
    }

    fn lowest_free(&mut self, min: usize) -> usize {
        let mut free = self.closed_from(min.max(self.first_free));
        while self.reserved.contains(&free) {
            free = self.closed_from(free + 1);
        }
        if min <= self.first_free {
            // What has been passed is taken: the next search begins here.
            self.first_free = free;
        }
        free
    }

    /// The lowest number from `from` on that is not open.
    fn closed_from(&self, from: usize) -> usize {
        let tail = self.list.get(from..).unwrap_or_default();
        from + tail.iter().position(Option::is_none).unwrap_or(tail.len())
    }

    fn put(&mut self, at: usize, slot: Slot) -> Option<Arc<File>> {
        if at >= self.list.len() {
            self.list.resize(at + 1, None);
        }
        if at == self.first_free {
            self.first_free = at + 1;
        }
        self.list[at].replace(slot).map(|old| old.file)
    }

    fn take(&mut self, fd: Fd) -> Option<Arc<File>> {
        let at = usize::try_from(fd).ok()?;
        let old = self.list.get_mut(at)?.take()?;
        self.first_free = self.first_free.min(at);
        while let Some(None) = self.list.last() {
            self.list.pop();
        }
        Some(old.file)
    }

    fn iter(&self) -> impl Iterator<Item = (Fd, &Slot)> {
        self.iter_from(0)
    }

    fn iter_from(&self, first: Fd) -> impl Iterator<Item = (Fd, &Slot)> {
        let from = usize::try_from(first).unwrap_or(0);
        let rest = self.list.get(from..).unwrap_or_default();
        // The slice says when it ends: a number behind the largest is never asked for.
        rest.iter().zip(first..).filter_map(|(slot, fd)| Some((fd, slot.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use abi::Errno;

    use super::{Fd, FdTable, ReservedFds};

    fn numbers(reserved: &ReservedFds) -> Vec<Fd> {
        reserved.numbers().to_vec()
    }

    #[test]
    fn what_is_reserved_is_neither_open_nor_free() {
        let table = FdTable::new();
        let first = table.reserve(2, 10).unwrap();
        let second = table.reserve(1, 10).unwrap();
        assert_eq!((numbers(&first), numbers(&second)), (vec![0, 1], vec![2]));
        assert!(table.is_empty() && table.get(0).is_err() && table.take(1).is_err());
        drop(first);
        assert_eq!(numbers(&table.reserve(1, 10).unwrap()), [0], "free again");
        assert_eq!(numbers(&table.reserve(3, 10).unwrap()), [0, 1, 3], "but not the second one's");
        assert_eq!(table.reserve(3, 3).map(|_| ()), Err(Errno::EMFILE));
        assert_eq!(numbers(&table.reserve(2, 3).unwrap()), [0, 1], "a refusal leaves nothing behind");
    }

    #[test]
    fn a_copy_has_no_promises_to_keep() {
        let table = FdTable::new();
        let reserved = table.reserve(2, 10).unwrap();
        let copy: Arc<FdTable> = table.duplicate();
        assert_eq!(numbers(&copy.reserve(1, 10).unwrap()), [0]);
        drop(reserved);
    }
}
