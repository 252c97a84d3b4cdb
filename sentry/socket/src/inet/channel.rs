//! One receiving socket of a link, and whoever receives from it: a thread of its own, or a task that would sleep.
//!
//! The thread sleeps in the host, passes what comes to the stack, and thereby wakes tasks. Where it wakes the same task
//! again and again, the thread leaves the socket to it: the task receives its own frames when it would sleep
//! ([`waiter::Pump`]), and the thread looks only now and then whether anybody does. Nothing is polled.
//!
//! Locks: `batch` is held by whoever receives, and comes before those of the stack; `turn` is a leaf.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use abi::{Errno, Result};
use host::packet::Batch;
use netstack::Nic;
use parking_lot::{Condvar, Mutex};
use waiter::{Pump, Pumped, Woken, pump_with};

use super::link::decode;
use super::namespace::NetNamespace;

/// While tasks receive, the thread looks this often. A task that has other things to do leaves frames lying for no longer
/// than two of these.
const PERIOD: Duration = Duration::from_millis(1);
/// After so many periods in which the same task slept, the thread looks no more until that task has woken.
const QUIET: u32 = 3;
/// The thread leaves the socket to a task that it has woken so many times in a row,
const FEWEST: u32 = 4;
/// or, where that was of no use before, so many times at most.
const MOST: u32 = 1 << 14;

/// A receiving socket.
pub(super) struct Channel {
    net: Weak<NetNamespace>,
    nic: Arc<Nic>,
    socket: Arc<OwnedFd>,
    /// Readable where a task that receives has to look up; and the end that makes it so.
    bell: (UnixStream, UnixStream),
    batch: Mutex<Batch>,
    turn: Mutex<Turn>,
    /// The thread waits for its turn.
    changed: Condvar,
}

/// Who receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// The thread.
    Thread,
    /// A task that sleeps.
    Task,
    /// Nobody: the task that did has woken.
    Nobody,
}

#[derive(Debug)]
struct Turn {
    who: Who,
    /// How many times a task has begun or ended to receive.
    changes: u64,
    /// Tasks that sleep for frames while another one receives.
    sleepers: u32,
    /// The thread looks at it each [`PERIOD`].
    is_watched: bool,
    /// The task that the thread has woken last, and how many times in a row.
    woken: (usize, u32),
    /// So many times are enough.
    enough: u32,
}

impl Turn {
    /// Leaving the socket to tasks was of no use.
    fn was_wrong(&mut self) {
        self.enough = (self.enough * 4).min(MOST);
    }
}

impl Channel {
    /// For a socket whose frames have offload headers, or have not.
    ///
    /// # Errors
    /// `EMFILE`.
    pub(super) fn new(
        net: Weak<NetNamespace>,
        nic: Arc<Nic>,
        socket: Arc<OwnedFd>,
        offload: bool,
    ) -> Result<Self> {
        let turn = Turn {
            who: Who::Thread,
            changes: 0,
            sleepers: 0,
            is_watched: false,
            woken: (0, 0),
            enough: FEWEST,
        };
        Ok(Self {
            net,
            nic,
            socket,
            bell: UnixStream::pair().map_err(|_| Errno::EMFILE)?,
            batch: Mutex::new(Batch::new(offload)),
            turn: Mutex::new(turn),
            changed: Condvar::new(),
        })
    }

    /// The thread's work, until the name space is gone.
    pub(super) fn run(self: Arc<Self>) {
        let pump: Arc<dyn Pump> = self.clone();
        loop {
            self.await_turn();
            let mut batch = self.batch.lock();
            let received = batch.receive(self.socket.as_fd());
            let Ok(has_come) = self.judge(received) else { return };
            if !has_come {
                continue;
            }
            let mut is_gone = false;
            let woken = pump_with(&pump, || is_gone = !self.pass_on(&batch));
            if is_gone {
                return;
            }
            drop(batch);
            self.note_woken(woken);
        }
    }

