//! The [`Timekeeper`]: every reading of time in the kernel comes from here, so that it can be shifted as a whole.
//!
//! A guest's monotonic clock starts with the sandbox, its real-time clock is the host's. Both are the host's clock plus
//! an offset; the vDSO adds the same offsets, so that the two agree. Clones share the offsets. See `man 2
//! clock_gettime`, `man 7 time`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use abi::Timespec;
use abi::time::NSEC_PER_SEC_U64;
use parking_lot::Mutex;

use super::tsc_clock::{self, TscClock};
use crate::mm::MemoryFile;

/// Nanoseconds since the sandbox's clock started (CLOCK_MONOTONIC as guests see it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct MonotonicTime(pub i64);

impl MonotonicTime {
    /// This time plus `ns`, at most the end of time.
    #[must_use]
    pub const fn saturating_add(self, ns: i64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to this time; 0 where that lies in the future.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        let ns = self.0.saturating_sub(earlier.0);
        if ns < 0 { 0 } else { ns }
    }
}

/// The clocks that guests can name (`linux/time.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "Linux's names; man 2 clock_gettime")]
#[repr(i32)]
pub enum ClockId {
    Realtime = 0,
    Monotonic = 1,
    ProcessCpu = 2,
    ThreadCpu = 3,
    MonotonicRaw = 4,
    RealtimeCoarse = 5,
    MonotonicCoarse = 6,
    Boottime = 7,
    RealtimeAlarm = 8,
    BoottimeAlarm = 9,
    Tai = 11,
}

impl ClockId {
    /// The clock with number `raw`, if it is one of the fixed ones.
    #[must_use]
    pub const fn from_raw(raw: i32) -> Option<Self> {
        Some(match raw {
            0 => Self::Realtime,
            1 => Self::Monotonic,
            2 => Self::ProcessCpu,
            3 => Self::ThreadCpu,
            4 => Self::MonotonicRaw,
            5 => Self::RealtimeCoarse,
            6 => Self::MonotonicCoarse,
            7 => Self::Boottime,
            8 => Self::RealtimeAlarm,
            9 => Self::BoottimeAlarm,
            11 => Self::Tai,
            _ => return None,
        })
    }

    /// Whether it follows the time of day and so can be set.
    #[must_use]
    pub const fn is_wall(self) -> bool {
        matches!(self, Self::Realtime | Self::RealtimeCoarse | Self::RealtimeAlarm | Self::Tai)
    }
}

#[derive(Debug)]
struct Clocks {
    host: TscClock,
    /// Added to the host's monotonic clock.
    monotonic_ns: i64,
    /// Added to the host's real-time clock.
    realtime_ns: AtomicI64,
    /// Where the vDSO reads the clocks, once a guest has one. A leaf.
    page: Mutex<Option<SharedPage>>,
}

/// The vDSO's clock page in the guest's memory.
#[derive(Debug)]
struct SharedPage {
    memory: Arc<MemoryFile>,
    offset: u64,
    cpu_count: usize,
    sequence: u64,
}

/// Reads the host's clocks and shifts them. A clone is another handle to the same clocks.
#[derive(Clone, Debug)]
pub struct Timekeeper {
    clocks: Arc<Clocks>,
}

impl Default for Timekeeper {
    fn default() -> Self {
        Self::new()
    }
}

impl Timekeeper {
    /// Clocks of a sandbox that starts now: the monotonic clock at zero, the time of day as on the host.
    #[must_use]
    pub fn new() -> Self {
        let host = TscClock::new();
        let monotonic_ns = -host.read().monotonic_ns;
        let clocks = Clocks { host, monotonic_ns, realtime_ns: AtomicI64::new(0), page: Mutex::default() };
        Self { clocks: Arc::new(clocks) }
    }

    /// What is added to the host's monotonic clock (the vDSO adds the same).
    #[must_use]
    pub fn monotonic_offset_ns(&self) -> i64 {
        self.clocks.monotonic_ns
    }

    /// What is added to the host's real-time clock (the vDSO adds the same).
    #[must_use]
    pub fn realtime_offset_ns(&self) -> i64 {
        self.clocks.realtime_ns.load(Ordering::Relaxed)
    }

