//! Clocks and timers.

mod timekeeper;
mod timer;

pub use timekeeper::{ClockId, MonotonicTime, Timekeeper};
pub use timer::{Timer, TimerHandler, TimerService};
