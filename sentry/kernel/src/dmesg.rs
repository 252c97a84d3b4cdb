//! The guest's kernel log: what dmesg(1) shows (`man 2 syslog`, `/dev/kmsg`).
//!
//! Locks: `records` is a leaf; readers are woken without it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use abi::time::NSEC_PER_SEC;
use parking_lot::Mutex;
use waiter::{Events, WaitQueue};

use crate::time::Timekeeper;

/// The log's records take at most this many bytes.
const CAPACITY: usize = 128 << 10;

/// Severities (`man 3 syslog`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "Linux's names")]
#[repr(u8)]
pub enum Severity {
    Emergency = 0,
    Alert = 1,
    Critical = 2,
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
    Debug = 7,
}

/// A line of the log.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its number, counting from 0.
    pub sequence: u64,
    /// When, on the monotonic clock.
    pub time_ns: i64,
    /// Facility times 8 plus severity.
    pub priority: u32,
    /// The text, without a line end.
    pub text: Arc<str>,
}

impl Record {
    /// As syslog(2) and dmesg(1) show it.
    #[must_use]
    pub fn to_syslog(&self) -> String {
        let (seconds, micros) = (self.time_ns / NSEC_PER_SEC, self.time_ns % NSEC_PER_SEC / 1000);
        let Self { priority, text, .. } = self;
        format!("<{priority}>[{seconds:5}.{micros:06}] {text}\n")
    }

    /// The memory that it takes, bytes: its text is an allocation with two counters.
    fn cost(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + self.text.len()
    }

    /// As `/dev/kmsg` shows it.
    #[must_use]
    pub fn to_kmsg(&self) -> String {
        let Self { sequence, time_ns, priority, text } = self;
        format!("{priority},{sequence},{},-;{text}\n", time_ns / 1000)
    }
}

#[derive(Default)]
struct Records {
    list: VecDeque<Record>,
    bytes: usize,
    next: u64,
    /// Where syslog(2)'s destructive reads go on.
    read: u64,
    /// Where `SYSLOG_ACTION_CLEAR` cleared to.
    cleared: u64,
}

impl Records {
    /// The first record at or behind `sequence`.
    fn at(&self, sequence: u64) -> Option<&Record> {
        let first = self.list.front()?.sequence;
        self.list.get(usize::try_from(sequence.saturating_sub(first)).ok()?)
    }

    /// What a destructive read gives next.
    fn next_line(&self) -> Option<String> {
        self.at(self.read).map(Record::to_syslog)
    }

    /// As [`Self::next_line`], which is then read.
    fn take_line(&mut self) -> Option<String> {
        let record = self.at(self.read)?;
        let (line, sequence) = (record.to_syslog(), record.sequence);
        self.read = sequence + 1;
        Some(line)
    }
}

/// The log.
pub struct Dmesg {
    timekeeper: Arc<Timekeeper>,
    records: Mutex<Records>,
    queue: WaitQueue,
}

impl Dmesg {
    /// An empty log.
    #[must_use]
    pub fn new(timekeeper: Arc<Timekeeper>) -> Self {
        Self { timekeeper, records: Mutex::default(), queue: WaitQueue::new() }
    }

    /// Adds a line of the kernel's.
    pub fn write(&self, severity: Severity, text: &str) {
        self.write_as(severity as u32, text);
    }

    /// Adds a line of any facility.
    pub fn write_as(&self, priority: u32, text: &str) {
        let time_ns = self.timekeeper.monotonic().0;
        let mut records = self.records.lock();
        let sequence = records.next;
        records.next += 1;
        let record = Record { sequence, time_ns, priority, text: Arc::from(text) };
        records.bytes += record.cost();
        records.list.push_back(record);
        while records.bytes > CAPACITY {
            let Some(oldest) = records.list.pop_front() else { break };
            records.bytes -= oldest.cost();
        }
        drop(records);
        self.queue.notify(Events::READABLE);
    }

