//! Carries out posted calls of threads that do not come for it themselves.
//!
//! What a thread has written by a posted call leaves at its next event. A thread that computes instead must not sit on
//! it: so while boxes are open, a timer looks at them, and closes those that have been open for a whole period, whether
//! or not there is something in them. The timer ends when it has found none open for a while: an idle sandbox has no
//! wake-ups.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;

use super::PostedCalls;
use crate::time::{MonotonicTime, Timekeeper, Timer, TimerHandler, TimerService};

/// Boxes are looked at this often, and closed within twice the time.
const PERIOD_NS: i64 = 1_000_000;
/// After so many periods without an open box the timer ends.
const MOST_UNUSED: u32 = 20;

/// Looks after all tasks that post calls. Locks: `boxes` is a leaf.
pub(crate) struct LatePosts {
    timekeeper: Arc<Timekeeper>,
    timer: OnceLock<Arc<Timer>>,
    is_ticking: AtomicBool,
    /// A box was opened since the last look.
    was_used: AtomicBool,
    unused: AtomicU32,
    /// Those that may be open.
    boxes: Mutex<Vec<Arc<PostedCalls>>>,
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

    /// A box is about to be opened: it says already that it is open.
    pub(super) fn watch(&self, posted: &Arc<PostedCalls>) {
        if !posted.is_listed.swap(true, Ordering::SeqCst) {
            self.boxes.lock().push(Arc::clone(posted));
        }
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

    /// Closes what has been open since the last look; says whether something still is.
    fn look(&self) -> bool {
        let boxes: Vec<Arc<PostedCalls>> = {
            let mut boxes = self.boxes.lock();
            boxes.retain(|posted| posted.is_still_listed());
            boxes.clone()
        };
        let open = boxes.iter().filter(|posted| posted.look()).count();
        open > 0
    }

    /// Whether to look again.
    fn goes_on(&self, is_one_open: bool) -> bool {
        if self.was_used.swap(false, Ordering::SeqCst) || is_one_open {
            self.unused.store(0, Ordering::Relaxed);
            return true;
        }
        if self.unused.fetch_add(1, Ordering::Relaxed) < MOST_UNUSED {
            return true;
        }
        self.is_ticking.store(false, Ordering::SeqCst);
        // Who opened one in between has seen a timer that ticks, unless it has set it anew.
        self.was_used.load(Ordering::SeqCst) && !self.is_ticking.swap(true, Ordering::SeqCst)
    }
}

impl TimerHandler for LatePosts {
    /// Sends what it finds: no more than the thread itself would have.
    fn fire(&self, _due: MonotonicTime) -> Option<MonotonicTime> {
        let is_one_open = self.look();
        self.goes_on(is_one_open).then(|| self.next())
    }
}
