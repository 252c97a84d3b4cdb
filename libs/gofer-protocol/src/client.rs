//! Calls by any number of threads over one connection, without a thread of its own.
//!
//! A thread that waits for its reply reads for all if nobody else does, and hands other threads' replies to them. A
//! reader that has its own reply passes the reading on to one that still waits. How it waits for the server is
//! `inbox.rs`'s affair. Locks: `state`, and `inbox`, for which only who has set `State::is_reading` waits; others try it, to
//! put their request into the mailbox. Nothing is sent, received or woken up with `state` held except condition
//! variables of its own.
//!
//! A server that hangs holds up nobody who need not be answered any more, such as a guest task that is killed: each
//! [`TIMEOUT`] a caller looks whether its answer is still wanted. The reader does so where the socket has a time
//! limit of that length ([`limit_waits`]), which costs an ordinary call nothing.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use abi::Errno;
use host::unix::Wait;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::door::ClientDoor;
use crate::frame::{Header, MessageKind};
use crate::inbox::{Inbox, Received};
use crate::mailbox::Mailbox;
use crate::reply::{HelloFds, HelloReply};
use crate::request::{Call, Close, Hello, Op};
use crate::transport::{Frame, Transport};
use crate::{MAGIC, VERSION, wire};

/// How long a caller waits between two looks at whether its answer is still wanted. A healthy server is done long
/// before, so that a killed caller leaves only calls to a server that hangs.
pub const TIMEOUT: Duration = Duration::from_millis(500);

/// Makes waits on a client's socket end after [`TIMEOUT`], for [`Client::call_while`]. Whoever makes the socket calls
/// this: a jailed client may not change its sockets.
///
/// # Errors
/// What `setsockopt(2)` says.
pub fn limit_waits(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    host::unix::limit_waits(socket, TIMEOUT)
}

/// A client's end of a connection.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    next_id: AtomicU64,
    state: Mutex<State>,
    inbox: Mutex<Inbox>,
    /// The server waits at a door.
    has_door: bool,
}

#[derive(Debug, Default)]
struct State {
    /// A thread has the inbox.
    is_reading: bool,
    /// The connection has ended, or the server cannot be trusted to go on.
    is_closed: bool,
    /// Somebody gave up since the last reply came: further callers whose answer is not wanted do so at once.
    is_stuck: bool,
    calls: HashMap<u64, Slot>,
    closes: Closes,
}

/// [`Close`] messages to a server with a door.
#[derive(Clone, Copy, Debug, Default)]
struct Closes {
    sent: u64,
    /// When it was last seen there; or it was let go for them since.
    read: u64,
}

#[derive(Debug)]
enum Slot {
    /// No reply yet; the thread waits at the condition if there is one, and reads or is about to look if not.
    Waiting(Op, Option<Arc<Condvar>>),
    Done(Frame),
    /// No reply yet, and nobody waits for it.
    Abandoned(Op),
}

/// A reply: bytes that are decoded in place, and perhaps descriptors.
#[derive(Debug)]
pub struct Response<C> {
    body: Vec<u8>,
    fds: std::vec::IntoIter<OwnedFd>,
    call: PhantomData<fn() -> C>,
}

impl<'a, C: Call<'a>> Response<C> {
    /// The decoded reply.
    ///
    /// # Errors
    /// `EIO` where the server sent nonsense.
    pub fn get(&self) -> Result<C::Reply<'_>, Errno> {
        wire::decode(&self.body).map_err(|_| Errno::EIO)
    }

    /// The next descriptor that came with it.
    ///
    /// # Errors
    /// `ENFILE` where none did: this process has too many, or the server lies.
    pub fn take_fd(&mut self) -> Result<OwnedFd, Errno> {
        self.fds.next().ok_or(Errno::ENFILE)
    }
}

impl Client {
    /// Greets the server at the other end of `socket`; returns its mounts and, if any is shared, the connection on
    /// which it sends [`crate::EventBatch`]es.
    ///
    /// # Errors
    /// `EIO` where there is no server or it speaks otherwise.
    pub fn connect(socket: OwnedFd) -> Result<(Self, HelloReply, Option<Transport>), Errno> {
        let mut client = Self {
            transport: Transport::new(socket),
            next_id: AtomicU64::new(1),
            state: Mutex::default(),
            inbox: Mutex::default(),
            has_door: false,
        };
        let Frame { body, fds, .. } = client.exchange(&Hello { magic: MAGIC, version: VERSION }, &|| true)?;
        let hello: HelloReply = wire::decode(&body).map_err(|_| Errno::EIO)?;
        let mut fds = fds.into_iter();
        if hello.version != VERSION || fds.len() != hello.fds.iter().count() {
            return Err(Errno::EIO);
        }
        let mut take = |flag| hello.fds.contains(flag).then(|| fds.next()).flatten();
        let events = take(HelloFds::EVENTS).map(Transport::new);
        if let Some(listener) = take(HelloFds::DOOR) {
            client.inbox.get_mut().door = Some(ClientDoor::new(listener)?);
            client.has_door = true;
        }
        if let Some(mailbox) = take(HelloFds::MAILBOX) {
            client.inbox.get_mut().mailbox = Some(Mailbox::map(mailbox.as_fd())?);
        }
        Ok((client, hello, events))
    }

