//! Clocks and timers.

mod clock;
mod clock_timer;
mod process_timers;
mod timekeeper;
mod timer;
mod tsc_clock;

pub use clock::{Clock, CpuKind};
pub use clock_timer::{ClockTimer, Expiry, FirstExpiry, TimerSetting};
pub use process_timers::{IntervalTimer, Notification, PosixTimer, ProcessTimers};
pub use timekeeper::{ClockId, MonotonicTime, Timekeeper};
pub use timer::{Timer, TimerHandler, TimerService};
