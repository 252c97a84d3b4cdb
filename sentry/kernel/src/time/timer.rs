//! Timers: one thread that sleeps until the earliest is due, and no wake-up where there is none.
//!
//! The thread starts with the first timer that is armed. Locks: [`Queue`]'s mutex is a leaf; handlers are called
//! without it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};

use super::{MonotonicTime, Timekeeper};

/// What happens when a timer fires. Called from the timer thread: set state, wake somebody, return.
pub trait TimerHandler: Send + Sync {
    /// The timer was due at `due`. Returns when it is due next, `None` for never.
    fn fire(&self, due: MonotonicTime) -> Option<MonotonicTime>;
}

struct Slot {
    /// Where the timer stands in `by_due`.
    due: Option<MonotonicTime>,
    /// Counts settings: a setting made while the handler runs is newer than what the handler returns.
    generation: u64,
    handler: Weak<dyn TimerHandler>,
}

#[derive(Default)]
struct Queue {
    next_id: u64,
    slots: BTreeMap<u64, Slot>,
    by_due: BTreeSet<(MonotonicTime, u64)>,
    has_thread: bool,
    is_closed: bool,
}

impl Queue {
    /// Changes when a timer is due; says whether the earliest due time is now earlier.
    fn set(&mut self, id: u64, due: Option<MonotonicTime>) -> bool {
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        if let Some(old) = slot.due.take() {
            self.by_due.remove(&(old, id));
        }
        slot.due = due;
        slot.generation += 1;
        let Some(due) = due else { return false };
        self.by_due.insert((due, id));
        self.by_due.first().is_some_and(|first| first.1 == id)
    }

    /// Takes the earliest timer if it is due at `now`.
    fn pop(&mut self, now: MonotonicTime) -> Option<(u64, u64, MonotonicTime, Weak<dyn TimerHandler>)> {
        let &(due, id) = self.by_due.first()?;
        if due > now {
            return None;
        }
        self.by_due.remove(&(due, id));
        let slot = self.slots.get_mut(&id)?;
        slot.due = None;
        Some((id, slot.generation, due, slot.handler.clone()))
    }
}

struct Shared {
    timekeeper: Timekeeper,
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Shared {
    fn run(&self) {
        let mut queue = self.queue.lock();
        while !queue.is_closed {
            if let Some((id, generation, due, handler)) = queue.pop(self.timekeeper.monotonic()) {
                drop(queue);
                let next = handler.upgrade().and_then(|handler| handler.fire(due));
                queue = self.queue.lock();
                if next.is_some() && queue.slots.get(&id).is_some_and(|slot| slot.generation == generation) {
                    queue.set(id, next);
                }
                continue;
            }
            match queue.by_due.first() {
                Some(&(due, _)) => {
                    let until = self.timekeeper.instant_of(due);
                    self.changed.wait_until(&mut queue, until);
                }
                None => self.changed.wait(&mut queue),
            }
        }
    }
}

/// Keeps all armed timers.
pub struct TimerService(Arc<Shared>);

impl TimerService {
    /// A service without timers; its thread starts with the first.
    #[must_use]
    pub fn new(timekeeper: &Timekeeper) -> Self {
        let (queue, changed) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Shared { timekeeper: timekeeper.clone(), queue, changed }))
    }

    /// A timer that calls `handler`; disarmed.
    #[must_use]
    pub fn timer(&self, handler: Weak<dyn TimerHandler>) -> Arc<Timer> {
        let mut queue = self.0.queue.lock();
        let id = queue.next_id;
        queue.next_id += 1;
        queue.slots.insert(id, Slot { due: None, generation: 0, handler });
        Arc::new(Timer { service: self.0.clone(), id })
    }
}

impl Drop for TimerService {
    fn drop(&mut self) {
        self.0.queue.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl fmt::Debug for TimerService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimerService({} armed)", self.0.queue.lock().by_due.len())
    }
}

/// One timer; dropping it disarms it.
pub struct Timer {
    service: Arc<Shared>,
    id: u64,
}

impl Timer {
    /// Arms it for `due`, replacing an earlier setting; `None` disarms it.
    pub fn set(&self, due: Option<MonotonicTime>) {
        let mut queue = self.service.queue.lock();
        let is_earliest = queue.set(self.id, due);
        let needs_thread = due.is_some() && !queue.has_thread;
        queue.has_thread |= needs_thread;
        drop(queue);
        if needs_thread {
            let service = self.service.clone();
            let spawned = std::thread::Builder::new()
                .name("timers".into())
                .stack_size(128 << 10)
                .spawn(move || service.run());
            // Without a thread the timer is late, not lost: the next setting tries again.
            self.service.queue.lock().has_thread = spawned.is_ok();
        } else if is_earliest {
            self.service.changed.notify_one();
        }
    }

    /// When it is due.
    #[must_use]
    pub fn due(&self) -> Option<MonotonicTime> {
        self.service.queue.lock().slots.get(&self.id).and_then(|slot| slot.due)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut queue = self.service.queue.lock();
        queue.set(self.id, None);
        queue.slots.remove(&self.id);
    }
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timer({}, due {:?})", self.id, self.due())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, Weak};
    use std::time::Duration;

    use super::{TimerHandler, TimerService};
    use crate::time::{MonotonicTime, Timekeeper};

    struct Count {
        fired: AtomicU32,
        period: Option<i64>,
    }

    impl TimerHandler for Count {
        fn fire(&self, due: MonotonicTime) -> Option<MonotonicTime> {
            self.fired.fetch_add(1, Ordering::SeqCst);
            self.period.map(|period| due.saturating_add(period))
        }
    }

    fn count(period: Option<i64>) -> (Arc<Count>, Weak<dyn TimerHandler>) {
        let count = Arc::new(Count { fired: AtomicU32::new(0), period });
        let handler: Arc<dyn TimerHandler> = count.clone();
        (count, Arc::downgrade(&handler))
    }

    #[test]
    fn timers_fire_in_order_repeat_and_stop_when_disarmed() {
        let clock = Timekeeper::new();
        let service = TimerService::new(&clock);
        let (once, once_handler) = count(None);
        let (often, often_handler) = count(Some(5_000_000));
        let (never, never_handler) = count(None);
        let (a, b, c) =
            (service.timer(once_handler), service.timer(often_handler), service.timer(never_handler));
        let now = clock.monotonic();
        c.set(Some(now.saturating_add(60_000_000_000)));
        a.set(Some(now.saturating_add(10_000_000)));
        b.set(Some(now));
        std::thread::sleep(Duration::from_millis(80));
        b.set(None);
        assert_eq!(once.fired.load(Ordering::SeqCst), 1);
        assert!(often.fired.load(Ordering::SeqCst) >= 5);
        std::thread::sleep(Duration::from_millis(10));
        let stopped_at = often.fired.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(30));
        assert_eq!(often.fired.load(Ordering::SeqCst), stopped_at);
        assert_eq!(never.fired.load(Ordering::SeqCst), 0);
        assert!(c.due().is_some() && a.due().is_none());
    }
}
