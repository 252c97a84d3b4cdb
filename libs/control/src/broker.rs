//! How a sandbox with `--network=host` gets sockets of the host: it asks a process that may make and bind them.
//!
//! The sandbox can make no socket and has no privilege over the host's ports. The *broker* (`runsc-broker`) makes
//! internet sockets, passes them on, and binds those that it is handed back; everything else that a socket can do the
//! sandbox does itself. Requests have one fixed size and travel over a `SOCK_SEQPACKET` pair, one at a time. A socket
//! that was made comes with a message of its own ([`MADE`]) before the answer (an errno or 0): who has the answer knows
//! that the broker has closed its copies.

use std::io::IoSlice;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

use abi::socket::{AF_INET, AF_INET6, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCKADDR_MAX, SOL_SOCKET, SocketType, so};
use abi::{Errno, Result};
use host::seccomp::{ArgCheck, LAST_WORDS, LOOK_BEFORE_CLOSE, Rule, SEND_WITHOUT_SIGNAL, nr};
use host::unix::{Wait, receive, send};

/// What a broker is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request<'a> {
    /// A new socket.
    Create { domain: i32, kind: i32, protocol: i32 },
    /// To bind the socket that comes along.
    Bind { address: &'a [u8] },
}

const CREATE: u32 = 1;
const BIND: u32 = 2;
/// Instead of an answer: a socket comes along, and the answer follows.
const MADE: i32 = -1;
/// An operation, three numbers, an address.
const REQUEST_LEN: usize = 16 + SOCKADDR_MAX;

impl<'a> Request<'a> {
    fn encode(&self) -> [u8; REQUEST_LEN] {
        let mut bytes = [0; REQUEST_LEN];
        let (head, body) = bytes.split_at_mut(16);
        let words = match *self {
            Self::Create { domain, kind, protocol } => {
                [CREATE, domain.cast_unsigned(), kind.cast_unsigned(), protocol.cast_unsigned()]
            }
            Self::Bind { address } => {
                let len = address.len().min(SOCKADDR_MAX);
                body[..len].copy_from_slice(&address[..len]);
                [BIND, len as u32, 0, 0]
            }
        };
        for (slot, word) in head.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_ne_bytes());
        }
        bytes
    }

    /// `None` for what is no request.
    fn decode(bytes: &'a [u8]) -> Option<Self> {
        let bytes: &[u8; REQUEST_LEN] = bytes.try_into().ok()?;
        let (head, body) = bytes.split_at(16);
        let word = |at: usize| head[at * 4..].first_chunk().map_or(0, |word| u32::from_ne_bytes(*word));
        match word(0) {
            CREATE => Some(Self::Create {
                domain: word(1).cast_signed(),
                kind: word(2).cast_signed(),
                protocol: word(3).cast_signed(),
            }),
            BIND => Some(Self::Bind { address: body.get(..word(1) as usize)? }),
            _ => None,
        }
    }
}

/// The sandbox's end.
#[derive(Debug)]
pub struct Broker(Mutex<OwnedFd>);

impl Broker {
    /// The broker behind `socket`.
    #[must_use]
    pub fn new(socket: OwnedFd) -> Self {
        Self(Mutex::new(socket))
    }

    /// A new internet socket that does not wait.
    ///
    /// # Errors
    /// What the host says; `ENFILE` where the sandbox can hold no more descriptors, `ENETDOWN` where the broker is gone.
    pub fn create(&self, domain: i32, kind: i32, protocol: i32) -> Result<OwnedFd> {
        let fd = self.ask(Request::Create { domain, kind, protocol }, &[])?;
        fd.ok_or(Errno::ENFILE)
    }

    /// Binds `socket` to a `sockaddr`, whatever the port.
    ///
    /// # Errors
    /// What the host says; `ENETDOWN` where the broker is gone.
    pub fn bind(&self, socket: BorrowedFd<'_>, address: &[u8]) -> Result<()> {
        self.ask(Request::Bind { address }, &[socket]).map(drop)
    }

