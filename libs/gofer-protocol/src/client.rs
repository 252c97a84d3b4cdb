//! Calls by any number of threads over one connection, without a thread of its own.
//!
//! A thread that waits for its reply reads the socket itself if nobody else does, and hands other threads' replies
//! to them: alone, a call is one `sendmsg` and one `recvmsg`. A reader that has its own reply passes the reading on
//! to one that still waits. Locks: `state` is a leaf; nothing is sent, received or woken up with it held except
//! condition variables of its own.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Errno;
use parking_lot::{Condvar, Mutex};

use crate::frame::{Header, MessageKind};
use crate::reply::HelloReply;
use crate::request::{Call, Close, Hello, Op};
use crate::transport::{Frame, Transport, TransportError};
use crate::{MAGIC, VERSION, wire};

/// A client's end of a connection.
#[derive(Debug)]
pub struct Client {
    transport: Transport,
    next_id: AtomicU64,
    state: Mutex<State>,
    buffer: Mutex<Vec<u8>>,
}

#[derive(Debug, Default)]
struct State {
    /// A thread is in `recvmsg`.
    is_reading: bool,
    /// The connection has ended, or the server cannot be trusted to go on.
    is_closed: bool,
    calls: HashMap<u64, Slot>,
}

#[derive(Debug)]
enum Slot {
    /// No reply yet; the thread waits at the condition if there is one, and reads or is about to look if not.
    Waiting(Op, Option<Arc<Condvar>>),
    Done(Frame),
}

/// A reply: bytes that are decoded in place, and perhaps a descriptor.
#[derive(Debug)]
pub struct Response<C> {
    body: Vec<u8>,
    fd: Option<OwnedFd>,
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

    /// The descriptor that came with it.
    ///
    /// # Errors
    /// `ENFILE` where none did: this process has too many, or the server lies.
    pub fn take_fd(&mut self) -> Result<OwnedFd, Errno> {
        self.fd.take().ok_or(Errno::ENFILE)
    }
}

impl Client {
    /// Greets the server at the other end of `socket`; returns its mounts and, if any is shared, the connection on
    /// which it sends [`crate::EventBatch`]es.
    ///
    /// # Errors
    /// `EIO` where there is no server or it speaks otherwise.
    pub fn connect(socket: OwnedFd) -> Result<(Self, HelloReply, Option<Transport>), Errno> {
        let client = Self {
            transport: Transport::new(socket),
            next_id: AtomicU64::new(1),
            state: Mutex::default(),
            buffer: Mutex::default(),
        };
        let mut response = client.call(&Hello { magic: MAGIC, version: VERSION })?;
        let hello = response.get()?;
        if hello.version != VERSION {
            return Err(Errno::EIO);
        }
        Ok((client, hello, response.fd.take().map(Transport::new)))
    }

    /// Sends a request and waits for its reply.
    ///
    /// # Errors
    /// What the server said; `EIO` where the connection is gone; `EMSGSIZE` where the request is too long.
    pub fn call<'a, C: Call<'a>>(&self, request: &C) -> Result<Response<C>, Errno> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        {
            let mut state = self.state.lock();
            if state.is_closed {
                return Err(Errno::EIO);
            }
            state.calls.insert(id, Slot::Waiting(C::OP, None));
        }
        if let Err(error) = self.send(C::OP, id, request) {
            self.state.lock().calls.remove(&id);
            return Err(if error == Errno::EMSGSIZE { error } else { Errno::EIO });
        }
        let frame = self.wait(id)?;
        match frame.header.error {
            Some(error) => Err(error),
            None => Ok(Response { body: frame.body, fd: frame.fds.into_iter().next(), call: PhantomData }),
        }
    }

    /// Gives look-ups back. Nobody waits for the server to have done it; a lost connection loses nothing.
    pub fn forget(&self, close: &Close) {
        let _ = self.send(Op::Close, 0, close);
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

    fn send<'a>(&self, op: Op, id: u64, request: &impl wire::Wire<'a>) -> Result<(), Errno> {
        let header = Header { kind: MessageKind::Request, op: op as u16, id, error: None };
        self.transport.send(&header, &wire::encode(request), &[])
    }

    /// Waits for the reply to request `id`, reading for everyone if nobody does.
    fn wait(&self, id: u64) -> Result<Frame, Errno> {
        let mut state = self.state.lock();
        loop {
            if let Some(Slot::Done(_)) = state.calls.get(&id) {
                let Some(Slot::Done(frame)) = state.calls.remove(&id) else { return Err(Errno::EIO) };
                state.appoint_reader();
                return Ok(frame);
            }
            if state.is_closed {
                state.calls.remove(&id);
                return Err(Errno::EIO);
            }
            if state.is_reading {
                let condition = Arc::new(Condvar::new());
                if let Some(Slot::Waiting(_, place)) = state.calls.get_mut(&id) {
                    *place = Some(Arc::clone(&condition));
                }
                condition.wait(&mut state);
                continue;
            }
            state.is_reading = true;
            drop(state);
            let received = self.transport.receive(&mut self.buffer.lock());
            state = self.state.lock();
            state.is_reading = false;
            if !state.deliver(received) {
                state.close();
                self.transport.shutdown();
            }
        }
    }
}

impl State {
    /// Hands a reply to its caller; false where the connection is of no more use.
    fn deliver(&mut self, received: Result<Option<Frame>, TransportError>) -> bool {
        let Ok(Some(frame)) = received else { return false };
        if frame.header.kind != MessageKind::Reply {
            return false;
        }
        let Some(slot) = self.calls.get_mut(&frame.header.id) else { return false };
        let Slot::Waiting(op, condition) = slot else { return false };
        if *op as u16 != frame.header.op {
            return false;
        }
        if let Some(condition) = condition {
            condition.notify_one();
        }
        *slot = Slot::Done(frame);
        true
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
