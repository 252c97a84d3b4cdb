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
    /// When the sleeping thread wakes by itself; `None` while it is awake, and looks here before it sleeps.
    wakes_at: Option<MonotonicTime>,
    is_closed: bool,
}

impl Queue {
    /// Changes when a timer is due; says whether the thread sleeps too long for that. Where the earliest is now due later,
    /// the thread wakes once for nothing, which is cheaper than waking it with each timer that is moved.
    fn set(&mut self, id: u64, due: Option<MonotonicTime>) -> bool {
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        if let Some(old) = slot.due.take() {
            self.by_due.remove(&(old, id));
        }
        slot.due = due;
        slot.generation += 1;
        let Some(due) = due else { return false };
        self.by_due.insert((due, id));
        self.wakes_at.is_some_and(|until| due < until)
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
            let first = queue.by_due.first().map(|&(due, _)| due);
            queue.wakes_at = Some(first.unwrap_or(MonotonicTime(i64::MAX)));
            match first {
                Some(due) => {
                    let until = self.timekeeper.instant_of(due);
                    self.changed.wait_until(&mut queue, until);
                }
                None => self.changed.wait(&mut queue),
            }
            queue.wakes_at = None;
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
        let is_too_late = queue.set(self.id, due);
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
        } else if is_too_late {
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
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Weak};
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::{Queue, Slot, TimerHandler, TimerService};
    use crate::time::{MonotonicTime, Timekeeper};

    const TIMEOUT: Duration = Duration::from_secs(30);

    /// Sends its name each time it fires.
    struct Tell {
        name: &'static str,
        to: Mutex<Sender<&'static str>>,
        period: Option<i64>,
    }

    impl TimerHandler for Tell {
        fn fire(&self, due: MonotonicTime) -> Option<MonotonicTime> {
            let _ = self.to.lock().send(self.name);
            self.period.map(|period| due.saturating_add(period))
        }
    }

    fn tell(name: &'static str, to: &Sender<&'static str>, period: Option<i64>) -> Arc<dyn TimerHandler> {
        Arc::new(Tell { name, to: Mutex::new(to.clone()), period })
    }

    fn next(from: &Receiver<&'static str>) -> &'static str {
        from.recv_timeout(TIMEOUT).expect("a timer fires")
    }

    #[test]
    fn timers_fire_in_order_and_repeat() {
        let clock = Timekeeper::new();
        let service = TimerService::new(&clock);
        let (to, from) = channel();
        let handlers =
            [tell("late", &to, None), tell("first", &to, None), tell("often", &to, Some(1_000_000))];
        let [late, first, often] = handlers.each_ref().map(|handler| service.timer(Arc::downgrade(handler)));
        let now = clock.monotonic();
        late.set(Some(now.saturating_add(600_000_000_000)));
        first.set(Some(now.saturating_add(20_000_000)));
        assert_eq!(next(&from), "first");
        often.set(Some(clock.monotonic()));
        for _ in 0..5 {
            assert_eq!(next(&from), "often");
        }
        often.set(None);
        // Moved to before the time that the thread sleeps to.
        late.set(Some(clock.monotonic()));
        while next(&from) != "late" {}
        assert!(late.due().is_none() && first.due().is_none() && often.due().is_none());
    }

    #[test]
    fn who_is_due_and_whether_the_thread_must_hear_of_it() {
        let handler: Weak<dyn TimerHandler> = Weak::<Tell>::new();
        let mut queue = Queue::default();
        for id in [1, 2] {
            queue.slots.insert(id, Slot { due: None, generation: 0, handler: handler.clone() });
        }
        let at = |ns| Some(MonotonicTime(ns));
        assert!(!queue.set(1, at(50)), "an awake thread looks by itself");
        queue.wakes_at = at(50);
        assert!(!queue.set(2, at(70)) && queue.set(2, at(40)));
        assert!(!queue.set(2, at(60)) && !queue.set(1, None), "it wakes too early then, once");
        assert!(queue.pop(MonotonicTime(59)).is_none(), "a disarmed timer is not due");
        assert_eq!(
            queue.pop(MonotonicTime(60)).map(|(id, _, due, _)| (id, due)),
            Some((2, MonotonicTime(60)))
        );
        assert!(queue.pop(MonotonicTime(i64::MAX)).is_none());
    }
}
