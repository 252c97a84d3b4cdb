//! epoll instances (`man 7 epoll`).
//!
//! An [`Epoll`] keeps one [`Item`] per watched (descriptor, file). The item sits in the file's wait queue; an event puts
//! it on the instance's ready list and wakes a waiter; epoll_wait(2) asks the files on that list what they are ready
//! for, and forgets those that are not. A file is held weakly: closing it ends the watch.
//!
//! Locks: `interest`, then a watched file's queue, then `ready`, then the instance's own queue, then the same of the
//! instance that watches this one. Instances never form a loop, and the ways of an event are few: see [`nesting`].

mod nesting;
mod promised;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::poll::{EpollEvent, EpollFlags};
use abi::{Errno, Result};
use parking_lot::Mutex;
use waiter::{Events, Notify, Registration, WaitQueue};

use super::{Fd, File, FileOps};
use crate::task::{AccountCharge, Counter, UserAccount};
pub use nesting::EpollNesting;
use nesting::WatcherLink;
pub(super) use nesting::Watchers;

/// A watched file. Keyed by descriptor and identity: one file may be watched by several numbers.
type Key = (Fd, usize);

struct Item {
    fd: Fd,
    file: Weak<File>,
    /// Calls on the file can be promised.
    is_promising: bool,
    /// Events and flags asked for; no events after a one-shot has fired.
    events: AtomicU32,
    data: AtomicU64,
    /// On the ready list, or about to be.
    is_ready: AtomicBool,
    owner: Weak<Shared>,
    this: Weak<Item>,
}

impl Item {
    fn flags(&self) -> EpollFlags {
        EpollFlags::from_bits_truncate(self.events.load(Ordering::Acquire))
    }

    /// The events waited for; empty after a one-shot.
    fn mask(&self) -> Events {
        Events::from_bits_truncate(self.events.load(Ordering::Acquire))
    }

    /// What to report now.
    fn poll(&self) -> Events {
        self.poll_for(self.mask())
    }

    fn poll_for(&self, mask: Events) -> Events {
        match self.file.upgrade() {
            Some(file) if !mask.is_empty() => file.poll() & mask,
            _ => Events::empty(),
        }
    }

