//! Framing on the control socket: eight bytes of header with the descriptors, then JSON.
//!
//! The header is the body's length and the number of descriptors, both as little-endian `u32`. The descriptors travel
//! with the header's first byte, so that none can be attributed to another message.

use std::io::{IoSlice, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use host::unix::{self, Wait};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest body. An OCI configuration with a large seccomp profile is under 1 MiB.
pub const MAX_BODY: usize = 16 << 20;
/// The most descriptors of a message.
pub const MAX_FDS: usize = 128;

/// Why a message could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other side closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// A body over the limit.
    #[error("a message of {0} bytes is over the limit of {MAX_BODY}")]
    TooLong(usize),
    /// Too many descriptors, or fewer than announced.
    #[error("a message announced {announced} descriptors and carried {carried} (at most {MAX_FDS})")]
    Descriptors {
        /// What the header says.
        announced: usize,
        /// What came.
        carried: usize,
    },
    /// Not what we speak.
    #[error("a message is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Io(#[from] std::io::Error),
}

/// What a failure means for the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireLoss {
    /// The other side is gone.
    Closed,
    /// It is there, and takes longer than the socket's limit.
    TimedOut,
    /// The two do not understand each other, or the host fails; nothing is known of the other side.
    Broken,
}

impl WireError {
    /// What it means for the connection.
    #[must_use]
    pub fn loss(&self) -> WireLoss {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, WouldBlock};
        match self {
            Self::Closed => WireLoss::Closed,
            Self::Io(error) => match error.kind() {
                BrokenPipe | ConnectionReset => WireLoss::Closed,
                WouldBlock | TimedOut => WireLoss::TimedOut,
                _ => WireLoss::Broken,
            },
            Self::TooLong(_) | Self::Descriptors { .. } | Self::Malformed(_) => WireLoss::Broken,
        }
    }
}

impl From<abi::Errno> for WireError {
    fn from(errno: abi::Errno) -> Self {
        Self::Io(std::io::Error::from_raw_os_error(errno.raw()))
    }
}

/// One end of a control connection.
#[derive(Debug)]
pub struct Channel {
    stream: std::os::unix::net::UnixStream,
}

impl Channel {
    /// Speaks on a connected stream socket.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self { stream: socket.into() }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Where it is over a limit or the socket fails.
    pub fn send<T: Serialize>(&self, message: &T, fds: &[BorrowedFd<'_>]) -> Result<(), WireError> {
        let body = serde_json::to_vec(message)?;
        if body.len() > MAX_BODY {
            return Err(WireError::TooLong(body.len()));
        }
        if fds.len() > MAX_FDS {
            return Err(WireError::Descriptors { announced: fds.len(), carried: fds.len() });
        }
        let mut header = [0; 8];
        header[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
        header[4..].copy_from_slice(&(fds.len() as u32).to_le_bytes());
        let parts = [IoSlice::new(&header), IoSlice::new(&body)];
        let sent = unix::send(self.stream.as_fd(), &parts, fds)?;
        // A stream socket may take a part only; the descriptors went with it.
        if sent < header.len() {
            (&self.stream).write_all(&header[sent..])?;
        }
        (&self.stream).write_all(&body[sent.saturating_sub(header.len())..])?;
        Ok(())
    }

    /// Receives a message.
    ///
    /// # Errors
    /// [`WireError::Closed`] at the end of the connection; otherwise where the other side breaks the rules.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<(T, Vec<OwnedFd>), WireError> {
        let mut header = [0; 8];
        let (mut have, mut fds) = (0, Vec::new());
        while have < header.len() {
            let part = unix::receive(self.stream.as_fd(), &mut header[have..], Wait::Block)?;
            fds.extend(part.fds);
            if part.len == 0 {
                return Err(WireError::Closed);
            }
            if part.is_truncated {
                return Err(WireError::Descriptors { announced: 0, carried: fds.len() });
            }
            have += part.len;
        }
        let [a, b, c, d, e, f, g, h] = header;
        let (len, announced) =
            (u32::from_le_bytes([a, b, c, d]) as usize, u32::from_le_bytes([e, f, g, h]) as usize);
        if len > MAX_BODY {
            return Err(WireError::TooLong(len));
        }
        if announced != fds.len() || announced > MAX_FDS {
            return Err(WireError::Descriptors { announced, carried: fds.len() });
        }
        let mut body = Vec::new();
        // Grown as it arrives: a length alone costs nothing.
        if (&self.stream).take(len as u64).read_to_end(&mut body)? < len {
            return Err(WireError::Closed);
        }
        Ok((serde_json::from_slice(&body)?, fds))
    }

    /// The socket.
    #[must_use]
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;

    use host::unix::{Kind, pair};
    use serde_json::{Value, json};

    use super::{Channel, WireError, WireLoss};

    #[test]
    fn large_messages_and_descriptors_arrive() {
        let (a, b) = pair(Kind::Stream).unwrap();
        let (a, b) = (Channel::new(a), Channel::new(b));
        let text = "x".repeat(3 << 20);
        let sent = json!({ "text": text });
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let null = std::fs::File::open("/dev/null").unwrap();
                a.send(&sent, &[null.as_fd(), null.as_fd()]).unwrap();
                a.send(&json!(1), &[]).unwrap();
            });
            let (value, fds) = b.receive::<Value>().unwrap();
            assert_eq!((value == sent, fds.len()), (true, 2));
            assert_eq!(b.receive::<Value>().unwrap().0, json!(1));
        });
        drop(a);
        assert!(matches!(b.receive::<Value>(), Err(WireError::Closed)));
    }

    type Case = (&'static [u8], fn(&WireError) -> bool);

    #[test]
    fn broken_peers_are_errors() {
        let cases: [Case; 5] = [
            (&[1, 0, 0], |e| matches!(e, WireError::Closed)),
            (&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], |e| matches!(e, WireError::TooLong(_))),
            (&[2, 0, 0, 0, 9, 0, 0, 0, b'{', b'}'], |e| matches!(e, WireError::Descriptors { .. })),
            (&[9, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'], |e| matches!(e, WireError::Closed)),
            (&[2, 0, 0, 0, 0, 0, 0, 0, b'{', b'{'], |e| matches!(e, WireError::Malformed(_))),
        ];
        for (bytes, expected) in cases {
            let (a, b) = pair(Kind::Stream).unwrap();
            let mut a = std::os::unix::net::UnixStream::from(a);
            a.write_all(bytes).unwrap();
            drop(a);
            let error = Channel::new(b).receive::<Value>().unwrap_err();
            assert!(expected(&error), "{bytes:?}: {error}");
            let is_closed = matches!(error, WireError::Closed);
            assert_eq!(error.loss(), if is_closed { WireLoss::Closed } else { WireLoss::Broken });
        }
    }

    #[test]
    fn a_peer_that_takes_its_time_is_not_gone() {
        let (a, b) = pair(Kind::Stream).unwrap();
        host::unix::limit_waits(b.as_fd(), std::time::Duration::from_millis(10)).unwrap();
        let b = Channel::new(b);
        assert_eq!(b.receive::<Value>().unwrap_err().loss(), WireLoss::TimedOut);
        drop(a);
        assert_eq!(b.receive::<Value>().unwrap_err().loss(), WireLoss::Closed);
        assert_eq!(b.send(&1, &[]).unwrap_err().loss(), WireLoss::Closed);
    }
}
