//! Calls that a guest thread posts instead of making them ([`platform::posted`]).
//!
//! At the return of epoll_wait(2) the thread is promised what the sockets it was told of have: their input, copied into
//! its area, and how much may be written to them. The stub answers read(2), write(2) and their like from that, and logs
//! them. At the thread's next event, whatever it is, its log is carried out before anything else; likewise before
//! anybody else uses one of the files ([`crate::vfs::Promise`]), and after a while by [`LatePosts`] if the thread does
//! something else.
//!
//! Locks: `inner` comes before those of descriptor tables, files and sockets. Nobody who holds one of those settles.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use platform::posted::{Grant, Log, Moved, PostBox, Record};

use super::{CurrentTask, IoCounters, Task};
use crate::vfs::{Fd, FdTable, File, Promising, Settle, Use};

/// Calls that are posted: read, write, sendto, recvfrom.
pub(super) const POSTED_CALLS: [u64; 4] = [0, 1, 44, 45];

/// A thread that is not told of ready sockets this often has no calls to save, and need not keep [`LatePosts`] awake.
const OFTEN: Duration = Duration::from_millis(1);

/// Files that a thread may soon want to use, and their numbers.
pub(crate) type Candidates = Vec<(Fd, Weak<File>)>;

/// The posted calls of one task.
pub(crate) struct PostedCalls {
    is_open: AtomicBool,
    io: Arc<IoCounters>,
    inner: Mutex<Inner>,
}

struct Inner {
    open: Option<Open>,
    /// How often it was opened, and what that was when [`LatePosts`] last saw records.
    openings: u64,
    seen: u64,
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

impl PostedCalls {
    /// Those of a task that counts what it reads and writes in `io`.
    pub(super) fn new(io: Arc<IoCounters>) -> Arc<Self> {
        let inner =
            Inner { open: None, openings: 0, seen: 0, last_offer: Instant::now(), buffer: Vec::new() };
        Arc::new(Self { is_open: AtomicBool::new(false), io, inner: Mutex::new(inner) })
    }

    /// Carries out what has been waiting since the last look.
    pub(super) fn settle_late(&self) {
        if !self.is_open.load(Ordering::Relaxed) {
            return;
        }
        // Whoever has the lock is opening or settling.
        let Some(mut inner) = self.inner.try_lock() else { return };
        let has_records = inner.open.as_ref().is_some_and(|open| open.post_box.has_records());
        if !has_records {
            return;
        }
        if inner.seen != inner.openings {
            inner.seen = inner.openings;
            return;
        }
        let ended = inner.settle(Use::Late, &self.io);
        self.is_open.store(false, Ordering::SeqCst);
        drop(inner);
        drop(ended);
    }

    /// Lets the thread of `task` use those of `candidates` that have input. It does not run and has settled.
    fn open(self: &Arc<Self>, task: &Task, post_box: Arc<dyn PostBox>, candidates: Candidates) {
        let mut inner = self.inner.lock();
        let now = Instant::now();
        let since = now.duration_since(std::mem::replace(&mut inner.last_offer, now));
        // Whoever wants to see its calls from now on ([`Task::settle_posted`]) has said so before they get the lock.
        if since > OFTEN || inner.open.is_some() || !task.wake().work().is_empty() {
            return;
        }
        let mut buffer = std::mem::take(&mut inner.buffer);
        buffer.resize(Grant::INPUT, 0);
        let held = self.hold(&task.fd_table(), candidates, &mut buffer);
        if !held.is_empty() {
            let grants: Vec<Grant<'_>> = held
                .iter()
                .map(|held| Grant {
                    fd: held.fd,
                    input: &buffer[held.input.clone()],
                    credit: held.left.credit as u32,
                })
                .collect();
            inner.openings += 1;
            if inner.openings == 1 {
                task.kernel().late_posts.watch(self);
            }
            task.kernel().late_posts.note_use();
            self.is_open.store(true, Ordering::SeqCst);
            post_box.open(&grants);
            inner.open = Some(Open { post_box, held });
        }
        inner.buffer = buffer;
    }

    /// Takes hold of candidates that have input, which goes into `buffer`.
    fn hold(self: &Arc<Self>, table: &FdTable, candidates: Candidates, buffer: &mut [u8]) -> Vec<Held> {
        let mut held: Vec<Held> = Vec::new();
        let mut end = 0;
        for (fd, file) in candidates {
            let Some(file) = file.upgrade().filter(|file| file.holder().is_worth_it()) else { continue };
            let Some(promising) = file.ops().promising() else { continue };
            let number = fd.unsigned_abs();
            let is_taken = held.iter().any(|other| other.fd % Grant::PLACES == number % Grant::PLACES);
            let by: Weak<Self> = Arc::downgrade(self);
            if is_taken || !table.hold(fd, &file, by) {
                continue;
            }
            let promise = promising.promise(&mut buffer[end..]);
            if promise.input == 0 {
                // It has none, or more than fits.
                file.holder().release(if end == 0 { Use::None } else { Use::Good });
                continue;
            }
            let (input, credit) = (end..end + promise.input, promise.credit.min(Grant::LOG));
            end = input.end;
            let left = Left { unread: input.len(), credit };
            held.push(Held { fd: number, input, left, was_used: false, file });
        }
        held
    }
}

impl Settle for PostedCalls {
    fn settle(&self, how: Use) {
        // Always with the lock: who has just taken hold of a file may be about to open the box.
        let mut inner = self.inner.lock();
        let ended = inner.settle(how, &self.io);
        self.is_open.store(false, Ordering::SeqCst);
        drop(inner);
        // The last reference to a file may be among these.
        drop(ended);
    }
}

impl Inner {
    /// See [`Settle::settle`]; returns what the thread held.
    fn settle(&mut self, how: Use, io: &IoCounters) -> Option<Open> {
        let mut open = self.open.take()?;
        let log = open.post_box.close();
        let has_written = open.carry_out(&log, io);
        for held in &open.held {
            let how = match how {
                Use::Late if !has_written => Use::Good,
                Use::Good if !held.was_used => Use::None,
                how => how,
            };
            held.file.holder().release(how);
        }
        Some(open)
    }
}

impl Open {
    /// Carries out what was promised; says whether something was written. What a log says beyond that is a lie, and
    /// nothing behind it is believed.
    fn carry_out(&mut self, log: &Log, io: &IoCounters) -> bool {
        let mut has_written = false;
        for record in log.records() {
            let Some(held) = self.held.iter_mut().find(|held| held.fd == record.fd) else { break };
            let Some(promising) = held.file.ops().promising() else { break };
            if !held.left.keep(promising, record.moved) {
                break;
            }
            count(io, record);
            held.was_used = true;
            has_written |= matches!(record.moved, Moved::Output(_));
        }
        has_written
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

impl Task {
    /// Carries out what its thread has posted, and ends that: for another task after whose change of this one no call
    /// may go unseen. It must have added work for the thread before.
    pub(crate) fn settle_posted(&self) {
        self.posted().settle(Use::Shared);
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
        if self.posted().is_open.load(Ordering::SeqCst) {
            self.posted().settle(Use::Good);
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
