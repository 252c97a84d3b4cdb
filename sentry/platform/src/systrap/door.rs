//! The door: how a stub's thread hands over to the sentry and sleeps until it is answered.
//!
//! A call with a number of its own at one place of the image, which the thread's filter turns into a user
//! notification. Both directions switch on the caller's core where the host can do that.

use std::sync::Arc;
use std::time::Duration;

use abi::Errno;
use host::seccomp::{Listener, Notification};
use stub::layout::{AREAS, DOOR_EXIT, DOOR_GO_ON};

use super::life::{Life, Sleeper};

/// The thread at the other side is gone for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// What a thread that stands at the door is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// To go on where its registers say.
    GoOn,
    /// To begin with the frame behind the header of the area at this address, whatever is in its registers.
    Begin(u64),
    /// To end.
    Exit,
}

impl Answer {
    /// The call's result.
    const fn value(self) -> i64 {
        match self {
            Self::GoOn => DOOR_GO_ON,
            Self::Begin(area) => area as i64,
            Self::Exit => DOOR_EXIT,
        }
    }
}

/// The sentry's side of one thread's door.
#[derive(Debug)]
pub(super) struct Door {
    listener: Listener,
    life: Arc<Life>,
    sleeper: Arc<Sleeper>,
}

impl Door {
    /// The door of a thread of the process `life`.
    pub(super) fn new(listener: Listener, life: Arc<Life>) -> Self {
        // Before Linux 6.6 a hand-over wakes the other side wherever the host likes: slower, not wrong.
        let _ = listener.set_sync_wake_up();
        let sleeper = Arc::new(Sleeper::default());
        life.add_sleeper(&sleeper);
        Self { listener, life, sleeper }
    }

    /// Waits until the thread stands at the door.
    pub(super) fn wait(&self) -> Result<Notification, Gone> {
        self.sleeper.set_waiting(true);
        let result = self.receive();
        self.sleeper.set_waiting(false);
        result
    }

    /// As [`Self::wait`], for a thread that is about to come: not longer than `limit`.
    pub(super) fn wait_briefly(&self, limit: Duration) -> Result<Notification, Gone> {
        if self.listener.wait_call(limit) { self.wait() } else { Err(Gone) }
    }

    fn receive(&self) -> Result<Notification, Gone> {
        while !self.life.is_dead() {
            match self.listener.receive() {
                Ok(notification) => return Ok(notification),
                // A signal for us; the call was withdrawn (a freezer or debugger touched the thread), and comes again.
                Err(Errno::EINTR) => {}
                Err(Errno::ENOENT) if !self.listener.has_hung_up() => {}
                Err(_) => return Err(Gone),
            }
        }
        Err(Gone)
    }

    /// Makes a guest thread end that has stood at the door since `id`; says whether it was still there.
    pub(super) fn dismiss(&self, id: u64) -> bool {
        self.listener.answer(id, Answer::Exit.value()).is_ok()
    }

    /// Waits for a dismissed thread's end for `limit`; says whether it came.
    pub(super) fn wait_deserted(&self, limit: Duration) -> bool {
        self.listener.wait_hung_up(limit)
    }

    /// Whether the thread has ended.
    pub(super) fn is_deserted(&self) -> bool {
        self.listener.has_hung_up()
    }

    /// As [`Self::open`], but wakes the thread on another core: the caller goes on running on this one.
    pub(super) fn open_elsewhere(&self, id: u64) -> Result<(), Gone> {
        let can_choose = self.listener.clear_sync_wake_up().is_ok();
        let result = self.open(id);
        if can_choose {
            let _ = self.listener.set_sync_wake_up();
        }
        result
    }

    /// Lets the thread go on that has stood at the door since `id`.
    pub(super) fn open(&self, id: u64) -> Result<(), Gone> {
        self.open_with(id, Answer::GoOn)
    }

    /// As [`Self::open`], with a word on how to go on.
    pub(super) fn open_with(&self, id: u64, answer: Answer) -> Result<(), Gone> {
        let mut id = id;
        loop {
            match self.listener.answer(id, answer.value()) {
                Ok(()) => return Ok(()),
                // The host made the thread call again (see `receive`): its new call has the same meaning.
                Err(Errno::ENOENT) => id = self.wait()?.id,
                Err(Errno::EINTR) => {}
                Err(_) => return Err(Gone),
            }
        }
    }
}

const _: () = assert!(AREAS as i64 > DOOR_EXIT);
