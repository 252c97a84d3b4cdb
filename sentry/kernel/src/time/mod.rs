//! Clocks and timers.

mod timekeeper;
mod timer;
mod tsc_clock;

pub use timekeeper::{ClockId, MonotonicTime, Timekeeper};
pub use timer::{Timer, TimerHandler, TimerService};