    /// Keeps the vDSO's clock page up to date from now on: the page at `offset` of the memory file.
    pub fn share_with_vdso(&self, memory: &Arc<MemoryFile>, offset: u64, cpu_count: usize) {
        *self.clocks.page.lock() =
            Some(SharedPage { memory: Arc::clone(memory), offset, cpu_count, sequence: 0 });
        self.publish();
    }

    /// Changes the number of processors that the vDSO knows of.
    pub(crate) fn set_cpu_count(&self, cpu_count: usize) {
        if let Some(page) = self.clocks.page.lock().as_mut() {
            page.cpu_count = cpu_count;
        }
        self.publish();
    }

    fn read_host(&self) -> tsc_clock::Reading {
        let reading = self.clocks.host.read();
        if reading.is_new_line {
            self.publish();
        }
        reading
    }

    fn publish(&self) {
        let mut shared = self.clocks.page.lock();
        let Some(page) = shared.as_mut() else { return };
        let content =
            self.clocks.host.page(self.monotonic_offset_ns(), self.realtime_offset_ns(), page.cpu_count);
        page.sequence += 2;
        if let Ok(slice) = page.memory.slice(page.offset, vdso::CLOCK_PAGE_SIZE) {
            // A page that cannot be written stays as it is: its line runs out and guests ask us instead.
            let _ = tsc_clock::publish(&slice, &content, page.sequence);
        }
    }

    /// CLOCK_MONOTONIC.
    #[must_use]
    pub fn monotonic(&self) -> MonotonicTime {
        MonotonicTime(self.read_host().monotonic_ns.saturating_add(self.monotonic_offset_ns()))
    }

    /// CLOCK_REALTIME, nanoseconds since 1970.
    #[must_use]
    pub fn realtime_ns(&self) -> i64 {
        let host = self.read_host();
        host.monotonic_ns.saturating_add(host.realtime_offset_ns).saturating_add(self.realtime_offset_ns())
    }

    /// CLOCK_REALTIME as file systems stamp it.
    #[must_use]
    pub fn now(&self) -> Timespec {
        Timespec::from_ns(self.realtime_ns())
    }

    /// When the sandbox started, nanoseconds since 1970 (`btime` of `/proc/stat`).
    #[must_use]
    pub fn boot_realtime_ns(&self) -> i64 {
        self.realtime_ns().saturating_sub(self.monotonic().0)
    }

    /// When a wait of `ns` nanoseconds that begins now ends.
    #[must_use]
    pub fn deadline_in(&self, ns: i64) -> MonotonicTime {
        self.monotonic().saturating_add(ns)
    }

    /// The monotonic time at which CLOCK_REALTIME will read `realtime_ns`, as things stand.
    #[must_use]
    pub fn monotonic_of_realtime(&self, realtime_ns: i64) -> MonotonicTime {
        self.deadline_in(realtime_ns.saturating_sub(self.realtime_ns()))
    }

    /// The host instant at which [`Self::monotonic`] will read `at`, for sleeping.
    #[must_use]
    pub fn instant_of(&self, at: MonotonicTime) -> Instant {
        // A year ahead is as good as never, and cannot overflow the host's clock.
        const LONGEST: u64 = 366 * 86_400 * NSEC_PER_SEC_U64;
        let left = u64::try_from(at.0.saturating_sub(self.monotonic().0)).unwrap_or(0);
        Instant::now() + Duration::from_nanos(left.min(LONGEST))
    }
}

#[cfg(test)]
mod tests {
    use super::{MonotonicTime, Timekeeper};

    #[test]
    fn monotonic_starts_with_the_sandbox() {
        let first = Timekeeper::new().monotonic();
        assert!(first.0 >= 0 && first.0 < abi::time::NSEC_PER_SEC);
    }

    #[test]
    fn far_deadlines_do_not_overflow() {
        let clock = Timekeeper::new();
        assert!(clock.instant_of(MonotonicTime(i64::MAX)) > std::time::Instant::now());
        assert!(clock.instant_of(MonotonicTime(i64::MIN)) <= std::time::Instant::now());
    }
}
