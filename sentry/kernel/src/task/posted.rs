//! Calls that a guest thread posts instead of making them ([`platform::posted`]).
//!
//! The life of such a call: epoll_wait(2) or its like returns, and tells the thread of sockets that can be read (*candidates*). Right
//! before its code goes on, the thread takes *hold* of those that nobody else uses ([`crate::vfs::Promise`]); each
//! *promises* its input, which is copied, and room for output. The platform is *granted* that, and opens the thread's
//! *box*. read(2), write(2) and their like are then carried out by the stub on what was granted, and *posted* to a log.
//! The box is closed and what was posted is *kept* at the thread's next event, whatever it is, before anything else. When
//! the thread goes on it is granted what is left, for a while. A file is *released* once anybody uses it by other calls,
//! the thread itself included; all are when the thread is told of sockets anew, when it has had no use for them for some
//! time, or when it does something else for long without an event ([`LatePosts`](super::LatePosts)). Meanwhile it may
//! also close the file that it has opened last ([`closable`]), and change how the epoll instance watches the files that it
//! holds ([`held_epoll`]).
//!
//! Locks: `inner` comes before those of descriptor tables, files, sockets and wait queues. Nobody who holds one of those
//! settles.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use platform::Event;
use platform::posted::{Grant, PostBox};

use self::closable::Closable;
use self::held::{Carried, Held, Left, Promised, Why};
use self::held_epoll::HeldEpoll;
use super::{CurrentTask, IoCounters, IoCounts, Task};
use crate::vfs::{Candidates, Fd, FdTable, File, Holder, Promise, Push, Settle, Use};

mod closable;
mod held;
mod held_epoll;

/// A thread that is told of fewer ready sockets than one in this time has no calls to save, and need not keep the timer
/// awake.
const OFTEN: Duration = Duration::from_millis(1);

/// What was promised is not granted anew after this time.
const LONGEST: Duration = Duration::from_millis(5);

/// A thread that takes so long for each call is slow: answers wait for those behind them longer than calls take.
const SLOW: Duration = Duration::from_micros(100);

/// The number of sendfile(2).
const SENDFILE: u64 = 40;

/// The box is opened so often without use before all is released.
const MOST_IN_VAIN: u32 = 8;

/// The posted calls of one task.
pub(crate) struct PostedCalls {
    /// Calls may be posted, or have been that are not carried out. Written under `inner`.
    is_open: AtomicBool,
    /// The thread holds files. Written under `inner`.
    holds_some: AtomicBool,
    /// For [`LatePosts`](super::LatePosts): it has this one in its list.
    pub(super) is_listed: AtomicBool,
    /// Written under `inner`.
    io: IoCounters,
    inner: Mutex<Inner>,
}

struct Inner {
    /// What the thread holds.
    held: Vec<Held>,
    /// The epoll instance that has told of these, while it is held, too.
    epoll: Option<HeldEpoll>,
    /// The file that it has opened last.
    last_opened: Option<(Fd, Weak<File>)>,
    /// That file, while it may close it.
    closable: Option<Closable>,
    /// Where it posts calls now.
    open: Option<Open>,
    /// How often the box was opened.
    openings: u64,
    /// The value of `openings` when posted calls were last looked for.
    seen: u64,
    /// How often the box was opened since something was posted.
    in_vain: u32,
    /// The thread has been slow since it took hold.
    is_slow: bool,
    /// When files were last offered to the thread, or would have been. The host's time: for decisions that no guest
    /// sees.
    last_offer: Instant,
    /// Where input is collected.
    buffer: Vec<u8>,
}

/// An open box.
struct Open {
    post_box: Arc<dyn PostBox>,
    since: Instant,
}

