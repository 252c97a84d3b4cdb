//! The host's monotonic clock as a straight line over the time stamp counter, so that the sentry and the vDSO read the
//! very same clock.
//!
//! A [`ClockLine`] holds for about a second. Whoever reads the clock when the line has run out draws the next one, from
//! a fresh sample of the host's clock: no timer is needed, and an idle sandbox does nothing. A new line never starts
//! below the end of the old one, so the clock never goes backwards; what it is ahead by, it loses over the next second.
//!
//! Locks: `calibration` is held while a line is drawn; readers use a sequence counter.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use host::memory::VolatileSlice;
use host::time::{has_invariant_tsc, monotonic_ns, realtime_ns, tsc};
use parking_lot::Mutex;
use vdso::{ClockLine, ClockPage};

/// Two samples must be this far apart to tell the counter's rate, nanoseconds.
const MIN_BASELINE_NS: i64 = 10_000_000;
/// For how long a line holds, nanoseconds.
const SPAN_NS: u128 = 1_000_000_000;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    tsc: u64,
    monotonic_ns: i64,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC.
    realtime_offset_ns: i64,
    /// How long the reading took, in ticks: the uncertainty.
    window: u64,
}

impl Sample {
    /// The tightest of a few readings.
    fn take() -> Self {
        let one = || {
            let (before, monotonic) = (tsc(), monotonic_ns());
            let (between, realtime) = (tsc(), realtime_ns());
            Self {
                tsc: before.wrapping_add(between.wrapping_sub(before) / 2),
                monotonic_ns: monotonic,
                realtime_offset_ns: realtime.wrapping_sub(monotonic),
                // Up to the end: what is lost between the two clocks would be taken for a step of the real time.
                window: tsc().wrapping_sub(before),
            }
        };
        let first = one();
        (0..4).map(|_| one()).fold(first, |best, next| if next.window < best.window { next } else { best })
    }
}

#[derive(Debug, Default)]
struct Calibration {
    previous: Option<Sample>,
    realtime_offset_ns: i64,
    /// The last line drawn.
    line: ClockLine,
}

/// The clock.
#[derive(Debug)]
pub(super) struct TscClock {
    is_usable: bool,
    sequence: AtomicU64,
    line: [AtomicU64; 4],
    realtime_offset_ns: AtomicU64,
    calibration: Mutex<Calibration>,
}

/// A reading of the host's clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// The host's CLOCK_MONOTONIC.
    pub(super) monotonic_ns: i64,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC.
    pub(super) realtime_offset_ns: i64,
    /// Whether a new line was drawn for it.
    pub(super) is_new_line: bool,
}

impl TscClock {
    pub(super) fn new() -> Self {
        Self {
            is_usable: has_invariant_tsc(),
            sequence: AtomicU64::new(0),
            line: Default::default(),
            realtime_offset_ns: AtomicU64::new(0),
            calibration: Mutex::default(),
        }
    }

    /// Reads the clock.
    pub(super) fn read(&self) -> Reading {
        let (line, offset) = self.load();
        match line.at(tsc()) {
            Some(ns) => Reading { monotonic_ns: ns as i64, realtime_offset_ns: offset, is_new_line: false },
            None => self.draw(),
        }
    }

    /// What the vDSO is to read, for guests whose clocks are ahead of the host's by the given amounts.
    pub(super) fn page(&self, monotonic_ns: i64, realtime_ns: i64, cpu_count: usize) -> ClockPage {
        let (mut line, offset) = self.load();
        line.base_ns = line.base_ns.wrapping_add_signed(monotonic_ns);
        ClockPage {
            sequence: 0,
            monotonic: line,
            monotonic_offset_ns: 0,
            realtime_offset_ns: offset.wrapping_add(realtime_ns).wrapping_sub(monotonic_ns) as u64,
            boottime_offset_ns: 0,
            cpu_count: cpu_count as u64,
        }
    }

    fn load(&self) -> (ClockLine, i64) {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let [base_tsc, base_ns, mult, span] =
                [0, 1, 2, 3].map(|i: usize| self.line[i].load(Ordering::Relaxed));
            let offset = self.realtime_offset_ns.load(Ordering::Relaxed) as i64;
            fence(Ordering::Acquire);
            if before & 1 == 0 && self.sequence.load(Ordering::Relaxed) == before {
                return (ClockLine { base_tsc, base_ns, mult, span }, offset);
            }
            std::hint::spin_loop();
        }
    }

    fn store(&self, line: &ClockLine, realtime_offset_ns: i64) {
        self.sequence.fetch_add(1, Ordering::Relaxed);
        fence(Ordering::Release);
        let words = [line.base_tsc, line.base_ns, line.mult, line.span];
        for (slot, word) in self.line.iter().zip(words) {
            slot.store(word, Ordering::Relaxed);
        }
        self.realtime_offset_ns.store(realtime_offset_ns as u64, Ordering::Relaxed);
        self.sequence.fetch_add(1, Ordering::Release);
    }

    /// Takes a sample and, where the rate is known, draws the next line.
    fn draw(&self) -> Reading {
        let mut calibration = self.calibration.lock();
        // Somebody else may have been faster.
        let (line, offset) = self.load();
        if let Some(ns) = line.at(tsc()) {
            return Reading { monotonic_ns: ns as i64, realtime_offset_ns: offset, is_new_line: false };
        }
        let sample = Sample::take();
        let floor = end_of(&calibration.line);
        let mut reading = Reading {
            monotonic_ns: sample.monotonic_ns.max(floor),
            realtime_offset_ns: sample.realtime_offset_ns,
            is_new_line: false,
        };
        let Some(previous) = calibration.previous.filter(|_| self.is_usable) else {
            calibration.previous = Some(sample);
            return reading;
        };
        let elapsed = sample.monotonic_ns.saturating_sub(previous.monotonic_ns);
        if elapsed < MIN_BASELINE_NS {
            return reading;
        }
        if let Some(line) = next_line(&previous, &sample, floor) {
            calibration.line = line;
            calibration.realtime_offset_ns = sample.realtime_offset_ns;
            self.store(&line, sample.realtime_offset_ns);
            reading.monotonic_ns = line.at(tsc()).map_or(line.base_ns as i64, |ns| ns as i64);
            reading.is_new_line = true;
        }
        calibration.previous = Some(sample);
        reading
    }
}

