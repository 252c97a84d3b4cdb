//! Process identifiers: numbers in nested name spaces, and what they stand for (Linux's `struct pid`).
//!
//! One [`Pid`] may stand for a task, a process group and a session at once; its numbers are free for reuse when it
//! stands for none of them. A pid name space keeps the table; `man 7 pid_namespaces`.
//!
//! Locks: a `Pid`'s links, then a name space's table. Both are leaves otherwise.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use abi::{Errno, Result};
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::{NamespaceId, ProcessGroup, Session, Task, ThreadGroup, UserNamespace};

/// A thread or process number.
pub type Tid = i32;

/// Numbers stay below this, as with Linux's default on 64-bit machines (`/proc/sys/kernel/pid_max`).
pub const PID_MAX: Tid = 4_194_304;

/// After a wrap, numbers up to here are not used again: they belong to what was started first.
const RESERVED_PIDS: Tid = 300;

/// Name spaces can be nested this deep.
const MAX_LEVEL: u32 = 32;

/// An identifier with its number in its own name space and in each one above.
#[derive(Debug)]
pub struct Pid {
    /// From the outermost name space to its own.
    numbers: SmallVec<[(Arc<PidNamespace>, Tid); 1]>,
    links: Mutex<PidLinks>,
}

#[derive(Debug, Default)]
struct PidLinks {
    task: Option<Arc<Task>>,
    group: Weak<ProcessGroup>,
    session: Weak<Session>,
}

impl Pid {
    /// The number as tasks of `ns` see it; `None` where it is not visible there.
    #[must_use]
    pub fn number_in(&self, ns: &Arc<PidNamespace>) -> Option<Tid> {
        self.numbers.iter().find(|(at, _)| Arc::ptr_eq(at, ns)).map(|(_, number)| *number)
    }

    /// The number in its own name space.
    #[must_use]
    pub fn number(&self) -> Tid {
        self.numbers.last().map_or(0, |(_, number)| *number)
    }

    /// Its numbers from the outermost name space to its own (`NSpid` in `/proc/[pid]/status`).
    pub fn numbers(&self) -> impl Iterator<Item = Tid> {
        self.numbers.iter().map(|(_, number)| *number)
    }

    /// The name space that it was made in.
    #[must_use]
    pub fn namespace(&self) -> &Arc<PidNamespace> {
        &self.numbers.last().expect("a pid has at least one number").0
    }

    /// The task with this thread number, until it has been reaped.
    #[must_use]
    pub fn task(&self) -> Option<Arc<Task>> {
        self.links.lock().task.clone()
    }

    /// The process group with this number.
    #[must_use]
    pub fn process_group(&self) -> Option<Arc<ProcessGroup>> {
        self.links.lock().group.upgrade()
    }

    /// The session with this number.
    #[must_use]
    pub fn session(&self) -> Option<Arc<Session>> {
        self.links.lock().session.upgrade()
    }

    pub(super) fn set_task(&self, task: Option<Arc<Task>>) {
        let old = std::mem::replace(&mut self.links.lock().task, task);
        drop(old);
        self.release_if_unused();
    }

    pub(super) fn set_process_group(&self, group: Weak<ProcessGroup>) {
        self.links.lock().group = group;
        self.release_if_unused();
    }

    pub(super) fn set_session(&self, session: Weak<Session>) {
        self.links.lock().session = session;
        self.release_if_unused();
    }

    /// Gives the numbers back once nothing goes by them.
    pub(super) fn release_if_unused(&self) {
        let links = self.links.lock();
        if links.task.is_none() && links.group.strong_count() == 0 && links.session.strong_count() == 0 {
            for (ns, number) in &self.numbers {
                let mut table = ns.table.lock();
                // The number may have gone back before, and be somebody else's by now.
                if table.pids.get(number).is_some_and(|pid| std::ptr::eq(&**pid, self)) {
                    let gone = table.pids.remove(number);
                    drop(table);
                    drop(gone);
                }
            }
        }
    }
}

/// A pid name space.
#[derive(Debug)]
pub struct PidNamespace {
    id: NamespaceId,
    level: u32,
    parent: Option<Arc<PidNamespace>>,
    user_ns: Arc<UserNamespace>,
    table: Mutex<PidTable>,
}

#[derive(Debug, Default)]
struct PidTable {
    pids: BTreeMap<Tid, Arc<Pid>>,
    last: Tid,
    /// The first process has exited: no more can be made.
    is_closed: bool,
    init: Weak<ThreadGroup>,
}

