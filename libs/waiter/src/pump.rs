//! Pumps: who sleeps for events from outside, and wakes the threads that they are for.
//!
//! To wake a thread that sleeps for an event in order to have it wake another one takes twice as long as needed. So
//! whoever a pump has woken remembers it ([`Parker`]), and when it sleeps next does the pump's work itself if nobody else
//! does: what comes for it finds it awake, and what comes for others is passed on.

use std::cell::RefCell;
use std::sync::Weak;
use std::time::{Duration, Instant};

use crate::Parker;

/// A source of events that a sleeping thread can look after.
pub trait Pump: Send + Sync {
    /// Whether nobody does its work now, and a sleeping thread may.
    fn is_free(&self) -> bool;

    /// Begins to do its work, if nobody else does. If so [`Self::pump`] must follow.
    fn begin(&self) -> bool;

    /// Passes events on ([`pump_with`], of `this`) until `sleeper` is awake, which only this work or [`Self::ring`] brings
    /// about, until its deadline, or for as long as that is of use; says whether the sleeper should do so again when it
    /// sleeps next. The caller holds no lock that anybody takes who hears of events.
    fn pump(&self, sleeper: &Sleeper<'_>, this: &Weak<dyn Pump>) -> bool;

    /// Makes the thread that pumps look at its sleeper. Does not wait.
    fn ring(&self);
}

/// A thread that would sleep.
#[derive(Debug)]
pub struct Sleeper<'a> {
    pub(crate) parker: &'a Parker,
    pub(crate) deadline: Option<Instant>,
}

impl Sleeper<'_> {
    /// Whether somebody has woken it.
    #[must_use]
    pub fn is_awake(&self) -> bool {
        self.parker.is_notified()
    }

    /// How long it may sleep yet: `None` for as long as it likes.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// Whom a pump's work has woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Woken {
    /// The sleeper that does it.
    pub itself: bool,
    /// Others.
    pub others: Others,
}

/// The others, by the addresses of their parkers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Others {
    /// None.
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
    /// The sleeper's parker; 0 for a thread of the pump's own.
    sleeper: usize,
    woken: Woken,
}

thread_local! {
    static WORK: RefCell<Option<Work>> = const { RefCell::new(None) };
}

/// Passes events of `pump` on by `work`, as a thread of the pump's own or in the stead of `sleeper`: others who are woken
/// by that remember the pump. Not to be nested.
pub fn pump_with(pump: Weak<dyn Pump>, sleeper: Option<&Sleeper<'_>>, work: impl FnOnce()) -> Woken {
    let sleeper = sleeper.map_or(0, |sleeper| sleeper.parker.address());
    WORK.set(Some(Work { pump, sleeper, woken: Woken::default() }));
    work();
    WORK.take().map(|work| work.woken).unwrap_or_default()
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

/// This thread wakes the one at `parker`.
pub(crate) fn note_woken(parker: usize) -> Waker {
    WORK.with_borrow_mut(|work| match work {
        None => Waker::Other,
        Some(work) if work.sleeper == parker => {
            work.woken.itself = true;
            Waker::Itself
        }
        Some(work) => {
            let others = &mut work.woken.others;
            *others = match *others {
                Others::Nobody => Others::One(parker),
                Others::One(before) if before == parker => *others,
                _ => Others::Several,
            };
            Waker::Pump(Weak::clone(&work.pump))
        }
    })
}
