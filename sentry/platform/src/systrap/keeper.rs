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
    /// Whether there was an answer since the last time this was called, or nothing to be answered is left.
    fn has_answered(&self) -> bool;
    /// Nobody watches it from now on.
    fn unwatch(&self);
    /// Ends its process.
    fn end(&self);
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
    watched: Vec<(Instant, Weak<dyn Overdue>)>,
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
        state.watched.push((Instant::now() + PATIENCE, overdue));
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
            state.check_overdue();
            match state.watched.iter().map(|(when, _)| *when).min() {
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
    fn check_overdue(&mut self) {
        let now = Instant::now();
        self.watched.retain(|(when, overdue)| {
            let Some(overdue) = overdue.upgrade() else { return false };
            if now < *when {
                return true;
            }
            overdue.unwatch();
            if !overdue.has_answered() {
                overdue.end();
            }
            false
        });
    }
}