    /// What to report now, to this caller alone where it is a one-shot, which has then fired; and what was asked for.
    fn take(&self) -> Option<(EpollEvent, u32)> {
        loop {
            let armed = self.events.load(Ordering::Acquire);
            let flags = EpollFlags::from_bits_truncate(armed);
            let ready = self.poll_for(Events::from_bits_truncate(armed));
            if ready.is_empty() {
                return None;
            }
            // Where another has taken it, or changed what is waited for, since `armed` was read, all is looked at again.
            let is_ours = !flags.contains(EpollFlags::ONESHOT)
                || self
                    .events
                    .compare_exchange(armed, flags.bits(), Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok();
            if is_ours {
                let event = EpollEvent { events: ready.bits(), data: self.data.load(Ordering::Acquire) };
                return Some((event, armed));
            }
        }
    }

    /// Undoes [`Self::take`]: a one-shot that nobody has changed meanwhile has not fired.
    fn put_back(&self, armed: u32) {
        let fired = EpollFlags::from_bits_truncate(armed).bits();
        // Whoever has changed it wants what it says now.
        let _ = self.events.compare_exchange(fired, armed, Ordering::AcqRel, Ordering::Relaxed);
        if !self.poll().is_empty() {
            self.make_ready();
        }
    }

    /// Puts it on the ready list and wakes a waiter.
    fn make_ready(&self) {
        let (Some(owner), Some(this)) = (self.owner.upgrade(), self.this.upgrade()) else { return };
        if !self.is_ready.swap(true, Ordering::AcqRel) {
            owner.ready.lock().push_back(this);
        }
        owner.queue.notify_one(Events::READABLE);
        owner.pollers.notify(Events::READABLE);
    }
}

impl Notify for Item {
    fn notify(&self, events: Events) -> bool {
        if (self.mask() & events).is_empty() {
            return false;
        }
        self.make_ready();
        // Only an exclusive watcher keeps the event from the others.
        self.flags().contains(EpollFlags::EXCLUSIVE)
    }
}

struct Watch {
    item: Arc<Item>,
    /// Its place in the file's queue, which holds the item too.
    registration: Option<Registration>,
    _link: WatcherLink,
    _charge: AccountCharge,
}

#[derive(Default)]
struct Interest {
    watches: HashMap<Key, Watch>,
    /// At this size, watches of closed files are looked for.
    prune_at: usize,
}

#[derive(Default)]
struct Shared {
    ready: Mutex<VecDeque<Arc<Item>>>,
    /// Who waits for events, in epoll_wait(2): each is for one of them.
    queue: WaitQueue,
    /// Who only wants to know that there are some: poll(2), select(2), instances that watch this one.
    pollers: WaitQueue,
}

/// What epoll_wait(2) returns.
#[derive(Default)]
pub(crate) struct Taken {
    /// Its events.
    pub(crate) events: Vec<EpollEvent>,
    /// Files among them that can be read or written, and whose calls can be promised, with their numbers.
    pub(crate) promising: Vec<(Fd, Weak<File>)>,
    /// Whom they are of, with what each was asked for.
    from: Vec<(Arc<Item>, u32)>,
}

impl Taken {
    /// Puts events back that could not be delivered.
    pub(crate) fn put_back(&self) {
        self.from.iter().for_each(|(item, armed)| item.put_back(*armed));
    }
}

/// An epoll instance.
pub struct Epoll {
    /// Whose watches they are, and how many that user may have.
    account: Arc<UserAccount>,
    max_watches: u64,
    interest: Mutex<Interest>,
    shared: Arc<Shared>,
    this: Weak<Epoll>,
    /// The instances that watch this one. Added to only under [`EpollNesting`]'s lock.
    watchers: Arc<Watchers>,
}

fn key(fd: Fd, file: &Arc<File>) -> Key {
    (fd, Arc::as_ptr(file).addr())
}

impl Epoll {
    /// An instance that watches nothing. Its watches are counted in `account`, up to `max_watches`.
    #[must_use]
    pub fn new(account: Arc<UserAccount>, max_watches: u64) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            account,
            max_watches,
            interest: Mutex::default(),
            shared: Arc::default(),
            this: this.clone(),
            watchers: Arc::default(),
        })
    }

    /// Begins to watch `file`, known as `fd`.
    ///
    /// # Errors
    /// `EEXIST`; `EPERM` for files that are always ready; `EINVAL` for a bad set of flags and where an event would
    /// reach too many instances; `ELOOP`; `ENOSPC`.
    pub fn add(&self, nesting: &EpollNesting, fd: Fd, file: &Arc<File>, event: EpollEvent) -> Result<()> {
        let Some(queue) = file.ops().wait_queue() else { return Err(Errno::EPERM) };
        let nested = file.ops_as::<Epoll>();
        let events = checked_events(event.events, nested.is_some())?;
        let _nesting = nested.map(|_| nesting.0.lock());
        if let Some(nested) = nested {
            self.check_nesting(nested)?;
        }
        let item = self.insert(fd, file, EpollEvent { events, data: event.data }, self.max_watches)?;
        let checked = self.check_paths(nesting, file);
        let mut interest = self.interest.lock();
        // It may have been removed by now.
        let is_ours = |watch: &&mut Watch| Arc::ptr_eq(&watch.item, &item);
        if let Some(watch) = interest.watches.get_mut(&key(fd, file)).filter(is_ours) {
            match checked {
                Ok(()) => watch.register(queue),
                Err(_) => drop(interest.watches.remove(&key(fd, file))),
            }
        }
        drop(interest);
        checked?;
        if !item.poll().is_empty() {
            item.make_ready();
        }
        Ok(())
    }

    /// Makes a watch that hears of no events yet, where there are fewer than `max` of its owner's.
    fn insert(&self, fd: Fd, file: &Arc<File>, event: EpollEvent, max: u64) -> Result<Arc<Item>> {
        let mut interest = self.interest.lock();
        if interest.watches.contains_key(&key(fd, file)) {
            return Err(Errno::EEXIST);
        }
        let charge = self.account.charge(Counter::EpollWatches, 1, max).ok_or(Errno::ENOSPC)?;
        let item = Arc::new_cyclic(|this| Item {
            fd,
            is_promising: file.ops().promising().is_some(),
            file: Arc::downgrade(file),
            events: AtomicU32::new(event.events),
            data: AtomicU64::new(event.data),
            is_ready: AtomicBool::new(false),
            owner: Arc::downgrade(&self.shared),
            this: this.clone(),
        });
        interest.prune();
        let link = Watchers::of(file).link(&self.this);
        let watch = Watch { item: item.clone(), registration: None, _link: link, _charge: charge };
        interest.watches.insert(key(fd, file), watch);
        Ok(item)
    }

    /// Changes what is waited for.
    ///
    /// # Errors
    /// `ENOENT`; `EINVAL` for a bad set of flags or an exclusive watch.
    pub fn modify(&self, fd: Fd, file: &Arc<File>, event: EpollEvent) -> Result<()> {
        let item = self.change(fd, file, event)?;
        if !item.poll().is_empty() {
            item.make_ready();
        }
        Ok(())
    }

    fn change(&self, fd: Fd, file: &Arc<File>, event: EpollEvent) -> Result<Arc<Item>> {
        let events = checked_events(event.events, file.ops_as::<Epoll>().is_some())?;
        let mut interest = self.interest.lock();
        let watch = interest.watches.get_mut(&key(fd, file)).ok_or(Errno::ENOENT)?;
        if EpollFlags::from_bits_truncate(events).contains(EpollFlags::EXCLUSIVE)
            || watch.item.flags().contains(EpollFlags::EXCLUSIVE)
        {
            return Err(Errno::EINVAL);
        }
        let item = watch.item.clone();
        item.data.store(event.data, Ordering::Release);
        item.events.store(events, Ordering::Release);
        if let Some(queue) = file.ops().wait_queue() {
            watch.register(queue);
        }
        Ok(item)
    }

    /// Stops watching.
    ///
    /// # Errors
    /// `ENOENT`.
    pub fn remove(&self, fd: Fd, file: &Arc<File>) -> Result<()> {
        let watch = self.interest.lock().watches.remove(&key(fd, file)).ok_or(Errno::ENOENT)?;
        watch.retire();
        Ok(())
    }

    /// Takes up to `max` events.
    ///
    /// # Errors
    /// `EAGAIN` where there is none.
    pub(crate) fn take(&self, max: usize) -> Result<Taken> {
        let mut taken = Taken::default();
        let mut again = Vec::new();
        // Each item is looked at once: those that stay ready go to the end.
        let mut left = self.shared.ready.lock().len();
        while left > 0 && taken.events.len() < max {
            left -= 1;
            let Some(item) = self.shared.ready.lock().pop_front() else { break };
            // Cleared before the file is asked: an event after the answer lists the item again.
            item.is_ready.store(false, Ordering::Release);
            let Some((event, armed)) = item.take() else { continue };
            taken.events.push(event);
            let ready = Events::from_bits_truncate(event.events);
            if item.is_promising && ready.intersects(Events::IN | Events::OUT) {
                taken.promising.push((item.fd, item.file.clone()));
            }
            if !EpollFlags::from_bits_truncate(armed).intersects(EpollFlags::ONESHOT | EpollFlags::ET) {
                again.push(item.clone());
            }
            taken.from.push((item, armed));
        }
        let mut ready = self.shared.ready.lock();
        for item in again {
            if !item.is_ready.swap(true, Ordering::AcqRel) {
                ready.push_back(item);
            }
        }
        let wakes_next = !ready.is_empty() && !taken.events.is_empty();
        drop(ready);
        if wakes_next {
            self.shared.queue.notify_one(Events::READABLE);
        }
        if taken.events.is_empty() { Err(Errno::EAGAIN) } else { Ok(taken) }
    }

    /// Where to wait for events, for `READABLE`.
    #[must_use]
    pub fn queue(&self) -> &WaitQueue {
        &self.shared.queue
    }
}