    fn ask(&self, request: Request<'_>, fds: &[BorrowedFd<'_>]) -> Result<Option<OwnedFd>> {
        let gone = |_| Errno::ENETDOWN;
        let socket = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        send(socket.as_fd(), &[IoSlice::new(&request.encode())], fds).map_err(gone)?;
        let mut reply = [0; 4];
        let mut made = None;
        loop {
            let mut received = receive(socket.as_fd(), &mut reply, Wait::Block).map_err(gone)?;
            if received.len != reply.len() {
                return Err(Errno::ENETDOWN);
            }
            match i32::from_ne_bytes(reply) {
                // Without the socket where this process is out of descriptors.
                MADE => made = received.fds.pop(),
                0 => return Ok(made),
                errno => return Err(Errno::from_raw(errno)),
            }
        }
    }
}

/// As [`host::socket::create`] asks for them.
const SOCKET_TYPES: &[u32] = &[
    (SocketType::Stream as i32 | SOCK_CLOEXEC | SOCK_NONBLOCK).cast_unsigned(),
    (SocketType::Datagram as i32 | SOCK_CLOEXEC | SOCK_NONBLOCK).cast_unsigned(),
    (SocketType::Raw as i32 | SOCK_CLOEXEC | SOCK_NONBLOCK).cast_unsigned(),
];

/// The host system calls that a broker needs.
pub const RULES: &[Rule] = &[
    Rule::any(nr::SYS_recvmsg, "recvmsg"),
    SEND_WITHOUT_SIGNAL,
    Rule::when(
        nr::SYS_socket,
        "socket",
        &[ArgCheck::OneOf32(0, &[AF_INET as u32, AF_INET6 as u32]), ArgCheck::OneOf32(1, SOCKET_TYPES)],
    ),
    Rule::any(nr::SYS_bind, "bind"),
    Rule::when(
        nr::SYS_getsockopt,
        "getsockopt",
        &[ArgCheck::Eq32(1, SOL_SOCKET as u32), ArgCheck::Eq32(2, so::DOMAIN as u32)],
    ),
    Rule::any(nr::SYS_close, "close"),
    LOOK_BEFORE_CLOSE,
    // The allocator, and the end.
    Rule::any(nr::SYS_brk, "brk"),
    Rule::any(nr::SYS_munmap, "munmap"),
    Rule::any(nr::SYS_sigaltstack, "sigaltstack"),
    Rule::any(nr::SYS_exit_group, "exit_group"),
    LAST_WORDS,
];

/// Serves the sandbox at the other end of `socket` until it is gone. Raw sockets are made where `allows_raw`.
///
/// # Errors
/// What the host says of the socket.
pub fn serve(socket: BorrowedFd<'_>, allows_raw: bool) -> Result<()> {
    let mut buffer = [0; REQUEST_LEN];
    loop {
        let received = receive(socket, &mut buffer, Wait::Block)?;
        if received.len == 0 {
            return Ok(());
        }
        let request = Request::decode(&buffer[..received.len]).filter(|_| !received.is_truncated);
        let outcome = match (request, received.fds.as_slice()) {
            (Some(Request::Create { domain, kind, protocol }), []) => {
                create(domain, kind, protocol, allows_raw).map(Some)
            }
            (Some(Request::Bind { address }), [fd]) => bind(fd.as_fd(), address).map(|()| None),
            _ => Err(Errno::EINVAL),
        };
        let errno = outcome.as_ref().err().map_or(0, |errno| errno.raw());
        if let Ok(Some(made)) = outcome {
            send(socket, &[IoSlice::new(&MADE.to_ne_bytes())], &[made.as_fd()])?;
        }
        // The answer follows when no copy is left here: what the guest closes then is closed, and its port free.
        drop(received);
        send(socket, &[IoSlice::new(&errno.to_ne_bytes())], &[])?;
    }
}

/// Binds an internet socket: names of other families are no business of a sandbox.
fn bind(socket: BorrowedFd<'_>, address: &[u8]) -> Result<()> {
    let domain = host::socket::option(socket, SOL_SOCKET, so::DOMAIN, size_of::<i32>())?;
    let domain = domain.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
    if !domain.is_some_and(is_internet) {
        return Err(Errno::EAFNOSUPPORT);
    }
    host::socket::bind(socket, address)
}

fn is_internet(domain: i32) -> bool {
    [i32::from(AF_INET), i32::from(AF_INET6)].contains(&domain)
}

