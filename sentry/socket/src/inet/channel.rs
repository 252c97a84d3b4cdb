//! One receiving socket of a link, and whoever receives from it: a thread of its own, or a task that would sleep.
//!
//! The thread sleeps in the host, passes what comes to the stack, and thereby wakes tasks. Where it wakes the same task
//! again and again, the thread leaves the socket to it: the task receives its own frames when it would sleep
//! ([`waiter::Pump`]), and the thread looks only now and then whether anybody does. It takes the socket back once tasks
//! do that in vain, or for others.
//!
//! Locks: `batch` is held by whoever receives, and comes before those of the stack; `turn` is a leaf.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use abi::{Errno, Result};
use host::packet::Batch;
use netstack::{Budget, Nic, RxMeta};
use parking_lot::{Condvar, Mutex};
use waiter::{Others, Pump, Sleeper, Woken, pump_with};

use super::link::decode;
use super::namespace::NetNamespace;
use super::turn::{End, Turn, Who};

/// While tasks receive, the thread looks this often. A task that has other things to do leaves frames lying for no longer
/// than two of these.
const PERIOD: Duration = Duration::from_millis(1);
/// After so many periods in which the same task slept, the thread looks no more until that task has woken.
const QUIET: u32 = 3;

/// A receiving socket.
pub(super) struct Channel {
    net: Weak<NetNamespace>,
    nic: Arc<Nic>,
    socket: Arc<OwnedFd>,
    budget: Arc<Budget>,
    bell: Bell,
    batch: Mutex<Batch>,
    turn: Mutex<Turn>,
    /// The thread waits for its turn.
    changed: Condvar,
}

/// Wakes a task that receives: the first end is readable while it rings.
struct Bell {
    ends: (UnixStream, UnixStream),
    is_rung: AtomicBool,
}

impl Bell {
    fn new() -> Result<Self> {
        let ends = UnixStream::pair().map_err(|_| Errno::EMFILE)?;
        Ok(Self { ends, is_rung: AtomicBool::new(false) })
    }

    /// Rings, if it does not already: so it never waits for room.
    fn ring(&self) {
        if !self.is_rung.swap(true, Ordering::SeqCst) {
            let _ = (&self.ends.1).write(&[0]);
        }
    }

    /// Ends the ringing. Who rings meanwhile is not heard, so look afterwards whether there was a reason.
    fn hush(&self) {
        let _ = (&self.ends.0).read(&mut [0]);
        self.is_rung.store(false, Ordering::SeqCst);
    }
}

impl Channel {
    /// For a socket whose frames have offload headers, or have not.
    ///
    /// # Errors
    /// `EMFILE`.
    pub(super) fn new(
        net: &Arc<NetNamespace>,
        nic: Arc<Nic>,
        socket: Arc<OwnedFd>,
        offload: bool,
    ) -> Result<Self> {
        Ok(Self {
            net: Arc::downgrade(net),
            nic,
            socket,
            budget: Arc::clone(net.stack().budget()),
            bell: Bell::new()?,
            batch: Mutex::new(Batch::new(offload)),
            turn: Mutex::new(Turn::new()),
            changed: Condvar::new(),
        })
    }

    /// The thread's work, until the name space is gone.
    pub(super) fn run(self: Arc<Self>) {
        let pump: Weak<dyn Pump> = Arc::<Self>::downgrade(&self);
        loop {
            self.await_turn();
            let mut batch = self.batch.lock();
            match batch.receive(self.socket.as_fd(), |len| self.budget.frame_buffer(len)) {
                Ok(()) => {}
                Err(errno) if is_passing(errno) => continue,
                Err(_) => return self.set_down(),
            }
            let Some(woken) = self.pass_on(&batch, &pump, None) else { return };
            drop(batch);
            self.turn.lock().note_woken(woken.others);
        }
    }

    /// Guests see what has become of the link.
    fn set_down(&self) {
        if let Some(net) = self.net.upgrade() {
            net.stack().set_up(&self.nic, false);
        }
    }

    /// Gives the stack what was received; says whom that woke, or `None` where the stack is gone.
    fn pass_on(&self, batch: &Batch, pump: &Weak<dyn Pump>, sleeper: Option<&Sleeper<'_>>) -> Option<Woken> {
        let net = self.net.upgrade()?;
        let receive = || {
            for (header, buffer, place) in batch.frames() {
                let meta = RxMeta { buffer: Some(buffer), ..decode(&header) };
                net.stack().receive(&self.nic, &buffer[place], meta);
            }
        };
        Some(pump_with(Weak::clone(pump), sleeper, receive))
    }

    /// Waits until it is the thread that has to receive.
    fn await_turn(&self) {
        let mut turn = self.turn.lock();
        let mut quiet = 0;
        while turn.who != Who::Thread {
            let before = turn.changes;
            turn.is_watched = quiet < QUIET;
            if !turn.is_watched {
                self.changed.wait(&mut turn);
                quiet = 0;
            } else if self.changed.wait_for(&mut turn, PERIOD).timed_out() && turn.changes == before {
                quiet += 1;
                if turn.who == Who::Nobody {
                    turn.take_back();
                }
            } else {
                quiet = 0;
            }
        }
        turn.is_watched = false;
    }

    /// Receives in the stead of the thread.
    fn receive_for(&self, sleeper: &Sleeper<'_>, pump: &Weak<dyn Pump>) -> End {
        let mut batch = self.batch.lock();
        let mut has_slept = false;
        loop {
            match batch.receive_now(self.socket.as_fd(), |len| self.budget.frame_buffer(len)) {
                Ok(()) => match self.pass_on(&batch, pump, Some(sleeper)) {
                    Some(Woken { itself: true, .. }) if has_slept => return End::Awake,
                    Some(Woken { itself: true, .. }) => return End::AtOnce,
                    Some(Woken { others: Others::Nobody, .. }) => {}
                    Some(_) => return End::Passed,
                    None => return End::Failed,
                },
                Err(errno) if is_passing(errno) => {}
                // The thread will hear of it, too.
                Err(_) => return End::Failed,
            }
            let left = sleeper.time_left();
            if sleeper.is_awake() || left.is_some_and(|left| left.is_zero()) {
                return End::Other;
            }
            has_slept = true;
            match host::poll::any_readable([self.socket.as_fd(), self.bell.ends.0.as_fd()], left) {
                Ok([_, true]) => self.bell.hush(),
                Ok(_) => {}
                Err(_) => return End::Failed,
            }
        }
    }
}

/// Whether the socket may give frames after it has said so: there is none, the link went down, a frame is lost.
fn is_passing(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::ENETDOWN | Errno::EINTR | Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM | Errno::EINVAL
    )
}

impl Pump for Channel {
    fn is_free(&self) -> bool {
        self.turn.lock().who == Who::Nobody
    }

    fn begin(&self) -> bool {
        self.turn.lock().begin(Instant::now())
    }

    fn pump(&self, sleeper: &Sleeper<'_>, this: &Weak<dyn Pump>) -> bool {
        let end = if sleeper.is_awake() { End::Awake } else { self.receive_for(sleeper, this) };
        let mut turn = self.turn.lock();
        let goes_on = turn.end(Instant::now(), end);
        if !turn.is_watched || turn.who == Who::Thread {
            self.changed.notify_one();
        }
        goes_on
    }

    fn ring(&self) {
        self.bell.ring();
    }
}
