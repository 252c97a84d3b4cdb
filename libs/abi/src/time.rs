//! Time structures and clock numbers (`linux/time.h`, `linux/time_types.h`).

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Nanoseconds in a second.
pub const NSEC_PER_SEC: i64 = 1_000_000_000;
/// [`NSEC_PER_SEC`], for times that cannot be negative.
pub const NSEC_PER_SEC_U64: u64 = NSEC_PER_SEC.unsigned_abs();

/// `struct timespec`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[allow(missing_docs, reason = "Linux's names")]
#[repr(C)]
pub struct Timespec {
    pub tv_sec: i64,
    pub tv_nsec: i64,
}

impl Timespec {
    /// From nanoseconds.
    #[must_use]
    pub fn from_ns(ns: i64) -> Self {
        Self { tv_sec: ns.div_euclid(NSEC_PER_SEC), tv_nsec: ns.rem_euclid(NSEC_PER_SEC) }
    }

    /// In nanoseconds, saturating.
    #[must_use]
    pub fn to_ns(self) -> i64 {
        self.tv_sec.saturating_mul(NSEC_PER_SEC).saturating_add(self.tv_nsec)
    }

    /// Whether it is a time that Linux accepts as a time-out: not negative, nanoseconds below a second.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.tv_sec >= 0 && (0..NSEC_PER_SEC).contains(&self.tv_nsec)
    }
}

/// `struct timeval`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, reason = "Linux's names")]
#[repr(C)]
pub struct Timeval {
    pub tv_sec: i64,
    pub tv_usec: i64,
}

impl Timeval {
    /// From nanoseconds.
    #[must_use]
    pub fn from_ns(ns: i64) -> Self {
        Self { tv_sec: ns.div_euclid(NSEC_PER_SEC), tv_usec: ns.rem_euclid(NSEC_PER_SEC) / 1000 }
    }

    /// In nanoseconds, saturating.
    #[must_use]
    pub fn to_ns(self) -> i64 {
        self.tv_sec.saturating_mul(NSEC_PER_SEC).saturating_add(self.tv_usec.saturating_mul(1000))
    }

    /// Whether it is not negative and its microseconds are below a second.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.tv_sec >= 0 && (0..1_000_000).contains(&self.tv_usec)
    }
}

/// `struct itimerspec`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, reason = "Linux's names")]
#[repr(C)]
pub struct Itimerspec {
    pub it_interval: Timespec,
    pub it_value: Timespec,
}

/// `struct itimerval`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[allow(missing_docs, reason = "Linux's names")]
#[repr(C)]
pub struct Itimerval {
    pub it_interval: Timeval,
    pub it_value: Timeval,
}

/// `TIMER_ABSTIME`.
pub const TIMER_ABSTIME: u64 = 1;
