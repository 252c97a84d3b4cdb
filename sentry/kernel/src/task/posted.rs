//! Calls that a guest thread posts instead of making them ([`platform::posted`]).
//!
//! The life of such a call: epoll_wait(2) returns, and tells the thread of sockets that can be read (*candidates*). Right
//! before its code goes on, the thread takes *hold* of those that nobody else uses ([`crate::vfs::Promise`]); each
//! *promises* its input, which is copied, and room for output. The platform is *granted* that, and opens the thread's
//! *box*. read(2), write(2) and their like are then carried out by the stub on what was granted, and *posted* to a log.
//! The box is closed, what was posted is *kept* and the files are released: at the thread's next event, whatever it is,
//! before anything else; before anybody else uses one of the files; or after a while ([`LatePosts`](super::LatePosts))
//! if the thread does something else.
//!
//! Locks: `inner` comes before those of descriptor tables, files, sockets and wait queues. Nobody who holds one of those
//! settles.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use platform::posted::{Grant, Log, Moved, PostBox, Record};

use super::{CurrentTask, IoCounters, IoCounts, Task};
use crate::vfs::{Candidates, Fd, FdTable, File, Holder, Promising, Settle, Use};

/// A thread that is not told of ready sockets this often has no calls to save, and need not keep the timer awake.
const OFTEN: Duration = Duration::from_millis(1);

/// A thread that takes so long for each call is slow: answers wait for those behind them longer than calls take.
const SLOW: Duration = Duration::from_micros(100);

/// The posted calls of one task.
pub(crate) struct PostedCalls {
    is_open: AtomicBool,
    /// For [`LatePosts`](super::LatePosts): it has this one in its list.
    pub(super) is_listed: AtomicBool,
    /// Written under `inner`.
    io: IoCounters,
    inner: Mutex<Inner>,
}

struct Inner {
    open: Option<Open>,
    /// How often it was opened, and what that was when it was last looked at.
    openings: u64,
    seen: u64,
    /// When it was last to be opened. The host's time: for decisions that no guest sees.
    last_offer: Instant,
    /// Where input is collected.
    buffer: Vec<u8>,
}

/// What the thread may do now.
struct Open {
    post_box: Arc<dyn PostBox>,
    held: Vec<Held>,
}

/// A file that the thread holds.
struct Held {
    fd: u32,
    file: Arc<File>,
    input: std::ops::Range<usize>,
    left: Left,
    was_used: bool,
}

/// What is left of a promise.
struct Left {
    unread: usize,
    credit: usize,
}

/// Why a box is closed.
#[derive(Clone, Copy)]
enum Why<'a> {
    /// The thread has left guest code.
    Event,
    /// Somebody else wants the file with this holder.
    Wanted(&'a Holder),
    /// It was open for long.
    Late,
    /// No more calls shall be posted.
    Stop,
}

/// What was made of a log.
#[derive(Clone, Copy, Default)]
struct Done {
    calls: u32,
    has_written: bool,
}

impl PostedCalls {
    pub(super) fn new() -> Arc<Self> {
        let inner =
            Inner { open: None, openings: 0, seen: 0, last_offer: Instant::now(), buffer: Vec::new() };
        Arc::new(Self {
            is_open: AtomicBool::new(false),
            is_listed: AtomicBool::new(false),
            io: IoCounters::default(),
            inner: Mutex::new(inner),
        })
    }

    /// What was read and written by posted calls.
    pub(super) fn io_counts(&self) -> IoCounts {
        self.io.counts()
    }

    /// Carries out what was posted, and closes the box.
    pub(super) fn stop(&self) {
        self.close(self.inner.lock(), Why::Stop);
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
        if inner.seen != inner.openings {
            inner.seen = inner.openings;
            return inner.open.is_some();
        }
        self.close(inner, Why::Late);
        false
    }

