//! The header before each message.

use abi::Errno;

use crate::MAX_MESSAGE;
use crate::wire::{DecodeError, Reader, Writer};

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// From the client.
    Request,
    /// The server's answer.
    Reply,
    /// From the server, on the event connection.
    Event,
}

/// First bytes of every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: MessageKind,
    /// Number of the call ([`crate::Op`]); 0 for an event. Unknown numbers are for the receiver to refuse.
    pub op: u16,
    /// The client's number for the request, repeated in the reply.
    pub id: u64,
    /// In a reply: why the call failed. The body is empty then.
    pub error: Option<Errno>,
}

impl Header {
    /// Encoded length: length, kind, reserved, operation, id, error.
    pub const LEN: usize = 4 + 1 + 1 + 2 + 8 + 4;

    /// The encoding before a body of `body_len` bytes.
    #[must_use]
    pub fn encode(&self, body_len: usize) -> Vec<u8> {
        let mut to = Writer::default();
        to.put(&u32::try_from(Self::LEN.saturating_add(body_len)).unwrap_or(u32::MAX));
        to.put(&match self.kind {
            MessageKind::Request => 0u8,
            MessageKind::Reply => 1,
            MessageKind::Event => 2,
        });
        to.put(&0u8);
        to.put(&self.op);
        to.put(&self.id);
        to.put(&self.error.map_or(0, Errno::raw));
        to.into_bytes()
    }

    /// Takes a whole message apart.
    ///
    /// # Errors
    /// [`DecodeError`] where the header is not one or its length is not that of the message.
    pub fn read(message: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        if message.len() > MAX_MESSAGE {
            return Err(DecodeError::Bad("message length"));
        }
        let mut reader = Reader::new(message);
        let len = reader.get::<u32>()?;
        if u32::try_from(message.len()) != Ok(len) {
            return Err(DecodeError::Bad("message length"));
        }
        let kind = match reader.get::<u8>()? {
            0 => MessageKind::Request,
            1 => MessageKind::Reply,
            2 => MessageKind::Event,
            _ => return Err(DecodeError::Bad("message kind")),
        };
        if reader.get::<u8>()? != 0 {
            return Err(DecodeError::Bad("reserved byte"));
        }
        let (op, id) = (reader.get()?, reader.get()?);
        let error = match reader.get::<i32>()? {
            0 => None,
            raw @ 1..4096 if kind == MessageKind::Reply => Some(Errno::from_raw(raw)),
            _ => return Err(DecodeError::Bad("error number")),
        };
        let header = Self { kind, op, id, error };
        let body = reader.take(reader.left())?;
        if error.is_some() && !body.is_empty() {
            return Err(DecodeError::Trailing(body.len()));
        }
        Ok((header, body))
    }
}
