//! Readiness and wake-ups: how a task or an epoll instance hears that a file may be ready.
//!
//! Whatever can become ready owns a [`WaitQueue`]. A waiter registers a [`Notify`] with the events it cares about,
//! checks the condition *after* registering, and sleeps. Nobody blocks inside a queue: notifying only sets flags
//! and wakes threads, so it may be called with other locks held.
//!
//! Locks: a queue's own mutex is a leaf. `Notify::notify` is called with it held and must not call back into it.
#![forbid(unsafe_code)]

mod events;
mod parker;
mod pump;
mod queue;

pub use events::Events;
pub use parker::{ParkResult, Parker};
pub use pump::{Others, Pump, Sleeper, Woken, pump_with};
pub use queue::{Notify, Registration, WaitQueue};
