//! The mailbox: small messages of a server with a door, without the socket.
//!
//! Who takes turns at a door needs no queue, and a message through a socket costs its two ends some 6 us. So client and
//! server share a little memory with room for one request and one reply. Which of them is there, its length says: not
//! nothing. Who takes it out makes it nothing again. What is too long, carries descriptors, or finds its place taken,
//! goes through the socket as ever; the receiver looks here first.
//!
//! The other side can write here at any time, so a message is copied out before it is looked at. It cannot take memory away:
//! the size is sealed by who makes it, and who gets it looks at the seal. Where the host has no memory left for a page, that
//! is an error like any other.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use abi::Errno;
use host::memory::{self, Mapping, VolatileSlice};

use crate::frame::Header;
use crate::transport::{Frame, TransportError};

/// As it is called in the host's lists of mappings.
const NAME: &CStr = c"gofer-mailbox";
/// Bytes of all.
const SIZE: usize = 16 << 10;

/// Room for one message: its length, then the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Request,
    Reply,
}

impl Place {
    const fn start(self) -> usize {
        match self {
            Self::Request => 0,
            Self::Reply => 4 << 10,
        }
    }

    const fn end(self) -> usize {
        match self {
            Self::Request => Self::Reply.start(),
            Self::Reply => SIZE,
        }
    }

    /// The longest message.
    const fn room(self) -> usize {
        self.end() - self.start() - LENGTH
    }
}

/// Bytes of the length before a message.
const LENGTH: usize = size_of::<u32>();

/// One side's view.
#[derive(Debug)]
pub(crate) struct Mailbox {
    memory: Mapping,
}

impl Mailbox {
    /// A new one; also returns what the other side maps.
    ///
    /// # Errors
    /// Where the host has no memory for it.
    pub(crate) fn make() -> Result<(Self, OwnedFd), Errno> {
        let fd = memory::sealed_memfd(NAME, SIZE as u64)?;
        Ok((Self::map(fd.as_fd())?, fd))
    }

    /// The one that the other side has made.
    ///
    /// # Errors
    /// `EPERM` where it could be cut; what `mmap(2)` says.
    pub(crate) fn map(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        if !memory::is_sealed(fd, SIZE as u64) {
            return Err(Errno::EPERM);
        }
        // A page that the host cannot give is to fail the copy, not the process.
        memory::install_fault_handler();
        Ok(Self { memory: Mapping::shared(fd, 0, SIZE, true)? })
    }

    /// Puts a message there, if there is room; says whether it did.
    pub(crate) fn put(&self, place: Place, header: &Header, body: &[u8]) -> bool {
        body.len() <= place.room() - Header::LEN && self.try_put(place, header, body) == Ok(true)
    }

    fn try_put(&self, place: Place, header: &Header, body: &[u8]) -> Result<bool, Errno> {
        let memory = self.memory.as_slice();
        if memory.load_u32(place.start())? != 0 {
            return Ok(false);
        }
        let head = header.encode(body.len());
        let start = place.start() + LENGTH;
        write(memory, start, &head)?;
        write(memory, start + head.len(), body)?;
        let len = u32::try_from(head.len() + body.len()).map_err(|_| Errno::EMSGSIZE)?;
        memory.store_u32(place.start(), len)?;
        Ok(true)
    }

    /// Takes the message that is there, if one is.
    ///
    /// # Errors
    /// The other side has put nonsense there, or has taken the memory away.
    pub(crate) fn take(&self, place: Place) -> Result<Option<Frame>, TransportError> {
        let memory = self.memory.as_slice();
        let len = memory.load_u32(place.start()).map_err(TransportError::Socket)? as usize;
        if len == 0 {
            return Ok(None);
        }
        if len > place.room() {
            return Err(TransportError::Oversized);
        }
        let mut message = vec![0; len];
        let read = memory.sub(place.start() + LENGTH, len).and_then(|from| from.read(&mut message));
        if read.map_err(TransportError::Socket)? != len {
            return Err(TransportError::Socket(Errno::EFAULT));
        }
        memory.store_u32(place.start(), 0).map_err(TransportError::Socket)?;
        let (header, body) = Header::read(&message)?;
        let body_start = len - body.len();
        message.drain(..body_start);
        Ok(Some(Frame { header, body: message, fds: Vec::new() }))
    }
}

fn write(memory: VolatileSlice<'_>, offset: usize, bytes: &[u8]) -> Result<(), Errno> {
    let written = memory.sub(offset, bytes.len())?.write(bytes)?;
    if written == bytes.len() { Ok(()) } else { Err(Errno::EFAULT) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use abi::Errno;

    use super::{LENGTH, Mailbox, Place, SIZE};
    use crate::frame::{Header, MessageKind};
    use crate::transport::TransportError;

    const HEADER: Header = Header { kind: MessageKind::Request, op: 3, id: 7, error: None };

    #[test]
    fn a_message_goes_over_once_and_its_place_is_free_again() {
        let (ours, fd) = Mailbox::make().unwrap();
        let theirs = Mailbox::map(fd.as_fd()).unwrap();
        for place in [Place::Request, Place::Reply] {
            assert!(theirs.take(place).unwrap().is_none());
            assert!(ours.put(place, &HEADER, b"body"));
            assert!(!ours.put(place, &HEADER, b"taken"));
            let frame = theirs.take(place).unwrap().unwrap();
            assert_eq!((frame.header, &frame.body[..]), (HEADER, &b"body"[..]));
            assert!(theirs.take(place).unwrap().is_none());
            let most = vec![1; place.room() - Header::LEN];
            assert!(!ours.put(place, &HEADER, &[&most[..], b"1"].concat()), "too long");
            assert!(ours.put(place, &HEADER, &most));
            assert_eq!(theirs.take(place).unwrap().unwrap().body, most);
        }
    }

    #[test]
    fn what_the_other_side_writes_is_checked() {
        let (ours, fd) = Mailbox::make().unwrap();
        let memory = host::memory::Mapping::shared(fd.as_fd(), 0, SIZE, true).unwrap();
        let start = Place::Reply.start();
        for len in [1, u32::MAX, (Place::Reply.room() + 1) as u32] {
            memory.as_slice().store_u32(start, len).unwrap();
            assert!(ours.take(Place::Reply).is_err(), "{len}");
        }
        memory.as_slice().store_u32(start, 0).unwrap();
        assert!(ours.put(Place::Reply, &HEADER, b"body"));
        memory.as_slice().store_u32(start + LENGTH, 1).unwrap();
        assert!(
            matches!(ours.take(Place::Reply), Err(TransportError::Protocol(_))),
            "a length that is not its own"
        );
    }

    #[test]
    fn nobody_can_take_memory_away() {
        let (_ours, fd) = Mailbox::make().unwrap();
        for size in [0, SIZE as u64 - 4096, 2 * SIZE as u64] {
            assert_eq!(host::fs::truncate(fd.as_fd(), size), Err(Errno::EPERM));
        }
        let unsealed = host::memory::memfd(c"test", SIZE as u64).unwrap();
        assert_eq!(Mailbox::map(unsealed.as_fd()).err(), Some(Errno::EPERM));
        let small = host::memory::sealed_memfd(c"test", SIZE as u64 - 4096).unwrap();
        assert_eq!(Mailbox::map(small.as_fd()).err(), Some(Errno::EPERM));
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(Mailbox::map(file.as_fd()).err(), Some(Errno::EPERM));
    }
}
