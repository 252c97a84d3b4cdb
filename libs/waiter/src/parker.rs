//! A thread's own place to sleep.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::pump::{self, Pump, Sleeper, Waker};
use crate::{Events, Notify};

/// How a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkResult {
    /// [`Parker::unpark`] was called; the reason is for the sleeper to find out.
    Woken,
    /// The deadline passed.
    TimedOut,
}

const EMPTY: u32 = 0;
const NOTIFIED: u32 = 1;
/// Nobody has notified it, and the thread pumps.
const PUMPING: u32 = 2;

/// A binary semaphore that one thread sleeps on: an `unpark` before the `park` is not lost, several count as one.
///
/// A thread that a [`Pump`] has woken does that pump's work instead of sleeping, where it can. Locks: `pump` and `lock`
/// are leaves; the thread makes `state` PUMPING, and others end that, with `pump` locked.
#[derive(Default)]
pub struct Parker {
    state: AtomicU32,
    lock: Mutex<()>,
    condvar: Condvar,
    /// What has woken the thread last, of all pumps; in the state PUMPING, what it pumps.
    pump: Mutex<Option<Weak<dyn Pump>>>,
}

impl Parker {
    /// A parker that nobody has notified.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sleeps until unparked, or until `deadline` (host monotonic time).
    pub fn park(&self, deadline: Option<Instant>) -> ParkResult {
        if self.state.swap(EMPTY, Ordering::Acquire) == NOTIFIED {
            return ParkResult::Woken;
        }
        let pump = self.pump.lock().as_ref().and_then(Weak::upgrade);
        if let Some(pump) = pump.filter(|pump| pump.begin())
            && self.pump(&pump, deadline)
        {
            return ParkResult::Woken;
        }
        // Perhaps the deadline has passed; then this returns at once.
        self.sleep(deadline)
    }

    /// Does the work of a pump that has let it begin; says whether it was woken.
    fn pump(&self, pump: &Arc<dyn Pump>, deadline: Option<Instant>) -> bool {
        let this = Arc::downgrade(pump);
        {
            // Who finds it pumping rings the pump in `pump`. Where that is another by now, somebody has notified it.
            let _last = self.pump.lock();
            let _ = self.state.compare_exchange(EMPTY, PUMPING, Ordering::SeqCst, Ordering::SeqCst);
        }
        let goes_on = pump.pump(&Sleeper { parker: self, deadline }, &this);
        if !goes_on {
            let mut last = self.pump.lock();
            if last.as_ref().is_some_and(|last| last.ptr_eq(&this)) {
                *last = None;
            }
        }
        self.state.swap(EMPTY, Ordering::SeqCst) == NOTIFIED
    }

    fn sleep(&self, deadline: Option<Instant>) -> ParkResult {
        let mut guard = self.lock.lock();
        loop {
            if self.state.swap(EMPTY, Ordering::Acquire) == NOTIFIED {
                return ParkResult::Woken;
            }
            match deadline {
                None => self.condvar.wait(&mut guard),
                Some(deadline) => {
                    if self.condvar.wait_until(&mut guard, deadline).timed_out() {
                        let woken = self.state.swap(EMPTY, Ordering::Acquire) == NOTIFIED;
                        return if woken { ParkResult::Woken } else { ParkResult::TimedOut };
                    }
                }
            }
        }
    }

    /// Whether the next [`Self::park`] will not sleep.
    #[must_use]
    pub fn is_notified(&self) -> bool {
        self.state.load(Ordering::SeqCst) == NOTIFIED
    }

    /// Whether the next [`Self::park`] would do a pump's work now.
    #[must_use]
    pub fn would_pump(&self) -> bool {
        let pump = self.pump.lock().as_ref().and_then(Weak::upgrade);
        pump.is_some_and(|pump| pump.is_free())
    }

    /// Wakes the sleeper, now or at its next `park`.
    pub fn unpark(&self) {
        let waker = pump::note_woken(self.address());
        // While it pumps, `pump` is what it pumps.
        let mut last = self.pump.lock();
        let before = self.state.swap(NOTIFIED, Ordering::SeqCst);
        let pumped = match waker {
            Waker::Itself => None,
            _ if before == PUMPING => last.as_ref().and_then(Weak::upgrade),
            _ => None,
        };
        if let Waker::Pump(pump) = waker
            && !last.as_ref().is_some_and(|last| last.ptr_eq(&pump))
        {
            *last = Some(pump);
        }
        drop(last);
        if before == EMPTY {
            drop(self.lock.lock());
            self.condvar.notify_one();
        }
        if let Some(pump) = pumped {
            pump.ring();
        }
    }

    pub(crate) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

impl Notify for Parker {
    fn notify(&self, _events: Events) -> bool {
        self.unpark();
        true
    }
}

impl fmt::Debug for Parker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parker(notified: {})", self.is_notified())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::sync::{Arc, Condvar, Mutex, Weak};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::{ParkResult, Parker};
    use crate::pump::{Others, Pump, Sleeper, Woken, pump_with};