    /// The first record at or behind `sequence`.
    #[must_use]
    pub fn at(&self, sequence: u64) -> Option<Record> {
        self.records.lock().at(sequence).cloned()
    }

    /// The number of the oldest record that is kept, and that of the next one to come.
    #[must_use]
    pub fn range(&self) -> (u64, u64) {
        let records = self.records.lock();
        (records.list.front().map_or(records.next, |record| record.sequence), records.next)
    }

    /// Told of new records.
    #[must_use]
    pub fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Takes the records that syslog(2)'s `READ` has not taken yet, as many as fit in `max` bytes. One that is too long
    /// loses its end.
    #[must_use]
    pub fn take_fitting(&self, max: usize) -> Option<String> {
        let mut records = self.records.lock();
        let mut text = records.take_line()?;
        while let Some(line) = records.next_line()
            && text.len() + line.len() <= max
        {
            text.extend(records.take_line());
        }
        text.truncate(text.floor_char_boundary(max));
        Some(text)
    }

    /// Bytes that `READ` would return.
    #[must_use]
    pub fn unread(&self) -> usize {
        let records = self.records.lock();
        let unread = records.list.iter().filter(|record| record.sequence >= records.read);
        unread.map(|record| record.to_syslog().len()).sum()
    }

    /// The newest records since the last clearing that fit in `max` bytes, as one text; clears where `clears`.
    #[must_use]
    pub fn tail(&self, max: usize, clears: bool) -> String {
        let mut records = self.records.lock();
        let mut lines = Vec::new();
        let mut left = max;
        for record in records.list.iter().rev().filter(|record| record.sequence >= records.cleared) {
            let line = record.to_syslog();
            let Some(rest) = left.checked_sub(line.len()) else { break };
            left = rest;
            lines.push(line);
        }
        if clears {
            records.cleared = records.next;
        }
        lines.reverse();
        lines.concat()
    }

    /// Hides what there is from [`Self::tail`].
    pub fn clear(&self) {
        let mut records = self.records.lock();
        records.cleared = records.next;
    }

    /// The bytes that it can hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl fmt::Debug for Dmesg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dmesg({:?})", self.range())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{CAPACITY, Dmesg, Severity};
    use crate::time::Timekeeper;

    #[test]
    fn reading_clearing_and_forgetting() {
        let log = Dmesg::new(Arc::new(Timekeeper::new()));
        log.write(Severity::Info, "one");
        log.write(Severity::Warning, "two");
        assert!(log.tail(1000, false).contains("] one\n<4>["));
        assert!(log.take_fitting(30).is_some_and(|text| text.ends_with("] one\n")));
        log.clear();
        assert_eq!(log.tail(1000, false), "");
        let long = "x".repeat(CAPACITY / 2 - 100);
        for _ in 0..4 {
            log.write(Severity::Info, &long);
        }
        assert_eq!(log.range(), (4, 6));
        assert_eq!(log.at(0).map(|record| record.sequence), Some(4));
        assert_eq!(log.take_fitting(100).map(|text| text.len()), Some(100), "a long one is cut");
    }

    #[test]
    fn records_without_text_take_room() {
        let log = Dmesg::new(Arc::new(Timekeeper::new()));
        for _ in 0..CAPACITY {
            log.write(Severity::Info, "");
        }
        let (oldest, next) = log.range();
        assert!(next - oldest < CAPACITY as u64 / 40, "{}", next - oldest);
    }

    #[test]
    fn readers_at_once_share_the_records() {
        let log = Dmesg::new(Arc::new(Timekeeper::new()));
        for number in 0..1000 {
            log.write(Severity::Info, &format!("line {number}."));
        }
        let read = || std::iter::from_fn(|| log.take_fitting(200)).collect::<String>();
        let texts = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..4).map(|_| scope.spawn(read)).collect();
            readers.into_iter().map(|reader| reader.join().unwrap_or_default()).collect::<String>()
        });
        assert_eq!(texts.lines().count(), 1000);
        assert!((0..1000).all(|number| texts.matches(&format!("line {number}.")).count() == 1));
    }
}
