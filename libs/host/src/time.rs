//! The host's clocks.

use abi::time::NSEC_PER_SEC;

fn read(clock: libc::clockid_t) -> i64 {
    let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `at` is a live timespec for the call to fill.
    unsafe { libc::clock_gettime(clock, &mut at) };
    at.tv_sec * NSEC_PER_SEC + at.tv_nsec
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

/// The CPU's time stamp counter, read in program order.
#[must_use]
pub fn tsc() -> u64 {
    // SAFETY: every x86-64 CPU has both instructions, and they touch no memory.
    unsafe {
        std::arch::x86_64::_mm_lfence();
        std::arch::x86_64::_rdtsc()
    }
}

/// Whether the counter runs at one rate whatever the CPU's state (CPUID 0x80000007, EDX bit 8).
#[must_use]
pub fn has_invariant_tsc() -> bool {
    let cpuid = std::arch::x86_64::__cpuid;
    cpuid(0x8000_0000).eax >= 0x8000_0007 && cpuid(0x8000_0007).edx & (1 << 8) != 0
}