    /// Sends a request and waits for its reply, however long that takes.
    ///
    /// # Errors
    /// What the server said; `EIO` where the connection is gone; `EMSGSIZE` where the request is too long.
    pub fn call<'a, C: Call<'a>>(&self, request: &C) -> Result<Response<C>, Errno> {
        self.call_while(request, || true)
    }

    /// The same, as long as `is_wanted` says so where the server does not answer.
    ///
    /// # Errors
    /// As [`Self::call`]; `EINTR` where the answer is not wanted any more. The server may yet do what it was asked.
    pub fn call_while<'a, C: Call<'a>>(
        &self,
        request: &C,
        is_wanted: impl Fn() -> bool,
    ) -> Result<Response<C>, Errno> {
        let Frame { body, fds, .. } = self.exchange(request, &is_wanted)?;
        Ok(Response { body, fds: fds.into_iter(), call: PhantomData })
    }

    fn exchange<'a, C: Call<'a>>(&self, request: &C, is_wanted: &impl Fn() -> bool) -> Result<Frame, Errno> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        // The server looks into the mailbox first: nothing in the socket is to be overtaken.
        let closes_before = {
            let mut state = self.state.lock();
            if state.is_closed {
                return Err(Errno::EIO);
            }
            if state.is_stuck && !is_wanted() {
                return Err(Errno::EINTR);
            }
            let closes = state.calls.is_empty().then_some(state.closes.sent);
            state.calls.insert(id, Slot::Waiting(C::OP, None));
            closes
        };
        let header = Header { kind: MessageKind::Request, op: C::OP as u16, id, error: None };
        let body = wire::encode(request);
        let post = |closes| self.inbox.try_lock().is_some_and(|inbox| inbox.post(&header, &body, closes));
        let is_posted = closes_before.is_some_and(post);
        let sent = if is_posted { Ok(()) } else { self.send_while(&header, &body, is_wanted) };
        if let Err(error) = sent {
            let mut state = self.state.lock();
            state.calls.remove(&id);
            self.let_hear(&mut state);
            return Err(if matches!(error, Errno::EMSGSIZE | Errno::EINTR) { error } else { Errno::EIO });
        }
        let frame = self.wait(id, is_wanted)?;
        frame.header.error.map_or(Ok(frame), Err)
    }

    /// Gives look-ups back. Nobody waits for the server to have done it; a lost connection loses nothing.
    pub fn forget(&self, close: &Close) {
        let header = Header { kind: MessageKind::Request, op: Op::Close as u16, id: 0, error: None };
        if self.send_while(&header, &wire::encode(close), &|| false).is_ok() && self.has_door {
            let mut state = self.state.lock();
            state.closes.sent += 1;
            self.let_hear(&mut state);
        }
    }

    /// Calls made so far, the greeting included.
    pub fn call_count(&self) -> u64 {
        self.next_id.load(Ordering::Relaxed) - 1
    }

    /// Whether calls can no longer work.
    pub fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }

    #[cfg(test)]
    pub(crate) fn state_is_empty(&self) -> bool {
        let state = self.state.lock();
        state.calls.is_empty() && !state.is_reading
    }

    /// Sends a request; a server whose queue is full is waited for as long as `is_wanted` says so.
    fn send_while(&self, header: &Header, body: &[u8], is_wanted: &impl Fn() -> bool) -> Result<(), Errno> {
        loop {
            // A server at its door does not make room by itself; somebody who reads lets it go.
            let wait = if self.has_door && !self.state.lock().is_reading { Wait::Poll } else { Wait::Block };
            match self.transport.send_waiting(header, body, &[], wait) {
                Err(Errno::EAGAIN) => {}
                other => return other,
            }
            let in_vain = wait == Wait::Block || self.make_room();
            if in_vain && !is_wanted() {
                return Err(Errno::EINTR);
            }
        }
    }

    /// Lets a server at its door read requests, if nobody else does; says whether it is late.
    fn make_room(&self) -> bool {
        let mut state = self.state.lock();
        if state.is_reading || state.is_closed {
            return false;
        }
        let is_late = self.read_one(&mut state);
        state.appoint_reader();
        is_late
    }

    /// Lets a server at its door read the [`Close`] messages that it has not read. Who reads does so in the end: not
    /// before all callers have their replies, lest the server be ahead of them, and not while it hangs.
    fn let_hear(&self, state: &mut MutexGuard<'_, State>) {
        loop {
            let Closes { sent, read } = state.closes;
            if read >= sent || state.is_reading || state.is_closed || state.is_stuck || state.has_callers() {
                break;
            }
            state.is_reading = true;
            state.closes.read =
                MutexGuard::unlocked(state, || self.inbox.lock().let_hear(&self.transport, sent));
            state.is_reading = false;
            if state.closes.read < sent {
                // The server is late: the next turn finds it.
                break;
            }
        }
        state.appoint_reader();
    }

    /// Waits for the reply to request `id`, reading for everyone if nobody does.
    fn wait(&self, id: u64, is_wanted: &impl Fn() -> bool) -> Result<Frame, Errno> {
        let mut state = self.state.lock();
        loop {
            if let Some(Slot::Done(_)) = state.calls.get(&id) {
                let Some(Slot::Done(frame)) = state.calls.remove(&id) else { return Err(Errno::EIO) };
                self.let_hear(&mut state);
                return Ok(frame);
            }
            if state.is_closed {
                state.calls.remove(&id);
                return Err(Errno::EIO);
            }
            let in_vain = if state.is_reading {
                let condition = Arc::new(Condvar::new());
                if let Some(Slot::Waiting(_, place)) = state.calls.get_mut(&id) {
                    *place = Some(Arc::clone(&condition));
                }
                condition.wait_for(&mut state, TIMEOUT).timed_out()
            } else {
                self.read_one(&mut state)
            };
            if in_vain && !is_wanted() && state.abandon(id) {
                return Err(Errno::EINTR);
            }
        }
    }

    /// Reads one message with the state unlocked; says whether none came in [`TIMEOUT`].
    fn read_one(&self, state: &mut MutexGuard<'_, State>) -> bool {
        state.is_reading = true;
        let (received, closes_read) = MutexGuard::unlocked(state, || {
            let mut inbox = self.inbox.lock();
            (inbox.receive(&self.transport), inbox.closes_read())
        });
        state.is_reading = false;
        state.closes.read = closes_read;
        match received {
            Received::Late => return true,
            Received::Nothing => {}
            Received::Message(frame) => {
                if !state.deliver(frame) {
                    self.close(state);
                }
            }
            Received::Ended => self.close(state),
        }
        false
    }

    fn close(&self, state: &mut MutexGuard<'_, State>) {
        state.close();
        MutexGuard::unlocked(state, || {
            self.transport.shutdown();
            // A server at its door learns that there is nobody, and finds the connection ended.
            self.inbox.lock().door = None;
        });
    }
}

