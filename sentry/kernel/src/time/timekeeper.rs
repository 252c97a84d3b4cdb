//! The [`Timekeeper`]: every reading of time in the kernel comes from here, so that it can be shifted as a whole.

use abi::Timespec;

/// Nanoseconds since the sandbox's clock started (CLOCK_MONOTONIC as guests see it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct MonotonicTime(pub i64);

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

/// Reads the host's clocks and shifts them.
#[derive(Debug, Default)]
pub struct Timekeeper {
    /// Added to the host's monotonic clock.
    monotonic_offset_ns: i64,
}

impl Timekeeper {
    /// Clocks that agree with the host's.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// CLOCK_MONOTONIC.
    #[must_use]
    pub fn monotonic(&self) -> MonotonicTime {
        MonotonicTime(host::time::monotonic_ns() + self.monotonic_offset_ns)
    }

    /// CLOCK_REALTIME, nanoseconds since 1970.
    #[must_use]
    pub fn realtime_ns(&self) -> i64 {
        host::time::realtime_ns()
    }

    /// CLOCK_REALTIME as file systems stamp it.
    #[must_use]
    pub fn now(&self) -> Timespec {
        Timespec::from_ns(self.realtime_ns())
    }

    /// The host instant at which [`Self::monotonic`] will read `at`, for sleeping.
    #[must_use]
    pub fn instant_of(&self, at: MonotonicTime) -> std::time::Instant {
        let now = std::time::Instant::now();
        let left = at.0.saturating_sub(self.monotonic().0);
        now + std::time::Duration::from_nanos(u64::try_from(left).unwrap_or(0))
    }
}