impl PostedCalls {
    pub(super) fn new() -> Arc<Self> {
        let inner = Inner {
            held: Vec::new(),
            epoll: None,
            last_opened: None,
            closable: None,
            open: None,
            openings: 0,
            seen: 0,
            in_vain: 0,
            is_slow: false,
            last_offer: Instant::now(),
            buffer: Vec::new(),
        };
        Arc::new(Self {
            is_open: AtomicBool::new(false),
            holds_some: AtomicBool::new(false),
            is_listed: AtomicBool::new(false),
            io: IoCounters::default(),
            inner: Mutex::new(inner),
        })
    }

    /// What was read and written by posted calls.
    pub(super) fn io_counts(&self) -> IoCounts {
        self.io.counts()
    }

    /// Carries out what was posted, and releases what the thread holds.
    pub(super) fn stop(&self) {
        self.release_all(self.inner.lock(), Why::Stop);
    }

    /// Whether the box may be open; where it is not, it has to be listed again.
    pub(super) fn is_still_listed(&self) -> bool {
        if self.is_open.load(Ordering::SeqCst) {
            return true;
        }
        self.is_listed.store(false, Ordering::SeqCst);
        // Whoever has opened it in between has found it listed.
        self.is_open.load(Ordering::SeqCst) && !self.is_listed.swap(true, Ordering::SeqCst)
    }

    /// Closes the box if it has been open since the last look; says whether it is open now.
    pub(super) fn look(&self) -> bool {
        // Whoever has the lock is opening or closing it.
        let Some(mut inner) = self.inner.try_lock() else { return true };
        if inner.open.is_none() || inner.seen != inner.openings {
            inner.seen = inner.openings;
            return inner.open.is_some();
        }
        self.release_all(inner, Why::Late);
        false
    }

    /// Lets the thread of `task` use those of `candidates` that have input or room. It does not run, and its box is closed.
    fn offer(self: &Arc<Self>, task: &Task, post_box: Arc<dyn PostBox>, candidates: Candidates) {
        // Nobody opens it or takes hold of files but this thread.
        self.release_all(self.inner.lock(), Why::Done);
        let often = OFTEN * candidates.files.len() as u32;
        let mut inner = self.inner.lock();
        let now = Instant::now();
        let since = now.duration_since(std::mem::replace(&mut inner.last_offer, now));
        if since > often || has_work(task) {
            return;
        }
        inner.buffer.resize(Grant::INPUT, 0);
        self.hold(&task.fd_table(), candidates, &mut inner);
        if !inner.held.is_empty() {
            inner.in_vain = 0;
            inner.is_slow = false;
            self.holds_some.store(true, Ordering::SeqCst);
            self.open(task, post_box, now, &mut inner);
        }
    }

    /// Lets the thread of `task` use what it still holds. It does not run, and its box is closed.
    fn renew(self: &Arc<Self>, task: &Task, post_box: Arc<dyn PostBox>) {
        let mut inner = self.inner.lock();
        if inner.held.is_empty() || has_work(task) {
            return;
        }
        let now = Instant::now();
        if inner.in_vain < MOST_IN_VAIN && now.duration_since(inner.last_offer) < LONGEST {
            self.open(task, post_box, now, &mut inner);
        } else {
            self.release_all(inner, Why::Done);
        }
    }

    /// Grants the thread what is left of what it was promised.
    fn open(self: &Arc<Self>, task: &Task, post_box: Arc<dyn PostBox>, now: Instant, inner: &mut Inner) {
        inner.openings += 1;
        inner.in_vain += 1;
        self.is_open.store(true, Ordering::SeqCst);
        task.kernel().late_posts.watch(self);
        inner.closable = self.hold_last_opened(&task.fd_table(), inner);
        let closable = inner.closable.iter().map(Closable::grant);
        let grants: Vec<_> =
            inner.held.iter().map(|held| held.grant(&inner.buffer)).chain(closable).collect();
        post_box.open(&grants, inner.epoll.as_ref().map(HeldEpoll::fd));
        inner.open = Some(Open { post_box, since: now });
    }