    /// Waits for rings alone.
    #[derive(Default)]
    struct Bell {
        rings: Mutex<usize>,
        rung: Condvar,
        is_taken: AtomicBool,
        gives_up: bool,
        pumped: AtomicUsize,
        /// Whom whoever pumps wakes first.
        target: Mutex<Option<Arc<Parker>>>,
    }

    impl Pump for Bell {
        fn is_free(&self) -> bool {
            !self.is_taken.load(Ordering::SeqCst)
        }

        fn begin(&self) -> bool {
            !self.is_taken.swap(true, Ordering::SeqCst)
        }

        fn pump(&self, sleeper: &Sleeper<'_>, this: &Weak<dyn Pump>) -> bool {
            self.pumped.fetch_add(1, Ordering::SeqCst);
            if let Some(target) = self.target.lock().unwrap().take() {
                pump_with(Weak::clone(this), Some(sleeper), || target.unpark());
            }
            let mut rings = self.rings.lock().unwrap();
            while !sleeper.is_awake() && *rings == 0 && !self.gives_up {
                let left = sleeper.time_left().unwrap_or(Duration::from_secs(60));
                if left.is_zero() {
                    break;
                }
                rings = self.rung.wait_timeout(rings, left).unwrap().0;
            }
            *rings = 0;
            self.is_taken.store(false, Ordering::SeqCst);
            !self.gives_up
        }

        fn ring(&self) {
            *self.rings.lock().unwrap() += 1;
            self.rung.notify_one();
        }
    }

    fn weak(bell: &Arc<Bell>) -> Weak<dyn Pump> {
        Arc::<Bell>::downgrade(bell)
    }

    /// A parker that `bell` has woken.
    fn woken_by(bell: &Arc<Bell>) -> Arc<Parker> {
        let parker = Arc::new(Parker::new());
        let others = Others::One(parker.address());
        assert_eq!(pump_with(weak(bell), None, || parker.unpark()), Woken { itself: false, others });
        assert_eq!(parker.park(None), ParkResult::Woken);
        assert_eq!(bell.pumped.load(Ordering::SeqCst), 0);
        parker
    }

    #[test]
    fn a_notification_is_kept_and_a_deadline_ends_a_sleep() {
        let parker = Parker::new();
        parker.unpark();
        parker.unpark();
        assert_eq!(parker.park(None), ParkResult::Woken);
        assert_eq!(parker.park(Some(Instant::now())), ParkResult::TimedOut);
    }

    #[test]
    fn who_was_woken_by_a_pump_pumps_and_others_ring() {
        let bell = Arc::new(Bell::default());
        let parker = woken_by(&bell);
        assert!(parker.would_pump());
        let soon = Instant::now() + Duration::from_millis(5);
        assert_eq!(parker.park(Some(soon)), ParkResult::TimedOut);
        assert_eq!(bell.pumped.load(Ordering::SeqCst), 1);
        for _ in 0..1000 {
            let other = Arc::clone(&parker);
            let waker = thread::spawn(move || other.unpark());
            assert_eq!(parker.park(None), ParkResult::Woken);
            waker.join().unwrap();
        }
    }

    #[test]
    fn who_pumps_wakes_itself_without_a_ring() {
        let bell = Arc::new(Bell::default());
        let parker = woken_by(&bell);
        *bell.target.lock().unwrap() = Some(Arc::clone(&parker));
        assert_eq!(parker.park(None), ParkResult::Woken);
        assert_eq!(*bell.rings.lock().unwrap(), 0);
    }

    #[test]
    fn a_thread_sleeps_beside_another_that_pumps() {
        let bell = Arc::new(Bell::default());
        let parker = woken_by(&bell);
        assert!(bell.begin());
        assert!(!parker.would_pump());
        let soon = Instant::now() + Duration::from_millis(2);
        assert_eq!(parker.park(Some(soon)), ParkResult::TimedOut);
        (0..1000).for_each(|_| parker.unpark());
        assert_eq!(parker.park(None), ParkResult::Woken);
        assert_eq!(*bell.rings.lock().unwrap(), 0, "nobody would hear it");
    }

    #[test]
    fn a_pump_that_gives_up_is_forgotten_and_its_sleeper_sleeps_on() {
        let bell = Arc::new(Bell { gives_up: true, ..Bell::default() });
        let parker = woken_by(&bell);
        let other = Arc::clone(&parker);
        let waker = thread::spawn(move || {
            thread::sleep(Duration::from_millis(5));
            other.unpark();
        });
        assert_eq!(parker.park(None), ParkResult::Woken);
        waker.join().unwrap();
        assert_eq!(bell.pumped.load(Ordering::SeqCst), 1);
        assert!(!parker.would_pump());
    }

    #[test]
    fn a_pump_hears_whom_it_has_woken() {
        let bell = Arc::new(Bell::default());
        let (one, two) = (Parker::new(), Parker::new());
        let woken = |wake: &dyn Fn()| pump_with(weak(&bell), None, wake).others;
        assert_eq!(woken(&|| ()), Others::Nobody);
        assert_eq!(woken(&|| (0..2).for_each(|_| one.unpark())), Others::One(one.address()));
        assert_eq!(woken(&|| [&one, &two].into_iter().for_each(Parker::unpark)), Others::Several);
    }
}
