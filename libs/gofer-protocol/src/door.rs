//! The door: client and server take turns on one core.
//!
//! A message on a socket wakes its receiver where the host thinks best, mostly on a core that has halted. On a virtual
//! machine that takes tens of microseconds, once each way. So a server that has nothing to do makes a call with a
//! number that does not exist, [`DOOR`]; a filter of its own turns that into a user notification (`man 2
//! seccomp_unotify`), whose listener the client got with the greeting. To let the server go is to answer, to wait for it
//! is to wait for the next notification, and since Linux 6.6 both switch on the caller's core. Messages and descriptors
//! go through the socket as ever, but nobody sleeps on it; small messages need not even that (`mailbox.rs`).
//!
//! What the two agree on:
//! - let go, the server reads until it has answered one request or finds none, and comes back. A reply has then been
//!   sent, so whoever sees it at its door looks into the socket next;
//! - each request has a caller who waits, and lets it go as often as it takes. A request that is put in just when the
//!   server is on its way to the door is read then;
//! - nobody waits for [`Op::Close`]; so the server says at the door how many of these it has read, and whoever sees it
//!   there last lets it read the others;
//! - a call that the host withdraws (a freezer or debugger touches the server) is made again, and means the same;
//! - a client that closes its listener wants no door: the server sleeps on the socket from then on.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use abi::Errno;
use host::seccomp::{self, Action, Listener, Program, Rule, Seen};

use crate::frame::Header;
use crate::mailbox::{Mailbox, Place};
use crate::request::Op;
use crate::transport::{Frame, Transport, TransportError};

/// The number of the call that is the server's door. The host has no such call.
pub(crate) const DOOR: u32 = 0x0d01;

/// The call, for the server's table.
pub const DOOR_RULE: Rule = Rule::any(DOOR as i64, "door");

/// How long a server is waited for that was let go for nobody's sake: a healthy one is back long before, and no guest
/// waits for one that is not.
const BRIEFLY: Duration = Duration::from_millis(5);

/// The server's side, of the thread that made it.
#[derive(Debug)]
pub struct ServerDoor {
    /// It is to go to the door before it looks into the socket.
    is_due: bool,
    /// The client has closed its listener.
    is_shut: bool,
    closes_read: u64,
    mailbox: Mailbox,
}

/// What the client needs for a door: to be sent to it, and closed.
#[derive(Debug)]
pub struct DoorFds {
    /// On which the server's calls arrive.
    pub listener: OwnedFd,
    /// The memory in which small messages are passed.
    pub mailbox: OwnedFd,
}

impl ServerDoor {
    /// Arms the filter on the calling thread, which must be the one that serves.
    ///
    /// # Errors
    /// Where the host cannot switch on one core (before Linux 6.6), or this thread may have no listener.
    pub fn make() -> Result<(Self, DoorFds), seccomp::Error> {
        let (mailbox, fd) = Mailbox::make().map_err(seccomp::Error::Host)?;
        let listener = filter()?.install_with_listener()?;
        listener.set_sync_wake_up().map_err(seccomp::Error::Host)?;
        let door = Self { is_due: true, is_shut: false, closes_read: 0, mailbox };
        Ok((door, DoorFds { listener: listener.into(), mailbox: fd }))
    }

    /// Leaves a reply where the client looks first when it sees the server at the door; says whether it is there. If
    /// not, it goes through the socket.
    pub fn leave(&self, header: &Header, body: &[u8]) -> bool {
        !self.is_shut && self.mailbox.put(Place::Reply, header, body)
    }