/// Internet sockets alone. Which protocols there are is the host's knowledge; raw ones are asked for by type.
fn create(domain: i32, kind: i32, protocol: i32, allows_raw: bool) -> Result<OwnedFd> {
    if !is_internet(domain) {
        return Err(Errno::EAFNOSUPPORT);
    }
    match SocketType::from_raw(kind) {
        Some(SocketType::Stream | SocketType::Datagram) => {}
        Some(SocketType::Raw) if allows_raw => {}
        Some(SocketType::Raw) => return Err(Errno::EPERM),
        Some(SocketType::SeqPacket) | None => return Err(Errno::ESOCKTNOSUPPORT),
    }
    host::socket::create(domain, kind, protocol)
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::fd::AsFd;

    use abi::Errno;
    use host::unix::{Kind, Wait, pair, receive, send};

    use super::{Broker, MADE, REQUEST_LEN, Request, serve};

    #[test]
    fn requests_round_trip_and_nonsense_is_refused() {
        let bind = Request::Bind { address: &[2, 0, 0, 80] };
        assert_eq!(Request::decode(&bind.encode()), Some(bind));
        let create = Request::Create { domain: 2, kind: -1, protocol: i32::MAX };
        assert_eq!(Request::decode(&create.encode()), Some(create));
        let mut bytes = bind.encode();
        bytes[4..8].copy_from_slice(&200u32.to_ne_bytes());
        assert_eq!(Request::decode(&bytes), None);
        bytes[0] = 9;
        assert_eq!(Request::decode(&bytes), None);
        assert_eq!(Request::decode(&bytes[1..]), None);
    }

    #[test]
    fn sockets_come_and_are_bound() {
        let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
        let server = std::thread::spawn(move || serve(theirs.as_fd(), false));
        let stray = ours.try_clone().unwrap();
        let broker = Broker::new(ours);
        let socket = broker.create(2, 1, 0).unwrap();
        broker.bind(socket.as_fd(), &[2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        let address = host::socket::local_address(socket.as_fd()).unwrap();
        assert_ne!(address[2..4], [0, 0]);
        // No copy outlives the answer: the port of what is closed is free at once.
        for _ in 0..200 {
            let (first, second) = (broker.create(2, 2, 0).unwrap(), broker.create(2, 2, 0).unwrap());
            broker.bind(first.as_fd(), &[2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
            let taken = host::socket::local_address(first.as_fd()).unwrap();
            drop(first);
            host::socket::bind(second.as_fd(), &taken).unwrap();
        }
        let other = broker.create(2, 1, 0).unwrap();
        assert_eq!(broker.bind(other.as_fd(), &[1]), Err(Errno::EINVAL));
        assert_eq!(broker.create(1, 1, 0).unwrap_err(), Errno::EAFNOSUPPORT);
        assert_eq!(broker.bind(stray.as_fd(), &[1, 0, 0, b'x']), Err(Errno::EAFNOSUPPORT));
        assert_eq!(broker.create(2, 3, 1).unwrap_err(), Errno::EPERM);
        assert_eq!(broker.create(2, 5, 0).unwrap_err(), Errno::ESOCKTNOSUPPORT);
        send(stray.as_fd(), &[IoSlice::new(b"nonsense")], &[]).unwrap();
        let mut reply = [0; 4];
        receive(stray.as_fd(), &mut reply, Wait::Block).unwrap();
        assert_eq!(i32::from_ne_bytes(reply), Errno::EINVAL.raw());
        drop((broker, stray));
        assert_eq!(server.join().unwrap(), Ok(()));
    }

    #[test]
    fn a_lost_socket_is_an_error_and_nothing_else() {
        let (ours, theirs) = pair(Kind::SeqPacket).unwrap();
        let server = std::thread::spawn(move || {
            for words in [&[MADE, 0][..], &[Errno::EADDRINUSE.raw()]] {
                receive(theirs.as_fd(), &mut [0; REQUEST_LEN], Wait::Block).unwrap();
                for word in words {
                    send(theirs.as_fd(), &[IoSlice::new(&word.to_ne_bytes())], &[]).unwrap();
                }
            }
        });
        let broker = Broker::new(ours.try_clone().unwrap());
        assert_eq!(broker.create(2, 1, 0).unwrap_err(), Errno::ENFILE);
        assert_eq!(broker.bind(ours.as_fd(), &[2]), Err(Errno::EADDRINUSE));
        server.join().unwrap();
    }
}
