//! The host's clocks.

fn read(clock: libc::clockid_t) -> i64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is a live timespec for the call to fill.
    unsafe { libc::clock_gettime(clock, &mut at) };
    at.tv_sec * 1_000_000_000 + at.tv_nsec
}

/// CLOCK_MONOTONIC, nanoseconds.
#[must_use]
pub fn monotonic_ns() -> i64 {
    read(libc::CLOCK_MONOTONIC)
}

/// CLOCK_REALTIME, nanoseconds since 1970.
#[must_use]
pub fn realtime_ns() -> i64 {
    read(libc::CLOCK_REALTIME)
}

/// CLOCK_THREAD_CPUTIME_ID of the calling thread, nanoseconds.
#[must_use]
pub fn thread_cpu_ns() -> i64 {
    read(libc::CLOCK_THREAD_CPUTIME_ID)
}
