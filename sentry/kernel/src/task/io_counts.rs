//! What a task has read and written by calls (`/proc/[pid]/io`).

use std::sync::atomic::{AtomicU64, Ordering};

/// Sums; both numbers are of bytes and of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoCounts {
    /// `rchar`, `syscr`.
    pub reads: (u64, u64),
    /// `wchar`, `syscw`.
    pub writes: (u64, u64),
}

impl std::ops::Add for IoCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let sum = |a: (u64, u64), b: (u64, u64)| (a.0.saturating_add(b.0), a.1.saturating_add(b.1));
        Self { reads: sum(self.reads, other.reads), writes: sum(self.writes, other.writes) }
    }
}

/// Counters with one writer at a time.
#[derive(Debug, Default)]
pub struct IoCounters {
    read_bytes: AtomicU64,
    reads: AtomicU64,
    written_bytes: AtomicU64,
    writes: AtomicU64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.store(counter.load(Ordering::Relaxed).saturating_add(more), Ordering::Relaxed);
}

impl IoCounters {
    /// A call read `bytes`.
    pub(crate) fn count_read(&self, bytes: u64) {
        add(&self.read_bytes, bytes);
        add(&self.reads, 1);
    }

    /// A call wrote `bytes`.
    pub(crate) fn count_write(&self, bytes: u64) {
        add(&self.written_bytes, bytes);
        add(&self.writes, 1);
    }

    /// The sums as of now.
    #[must_use]
    pub fn counts(&self) -> IoCounts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        IoCounts {
            reads: (load(&self.read_bytes), load(&self.reads)),
            writes: (load(&self.written_bytes), load(&self.writes)),
        }
    }
}