/// The highest value that `line` has given, 0 where it never held.
fn end_of(line: &ClockLine) -> i64 {
    if line.span == 0 {
        return 0;
    }
    line.at(line.base_tsc.wrapping_add(line.span - 1)).map_or(0, |ns| ns as i64 + 1)
}

/// The line from `sample` on, not below `floor`; `None` where the counter makes no sense.
fn next_line(previous: &Sample, sample: &Sample, floor: i64) -> Option<ClockLine> {
    let ticks = sample.tsc.checked_sub(previous.tsc).filter(|ticks| *ticks > 0)?;
    let elapsed = u128::try_from(sample.monotonic_ns.checked_sub(previous.monotonic_ns)?).ok()?;
    let rate = (elapsed << 32) / u128::from(ticks);
    if rate == 0 {
        return None;
    }
    let span = (SPAN_NS << 32) / rate;
    // A reader that has just seen the host's own clock must not find the line behind it.
    let slack = ((u128::from(sample.window) * rate) >> 32) as i64;
    let start = sample.monotonic_ns.saturating_add(slack).max(floor);
    // Meet the host's clock at the end of the span, but never run slower than at half the rate.
    let ahead = u128::try_from(start.saturating_sub(sample.monotonic_ns)).ok()?;
    let mult = ((SPAN_NS.saturating_sub(ahead) << 32) / span).max(rate / 2);
    Some(ClockLine {
        base_tsc: sample.tsc,
        base_ns: u64::try_from(start).ok()?,
        mult: u64::try_from(mult).ok()?,
        span: u64::try_from(span).ok()?,
    })
}

/// Writes `page` where the vDSO reads it: odd sequence, content, even sequence.
///
/// # Errors
/// `EFAULT` where the slice is too small.
pub(super) fn publish(slice: &VolatileSlice<'_>, page: &ClockPage, sequence: u64) -> abi::Result<()> {
    let line = &page.monotonic;
    let words = [
        line.base_tsc,
        line.base_ns,
        line.mult,
        line.span,
        page.monotonic_offset_ns,
        page.realtime_offset_ns,
        page.boottime_offset_ns,
        page.cpu_count,
    ];
    slice.store_u64(0, sequence | 1)?;
    for (index, word) in words.into_iter().enumerate() {
        slice.store_u64(8 * (index + 1), word)?;
    }
    slice.store_u64(0, (sequence | 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::{Sample, TscClock, end_of, next_line};

    #[test]
    fn agrees_with_the_host_and_never_goes_back() {
        let clock = TscClock::new();
        let mut last = clock.read().monotonic_ns;
        let end = host::time::monotonic_ns() + 60_000_000;
        let mut drew = false;
        while host::time::monotonic_ns() < end {
            let reading = clock.read();
            assert!(reading.monotonic_ns >= last);
            last = reading.monotonic_ns;
            drew |= reading.is_new_line;
        }
        // The best of many readings: a busy machine stops this thread between the two clocks, and while it samples.
        let error = || {
            let before = host::time::monotonic_ns();
            let reading = clock.read().monotonic_ns;
            (before - reading).max(reading - host::time::monotonic_ns()).max(0)
        };
        let best = (0..100).map(|_| error()).min().unwrap();
        assert!(best < 5_000_000, "off by {best} ns");
        assert!(drew || !clock.is_usable);
    }

    #[test]
    fn a_line_that_ran_ahead_is_continued_and_slowed_down() {
        let sample = |tsc, ns| Sample { tsc, monotonic_ns: ns, realtime_offset_ns: 0, window: 0 };
        let first = next_line(&sample(0, 0), &sample(2_000_000_000, 1_000_000_000), 0).unwrap();
        assert_eq!(first.at(2_000_000_000), Some(1_000_000_000));
        let floor = end_of(&first);
        // The host's clock turns out to be 1 ms behind.
        let late = sample(4_000_000_000, 1_999_000_000);
        let next = next_line(&sample(2_000_000_000, 1_000_000_000), &late, floor).unwrap();
        assert!(next.at(4_000_000_000).unwrap() as i64 >= floor);
        let meets = next.at(4_000_000_000 + next.span - 1).unwrap() as i64;
        assert!((meets - 2_999_000_000).abs() < 1000, "{meets}");
    }

    #[test]
    fn a_counter_that_stands_still_draws_no_line() {
        let sample = |tsc, ns| Sample { tsc, monotonic_ns: ns, realtime_offset_ns: 0, window: 0 };
        assert!(next_line(&sample(5, 0), &sample(5, 1_000_000_000), 0).is_none());
        assert!(next_line(&sample(5, 0), &sample(4, 1_000_000_000), 0).is_none());
    }
}