    /// Lets the thread of `task` use those of `candidates` that have input. It does not run, and its box is closed.
    fn open(self: &Arc<Self>, task: &Task, post_box: Arc<dyn PostBox>, candidates: Candidates) {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        let since = now.duration_since(std::mem::replace(&mut inner.last_offer, now));
        // Who wants to see its calls from now on ([`Task::stop_posting`]) has given it work before they get the lock.
        if since > OFTEN || inner.open.is_some() || !task.wake().work().is_empty() {
            return;
        }
        let mut buffer = std::mem::take(&mut inner.buffer);
        buffer.resize(Grant::INPUT, 0);
        let held = self.hold(&task.fd_table(), candidates, &mut buffer);
        if !held.is_empty() {
            let grant = |held: &Held| Grant {
                fd: held.fd,
                input: &buffer[held.input.clone()],
                credit: held.left.credit as u32,
            };
            inner.openings += 1;
            self.is_open.store(true, Ordering::SeqCst);
            task.kernel().late_posts.watch(self);
            post_box.open(&held.iter().map(grant).collect::<Vec<_>>());
            inner.open = Some(Open { post_box, held });
        }
        inner.buffer = buffer;
    }

    /// Takes hold of candidates that have input, which goes into `buffer`.
    fn hold(self: &Arc<Self>, table: &FdTable, candidates: Candidates, buffer: &mut [u8]) -> Vec<Held> {
        let mut held: Vec<Held> = Vec::new();
        let mut end = 0;
        for (fd, file) in candidates {
            if held.len() == Grant::PLACES as usize || end == buffer.len() {
                break;
            }
            let number = fd.unsigned_abs();
            if held.iter().any(|other| other.fd % Grant::PLACES == number % Grant::PLACES) {
                continue;
            }
            let Some(file) = file.upgrade().filter(|file| file.holder().is_worth_it()) else { continue };
            let (input, left) = match self.hold_one(table, fd, &file, &mut buffer[end..]) {
                Some(left) => (end..end + left.unread, left),
                None => continue,
            };
            end = input.end;
            held.push(Held { fd: number, input, left, was_used: false, file });
        }
        held
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
        if promise.input == 0 {
            file.holder().release();
            if buffer.len() == Grant::INPUT {
                // It has none, or more than ever fits.
                file.holder().learn(Use::None);
            }
            return None;
        }
        Some(Left { unread: promise.input, credit: promise.credit.min(Grant::LOG) })
    }

    /// Carries out what was posted, and gives back what the thread held.
    fn close(&self, mut inner: MutexGuard<'_, Inner>, why: Why<'_>) {
        let ended = inner.close(why, &self.io);
        self.is_open.store(false, Ordering::SeqCst);
        drop(inner);
        // The last reference to a file may be among these.
        drop(ended);
    }
}

impl Settle for PostedCalls {
    fn settle_for(&self, wanted: &Holder) {
        // Always with the lock: who has just taken hold of a file may be about to open the box.
        self.close(self.inner.lock(), Why::Wanted(wanted));
    }
}

impl Inner {
    /// See [`PostedCalls::close`]; returns what the thread held.
    fn close(&mut self, why: Why<'_>, io: &IoCounters) -> Option<Open> {
        let mut open = self.open.take()?;
        let log = open.post_box.close();
        let done = open.carry_out(&log, io);
        let is_slow = done.calls > 2 && self.last_offer.elapsed() > SLOW * done.calls;
        for held in &open.held {
            if let Some(how) = held.judge(why, done, is_slow) {
                held.file.holder().learn(how);
            }
            held.file.holder().release();
        }
        Some(open)
    }
}

impl Open {
    /// Carries out what was promised. What a log says beyond that is a lie, and nothing behind it is believed.
    fn carry_out(&mut self, log: &Log, io: &IoCounters) -> Done {
        let mut done = Done::default();
        for record in log.records() {
            let Some(held) = self.held.iter_mut().find(|held| held.fd == record.fd) else { break };
            let Some(promising) = held.file.ops().promising() else { break };
            if !held.left.keep(promising, record.moved) {
                break;
            }
            count(io, record);
            held.was_used = true;
            done.calls += 1;
            done.has_written |= matches!(record.moved, Moved::Output(_));
        }
        done
    }
}

