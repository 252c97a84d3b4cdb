//! Pumps: who sleeps for events from outside, and wakes the threads that they are for.
//!
//! To wake a thread that sleeps for an event in order to have it wake another one takes twice as long as needed. So
//! whoever a pump has woken remembers it ([`Parker`](crate::Parker)), and when it sleeps next does the pump's work itself
//! if nobody else does: what comes for it finds it awake, and what comes for others is passed on.

use std::cell::RefCell;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// A source of events that a sleeping thread can look after.
pub trait Pump: Send + Sync {
    /// Whether nobody does its work.
    fn is_free(&self) -> bool;

    /// Passes events on until `is_over`, which only this thread's work or [`Self::ring`] brings about, or until `deadline`.
    /// Called without locks.
    fn try_pump(&self, is_over: &dyn Fn() -> bool, deadline: Option<Instant>) -> Pumped;

    /// Makes the thread that pumps look whether it is over.
    fn ring(&self);

    /// Whoever was told [`Pumped::Busy`] has woken.
    fn rejoin(&self);
}

/// What came of an attempt to pump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// It is over, or time is.
    Done,
    /// Another sleeping thread pumps. This one sleeps, which the pump takes into account until [`Pump::rejoin`].
    Busy,
    /// The pump has a thread of its own at work.
    No,
}

/// Whom a pump has woken, by the addresses of their parkers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Woken {
    /// Nobody.
    #[default]
    Nobody,
    /// One, perhaps several times.
    One(usize),
    /// More than one.
    Several,
}

/// What this thread does.
struct Work {
    pump: Weak<dyn Pump>,
    /// The parker in whose stead it pumps; 0 for a thread of the pump's own.
    sleeper: usize,
    woken: Woken,
}

thread_local! {
    static WORK: RefCell<Option<Work>> = const { RefCell::new(None) };
}

/// Passes events on by `work`: whoever is woken by that remembers `pump`. Not to be nested.
pub fn pump_with(pump: &Arc<dyn Pump>, work: impl FnOnce()) -> Woken {
    during(pump, 0, work)
}

/// As [`pump_with`], by a thread that would sleep at `sleeper`.
pub(crate) fn during(pump: &Arc<dyn Pump>, sleeper: usize, work: impl FnOnce()) -> Woken {
    WORK.set(Some(Work { pump: Arc::downgrade(pump), sleeper, woken: Woken::Nobody }));
    work();
    WORK.take().map_or(Woken::Nobody, |work| work.woken)
}

/// The parker at `sleeper` is being woken: says by which pump's work, if it is another's than its own.
pub(crate) fn note_woken(sleeper: usize) -> Waker {
    WORK.with_borrow_mut(|work| match work {
        None => Waker::Other,
        Some(work) if work.sleeper == sleeper => Waker::Itself,
        Some(work) => {
            work.woken = match work.woken {
                Woken::Nobody => Woken::One(sleeper),
                Woken::One(before) if before == sleeper => work.woken,
                _ => Woken::Several,
            };
            Waker::Pump(Weak::clone(&work.pump))
        }
    })
}

/// Who wakes a thread.
pub(crate) enum Waker {
    /// It does, by pumping.
    Itself,
    /// A pump.
    Pump(Weak<dyn Pump>),
    /// Somebody who does not pump.
    Other,
}
