//! Frames and descriptors over a socket.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use abi::Errno;
use host::unix::{self, Wait};

use crate::MAX_MESSAGE;
use crate::frame::Header;
use crate::wire::DecodeError;

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The socket failed.
    #[error("gofer connection: {0}")]
    Socket(Errno),
    /// The peer sent something that is no message.
    #[error("gofer connection: the peer broke the protocol: {0}")]
    Protocol(#[from] DecodeError),
    /// The peer sent a message that is longer than any may be.
    #[error("gofer connection: the peer sent an oversized message")]
    Oversized,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Transport {
    socket: OwnedFd,
}

/// A received message.
#[derive(Debug)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// What follows the header.
    pub body: Vec<u8>,
    /// What came with it.
    pub fds: Vec<OwnedFd>,
}

impl Transport {
    /// Over a connected `SOCK_SEQPACKET` socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Sends one message. Messages of several threads do not mix.
    ///
    /// # Errors
    /// `EMSGSIZE` where the body is too long, which sends nothing; otherwise the connection is gone.
    pub fn send(&self, header: &Header, body: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        self.send_waiting(header, body, fds, Wait::Block)
    }

    /// The same, and `EAGAIN` where there is no room for it and no waiting.
    pub(crate) fn send_waiting(
        &self,
        header: &Header,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
        wait: Wait,
    ) -> Result<(), Errno> {
        if body.len() > MAX_MESSAGE - Header::LEN {
            return Err(Errno::EMSGSIZE);
        }
        let head = header.encode(body.len());
        let parts = [IoSlice::new(&head), IoSlice::new(body)];
        let sent = unix::send_waiting(self.socket.as_fd(), &parts, fds, wait)?;
        if sent == head.len() + body.len() { Ok(()) } else { Err(Errno::EIO) }
    }

    /// Waits for a message; `None` is the end of the connection. `buffer` is used again from call to call.
    ///
    /// # Errors
    /// The socket failed or the peer sent nonsense: the connection is of no more use.
    pub fn receive(&self, buffer: &mut Vec<u8>) -> Result<Option<Frame>, TransportError> {
        self.receive_waiting(buffer, Wait::Block)
    }

    /// The same, and `EAGAIN` where there is none.
    pub(crate) fn receive_at_once(&self, buffer: &mut Vec<u8>) -> Result<Option<Frame>, TransportError> {
        self.receive_waiting(buffer, Wait::Poll)
    }

    fn receive_waiting(&self, buffer: &mut Vec<u8>, wait: Wait) -> Result<Option<Frame>, TransportError> {
        buffer.resize(MAX_MESSAGE, 0);
        let got = match unix::receive(self.socket.as_fd(), buffer, wait) {
            Err(Errno::ECONNRESET) => return Ok(None),
            other => other.map_err(TransportError::Socket)?,
        };
        // Where only a descriptor was lost, because we have too many, the call fails and not the connection. A
        // message cut short as well does not have the length that its header says.
        if got.is_truncated && !got.has_lost_fds {
            return Err(TransportError::Oversized);
        }
        if got.len == 0 {
            return Ok(None);
        }
        let (header, body) = Header::read(buffer.get(..got.len).unwrap_or_default())?;
        Ok(Some(Frame { header, body: body.to_vec(), fds: got.fds }))
    }

    /// Ends the connection in both directions; whoever waits in [`Self::receive`] gets `None`.
    pub fn shutdown(&self) {
        // A connection that is gone already cannot be shut down, which is as good.
        let _ = unix::shutdown(self.socket.as_fd(), std::net::Shutdown::Both);
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
