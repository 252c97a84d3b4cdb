//! How a thread is told that there is work for it, wherever it is: in guest code, asleep in a call, or in between.
//!
//! Work is a word of bits. Whoever adds a bit then looks at where the thread is: in guest code it is interrupted,
//! else its parker is notified. The thread announces guest code first and looks at the word second, so one of the two
//! always sees the other (both sides are sequentially consistent).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Instant;

use bitflags::bitflags;
use parking_lot::Mutex;
use platform::Interrupter;
use waiter::{ParkResult, Parker};

use super::linger::Sleeps;

bitflags! {
    /// What a thread has to see to before it runs guest code again.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Work: u32 {
        /// A signal may be deliverable (or it is killed, or stops).
        const SIGNAL = 1;
        /// Its container, or its control group, may be frozen.
        const FREEZE = 2;
        /// A tracer wants it to stop.
        const TRACE = 4;
        /// What the platform was told about the task is out of date.
        const ANSWERS = 8;
        /// What the platform was told of the signal mask, and who may change it, is out of date.
        const MASK = 16;
        /// Another thread changes code: to be waited for.
        const CODE = 32;
    }
}

impl Work {
    /// What has nothing to do with signals, freezing or tracers.
    pub(super) const OWN: Self = Self::ANSWERS.union(Self::MASK).union(Self::CODE);
    /// What ends a sleep in a system call.
    const INTERRUPTS: Self = Self::SIGNAL.union(Self::TRACE).union(Self::FREEZE);
}

/// The place where a thread hears of work.
pub struct Wake {
    work: AtomicU32,
    in_guest: AtomicBool,
    parker: Arc<Parker>,
    sleeps: Sleeps,
    interrupter: Mutex<Option<Arc<dyn Interrupter>>>,
}

impl Wake {
    pub(super) fn new() -> Self {
        Self {
            work: AtomicU32::new(Work::ANSWERS.union(Work::MASK).union(Work::CODE).bits()),
            in_guest: AtomicBool::new(false),
            parker: Arc::new(Parker::new()),
            sleeps: Sleeps::new(),
            interrupter: Mutex::new(None),
        }
    }

    /// What there is to do now.
    pub fn work(&self) -> Work {
        Work::from_bits_truncate(self.work.load(Ordering::SeqCst))
    }

    /// Adds work and makes the thread look at it.
    pub fn add(&self, work: Work) {
        self.work.fetch_or(work.bits(), Ordering::SeqCst);
        if self.in_guest.load(Ordering::SeqCst) {
            if let Some(interrupter) = self.interrupter.lock().as_ref() {
                interrupter.interrupt();
            }
        } else {
            self.parker.unpark();
        }
    }

    /// The thread's signal mask has changed, or somebody needs it to stay what it is until the thread's next event: says
    /// what it is where guest code runs, which may have changed it. What was done before is seen by the thread before its
    /// guest code may change it again.
    pub(crate) fn hold_mask(&self) -> Option<u64> {
        self.work.fetch_or(Work::MASK.bits(), Ordering::SeqCst);
        if !self.in_guest.load(Ordering::SeqCst) {
            return None;
        }
        self.interrupter.lock().as_ref().and_then(|interrupter| interrupter.hold_mask())
    }

    /// What the platform was told about the thread is out of date: no call that its guest code begins after this is
    /// answered by that. The thread need not come for it: it has work when it next does.
    pub(super) fn revoke_answers(&self) {
        self.work.fetch_or(Work::ANSWERS.bits(), Ordering::SeqCst);
        if !self.in_guest.load(Ordering::SeqCst) {
            return;
        }
        if let Some(interrupter) = self.interrupter.lock().as_ref() {
            interrupter.revoke_answers();
        }
        // Again: it may have come by itself meanwhile, and have told what was revoked.
        self.work.fetch_or(Work::ANSWERS.bits(), Ordering::SeqCst);
    }

    /// The thread begins to do this work.
    pub(crate) fn clear(&self, work: Work) {
        self.work.fetch_and(!work.bits(), Ordering::SeqCst);
    }

    /// Whether a sleep in a system call must end.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.work().intersects(Work::INTERRUPTS)
    }

    /// Where the thread sleeps.
    #[must_use]
    pub fn parker(&self) -> &Arc<Parker> {
        &self.parker
    }

    /// Whether guest code is running.
    #[must_use]
    pub fn is_in_guest(&self) -> bool {
        self.in_guest.load(Ordering::SeqCst)
    }

    /// The thread has nothing to do until somebody unparks it, or until `deadline`.
    pub(super) fn sleep(&self, deadline: Option<Instant>) -> ParkResult {
        let interrupter = self.interrupter.lock().clone();
        if let Some(interrupter) = interrupter {
            interrupter.stand_back();
            if self.sleeps.will_be_short() && !self.parker.would_pump() {
                let is_over = interrupter.linger(&|| self.parker.is_notified());
                self.sleeps.lingered(is_over);
            }
        }
        if self.parker.is_notified() {
            return self.parker.park(deadline);
        }
        let start = Instant::now();
        let result = self.parker.park(deadline);
        self.sleeps.slept(start.elapsed(), result);
        result
    }

    /// Announces guest code; says whether there is no work, so that it may run.
    pub(super) fn enter_guest(&self) -> bool {
        self.in_guest.store(true, Ordering::SeqCst);
        let idle = self.work.load(Ordering::SeqCst) == 0;
        if !idle {
            self.leave_guest();
        }
        idle
    }

    /// Announces the kernel. Sequentially consistent for the same reason: who adds work either sees this and notifies
    /// the parker, or added it before the thread looks at the word on its way to sleep.
    pub(super) fn leave_guest(&self) {
        self.in_guest.store(false, Ordering::SeqCst);
    }

    pub(super) fn set_interrupter(&self, interrupter: Option<Arc<dyn Interrupter>>) {
        *self.interrupter.lock() = interrupter;
    }
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wake").field("work", &self.work()).field("in_guest", &self.is_in_guest()).finish()
    }
}
