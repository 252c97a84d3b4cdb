//! Where a client waits for messages: at the server's door if it has one, else in the socket.

use abi::Errno;

use crate::client::TIMEOUT;
use crate::door::{ClientDoor, Turn};
use crate::frame::Header;
use crate::mailbox::{Mailbox, Place};
use crate::transport::{Frame, Transport, TransportError};

/// A server that comes to its door so often without what is waited for never answers. A healthy one does so once or
/// twice: when it was let go for somebody else, or the host made it call again.
const EMPTY_TURNS: u32 = 1000;

/// Of whoever reads.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    buffer: Vec<u8>,
    /// Without one, waiting is sleeping on the socket.
    pub(crate) door: Option<ClientDoor>,
    /// Where a server with a door finds a request, and puts its reply, first of all.
    pub(crate) mailbox: Option<Mailbox>,
    /// Turns at the door without a message, in a row.
    empty_turns: u32,
}

/// What came of waiting.
#[derive(Debug)]
pub(crate) enum Received {
    /// This.
    Message(Frame),
    /// The server has done something, and nothing is to be read.
    Nothing,
    /// Nothing in [`TIMEOUT`].
    Late,
    /// The connection is of no more use.
    Ended,
}

impl Inbox {
    /// Puts a request where the server looks when it is let go next, if it has read all [`Op::Close`](crate::Op) that were
    /// sent; says whether that could be done.
    pub(crate) fn post(&self, header: &Header, body: &[u8], closes_sent: u64) -> bool {
        self.door.as_ref().is_some_and(|door| door.closes_seen() >= closes_sent)
            && self.mailbox.as_ref().is_some_and(|mailbox| mailbox.put(Place::Request, header, body))
    }

    /// Waits for a message once.
    pub(crate) fn receive(&mut self, transport: &Transport) -> Received {
        let (received, turn) = match &mut self.door {
            None => (transport.receive(&mut self.buffer), Turn::Late),
            Some(door) => {
                let turn = door.take_turn(transport, TIMEOUT);
                let mail = self.mailbox.as_ref().map_or(Ok(None), |mailbox| mailbox.take(Place::Reply));
                let received = match mail {
                    Ok(None) => transport.receive_at_once(&mut self.buffer),
                    other => other,
                };
                (received, turn)
            }
        };
        match (received, turn) {
            (Ok(Some(frame)), _) => {
                self.empty_turns = 0;
                Received::Message(frame)
            }
            (Err(TransportError::Socket(Errno::EAGAIN)), Turn::Late) => Received::Late,
            (Err(TransportError::Socket(Errno::EAGAIN)), Turn::Came) if self.empty_turns < EMPTY_TURNS => {
                self.empty_turns += 1;
                Received::Nothing
            }
            _ => Received::Ended,
        }
    }

    /// How many [`Op::Close`](crate::Op) a server with a door had read when it was last seen there, or was let go for.
    pub(crate) fn closes_read(&self) -> u64 {
        self.door.as_ref().map_or(0, ClientDoor::closes_read)
    }

    /// Lets a server with a door read what it has not of the [`Op::Close`](crate::Op) that were sent; returns what
    /// [`Self::closes_read`] does.
    pub(crate) fn let_hear(&mut self, transport: &Transport, sent: u64) -> u64 {
        if let Some(door) = &mut self.door {
            door.let_hear(transport, sent);
        }
        self.closes_read()
    }
}
