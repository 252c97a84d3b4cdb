//! inotify(7): who watches which inodes, and the events they get.
//!
//! A watch keeps its dentry alive, and with it the inode that lists the watch. Locks: an instance's `state`, then an
//! inode's list of watches. Events are collected under the list's and queued under `state`, one after the other.

mod hooks;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use abi::fcntl::ioctl::FIONREAD;
use abi::inotify::{IN_ALL_EVENTS, InotifyEvent, InotifyMask};
use abi::{Errno, Result, UserAddr};
use host::heap::{self, Purpose};
use parking_lot::Mutex;
use smallvec::SmallVec;
use waiter::{Events, WaitQueue};
use zerocopy::IntoBytes;

use super::{Dentry, File, FileOps, Vfs, VfsPath};
use crate::Task;
use crate::limits::Knobs;
use crate::mm::IoDst;
use crate::task::{AccountCharge, Counter, UserAccount};

pub use hooks::notify_inode;
pub(super) use hooks::{
    is_watched, on_attrib, on_close, on_create, on_delete, on_link, on_modify, on_move, on_open, on_replaced,
    on_unmount,
};
pub(crate) use hooks::{note_access, note_modify};

/// How many watches there are in the sandbox: where there are none, no operation looks further.
#[derive(Debug, Default)]
pub(super) struct WatchCounter {
    watches: AtomicUsize,
    next_cookie: AtomicU32,
}

impl WatchCounter {
    fn is_idle(&self) -> bool {
        self.watches.load(Ordering::Relaxed) == 0
    }

    /// A number that ties the two halves of a move together.
    fn cookie(&self) -> u32 {
        self.next_cookie.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }
}

/// One instance's interest in one inode.
#[derive(Debug)]
pub(super) struct Watch {
    instance: Weak<Inotify>,
    wd: i32,
    mask: AtomicU32,
    dentry: Arc<Dentry>,
    _charge: AccountCharge,
}

impl Watch {
    fn mask(&self) -> InotifyMask {
        InotifyMask::from_bits_retain(self.mask.load(Ordering::Relaxed))
    }
}

/// The watches on one inode.
#[derive(Debug, Default)]
pub(super) struct WatchList(Mutex<Vec<Arc<Watch>>>);

impl WatchList {
    fn add(&self, watch: &Arc<Watch>) {
        self.0.lock().push(watch.clone());
    }

    fn remove(&self, watch: &Watch) {
        let mut list = self.0.lock();
        let at = list.iter().position(|known| std::ptr::eq(Arc::as_ptr(known), watch));
        let removed = at.map(|at| list.swap_remove(at));
        drop(list);
        drop(removed);
    }

    /// That of one instance.
    fn of(&self, instance: &Inotify) -> Option<Arc<Watch>> {
        let is_its = |watch: &&Arc<Watch>| std::ptr::eq(watch.instance.as_ptr(), instance);
        self.0.lock().iter().find(is_its).cloned()
    }

    fn matching(&self, mask: InotifyMask) -> SmallVec<[Arc<Watch>; 4]> {
        self.0.lock().iter().filter(|watch| watch.mask().intersects(mask)).cloned().collect()
    }

