//! The keeper: one thread that keeps a few stubs ready, new ones and used ones that it has emptied, and ends processes
//! that do not answer an interrupt.
//!
//! It sleeps without a timeout while the pool is full and no interrupt is outstanding.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::process::Stub;
use super::zygote::Zygote;
use crate::PlatformError;

/// Stubs kept ready: a shell that runs a pipeline takes two at a time.
const READY: usize = 2;

/// The most stubs that are kept, used ones included: more are cheaper to make again than to keep.
const MOST_READY: usize = 6;

/// How long a thread may take to answer an interrupt. Only a guest that forged a signal mask, or a host whose storage
/// hangs, takes more than microseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something that was interrupted and may not have answered.
pub(super) trait Overdue: Send + Sync {
    /// Which interrupt has not been answered; `None` where all have.
    fn unanswered(&self) -> Option<u32>;
    /// Says whether somebody watches it from now on; returns whether somebody did before.
    fn set_watched(&self, is_watched: bool) -> bool;
    /// Ends its process.
    fn end(&self);
}

/// An entry of the list of those that are watched.
struct Watched {
    /// When to look at it.
    when: Instant,
    /// Which interrupt it had not answered at the last look. Others may have been sent since, so that one that is
    /// outstanding now says nothing by itself.
    seen: Option<u32>,
    overdue: Weak<dyn Overdue>,
}

/// The keeper's end that others use.
#[derive(Debug)]
pub(super) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the keeper and its customers share.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: Vec<Stub>,
    /// Stubs that nobody uses any more, still full.
    used: Vec<Stub>,
    watched: Vec<Watched>,
    /// The zygote failed to give a stub; asked again when one is taken.
    is_refused: bool,
    is_stopping: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("ready", &self.ready.len())
            .field("used", &self.used.len())
            .field("watched", &self.watched.len())
            .finish()
    }
}

impl Keeper {
    /// Starts the thread, which begins to fill the pool.
    pub(super) fn start(zygote: Arc<Zygote>) -> Result<Self, PlatformError> {
        let shared = Arc::new(Shared { state: Mutex::new(State::default()), changed: Condvar::new() });
        let mine = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("stub-keeper".into())
            .spawn(move || mine.work(&zygote))
            .map_err(|error| PlatformError::Resources(format!("keeper thread: {error}")))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// For those who have to ask it to watch something.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// A stub from the pool, if one is ready.
    pub(super) fn take(&self) -> Option<Stub> {
        let mut state = self.shared.state.lock();
        let stub = loop {
            match state.ready.pop() {
                // The host may have ended it while it waited.
                Some(stub) if stub.life().is_dead() => {}
                other => break other,
            }
        };
        if state.ready.len() < READY {
            state.is_refused = false;
            self.shared.changed.notify_one();
        }
        stub
    }
}

/// A stub in use. When the last user is gone it goes back to the keeper.
#[derive(Debug)]
pub(super) struct Tenancy {
    /// Taken out only by drop.
    stub: Option<Stub>,
    keeper: Arc<Shared>,
}

impl Tenancy {
    /// Lets `stub` be used.
    pub(super) fn new(stub: Stub, keeper: Arc<Shared>) -> Self {
        Self { stub: Some(stub), keeper }
    }
}

impl std::ops::Deref for Tenancy {
    type Target = Stub;

