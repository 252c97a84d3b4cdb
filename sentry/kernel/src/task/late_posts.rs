//! Carries out posted calls of threads that do not come for it themselves.
//!
//! What a thread has written by a posted call leaves at its next event. A thread that computes instead must not sit on
//! it: so while boxes are opened, a timer looks at them, and what has been there for a whole period is carried out. The
//! timer ends when no box was opened for a while: an idle sandbox has no wake-ups.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use super::PostedCalls;
use crate::time::{MonotonicTime, Timekeeper, Timer, TimerHandler, TimerService};

/// What was posted is looked at this often, and carried out within twice the time.
const PERIOD_NS: i64 = 500_000;
/// After so many periods without an opened box the timer ends.
const PATIENCE: u32 = 40;

/// Looks after all tasks that post calls. Locks: `boxes` is a leaf.
pub(crate) struct LatePosts {
    timekeeper: Arc<Timekeeper>,
    timer: OnceLock<Arc<Timer>>,
    is_ticking: AtomicBool,
    /// A box was opened since the last look.
    was_used: AtomicBool,
    unused: AtomicU32,
    boxes: Mutex<Vec<Weak<PostedCalls>>>,
}

impl LatePosts {
    /// With a timer of `timers`.
    pub(crate) fn new(timekeeper: &Arc<Timekeeper>, timers: &TimerService) -> Arc<Self> {
        let this = Arc::new(Self {
            timekeeper: Arc::clone(timekeeper),
            timer: OnceLock::new(),
            is_ticking: AtomicBool::new(false),
            was_used: AtomicBool::new(false),
            unused: AtomicU32::new(0),
            boxes: Mutex::default(),
        });
        let weak: Weak<Self> = Arc::downgrade(&this);
        this.timer.get_or_init(|| timers.timer(weak));
        this
    }

    /// A task begins to post calls.
    pub(super) fn watch(&self, posted: &Arc<PostedCalls>) {
        self.boxes.lock().push(Arc::downgrade(posted));
    }

    /// A box is about to be opened.
    pub(super) fn note_use(&self) {
        if !self.was_used.load(Ordering::SeqCst) {
            self.was_used.store(true, Ordering::SeqCst);
        }
        if !self.is_ticking.load(Ordering::SeqCst) && !self.is_ticking.swap(true, Ordering::SeqCst) {
            self.unused.store(0, Ordering::Relaxed);
            if let Some(timer) = self.timer.get() {
                timer.set(Some(self.next()));
            }
        }
    }

    fn next(&self) -> MonotonicTime {
        self.timekeeper.monotonic().saturating_add(PERIOD_NS)
    }

    /// Whether to look again.
    fn goes_on(&self) -> bool {
        if self.was_used.swap(false, Ordering::SeqCst) {
            self.unused.store(0, Ordering::Relaxed);
            return true;
        }
        if self.unused.fetch_add(1, Ordering::Relaxed) < PATIENCE {
            return true;
        }
        self.is_ticking.store(false, Ordering::SeqCst);
        // Who opened one in between has seen a timer that ticks, unless it has set it anew.
        self.was_used.load(Ordering::SeqCst) && !self.is_ticking.swap(true, Ordering::SeqCst)
    }
}

impl TimerHandler for LatePosts {
    fn fire(&self, _due: MonotonicTime) -> Option<MonotonicTime> {
        let boxes: Vec<Arc<PostedCalls>> = {
            let mut boxes = self.boxes.lock();
            boxes.retain(|posted| posted.strong_count() > 0);
            boxes.iter().filter_map(Weak::upgrade).collect()
        };
        for posted in &boxes {
            posted.settle_late();
        }
        self.goes_on().then(|| self.next())
    }
}