impl PidNamespace {
    /// A name space without a parent: that of a container.
    #[must_use]
    pub fn new(id: NamespaceId, user_ns: Arc<UserNamespace>) -> Arc<Self> {
        Arc::new(Self { id, level: 0, parent: None, user_ns, table: Mutex::default() })
    }

    /// As [`Self::new`], with an identity from `tasks`.
    #[must_use]
    pub fn new_root(tasks: &super::TaskSet, user_ns: &Arc<UserNamespace>) -> Arc<Self> {
        Self::new(tasks.new_namespace_id(), user_ns.clone())
    }

    /// A name space inside this one, owned by `user_ns`.
    ///
    /// # Errors
    /// `ENOSPC` where it would be nested too deeply.
    pub fn child(self: &Arc<Self>, id: NamespaceId, user_ns: Arc<UserNamespace>) -> Result<Arc<Self>> {
        if self.level + 1 >= MAX_LEVEL {
            return Err(Errno::ENOSPC);
        }
        let (level, parent) = (self.level + 1, Some(self.clone()));
        Ok(Arc::new(Self { id, level, parent, user_ns, table: Mutex::default() }))
    }

    /// Its identity in `/proc/[pid]/ns`.
    #[must_use]
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// How many name spaces lie above it.
    #[must_use]
    pub fn level(&self) -> u32 {
        self.level
    }

    /// The name space it was made in.
    #[must_use]
    pub fn parent(&self) -> Option<&Arc<Self>> {
        self.parent.as_ref()
    }

    /// The user name space that owns it.
    #[must_use]
    pub fn user_ns(&self) -> &Arc<UserNamespace> {
        &self.user_ns
    }

    /// Whether `other` is this name space or lies below it.
    #[must_use]
    pub fn contains(self: &Arc<Self>, other: &Arc<Self>) -> bool {
        let mut at = Some(other);
        while let Some(ns) = at {
            if Arc::ptr_eq(ns, self) {
                return true;
            }
            at = ns.parent.as_ref();
        }
        false
    }

    /// The identifier with this number.
    #[must_use]
    pub fn pid(&self, number: Tid) -> Option<Arc<Pid>> {
        self.table.lock().pids.get(&number).cloned()
    }

    /// The task with this thread number; a zombie until it is reaped.
    #[must_use]
    pub fn task(&self, tid: Tid) -> Option<Arc<Task>> {
        self.pid(tid).and_then(|pid| pid.task())
    }

    /// The process whose leader has this number.
    #[must_use]
    pub fn thread_group(&self, tgid: Tid) -> Option<Arc<ThreadGroup>> {
        self.task(tgid).filter(|task| task.is_leader()).map(|task| task.thread_group().clone())
    }

    /// The process group with this number.
    #[must_use]
    pub fn process_group(&self, pgid: Tid) -> Option<Arc<ProcessGroup>> {
        self.pid(pgid).and_then(|pid| pid.process_group())
    }

    /// All tasks visible here, by number.
    #[must_use]
    pub fn tasks(&self) -> Vec<(Tid, Arc<Task>)> {
        let pids: Vec<_> =
            self.table.lock().pids.iter().map(|(number, pid)| (*number, pid.clone())).collect();
        pids.into_iter().filter_map(|(number, pid)| pid.task().map(|task| (number, task))).collect()
    }

    /// All processes visible here, by number.
    #[must_use]
    pub fn thread_groups(&self) -> Vec<(Tid, Arc<ThreadGroup>)> {
        let tasks = self.tasks().into_iter();
        tasks.filter(|(_, t)| t.is_leader()).map(|(tgid, t)| (tgid, t.thread_group().clone())).collect()
    }

    /// The first process with a number of at least `from` (listing `/proc`).
    #[must_use]
    pub fn next_thread_group(&self, from: Tid) -> Option<(Tid, Arc<ThreadGroup>)> {
        let mut from = from;
        loop {
            let (number, pid) = {
                let table = self.table.lock();
                table.pids.range(from..).next().map(|(number, pid)| (*number, pid.clone()))?
            };
            match pid.task() {
                Some(task) if task.is_leader() => return Some((number, task.thread_group().clone())),
                _ => from = number.checked_add(1)?,
            }
        }
    }

    /// The process that reaps orphans: number 1, while it lives.
    #[must_use]
    pub fn init(&self) -> Option<Arc<ThreadGroup>> {
        self.table.lock().init.upgrade()
    }