    /// Says whether frames have come, or that none ever will.
    fn judge(&self, received: Result<()>) -> Result<bool> {
        match received {
            Ok(()) => Ok(true),
            // Told once: the link may come up again.
            Err(Errno::ENETDOWN | Errno::EINTR | Errno::EAGAIN | Errno::ENOBUFS) => Ok(false),
            Err(errno) => {
                // Guests see what has become of it.
                if let Some(net) = self.net.upgrade() {
                    net.stack().set_up(&self.nic, false);
                }
                Err(errno)
            }
        }
    }

    /// Gives the stack what was received; says whether there still is one.
    fn pass_on(&self, batch: &Batch) -> bool {
        let Some(net) = self.net.upgrade() else { return false };
        for (header, frame) in batch.frames() {
            net.stack().receive(&self.nic, frame, decode(&header));
        }
        true
    }

    /// Waits until it is the thread that has to receive.
    fn await_turn(&self) {
        let mut turn = self.turn.lock();
        let mut quiet = 0;
        while turn.who != Who::Thread {
            turn.is_watched = true;
            let before = turn.changes;
            if quiet == QUIET {
                turn.is_watched = false;
                self.changed.wait(&mut turn);
                quiet = 0;
            } else if self.changed.wait_for(&mut turn, PERIOD).timed_out() && turn.changes == before {
                quiet += 1;
                if turn.who == Who::Nobody {
                    turn.who = Who::Thread;
                    turn.was_wrong();
                }
            } else {
                quiet = 0;
            }
        }
        turn.is_watched = false;
    }

    /// The thread has woken these: it leaves the socket to a task that is always the same.
    fn note_woken(&self, woken: Woken) {
        let mut turn = self.turn.lock();
        turn.woken = match woken {
            // The task has enough to do, and this thread perhaps a core of its own.
            Woken::Nobody => return,
            Woken::One(task) if task == turn.woken.0 => (task, turn.woken.1 + 1),
            Woken::One(task) => (task, 1),
            Woken::Several => (0, 0),
        };
        if turn.woken.1 >= turn.enough {
            turn.woken.1 = 0;
            turn.who = Who::Nobody;
        }
    }

    /// Receives in the stead of the thread.
    fn receive_until(&self, is_over: &dyn Fn() -> bool, deadline: Option<Instant>) {
        let mut batch = self.batch.lock();
        while !is_over() {
            match self.judge(batch.receive_now(self.socket.as_fd())) {
                Ok(true) if self.pass_on(&batch) => continue,
                Ok(false) => {}
                _ => return,
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let ready = host::poll::any_readable(&[self.socket.as_fd(), self.bell.0.as_fd()], left);
            match ready.as_deref() {
                Ok([_, true]) => self.hush(),
                Ok([true, _]) => {}
                _ => return,
            }
        }
    }

    /// Takes what [`Pump::ring`] has sent.
    fn hush(&self) {
        let _ = (&self.bell.0).read(&mut [0; 64]);
    }

    /// A task has woken.
    fn give_back(&self) {
        let mut turn = self.turn.lock();
        turn.changes += 1;
        if turn.sleepers > 0 {
            // To leave it to one of several costs more than it brings.
            turn.was_wrong();
            turn.who = Who::Thread;
            self.changed.notify_one();
            return;
        }
        turn.who = Who::Nobody;
        if !turn.is_watched {
            self.changed.notify_one();
        }
    }
}

impl Pump for Channel {
    fn is_free(&self) -> bool {
        self.turn.lock().who == Who::Nobody
    }

    fn try_pump(&self, is_over: &dyn Fn() -> bool, deadline: Option<Instant>) -> Pumped {
        let mut turn = self.turn.lock();
        match turn.who {
            Who::Thread => return Pumped::No,
            Who::Task => {
                turn.sleepers += 1;
                return Pumped::Busy;
            }
            Who::Nobody => turn.who = Who::Task,
        }
        turn.enough = (turn.enough / 2).max(FEWEST);
        turn.changes += 1;
        drop(turn);
        self.receive_until(is_over, deadline);
        self.give_back();
        Pumped::Done
    }

    fn ring(&self) {
        let _ = (&self.bell.1).write(&[0]);
    }

    fn rejoin(&self) {
        self.turn.lock().sleepers -= 1;
    }
}
