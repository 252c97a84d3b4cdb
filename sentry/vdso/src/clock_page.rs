// The page that kernel and vDSO share. Compiled into both; no dependencies.

/// Bytes that the page takes in the guest's address space.
pub const CLOCK_PAGE_SIZE: usize = 4096;

/// A clock as a straight line over the time stamp counter:
/// `ns(tsc) = base_ns + ((tsc - base_tsc) * mult) >> 32`, valid for `base_tsc <= tsc < base_tsc + span`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ClockLine {
    /// Where the line starts.
    pub base_tsc: u64,
    /// CLOCK_MONOTONIC there, nanoseconds.
    pub base_ns: u64,
    /// Nanoseconds a tick, in 1/2^32.
    pub mult: u64,
    /// Ticks for which the line holds; 0 where it never does.
    pub span: u64,
}

impl ClockLine {
    /// CLOCK_MONOTONIC at `tsc`, or `None` where the line does not hold there.
    #[inline]
    #[must_use]
    pub fn at(&self, tsc: u64) -> Option<u64> {
        let ticks = tsc.wrapping_sub(self.base_tsc);
        if ticks >= self.span {
            return None;
        }
        Some(self.base_ns.wrapping_add(((u128::from(ticks) * u128::from(self.mult)) >> 32) as u64))
    }
}

/// What the kernel publishes. `sequence` is odd while the rest changes (a seqlock with one writer).
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ClockPage {
    /// Even: stable. Readers retry where it is odd or has changed.
    pub sequence: u64,
    /// CLOCK_MONOTONIC.
    pub monotonic: ClockLine,
    /// What is added for CLOCK_MONOTONIC itself: 0, so that each clock has such a word.
    pub monotonic_offset_ns: u64,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC, nanoseconds.
    pub realtime_offset_ns: u64,
    /// CLOCK_BOOTTIME minus CLOCK_MONOTONIC, nanoseconds.
    pub boottime_offset_ns: u64,
    /// Processors that the guest may be told of.
    pub cpu_count: u64,
}

impl ClockPage {
    /// Where in the page the word is that is added to CLOCK_MONOTONIC for `clock`; `None` where the page does not tell.
    #[inline]
    #[must_use]
    pub const fn added_for(clock: i32) -> Option<usize> {
        match clock {
            0 | 5 => Some(core::mem::offset_of!(Self, realtime_offset_ns)),
            1 | 4 | 6 => Some(core::mem::offset_of!(Self, monotonic_offset_ns)),
            7 => Some(core::mem::offset_of!(Self, boottime_offset_ns)),
            _ => None,
        }
    }
}