    /// Waits for a message at the door; `None` is the end of the connection.
    ///
    /// # Errors
    /// As [`Transport::receive`].
    pub fn receive(
        &mut self,
        transport: &Transport,
        buffer: &mut Vec<u8>,
    ) -> Result<Option<Frame>, TransportError> {
        loop {
            if self.is_due {
                self.stand();
            }
            if self.is_shut {
                return transport.receive(buffer);
            }
            let received = match self.mailbox.take(Place::Request) {
                Ok(None) => transport.receive_at_once(buffer),
                other => other,
            };
            if matches!(received, Err(TransportError::Socket(Errno::EAGAIN))) {
                self.is_due = true;
                continue;
            }
            if let Ok(Some(frame)) = &received {
                self.is_due = frame.header.op != Op::Close as u16;
                self.closes_read += u64::from(!self.is_due);
            }
            return received;
        }
    }

    /// Stands at the door until the client says to go on.
    fn stand(&mut self) {
        // What it says is of no interest, but for there being nobody.
        self.is_shut |= seccomp::ask_listener(DOOR, self.closes_read) == Err(Errno::ENOSYS);
    }
}

/// Turns [`DOOR`] into a notification and leaves all else to other filters.
fn filter() -> Result<Program, seccomp::Error> {
    seccomp::compile_with(&[DOOR_RULE], Action::UserNotif, Action::Allow)
}

/// The client's side.
#[derive(Debug)]
pub(crate) struct ClientDoor {
    listener: Listener,
    /// The server stands at its door: what to answer.
    standing: Option<u64>,
    closes_read: u64,
    /// What it said itself when it was last seen.
    closes_seen: u64,
}

/// What came of waiting for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It stands at its door.
    Came,
    /// Not yet.
    Late,
    /// It will not come any more.
    Ended,
}

impl ClientDoor {
    /// Of a server that has sent its listener, if that is what it sent.
    pub(crate) fn new(listener: OwnedFd) -> Result<Self, Errno> {
        let listener = Listener::new(listener);
        listener.check()?;
        Ok(Self { listener, standing: None, closes_read: 0, closes_seen: 0 })
    }

    /// How many [`Op::Close`] the server had read when it was last seen, or was let go for.
    pub(crate) fn closes_read(&self) -> u64 {
        self.closes_read
    }

    /// How many it has read for certain.
    pub(crate) fn closes_seen(&self) -> u64 {
        self.closes_seen
    }

    /// Lets the server go, if it stands at its door, and waits until it comes (back). `socket` tells of its end.
    pub(crate) fn take_turn(&mut self, socket: &impl AsFd, limit: Duration) -> Turn {
        self.let_go();
        self.wait(socket, limit)
    }

    /// Lets the server read its `closes_sent` [`Op::Close`]s, if it has not yet, and does not wait for that.
    pub(crate) fn let_hear(&mut self, socket: &impl AsFd, closes_sent: u64) {
        // If it is not here, it is coming, as long as it is busy with nothing slow; else the next turn finds it.
        if self.standing.is_none() {
            self.wait(socket, BRIEFLY);
        }
        if self.closes_read < closes_sent && self.standing.is_some() {
            self.let_go();
            // Unless it finds a request before them: whose caller then sees that it has not.
            self.closes_read = closes_sent;
        }
    }

    fn let_go(&mut self) {
        let Some(id) = self.standing.take() else { return };
        // Any other error means that it has gone away or called again, which the next wait will show.
        while self.listener.answer(id, 0) == Err(Errno::EINTR) {}
    }

    fn wait(&mut self, socket: &impl AsFd, limit: Duration) -> Turn {
        match self.listener.wait_while_connected(socket.as_fd(), limit) {
            Ok(Seen::Call) => {}
            Ok(Seen::Nothing) => return Turn::Late,
            Ok(Seen::End) | Err(_) => return Turn::Ended,
        }
        match self.listener.receive() {
            Ok(call) => {
                self.standing = Some(call.id);
                self.closes_seen = call.args[0];
                self.closes_read = call.args[0];
                Turn::Came
            }
            // A signal for us, or the call was withdrawn and is made again.
            Err(Errno::EINTR | Errno::ENOENT) => Turn::Late,
            Err(_) => Turn::Ended,
        }
    }
}