    fn deref(&self) -> &Stub {
        self.stub.as_ref().expect("only drop takes the stub")
    }
}

impl Drop for Tenancy {
    fn drop(&mut self) {
        if let Some(stub) = self.stub.take() {
            self.keeper.give_back(stub);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.state.lock().is_stopping = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It cannot panic; if it did, there is nothing to do about it here.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Ends the process of `overdue` if it does not answer in time.
    pub(super) fn watch(&self, overdue: Weak<dyn Overdue>) {
        let mut state = self.state.lock();
        state.watched.push(Watched { when: Instant::now() + PATIENCE / 2, seen: None, overdue });
        if state.watched.len() == 1 {
            self.changed.notify_one();
        }
    }

    /// Takes a stub back: to be emptied and used again, or ended where there are enough.
    fn give_back(&self, stub: Stub) {
        let mut state = self.state.lock();
        let is_welcome = !state.is_stopping && state.ready.len() + state.used.len() < MOST_READY;
        if is_welcome && !stub.life().is_dead() {
            state.used.push(stub);
            self.changed.notify_one();
            return;
        }
        drop(state);
        drop(stub);
    }

    fn work(&self, zygote: &Zygote) {
        let mut state = self.state.lock();
        while !state.is_stopping {
            if let Some(stub) = state.used.pop() {
                drop(state);
                let is_empty = stub.empty().is_ok_and(|()| stub.prepare().is_ok());
                state = self.state.lock();
                if is_empty {
                    state.ready.push(stub);
                }
                continue;
            }
            if state.ready.len() < READY && !state.is_refused {
                drop(state);
                let stub = Stub::new(zygote).and_then(|stub| stub.prepare().map(|()| stub));
                state = self.state.lock();
                match stub {
                    Ok(stub) => state.ready.push(stub),
                    Err(_) => state.is_refused = true,
                }
                continue;
            }
            state.check_overdue(Instant::now());
            match state.watched.iter().map(|watched| watched.when).min() {
                Some(when) => drop(self.changed.wait_until(&mut state, when)),
                None => self.changed.wait(&mut state),
            }
        }
        let all = (std::mem::take(&mut state.ready), std::mem::take(&mut state.used));
        drop(state);
        drop(all);
    }
}

impl State {
    fn check_overdue(&mut self, now: Instant) {
        self.watched.retain_mut(|watched| {
            let Some(overdue) = watched.overdue.upgrade() else { return false };
            now < watched.when || watched.look(&*overdue, now)
        });
    }
}

impl Watched {
    /// Ends what has not answered between two looks; says whether to go on watching.
    fn look(&mut self, overdue: &dyn Overdue, now: Instant) -> bool {
        // First, so that an interrupt that comes now is watched by itself.
        overdue.set_watched(false);
        let unanswered = overdue.unanswered();
        if unanswered.is_some() && unanswered == self.seen {
            overdue.end();
            return false;
        }
        self.when = now + PATIENCE / 2;
        self.seen = unanswered;
        unanswered.is_some() && !overdue.set_watched(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::time::Instant;

    use super::{Overdue, PATIENCE, State, Watched};

    #[derive(Default)]
    struct Guest {
        sent: AtomicU32,
        is_idle: AtomicBool,
        is_watched: AtomicBool,
        is_ended: AtomicBool,
    }

    impl Overdue for Guest {
        fn unanswered(&self) -> Option<u32> {
            (!self.is_idle.load(Ordering::SeqCst)).then(|| self.sent.load(Ordering::SeqCst))
        }

        fn set_watched(&self, is_watched: bool) -> bool {
            self.is_watched.swap(is_watched, Ordering::SeqCst)
        }

        fn end(&self) {
            self.is_ended.store(true, Ordering::SeqCst);
        }
    }

    /// Looks at `guest` after each of `looks` half patiences, with a new interrupt before each where there are more.
    fn watch(guest: &Arc<Guest>, looks: u32, more: bool) -> State {
        let (start, as_dyn): (_, Arc<dyn Overdue>) = (Instant::now(), guest.clone());
        let mut state = State::default();
        state.watched.push(Watched { when: start, seen: None, overdue: Arc::downgrade(&as_dyn) });
        for look in 0..looks {
            guest.sent.fetch_add(u32::from(more), Ordering::SeqCst);
            state.check_overdue(start + look * PATIENCE / 2);
        }
        state
    }

    #[test]
    fn who_is_interrupted_again_and_again_and_answers_lives() {
        let guest = Arc::<Guest>::default();
        let state = watch(&guest, 10, true);
        assert!(!guest.is_ended.load(Ordering::SeqCst));
        assert_eq!(state.watched.len(), 1);
    }

    #[test]
    fn who_does_not_answer_between_two_looks_is_ended() {
        let guest = Arc::<Guest>::default();
        assert_eq!(watch(&guest, 1, false).watched.len(), 1);
        assert!(!guest.is_ended.load(Ordering::SeqCst));
        assert!(watch(&guest, 2, false).watched.is_empty());
        assert!(guest.is_ended.load(Ordering::SeqCst));
    }

    #[test]
    fn who_has_answered_is_watched_no_longer() {
        let guest = Arc::<Guest>::default();
        guest.is_idle.store(true, Ordering::SeqCst);
        assert!(watch(&guest, 1, false).watched.is_empty());
        assert!(!guest.is_watched.load(Ordering::SeqCst) && !guest.is_ended.load(Ordering::SeqCst));
    }
}