/// Counts a call as one that was made is counted.
fn count(io: &IoCounters, record: Record<'_>) {
    match record.moved {
        _ if record.is_message => {}
        Moved::Input(len) => io.count_read(len as u64),
        Moved::Output(data) => io.count_write(data.len() as u64),
    }
}

impl Held {
    /// What came of the promise, if that says something about the next.
    fn judge(&self, why: Why<'_>, done: Done, is_slow: bool) -> Option<Use> {
        match why {
            Why::Wanted(holder) if std::ptr::eq(holder, self.file.holder()) => Some(Use::Shared),
            Why::Late if done.has_written => Some(Use::Late),
            _ if self.was_used && is_slow => Some(Use::Slow),
            _ if self.was_used => Some(Use::Good),
            Why::Event => Some(Use::None),
            Why::Wanted(_) | Why::Late | Why::Stop => None,
        }
    }
}

impl Left {
    /// Carries out a call; says whether it was promised.
    fn keep(&mut self, file: &dyn Promising, moved: Moved<'_>) -> bool {
        let (len, left) = match moved {
            Moved::Input(len) => (len, &mut self.unread),
            Moved::Output(data) => (data.len(), &mut self.credit),
        };
        let Some(rest) = left.checked_sub(len) else { return false };
        *left = rest;
        match moved {
            Moved::Input(len) => file.keep_read(len),
            Moved::Output(data) => file.keep_written(data),
        }
        true
    }
}

impl CurrentTask {
    /// The task was told that these are readable: it may post calls to them when it goes on.
    pub(crate) fn expect_use_of(&mut self, files: Candidates) {
        if self.may_post {
            self.candidates = files;
        }
    }

    /// Opens the box for what was announced by [`Self::expect_use_of`], right before guest code runs.
    pub(super) fn open_posted(&mut self) {
        if self.candidates.is_empty() {
            return;
        }
        let candidates = std::mem::take(&mut self.candidates);
        if self.may_post {
            self.posted().open(self, self.context.post_box(), candidates);
        }
    }

    /// Carries out what the thread has posted: the first thing at any event.
    pub(super) fn take_posted(&self) {
        let posted = self.posted();
        if posted.is_open.load(Ordering::SeqCst) {
            posted.close(posted.inner.lock(), Why::Event);
        }
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use platform::posted::{Moved, Record};

    use super::{IoCounters, Left, count};
    use crate::vfs::{Promise, Promising};

    /// Notes what it is told.
    #[derive(Default)]
    struct Notes(Mutex<String>);

    impl Promising for Notes {
        fn promise(&self, _buffer: &mut [u8]) -> Promise {
            Promise::default()
        }

        fn keep_read(&self, len: usize) {
            *self.0.lock() += &format!("read {len};");
        }

        fn keep_written(&self, data: &[u8]) {
            *self.0.lock() += &format!("write {};", data.len());
        }
    }

    #[test]
    fn what_was_not_promised_is_not_carried_out() {
        let (notes, mut left) = (Notes::default(), Left { unread: 10, credit: 5 });
        let mut keep = |moved| left.keep(&notes, moved);
        assert!(keep(Moved::Input(4)));
        assert!(keep(Moved::Output(b"hello")));
        assert!(!keep(Moved::Input(7)));
        assert!(!keep(Moved::Output(b"!")));
        assert!(!keep(Moved::Input(usize::MAX)));
        assert!(keep(Moved::Input(6)));
        assert_eq!(*notes.0.lock(), "read 4;write 5;read 6;");
    }

    #[test]
    fn posted_calls_count_as_made_ones_do() {
        let io = IoCounters::default();
        for is_message in [false, true] {
            count(&io, Record { fd: 3, is_message, moved: Moved::Input(10) });
            count(&io, Record { fd: 3, is_message, moved: Moved::Output(b"abc") });
        }
        assert_eq!((io.counts().reads, io.counts().writes), ((10, 1), (3, 1)));
    }
}
