//! A file that a thread holds ([`super`]), what is left of what it promised, and what came of that.

use std::ops::Range;
use std::sync::Arc;

use platform::posted::{Grant, Log, Moved, Record};

use super::closable::Closable;
use super::held_epoll::HeldEpoll;
use crate::task::IoCounters;
use crate::vfs::{File, Holder, Promising, Push, Use};

/// A file that the thread holds.
pub(super) struct Held {
    pub(super) fd: u32,
    pub(super) file: Arc<File>,
    /// Its input in the buffer.
    pub(super) input: Range<usize>,
    pub(super) left: Left,
    /// Whether the epoll instance that is held with it watches it, where that may change.
    pub(super) watched: Option<bool>,
    pub(super) was_used: bool,
}

/// What is left of a promise.
pub(super) struct Left {
    pub(super) unread: usize,
    pub(super) credit: usize,
}

/// Why a file is released.
#[derive(Clone, Copy)]
pub(super) enum Why {
    /// The thread has use for it no longer, or uses it by other calls.
    Done,
    /// Somebody else wants it while the thread may post calls to it.
    Wanted,
    /// The thread did not come for long.
    Late,
    /// No more calls shall be posted.
    Stop,
}

/// What was made of a log.
#[derive(Clone, Copy, Default)]
pub(super) struct Carried {
    pub(super) calls: u32,
    pub(super) has_written: bool,
    /// What was written last leaves with what the thread's next call sends.
    pub(super) holds_back: bool,
}

/// What calls may be posted to.
pub(super) struct Promised<'a> {
    pub(super) held: &'a mut [Held],
    pub(super) closable: Option<&'a mut Closable>,
    pub(super) epoll: Option<&'a HeldEpoll>,
}

impl Promised<'_> {
    /// Carries out what was posted. What a log says beyond what was promised is a lie, and nothing behind it is
    /// believed. The thread's next call sends to `sends_to`.
    pub(super) fn carry_out(mut self, log: &Log, io: &IoCounters, sends_to: Option<u32>) -> Carried {
        let mut carried = Carried::default();
        let mut records = log.records().peekable();
        while let Some(record) = records.next() {
            let is_last = sends_to == Some(record.fd) && records.peek().is_none();
            let push = if is_last { Push::WithNext } else { Push::Now };
            if !self.keep(record, push) {
                break;
            }
            count(io, record);
            carried.calls += 1;
            let has_written = matches!(record.moved, Moved::Output(_));
            carried.has_written |= has_written;
            carried.holds_back = has_written && is_last;
        }
        carried
    }

    /// Carries out one call; says whether it was promised.
    fn keep(&mut self, record: Record<'_>, push: Push) -> bool {
        if record.moved == Moved::Closed {
            return self.closable.as_mut().is_some_and(|closable| closable.close(record.fd));
        }
        let Some(held) = self.held.iter_mut().find(|held| held.fd == record.fd) else { return false };
        let is_kept = match record.moved {
            Moved::Watched(change) => {
                self.epoll.is_some_and(|epoll| epoll.keep(held.fd, &held.file, &mut held.watched, change))
            }
            moved => held.keep(moved, push),
        };
        held.was_used |= is_kept;
        is_kept
    }
}

/// Counts a call as one that was made is counted.
fn count(io: &IoCounters, record: Record<'_>) {
    match record.moved {
        _ if record.is_message => {}
        Moved::Input(len) => io.count_read(len as u64),
        Moved::Output(data) => io.count_write(data.len() as u64),
        Moved::Closed | Moved::Watched(_) => {}
    }
}

impl Held {
    pub(super) fn holder(&self) -> &Holder {
        self.file.holder()
    }

    /// What the thread may still do; `buffer` has the input of all that it holds.
    pub(super) fn grant<'a>(&self, buffer: &'a [u8]) -> Grant<'a> {
        let input = &buffer[self.input.end - self.left.unread..self.input.end];
        Grant { fd: self.fd, input, credit: self.left.credit as u32, may_close: false, watched: self.watched }
    }

    /// Carries out a call; says whether it was promised.
    fn keep(&mut self, moved: Moved<'_>, push: Push) -> bool {
        self.file.ops().promising().is_some_and(|file| self.left.keep(file, moved, push))
    }

    /// Gives the file back.
    pub(super) fn release(&self, why: Why, carried: Carried, is_slow: bool) {
        if let Some(how) = self.judge(why, carried, is_slow) {
            self.file.holder().learn(how);
        }
        self.file.holder().release();
    }

    /// What came of the promise, if that says something about the next.
    fn judge(&self, why: Why, carried: Carried, is_slow: bool) -> Option<Use> {
        match why {
            Why::Wanted => Some(Use::Shared),
            Why::Late if carried.has_written => Some(Use::Late),
            _ if self.was_used && is_slow => Some(Use::Slow),
            _ if self.was_used => Some(Use::Good),
            Why::Done => Some(Use::None),
            Why::Late | Why::Stop => None,
        }
    }
}

impl Left {
    /// Carries out a call; says whether it was promised.
    fn keep(&mut self, file: &dyn Promising, moved: Moved<'_>, push: Push) -> bool {
        let (len, left) = match moved {
            Moved::Input(len) => (len, &mut self.unread),
            Moved::Output(data) => (data.len(), &mut self.credit),
            Moved::Closed | Moved::Watched(_) => return false,
        };
        let Some(rest) = left.checked_sub(len) else { return false };
        *left = rest;
        if let Moved::Output(data) = moved {
            file.keep_written(data, push);
        } else {
            file.keep_read(len);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;
    use platform::posted::{Moved, Record};

    use super::{Left, count};
    use crate::task::IoCounters;
    use crate::vfs::{Promise, Promising, Push};

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

        fn keep_written(&self, data: &[u8], _push: Push) {
            *self.0.lock() += &format!("write {};", data.len());
        }
    }

    #[test]
    fn what_was_not_promised_is_not_carried_out() {
        let (notes, mut left) = (Notes::default(), Left { unread: 10, credit: 5 });
        let mut keep = |moved| left.keep(&notes, moved, Push::Now);
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
