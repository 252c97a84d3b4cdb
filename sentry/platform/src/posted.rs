//! Calls that guest code makes without an event: the kernel *grants* a thread that it may read prepared bytes from some
//! descriptors, write so many to them, close some, and change how an epoll instance watches them; what the thread did with
//! that is in a log which the kernel takes later.
//!
//! All of a log is the guest's own statement. [`Log::records`] says what is well-formed; whether it was granted is for
//! the kernel to check.

use stub::layout::{
    CONTROL_SIZE, GRANTS, INPUT_SIZE, LOG_SIZE, POSTABLE, RECORD_CLOSE, RECORD_CONTROL, RECORD_MESSAGE,
    RECORD_WRITE,
};

/// The calls that can be posted, by number.
pub const POSTED_CALLS: [u32; POSTABLE.len()] = {
    let mut numbers = [0; POSTABLE.len()];
    let mut at = 0;
    while at < POSTABLE.len() {
        numbers[at] = POSTABLE[at].0;
        at += 1;
    }
    numbers
};

/// What a thread may do with one descriptor without an event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Grant<'a> {
    /// The descriptor. Of those that have the same remainder by [`Grant::PLACES`] one has a place.
    pub fd: u32,
    /// What read(2) and recv(2) of it give.
    pub input: &'a [u8],
    /// How many bytes write(2) and send(2) to it take.
    pub credit: u32,
    /// Whether close(2) closes it.
    pub may_close: bool,
    /// Whether the epoll instance that is granted with it watches it, where epoll_ctl(2) may change that.
    pub watched: Option<bool>,
}

impl Grant<'_> {
    /// How many descriptors can be granted at a time.
    pub const PLACES: u32 = GRANTS as u32;
    /// How many bytes of input can be prepared, of all descriptors together.
    pub const INPUT: usize = INPUT_SIZE as usize;
    /// How many bytes a log holds, with [`Grant::OVERHEAD`] for each call.
    pub const LOG: usize = LOG_SIZE as usize;
    /// What a call takes in a log beside the bytes that it writes, at most.
    pub const OVERHEAD: usize = 16;
}

/// Where a thread's posted calls are.
pub trait PostBox: Send + Sync {
    /// Lets the thread post calls, until [`Self::close`]. To be called while its context does not run and its box is
    /// closed. Does nothing where the grants do not fit. `epoll` is the number of the epoll instance whose watches may be
    /// changed.
    fn open(&self, grants: &[Grant<'_>], epoll: Option<u32>);

    /// Ends that and takes the log. May be called at any time by any thread, one at a time.
    fn close(&self) -> Log;

    /// Whether the log has records.
    fn has_records(&self) -> bool;
}

/// What a thread says it did, in order.
#[derive(Clone, Debug, Default)]
pub struct Log {
    bytes: Vec<u8>,
}

/// A call that was posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The descriptor.
    pub fd: u32,
    /// It was send(2) or recv(2), not write(2) or read(2).
    pub is_message: bool,
    /// What was done.
    pub moved: Moved<'a>,
}

/// What a posted call has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved<'a> {
    /// So many bytes were read.
    Input(usize),
    /// These were written.
    Output(&'a [u8]),
    /// Nothing: the descriptor was closed.
    Closed,
    /// Nothing: the epoll instance watches it otherwise.
    Watched(Control),
}

/// What epoll_ctl(2) was told beside descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// `EPOLL_CTL_*`.
    pub operation: i32,
    /// The event's flags. Without meaning for a removal, as the data.
    pub events: u32,
    /// The event's data.
    pub data: u64,
}

impl Log {
    /// A log of bytes that were copied from a guest.
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The records, up to the first that is malformed.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (record, behind) = first(rest)?;
            rest = behind;
            Some(record)
        })
    }
}

/// The first record of `bytes`, and what is behind it.
fn first(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (fd, rest) = bytes.split_first_chunk()?;
    let (word, rest) = rest.split_first_chunk()?;
    let (fd, word) = (u32::from_le_bytes(*fd), u32::from_le_bytes(*word));
    let is_message = word & RECORD_MESSAGE != 0;
    if word & RECORD_CLOSE != 0 {
        return Some((Record { fd, is_message, moved: Moved::Closed }, rest));
    }
    if word & RECORD_CONTROL != 0 {
        let (event, rest) = rest.split_first_chunk::<{ CONTROL_SIZE as usize }>()?;
        let (events, event) = event.split_first_chunk()?;
        let (data, _) = event.split_first_chunk()?;
        let operation = (word & !RECORD_CONTROL).cast_signed();
        let control =
            Control { operation, events: u32::from_le_bytes(*events), data: u64::from_le_bytes(*data) };
        return Some((Record { fd, is_message, moved: Moved::Watched(control) }, rest));
    }
    let len = (word & !(RECORD_WRITE | RECORD_MESSAGE)) as usize;
    if word & RECORD_WRITE == 0 {
        return Some((Record { fd, is_message, moved: Moved::Input(len) }, rest));
    }
    let moved = Moved::Output(rest.get(..len)?);
    Some((Record { fd, is_message, moved }, rest.get(len.checked_next_multiple_of(8)?..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Control, Log, Moved, Record};

    #[test]
    fn records_come_in_order_and_end_at_the_first_that_is_cut() {
        let mut bytes = vec![5, 0, 0, 0, 3, 0, 0, 0];
        bytes.extend([6, 0, 0, 0, 2, 0, 0, 0xc0, b'h', b'i', 9, 9, 9, 9, 9, 9]);
        bytes.extend([8, 0, 0, 0, 0, 0, 0, 0x20]);
        bytes.extend([9, 0, 0, 0, 3, 0, 0, 0x10, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9]);
        bytes.extend([7, 0, 0, 0, 9, 0, 0, 0x80, 1, 2, 3, 4, 5, 6, 7, 8]);
        let log = Log::new(bytes);
        let records: Vec<_> = log.records().collect();
        let read = Record { fd: 5, is_message: false, moved: Moved::Input(3) };
        let sent = Record { fd: 6, is_message: true, moved: Moved::Output(b"hi") };
        let closed = Record { fd: 8, is_message: false, moved: Moved::Closed };
        let control = Control { operation: 3, events: 1, data: 5 };
        let changed = Record { fd: 9, is_message: false, moved: Moved::Watched(control) };
        assert_eq!(records, [read, sent, closed, changed]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_to_an_end(bytes: Vec<u8>) {
            let len = bytes.len();
            prop_assert!(Log::new(bytes).records().count() <= len / 8);
        }
    }
}