    /// Takes hold of the file that the thread has opened last, if it may close it.
    fn hold_last_opened(self: &Arc<Self>, table: &Arc<FdTable>, inner: &Inner) -> Option<Closable> {
        let (fd, file) = inner.last_opened.as_ref()?;
        let has_place = inner.has_place(fd.unsigned_abs());
        has_place.then(|| Closable::hold(self, table, *fd, file)).flatten()
    }

    /// Takes hold of candidates that have input or room, and of the epoll instance that has told of them.
    fn hold(self: &Arc<Self>, table: &FdTable, candidates: Candidates, inner: &mut Inner) {
        let mut end = 0;
        for (fd, file) in candidates.files {
            if end == inner.buffer.len() {
                break;
            }
            let number = fd.unsigned_abs();
            if !inner.has_place(number) {
                continue;
            }
            let Some(file) = file.upgrade().filter(|file| file.holder().is_worth_it()) else { continue };
            let Some(left) = self.hold_one(table, fd, &file, &mut inner.buffer[end..]) else { continue };
            let input = end..end + left.unread;
            end = input.end;
            inner.held.push(Held { fd: number, file, input, left, watched: None, was_used: false });
        }
        if inner.held.is_empty() {
            return;
        }
        inner.epoll = HeldEpoll::hold(self, table, candidates.epoll);
        if let Some(epoll) = &inner.epoll {
            for held in &mut inner.held {
                held.watched = epoll.is_watching(held.fd.cast_signed(), &held.file);
            }
        }
    }

    /// Takes hold of a file if nobody else uses it and all of its input goes into `buffer`.
    fn hold_one(
        self: &Arc<Self>,
        table: &FdTable,
        fd: Fd,
        file: &Arc<File>,
        buffer: &mut [u8],
    ) -> Option<Left> {
        let promising = file.ops().promising()?;
        let by: Weak<Self> = Arc::downgrade(self);
        if !table.hold(fd, file, by) {
            file.holder().learn(Use::Shared);
            return None;
        }
        let promise = promising.promise(buffer);
        if promise == Promise::default() {
            file.holder().release();
            if buffer.len() == Grant::INPUT {
                // It has none, or more than ever fits.
                file.holder().learn(Use::None);
            }
            return None;
        }
        Some(Left { unread: promise.input, credit: promise.credit.min(Grant::LOG) })
    }

    /// Carries out what was posted, and closes the box until the thread goes on. Gives the file that the thread's next
    /// call sends to, where what was written last waits for that.
    fn pause(&self, sends_to: Option<u32>) -> Option<Arc<File>> {
        let mut inner = self.inner.lock();
        let (carried, closed) = inner.close(&self.io, sends_to);
        let same = |held: &&Held| carried.holds_back && sends_to == Some(held.fd);
        let file = inner.held.iter().find(same).map(|held| Arc::clone(&held.file));
        self.is_open.store(false, Ordering::SeqCst);
        drop(inner);
        drop(closed);
        file
    }

    /// Carries out what was posted, and releases what the thread holds.
    fn release_all(&self, inner: MutexGuard<'_, Inner>, why: Why) {
        self.release(inner, why, |_| true);
    }

    /// Carries out what was posted, and releases some of what the thread holds.
    fn release(&self, mut inner: MutexGuard<'_, Inner>, why: Why, which: impl Fn(&Holder) -> bool) {
        let (carried, closed) = inner.close(&self.io, None);
        let (released, held): (Vec<_>, Vec<_>) =
            std::mem::take(&mut inner.held).into_iter().partition(|held| which(held.holder()));
        inner.held = held;
        released.iter().for_each(|held| held.release(why, carried, inner.is_slow));
        let is_last = inner.held.is_empty();
        let epoll = inner.epoll.take_if(|epoll| is_last || which(epoll.holder()));
        if let Some(epoll) = &epoll {
            epoll.holder().release();
        }
        self.holds_some.store(!inner.held.is_empty(), Ordering::SeqCst);
        self.is_open.store(false, Ordering::SeqCst);
        drop(inner);
        // The last reference to a file may be among these.
        drop((released, closed, epoll));
    }
}