    fn all(&self) -> Vec<Arc<Watch>> {
        self.0.lock().clone()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Event {
    wd: i32,
    mask: InotifyMask,
    cookie: u32,
    name: Box<[u8]>,
}

impl Event {
    /// Bytes of the name field: with a NUL, to a multiple of the header's size.
    fn name_len(&self) -> usize {
        if self.name.is_empty() {
            0
        } else {
            (self.name.len() + 1).next_multiple_of(size_of::<InotifyEvent>())
        }
    }

    fn len(&self) -> usize {
        size_of::<InotifyEvent>() + self.name_len()
    }

    fn encode(&self, to: &mut Vec<u8>) {
        let name_len = self.name_len();
        let header = InotifyEvent {
            wd: self.wd,
            mask: self.mask.bits(),
            cookie: self.cookie,
            len: u32::try_from(name_len).unwrap_or(0),
        };
        to.extend_from_slice(header.as_bytes());
        let end = to.len() + name_len;
        to.extend_from_slice(&self.name);
        to.resize(end, 0);
    }
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    watches: HashMap<i32, Arc<Watch>>,
    last_wd: i32,
}

/// An inotify instance: the file behind inotify_init1(2).
#[derive(Debug)]
pub struct Inotify {
    state: Mutex<State>,
    queue: WaitQueue,
    counter: Arc<WatchCounter>,
    /// How much of everything there may be.
    knobs: Arc<Knobs>,
    /// Whose watches they are.
    account: Arc<UserAccount>,
    _charge: AccountCharge,
}

impl Inotify {
    /// An instance without watches, counted for the user of `account`.
    ///
    /// # Errors
    /// `EMFILE` where that user has too many.
    pub fn new(vfs: &Vfs, knobs: &Arc<Knobs>, account: Arc<UserAccount>) -> Result<Arc<Self>> {
        let limit = knobs.inotify_instances.limit();
        let charge = account.charge(Counter::InotifyInstances, 1, limit).ok_or(Errno::EMFILE)?;
        let (state, queue, counter) = (Mutex::default(), WaitQueue::new(), vfs.watches.clone());
        Ok(Arc::new(Self { state, queue, counter, knobs: knobs.clone(), account, _charge: charge }))
    }

    /// Watches `place`, or changes what it is watched for. Returns the watch descriptor.
    ///
    /// # Errors
    /// `EEXIST` with `IN_MASK_CREATE`, `ENOSPC` for too many.
    pub fn add_watch(self: &Arc<Self>, place: &VfsPath, mask: InotifyMask) -> Result<i32> {
        let kept = mask & (IN_ALL_EVENTS | InotifyMask::ONESHOT | InotifyMask::EXCL_UNLINK);
        let list = place.inode().common().watches();
        let mut state = self.state.lock();
        // One that has lost its number is about to leave the list.
        if let Some(watch) = list.of(self).filter(|watch| state.watches.contains_key(&watch.wd)) {
            if mask.contains(InotifyMask::MASK_CREATE) {
                return Err(Errno::EEXIST);
            }
            let old = if mask.contains(InotifyMask::MASK_ADD) { watch.mask() } else { InotifyMask::empty() };
            watch.mask.store((old | kept).bits(), Ordering::Relaxed);
            return Ok(watch.wd);
        }
        let charge = self
            .account
            .charge(Counter::InotifyWatches, 1, self.knobs.inotify_watches.limit())
            .ok_or(Errno::ENOSPC)?;
        let wd = state.next_wd()?;
        let watch = Arc::new(Watch {
            instance: Arc::downgrade(self),
            wd,
            mask: AtomicU32::new(kept.bits()),
            dentry: place.dentry.clone(),
            _charge: charge,
        });
        list.add(&watch);
        state.watches.insert(wd, watch);
        self.counter.watches.fetch_add(1, Ordering::Relaxed);
        drop(state);
        place.inode().note_watch();
        Ok(wd)
    }

    /// Moves as many events as fit to `dst`.
    ///
    /// # Errors
    /// `EAGAIN` where there is none; `EINVAL` where the next one does not fit.
    pub fn take_events(&self, dst: &mut IoDst<'_>) -> Result<usize> {
        let mut bytes = Vec::new();
        {
            let mut state = self.state.lock();
            let first = state.events.front().ok_or(Errno::EAGAIN)?;
            if first.len() > dst.remaining() {
                return Err(Errno::EINVAL);
            }
            while state.events.front().is_some_and(|event| bytes.len() + event.len() <= dst.remaining()) {
                if let Some(event) = state.events.pop_front() {
                    event.encode(&mut bytes);
                }
            }
        }
        dst.put(&bytes)
    }

    /// Ends a watch; an `IN_IGNORED` event says so.
    ///
    /// # Errors
    /// `EINVAL` for a descriptor that is none.
    pub fn remove_watch(&self, wd: i32) -> Result<()> {
        let watch = self.state.lock().watches.remove(&wd).ok_or(Errno::EINVAL)?;
        watch.dentry.inode().common().watches().remove(&watch);
        self.counter.watches.fetch_sub(1, Ordering::Relaxed);
        self.push(Event { wd, mask: InotifyMask::IGNORED, cookie: 0, name: Box::default() });
        Ok(())
    }

    fn push(&self, event: Event) {
        let has_memory = heap::room_for(event.len() as u64, Purpose::Process).is_ok();
        let max = if has_memory { self.knobs.inotify_events.limit() } else { 0 };
        if self.state.lock().push(event, max) {
            self.queue.notify(Events::READABLE);
        }
    }
}

impl State {
    /// Queues an event, or the news that some are lost where there are `max` already. Says whether there is anything new:
    /// what repeats the last event is not.
    fn push(&mut self, event: Event, max: u64) -> bool {
        let event = if (self.events.len() as u64) < max {
            event
        } else {
            Event { wd: -1, mask: InotifyMask::Q_OVERFLOW, cookie: 0, name: Box::default() }
        };
        let is_new = self.events.back() != Some(&event);
        if is_new {
            self.events.push_back(event);
        }
        is_new
    }

    /// A number that is not in use: they go up, and start again where they run out.
    fn next_wd(&mut self) -> Result<i32> {
        for _ in 0..=self.watches.len() {
            self.last_wd = self.last_wd.checked_add(1).unwrap_or(1);
            if !self.watches.contains_key(&self.last_wd) {
                return Ok(self.last_wd);
            }
        }
        Err(Errno::ENOSPC)
    }
}

impl FileOps for Inotify {
    fn read(&self, _task: &Task, _file: &File, _offset: u64, dst: &mut IoDst<'_>) -> Result<usize> {
        self.take_events(dst)
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn poll(&self, _file: &File) -> Events {
        if self.state.lock().events.is_empty() { Events::empty() } else { Events::READABLE }
    }

    fn wait_queue(&self) -> Option<&WaitQueue> {
        Some(&self.queue)
    }

    fn ioctl(&self, task: &Task, _file: &File, command: u32, arg: u64) -> Result<u64> {
        if command != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes: usize = self.state.lock().events.iter().map(Event::len).sum();
        task.mm().write_object(UserAddr(arg), &i32::try_from(bytes).unwrap_or(i32::MAX))?;
        Ok(0)
    }

    fn fdinfo(&self) -> String {
        let state = self.state.lock();
        let mut watches: Vec<_> = state.watches.values().collect();
        watches.sort_by_key(|watch| watch.wd);
        let mut text = String::new();
        for watch in watches {
            let ino = watch.dentry.inode().attr().map_or(0, |attr| attr.ino);
            let dev = watch.dentry.superblock().fs().device().encode();
            let mask = watch.mask().bits();
            text.push_str(&format!(
                "inotify wd:{} ino:{ino:x} sdev:{dev:x} mask:{mask:x} ignored_mask:0\n",
                watch.wd
            ));
        }
        text
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        let watches = std::mem::take(&mut self.state.get_mut().watches);
        self.counter.watches.fetch_sub(watches.len(), Ordering::Relaxed);
        for watch in watches.into_values() {
            watch.dentry.inode().common().watches().remove(&watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use abi::inotify::InotifyMask;

    use super::{Event, State};

    fn event(wd: i32) -> Event {
        Event { wd, mask: InotifyMask::CREATE, cookie: 0, name: Box::default() }
    }

    #[test]
    fn a_loss_is_told_once() {
        let mut state = State::default();
        assert!(state.push(event(1), 9));
        assert!(!state.push(event(1), 9), "as the last");
        assert!(state.push(event(2), 0), "the loss is news");
        assert!((0..1000).all(|wd| !state.push(event(wd), 0)), "further losses are not");
        assert_eq!(state.events.len(), 2);
        // With room again, more is told.
        assert!(state.push(event(3), 9) && state.push(event(4), 0));
        assert_eq!(state.events.len(), 4);
    }

    #[test]
    fn a_full_queue_ends_with_the_news_of_a_loss() {
        let mut state = State::default();
        (0..110).for_each(|wd| _ = state.push(event(wd), 100));
        assert_eq!(state.events.len(), 101);
        assert_eq!(state.events.back().map(|last| last.mask), Some(InotifyMask::Q_OVERFLOW));
    }
}
