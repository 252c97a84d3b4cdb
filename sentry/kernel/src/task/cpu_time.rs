//! How much processor time a thread has used.
//!
//! The time between entering guest code and leaving it counts as user time, all other time that the thread is not
//! asleep as system time. It is read from the monotonic clock: while the host lets another thread run, ours is charged.

use std::sync::atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering, fence};

/// What the thread is doing, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Activity {
    Asleep = 0,
    Kernel = 1,
    Guest = 2,
    /// Asleep until what it waits for happens or it is killed.
    AsleepKillable = 3,
}

/// User and system time, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// In guest code.
    pub user_ns: u64,
    /// In the kernel.
    pub system_ns: u64,
}

impl CpuTimes {
    /// Both together.
    #[must_use]
    pub fn total_ns(self) -> u64 {
        self.user_ns.saturating_add(self.system_ns)
    }
}

impl std::ops::Add for CpuTimes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            user_ns: self.user_ns.saturating_add(other.user_ns),
            system_ns: self.system_ns.saturating_add(other.system_ns),
        }
    }
}

impl std::iter::Sum for CpuTimes {
    fn sum<I: Iterator<Item = Self>>(times: I) -> Self {
        times.fold(Self::default(), |sum, at| sum + at)
    }
}

/// Instead of since when, while the thread changes what it has counted.
const CHANGING: i64 = i64::MIN;
/// How often others look at that before they give up.
const ATTEMPTS: usize = 1000;

/// A thread's clock. Only the thread itself writes; others may read a value that is a moment old.
#[derive(Debug)]
pub struct CpuClock {
    user_ns: AtomicU64,
    system_ns: AtomicU64,
    since_ns: AtomicI64,
    activity: AtomicU8,
    sleeps: AtomicU64,
    interruptions: AtomicU64,
}

fn is_asleep(activity: u8) -> bool {
    activity == Activity::Asleep as u8 || activity == Activity::AsleepKillable as u8
}

impl CpuClock {
    pub(super) fn new() -> Self {
        Self {
            user_ns: AtomicU64::new(0),
            system_ns: AtomicU64::new(0),
            since_ns: AtomicI64::new(host::time::monotonic_ns()),
            activity: AtomicU8::new(Activity::Asleep as u8),
            sleeps: AtomicU64::new(0),
            interruptions: AtomicU64::new(0),
        }
    }

    /// The thread now does something else. Returns the time.
    pub(super) fn switch(&self, to: Activity) -> i64 {
        let now = host::time::monotonic_ns();
        let elapsed = u64::try_from(now - self.since_ns.load(Ordering::Relaxed)).unwrap_or(0);
        let counter = match self.activity.load(Ordering::Relaxed) {
            2 => Some(&self.user_ns),
            1 => Some(&self.system_ns),
            _ => None,
        };
        self.since_ns.store(CHANGING, Ordering::Relaxed);
        fence(Ordering::Release);
        if let Some(counter) = counter {
            counter.store(counter.load(Ordering::Relaxed).saturating_add(elapsed), Ordering::Relaxed);
        }
        if matches!(to, Activity::Asleep | Activity::AsleepKillable) {
            self.sleeps.fetch_add(1, Ordering::Relaxed);
        }
        self.activity.store(to as u8, Ordering::Relaxed);
        self.since_ns.store(now, Ordering::Release);
        now
    }

    pub(super) fn count_interruption(&self) {
        self.interruptions.fetch_add(1, Ordering::Relaxed);
    }

    /// What has been used up to the last change, what the thread does since then, and when that was: all of one moment, so
    /// that what is told never becomes less.
    fn snapshot(&self) -> (CpuTimes, u8, i64) {
        let read = || CpuTimes {
            user_ns: self.user_ns.load(Ordering::Relaxed),
            system_ns: self.system_ns.load(Ordering::Relaxed),
        };
        for _ in 0..ATTEMPTS {
            let since = self.since_ns.load(Ordering::Acquire);
            let (times, activity) = (read(), self.activity.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if since != CHANGING && since == self.since_ns.load(Ordering::Relaxed) {
                return (times, activity, since);
            }
            std::thread::yield_now();
        }
        // The host does not let it run on. It has only begun.
        (read(), Activity::Asleep as u8, 0)
    }

    /// What has been used up to now.
    #[must_use]
    pub fn times(&self) -> CpuTimes {
        let (mut times, activity, since) = self.snapshot();
        if !is_asleep(activity) {
            let elapsed = u64::try_from(host::time::monotonic_ns() - since).unwrap_or(0);
            let running =
                if activity == Activity::Guest as u8 { &mut times.user_ns } else { &mut times.system_ns };
            *running = running.saturating_add(elapsed);
        }
        times
    }

    /// Voluntary and involuntary context switches.
    #[must_use]
    pub fn switches(&self) -> (u64, u64) {
        (self.sleeps.load(Ordering::Relaxed), self.interruptions.load(Ordering::Relaxed))
    }

    /// Whether the thread is asleep in a call.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        is_asleep(self.activity.load(Ordering::Relaxed))
    }

    /// Whether the thread is asleep where signals short of a kill do not wake it.
    #[must_use]
    pub fn is_asleep_killable(&self) -> bool {
        self.activity.load(Ordering::Relaxed) == Activity::AsleepKillable as u8
    }
}