impl Interest {
    /// Drops watches of files that are closed, now and then.
    fn prune(&mut self) {
        if self.watches.len() >= self.prune_at {
            self.watches.retain(|_, watch| watch.item.file.strong_count() > 0);
            self.prune_at = 2 * self.watches.len() + 16;
        }
    }
}

impl Watch {
    /// Hears of the file's events, of those that are waited for now.
    fn register(&mut self, queue: &WaitQueue) {
        self.registration = Some(queue.register(self.item.mask(), self.item.clone()));
    }

    /// Makes sure that nothing is reported any more.
    fn retire(self) {
        self.item.events.store(0, Ordering::Release);
        drop(self.registration);
    }
}

/// Checks the events of a new or changed watch; errors and hang-ups are always waited for.
fn checked_events(raw: u32, is_epoll: bool) -> Result<u32> {
    let flags = EpollFlags::from_bits_truncate(raw);
    if flags.contains(EpollFlags::EXCLUSIVE) {
        let allowed = Events::READABLE | Events::WRITABLE | Events::ALWAYS;
        let allowed_flags = EpollFlags::EXCLUSIVE | EpollFlags::WAKEUP | EpollFlags::ET;
        if is_epoll || raw & !(allowed.bits() | allowed_flags.bits()) != 0 {
            return Err(Errno::EINVAL);
        }
    }
    Ok(raw | Events::ALWAYS.bits())
}

impl FileOps for Epoll {
    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        let items: Vec<_> = self.shared.ready.lock().iter().cloned().collect();
        if items.iter().any(|item| !item.poll().is_empty()) {
            return Events::READABLE;
        }
        // What is ready no more is not looked at again, by this call on another way or by the next.
        let stale = std::mem::take(&mut *self.shared.ready.lock());
        for item in stale {
            item.is_ready.store(false, Ordering::Release);
            if !item.poll().is_empty() {
                item.make_ready();
            }
        }
        Events::empty()
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.shared.pollers)
    }

    fn fdinfo(&self) -> String {
        use std::fmt::Write;
        let mut text = String::new();
        for ((fd, _), watch) in &self.interest.lock().watches {
            let (events, data) =
                (watch.item.events.load(Ordering::Acquire), watch.item.data.load(Ordering::Acquire));
            let Some(file) = watch.item.file.upgrade() else { continue };
            let ino = file.path().dentry.inode().attr().map_or(0, |attr| attr.ino);
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "tfd: {fd:8} events: {events:8x} data: {data:16x}  pos:0 ino:{ino:x} sdev:{:x}",
                file.path().mount.fs().device().encode()
            );
        }
        text
    }
}
