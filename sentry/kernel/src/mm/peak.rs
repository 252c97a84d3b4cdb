//! The largest resident set of an address space, as getrusage(2) and `VmHWM` of `/proc/[pid]/status` tell it.
//!
//! Guests touch pages without our hearing of it, so the set must be looked at, which takes as long as it is large;
//! some programs ask a thousand times in a second. So it is looked at again only when [`PAUSE`] times as long has
//! passed as the last look took, or when there is noticeably more to touch.
//!
//! Lock: `last` is a leaf.

use std::ops::Range;

use abi::PAGE_SIZE;
use parking_lot::Mutex;

use super::manager::MemoryManager;
use super::pma::{PageSource, Pma};

/// How many times as long as a look takes there is none.
const PAUSE: i64 = 20;

/// Which part of all memory more makes it worth another look.
const NOTICEABLE: u64 = 16;

/// Memory up to this size is not looked at when a process ends.
const SHORT: u64 = 1 << 20;
/// Of longer stretches so many samples are.
const SAMPLES: u64 = 8;
/// Bytes of a sample: all of them are less than [`SHORT`].
const SAMPLE: u64 = 64 << 10;

/// The largest resident set that was seen.
#[derive(Debug, Default)]
pub(super) struct PeakRss {
    last: Mutex<Look>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Look {
    bytes: u64,
    /// Until when that will do, and up to which amount of memory that could be resident.
    good_until_ns: i64,
    good_up_to: u64,
}

impl PeakRss {
    /// The most that was seen, if that will do at `now_ns` where `possible` bytes could be resident.
    fn current(&self, now_ns: i64, possible: u64) -> Option<u64> {
        let last = self.last.lock();
        (now_ns < last.good_until_ns && possible <= last.good_up_to).then_some(last.bytes)
    }

    /// Takes in a look from `began_ns` to `ended_ns`, which saw `bytes` where `possible` could be; returns the most
    /// that was seen so far.
    fn saw(&self, bytes: u64, possible: u64, began_ns: i64, ended_ns: i64) -> u64 {
        let took = ended_ns.saturating_sub(began_ns);
        let mut last = self.last.lock();
        last.bytes = last.bytes.max(bytes);
        last.good_until_ns = ended_ns.saturating_add(took.saturating_mul(PAUSE));
        last.good_up_to = possible.saturating_add(possible / NOTICEABLE);
        last.bytes
    }
}

impl MemoryManager {
    /// The largest resident set so far, bytes.
    #[must_use]
    pub fn peak_rss(&self) -> u64 {
        let began = host::time::monotonic_ns();
        let current = self.peak_rss.current(began, self.possible_rss());
        current.unwrap_or_else(|| self.note_rss(began, self.totals().usage.rss()))
    }

    /// As [`Self::peak_rss`], at the end of a process, for which its parent waits: what is short counts as touched, what is
    /// long is judged by samples. To look at all of 64 MiB takes 2 ms.
    pub(crate) fn last_rss(&self) -> u64 {
        let present = |(range, pma): (Range<u64>, &Pma)| match (&pma.source, range.end - range.start) {
            (PageSource::Memory(offset), len) if len > SHORT => self.sample_resident(*offset, len),
            (_, len) => len,
        };
        let now: u64 = self.pages.read().map.iter().map(present).sum();
        now.max(self.peak_rss.last.lock().bytes)
    }

    /// About how much of a long stretch is present.
    fn sample_resident(&self, offset: u64, len: u64) -> u64 {
        let step = len / SAMPLES;
        let starts = (0..SAMPLES).map(|index| offset + index * step / PAGE_SIZE * PAGE_SIZE);
        let present: u64 = starts.map(|start| self.memory.resident(start, SAMPLE) / PAGE_SIZE).sum();
        len / (SAMPLES * SAMPLE / PAGE_SIZE) * present
    }

    /// Takes in that `rss` bytes are resident, which was found by a look that began at `began_ns`; returns the most
    /// that ever were.
    pub fn note_rss(&self, began_ns: i64, rss: u64) -> u64 {
        self.peak_rss.saw(rss, self.possible_rss(), began_ns, host::time::monotonic_ns())
    }

    /// What would be resident if the guest touched all that it can without a fault.
    fn possible_rss(&self) -> u64 {
        self.pages.read().map.iter().map(|(range, _)| range.end - range.start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{PAUSE, PeakRss};

    #[test]
    fn a_look_is_good_for_a_multiple_of_its_time() {
        let peak = PeakRss::default();
        assert_eq!(peak.current(0, 0), None);
        assert_eq!(peak.saw(100, 160, 1000, 1010), 100);
        let until = 1010 + 10 * PAUSE;
        assert_eq!((peak.current(until - 1, 170), peak.current(until, 170)), (Some(100), None));
        assert_eq!(peak.current(until - 1, 171), None, "noticeably more");
        assert_eq!(peak.saw(60, 160, until, until), 100, "the largest, not the last");
    }
}
