//! A thread's own place to sleep.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::pump::{self, Pump, Pumped, Waker};
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
/// are leaves, and `state` changes to and from PUMPING under `pump` when others do that.
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
        let Some(pump) = self.begin_to_pump() else { return self.sleep(deadline) };
        let mut pumped = Pumped::No;
        pump::during(&pump, self.address(), || {
            pumped = pump.try_pump(&|| self.is_notified(), deadline);
        });
        let is_notified = self.state.swap(EMPTY, Ordering::SeqCst) == NOTIFIED;
        let result = match pumped {
            _ if is_notified => ParkResult::Woken,
            Pumped::Done => ParkResult::TimedOut,
            Pumped::Busy | Pumped::No => self.sleep(deadline),
        };
        if pumped == Pumped::Busy {
            pump.rejoin();
        }
        result
    }

    /// What has woken the thread last, if there is such a pump and nobody has notified it meanwhile.
    fn begin_to_pump(&self) -> Option<Arc<dyn Pump>> {
        let last = self.pump.lock();
        let pump = last.as_ref()?.upgrade()?;
        let begun = self.state.compare_exchange(EMPTY, PUMPING, Ordering::SeqCst, Ordering::SeqCst);
        begun.ok().map(|_| pump)
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
        self.state.load(Ordering::Acquire) == NOTIFIED
    }

    /// Whether the next [`Self::park`] would do a pump's work now.
    #[must_use]
    pub fn would_pump(&self) -> bool {
        let pump = self.pump.lock().clone();
        pump.and_then(|pump| pump.upgrade()).is_some_and(|pump| pump.is_free())
    }

    /// Wakes the sleeper, now or at its next `park`.
    pub fn unpark(&self) {
        let waker = pump::note_woken(self.address());
        // While it pumps, `pump` is what it pumps.
        let mut last = self.pump.lock();
        let before = self.state.swap(NOTIFIED, Ordering::SeqCst);
        let is_to_ring = before == PUMPING && !matches!(waker, Waker::Itself);
        let pumped = if is_to_ring { last.clone() } else { None };
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
        if let Some(pump) = pumped.and_then(|pump| pump.upgrade()) {
            pump.ring();
        }
    }

    fn address(&self) -> usize {
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
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Condvar, Mutex};
    use std::thread;
    use std::time::{Duration, Instant};

    use super::{ParkResult, Parker};
    use crate::pump::{Pump, Pumped, Woken, pump_with};

    /// Waits for rings alone.
    #[derive(Default)]
    struct Bell {
        rings: Mutex<usize>,
        rung: Condvar,
        is_busy: bool,
        pumped: AtomicUsize,
        rejoined: AtomicUsize,
        /// Whom whoever pumps wakes first.
        target: Mutex<Option<Arc<Parker>>>,
    }

    impl Pump for Bell {
        fn is_free(&self) -> bool {
            !self.is_busy
        }

        fn try_pump(&self, is_over: &dyn Fn() -> bool, deadline: Option<Instant>) -> Pumped {
            if self.is_busy {
                return Pumped::Busy;
            }
            self.pumped.fetch_add(1, Ordering::SeqCst);
            if let Some(target) = self.target.lock().unwrap().take() {
                target.unpark();
            }
            let mut rings = self.rings.lock().unwrap();
            while !is_over() && *rings == 0 {
                let left =
                    deadline.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
                if left.is_zero() {
                    break;
                }
                rings = self.rung.wait_timeout(rings, left.min(Duration::from_secs(60))).unwrap().0;
            }
            *rings = 0;
            Pumped::Done
        }

        fn ring(&self) {
            *self.rings.lock().unwrap() += 1;
            self.rung.notify_one();
        }

        fn rejoin(&self) {
            self.rejoined.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A parker that `bell` has woken.
    fn woken_by(bell: &Arc<Bell>) -> Arc<Parker> {
        let parker = Arc::new(Parker::new());
        let pump: Arc<dyn Pump> = bell.clone();
        assert_eq!(pump_with(&pump, || parker.unpark()), Woken::One(Arc::as_ptr(&parker).addr()));
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
    fn beside_another_that_pumps_a_thread_sleeps() {
        let bell = Arc::new(Bell { is_busy: true, ..Bell::default() });
        let parker = woken_by(&bell);
        assert!(!parker.would_pump());
        let soon = Instant::now() + Duration::from_millis(2);
        assert_eq!(parker.park(Some(soon)), ParkResult::TimedOut);
        assert_eq!(bell.rejoined.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_pump_hears_how_many_it_has_woken() {
        let bell: Arc<dyn Pump> = Arc::new(Bell::default());
        let (one, two) = (Parker::new(), Parker::new());
        assert_eq!(pump_with(&bell, || ()), Woken::Nobody);
        assert_eq!(
            pump_with(&bell, || (0..2).for_each(|_| one.unpark())),
            Woken::One((&raw const one).addr())
        );
        assert_eq!(pump_with(&bell, || [&one, &two].into_iter().for_each(Parker::unpark)), Woken::Several);
    }
}