impl State {
    /// Hands a reply to its caller; false where the connection is of no more use.
    fn deliver(&mut self, frame: Frame) -> bool {
        if frame.header.kind != MessageKind::Reply {
            return false;
        }
        let Some(slot) = self.calls.get_mut(&frame.header.id) else { return false };
        match slot {
            Slot::Waiting(op, condition) if *op as u16 == frame.header.op => {
                if let Some(condition) = condition {
                    condition.notify_one();
                }
                *slot = Slot::Done(frame);
            }
            Slot::Abandoned(op) if *op as u16 == frame.header.op => {
                self.calls.remove(&frame.header.id);
            }
            _ => return false,
        }
        self.is_stuck = false;
        true
    }

    /// Gives up waiting for a reply; false where it is there already. Another caller takes over the reading.
    fn abandon(&mut self, id: u64) -> bool {
        match self.calls.get_mut(&id) {
            Some(slot @ Slot::Waiting(..)) => {
                let Slot::Waiting(op, _) = *slot else { return false };
                *slot = Slot::Abandoned(op);
                self.is_stuck = true;
                self.appoint_reader();
                true
            }
            _ => false,
        }
    }

    /// Whether somebody waits for a reply.
    fn has_callers(&self) -> bool {
        self.calls.values().any(|slot| matches!(slot, Slot::Waiting(..)))
    }

    /// Wakes one waiting caller, so that it reads.
    fn appoint_reader(&self) {
        if self.is_reading {
            return;
        }
        let sleeper = self.calls.values().find_map(|slot| match slot {
            Slot::Waiting(_, Some(condition)) => Some(condition),
            _ => None,
        });
        if let Some(condition) = sleeper {
            condition.notify_one();
        }
    }

    fn close(&mut self) {
        self.is_closed = true;
        for slot in self.calls.values() {
            if let Slot::Waiting(_, Some(condition)) = slot {
                condition.notify_one();
            }
        }
    }
}