    /// The number given out last (`/proc/loadavg`, `/proc/sys/kernel/ns_last_pid`).
    #[must_use]
    pub fn last_pid(&self) -> Tid {
        self.table.lock().last
    }

    pub(super) fn set_init(&self, init: &Arc<ThreadGroup>) {
        self.table.lock().init = Arc::downgrade(init);
    }

    /// No process can be made here any more.
    pub(super) fn close(&self) {
        self.table.lock().is_closed = true;
    }

    /// A new identifier with a number here and in all name spaces above. `wanted` gives numbers from the innermost
    /// name space outwards (`set_tid` of clone3(2)).
    ///
    /// # Errors
    /// `EAGAIN` where no number is free, `ENOMEM` where the first process has gone, `EEXIST` where a wanted number
    /// is taken, `EINVAL` where it cannot be.
    pub(super) fn allocate(self: &Arc<Self>, wanted: &[Tid]) -> Result<Arc<Pid>> {
        let mut chain = Vec::new();
        let mut at = Some(self);
        while let Some(ns) = at {
            chain.push(ns);
            at = ns.parent.as_ref();
        }
        if wanted.len() > chain.len() {
            return Err(Errno::EINVAL);
        }
        // All tables are locked, innermost first, so that the identifier appears in all of them at once.
        let mut tables: Vec<_> = chain.iter().map(|ns| ns.table.lock()).collect();
        let mut numbers = SmallVec::new();
        for (index, table) in tables.iter_mut().enumerate() {
            numbers.insert(0, (chain[index].clone(), table.pick(wanted.get(index).copied())?));
        }
        let pid = Arc::new(Pid { numbers, links: Mutex::default() });
        for (index, table) in tables.iter_mut().enumerate() {
            let number = pid.numbers[pid.numbers.len() - 1 - index].1;
            table.pids.insert(number, pid.clone());
            table.last = number;
        }
        Ok(pid)
    }
}

impl PidTable {
    fn pick(&self, wanted: Option<Tid>) -> Result<Tid> {
        if self.is_closed {
            return Err(Errno::ENOMEM);
        }
        if let Some(number) = wanted {
            let first_must_be_init = self.last == 0 && number != 1;
            return match number {
                ..1 | PID_MAX.. => Err(Errno::EINVAL),
                _ if first_must_be_init => Err(Errno::EINVAL),
                _ if self.pids.contains_key(&number) => Err(Errno::EEXIST),
                _ => Ok(number),
            };
        }
        let free_from = |start: Tid, end: Tid| {
            let mut candidate = start;
            for number in self.pids.range(start..end).map(|(number, _)| *number) {
                if number != candidate {
                    break;
                }
                candidate += 1;
            }
            (candidate < end).then_some(candidate)
        };
        let first = self.last.saturating_add(1);
        free_from(first, PID_MAX)
            .or_else(|| free_from(RESERVED_PIDS, first.max(RESERVED_PIDS)))
            .ok_or(Errno::EAGAIN)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use abi::Errno;

    use super::PidNamespace;
    use crate::task::{NamespaceId, UserNamespace};

    fn namespace() -> Arc<PidNamespace> {
        PidNamespace::new(NamespaceId(1), UserNamespace::initial(NamespaceId(2)))
    }

    #[test]
    fn numbers_count_up_and_are_given_back() {
        let ns = namespace();
        let one = ns.allocate(&[]).unwrap();
        let two = ns.allocate(&[]).unwrap();
        assert_eq!((one.number(), two.number()), (1, 2));
        two.set_task(None);
        assert!(ns.pid(2).is_none());
        assert_eq!(ns.allocate(&[]).unwrap().number(), 3);
        assert_eq!(ns.allocate(&[3]).err(), Some(Errno::EEXIST));
        assert_eq!(ns.allocate(&[2]).unwrap().number(), 2);
        ns.close();
        assert_eq!(ns.allocate(&[]).err(), Some(Errno::ENOMEM));
    }

    #[test]
    fn nested_name_spaces_number_independently() {
        let outer = namespace();
        outer.allocate(&[]).unwrap();
        let inner = outer.child(NamespaceId(3), outer.user_ns().clone()).unwrap();
        assert_eq!(inner.allocate(&[2]).err(), Some(Errno::EINVAL));
        let pid = inner.allocate(&[1, 77]).unwrap();
        assert_eq!((pid.number_in(&inner), pid.number_in(&outer)), (Some(1), Some(77)));
        assert!(outer.contains(&inner) && !inner.contains(&outer));
    }
}