impl Settle for PostedCalls {
    fn settle_for(&self, wanted: &Holder) {
        // Always with the lock: who has just taken hold of a file may be about to open the box.
        let mut inner = self.inner.lock();
        if inner.closable.as_ref().is_some_and(|closable| closable.is_with(wanted)) {
            inner.last_opened = None;
        }
        let why = if inner.open.is_some() { Why::Wanted } else { Why::Done };
        self.release(inner, why, |holder| std::ptr::eq(holder, wanted));
    }
}

impl Inner {
    /// Whether there is a place for a descriptor of this number.
    fn has_place(&self, fd: u32) -> bool {
        self.held.len() < Grant::PLACES as usize
            && self.held.iter().all(|other| other.fd % Grant::PLACES != fd % Grant::PLACES)
    }

    /// Closes the box, if it is open, and carries out what was posted. The caller drops what it is given without locks.
    fn close(&mut self, io: &IoCounters, sends_to: Option<u32>) -> (Carried, Option<Closable>) {
        let Some(open) = self.open.take() else { return (Carried::default(), None) };
        let mut closable = self.closable.take();
        let promised =
            Promised { held: &mut self.held, closable: closable.as_mut(), epoll: self.epoll.as_ref() };
        let carried = promised.carry_out(&open.post_box.close(), io, sends_to);
        closable.iter().for_each(Closable::release);
        if carried.calls > 0 {
            self.in_vain = 0;
        }
        self.is_slow |= carried.calls > 2 && open.since.elapsed() > SLOW * carried.calls;
        (carried, closable)
    }
}

/// Who wants to see its calls from now on ([`Task::stop_posting`]) has given it work before they get the lock.
fn has_work(task: &Task) -> bool {
    !task.wake().work().is_empty()
}

impl Task {
    /// The task has opened a file: while it posts calls it may close it that way, too.
    pub(crate) fn expect_close_of(&self, fd: Fd, file: &Arc<File>) {
        let posted = self.posted();
        if posted.holds_some.load(Ordering::SeqCst) && Closable::can_be(file) {
            posted.inner.lock().last_opened = Some((fd, Arc::downgrade(file)));
        }
    }
}

impl CurrentTask {
    /// The task was told that these are readable: it may post calls to them when it goes on.
    pub(crate) fn expect_use_of(&mut self, files: Candidates) {
        if self.may_post {
            self.candidates = files;
        }
    }

    /// Opens the box for what was announced by [`Self::expect_use_of`], or for what the task still holds, right before
    /// guest code runs.
    pub(super) fn open_posted(&mut self) {
        let candidates = std::mem::take(&mut self.candidates);
        let posted = self.posted();
        if !self.may_post {
            if posted.holds_some.load(Ordering::SeqCst) {
                posted.stop();
            }
        } else if !candidates.files.is_empty() {
            posted.offer(self, self.context.post_box(), candidates);
        } else if posted.holds_some.load(Ordering::SeqCst) {
            posted.renew(self, self.context.post_box());
        }
    }

    /// Carries out what the thread has posted: the first thing at any event. What it wrote last to the socket that it
    /// calls sendfile(2) for may be one packet with the file: then that socket is to be [pushed](push) after the call.
    pub(super) fn take_posted(&self, event: &Event) -> Option<Arc<File>> {
        let posted = self.posted();
        if !posted.is_open.load(Ordering::SeqCst) {
            return None;
        }
        let is_call = matches!(event, Event::Syscall | Event::RewrittenCall);
        let sends_file = is_call && self.regs.orig_rax == SENDFILE;
        posted.pause(sends_file.then_some(self.regs.rdi as u32))
    }
}

/// Sends what waits in `file` for more, of which there may have been none.
pub(super) fn push(file: &File) {
    if let Some(promising) = file.ops().promising() {
        promising.keep_written(&[], Push::Now);
    }
}
