//! Unix sockets between our own processes: pairs, paths, credentials, and messages that carry descriptors.
//!
//! `man 7 unix`, `man 3 cmsg`. Every call retries `EINTR`, never raises SIGPIPE, and makes descriptors that are
//! closed on exec. A message's descriptors are owned from the moment they arrive: what the caller does not keep
//! is closed, also when the message turns out to be nonsense.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use abi::{Errno, Result};

use crate::{check, own};

/// The most descriptors one message can carry (`SCM_MAX_FD`).
pub const MAX_FDS: usize = 253;

/// Kind of a unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes without boundaries.
    Stream,
    /// Whole messages, in order, reliable, connected.
    SeqPacket,
    /// Whole messages without a connection.
    Datagram,
}

impl Kind {
    fn raw(self) -> i32 {
        match self {
            Self::Stream => libc::SOCK_STREAM,
            Self::SeqPacket => libc::SOCK_SEQPACKET,
            Self::Datagram => libc::SOCK_DGRAM,
        }
    }
}

/// What [`receive`] got.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the buffer; 0 is the end of the connection (or an empty message).
    pub len: usize,
    /// Descriptors that came with them, in order.
    pub fds: Vec<OwnedFd>,
    /// The message was longer than the buffer, or carried more descriptors than were asked for.
    pub is_truncated: bool,
    /// Some descriptors did not arrive: more than [`MAX_FDS`], or this process has too many.
    pub has_lost_fds: bool,
}

/// A new unconnected socket.
///
/// # Errors
/// What `socket(2)` says.
pub fn socket(kind: Kind) -> Result<OwnedFd> {
    // SAFETY: a plain system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_UNIX, kind.raw() | libc::SOCK_CLOEXEC, 0) };
    let fd = check(i64::from(fd))?;
    // SAFETY: the call just made this descriptor.
    Ok(unsafe { own(fd) })
}

/// Two connected sockets.
///
/// # Errors
/// What `socketpair(2)` says.
pub fn pair(kind: Kind) -> Result<(OwnedFd, OwnedFd)> {
    let mut fds: [RawFd; 2] = [-1; 2];
    // SAFETY: `fds` has room for the two descriptors that the call writes.
    let done =
        unsafe { libc::socketpair(libc::AF_UNIX, kind.raw() | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()) };
    check(i64::from(done))?;
    // SAFETY: the call succeeded, so both numbers are descriptors that nothing else owns.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// A socket bound to `path` and listening.
///
/// # Errors
/// What `socket(2)`, `bind(2)` and `listen(2)` say.
pub fn listen(path: &Path, kind: Kind, backlog: i32) -> Result<OwnedFd> {
    let fd = socket(kind)?;
    with_address(path, |addr, len| {
        // SAFETY: `addr` is a whole `sockaddr_un` and `len` is within it.
        check(i64::from(unsafe { libc::bind(fd.as_raw_fd(), (&raw const *addr).cast(), len) }))
    })?;
    start_listening(fd.as_fd(), backlog)?;
    Ok(fd)
}

/// Marks a bound socket as accepting connections.
///
/// # Errors
/// What `listen(2)` says.
pub fn start_listening(fd: BorrowedFd<'_>, backlog: i32) -> Result<()> {
    // SAFETY: a plain system call on a live descriptor.
    check(i64::from(unsafe { libc::listen(fd.as_raw_fd(), backlog) })).map(|_| ())
}

/// Connects to a listening socket.
///
/// # Errors
/// What `socket(2)` and `connect(2)` say.
pub fn connect(path: &Path, kind: Kind) -> Result<OwnedFd> {
    let fd = socket(kind)?;
    with_address(path, |addr, len| {
        // SAFETY: `addr` is a whole `sockaddr_un` and `len` is within it.
        retry(|| i64::from(unsafe { libc::connect(fd.as_raw_fd(), (&raw const *addr).cast(), len) }))
    })?;
    Ok(fd)
}

/// [`connect`], but `EAGAIN` where it would have to wait longer than `limit` for room in the listener's queue. So does
/// then what is sent and received.
///
/// # Errors
/// As [`connect`].
pub fn connect_within(path: &Path, kind: Kind, limit: Duration) -> Result<OwnedFd> {
    let fd = socket(kind)?;
    limit_waits(fd.as_fd(), limit)?;
    with_address(path, |addr, len| {
        // SAFETY: `addr` is a whole `sockaddr_un` and `len` is within it.
        check(i64::from(unsafe { libc::connect(fd.as_raw_fd(), (&raw const *addr).cast(), len) }))
    })?;
    Ok(fd)
}

/// Waits for a connection.
///
/// # Errors
/// What `accept4(2)` says.
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd> {
    // SAFETY: null pointers say that the address is not wanted.
    let fd = retry(|| unsafe {
        let none = std::ptr::null_mut();
        i64::from(libc::accept4(listener.as_raw_fd(), none, std::ptr::null_mut(), libc::SOCK_CLOEXEC))
    })?;
    // SAFETY: the call just made this descriptor.
    Ok(unsafe { own(fd) })
}

/// Ends sending, receiving, or both (`libc::SHUT_*` as the [`Shutdown`] of the standard library).
///
/// # Errors
/// What `shutdown(2)` says.
pub fn shutdown(fd: BorrowedFd<'_>, how: std::net::Shutdown) -> Result<()> {
    let how = match how {
        std::net::Shutdown::Read => libc::SHUT_RD,
        std::net::Shutdown::Write => libc::SHUT_WR,
        std::net::Shutdown::Both => libc::SHUT_RDWR,
    };
    // SAFETY: a plain system call on a live descriptor.
    check(i64::from(unsafe { libc::shutdown(fd.as_raw_fd(), how) })).map(|_| ())
}

/// Room for `N` bytes of control data, aligned as `cmsghdr` wants it.
#[repr(C, align(8))]
struct Control<const N: usize>([u8; N]);

/// Bytes of control data for the most descriptors: a header of 16 bytes and 4 for each, rounded up.
const CONTROL_LEN: usize = (16 + MAX_FDS * 4).next_multiple_of(8);

/// Sends one message (for a stream: some bytes) with descriptors; returns the bytes sent.
///
/// # Errors
/// What `sendmsg(2)` says; `EINVAL` for more than [`MAX_FDS`] descriptors; `EPIPE` where the peer is gone.
pub fn send(socket: BorrowedFd<'_>, bytes: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> Result<usize> {
    send_waiting(socket, bytes, fds, Wait::Block)
}

/// [`send`], which waits for room or does not.
///
/// # Errors
/// As [`send`]; `EAGAIN` where there is no room and no waiting.
pub fn send_waiting(
    socket: BorrowedFd<'_>,
    bytes: &[IoSlice<'_>],
    fds: &[BorrowedFd<'_>],
    wait: Wait,
) -> Result<usize> {
    if fds.len() > MAX_FDS {
        return Err(Errno::EINVAL);
    }
    let mut control = Control([0u8; CONTROL_LEN]);
    // SAFETY: all zeros is a valid `msghdr`.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    // `IoSlice` has the layout of `iovec` by its documentation; the kernel only reads.
    header.msg_iov = bytes.as_ptr().cast_mut().cast();
    header.msg_iovlen = bytes.len();
    if !fds.is_empty() {
        let payload = size_of_val(fds);
        header.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: pure arithmetic on a length of at most `MAX_FDS * 4`.
        header.msg_controllen = unsafe { libc::CMSG_SPACE(payload as u32) } as usize;
        // SAFETY: `msg_control` is aligned and `msg_controllen` bytes long, so the first header and `payload`
        // bytes of data are inside; `BorrowedFd` is a transparent descriptor number.
        unsafe {
            let first = libc::CMSG_FIRSTHDR(&raw const header);
            (*first).cmsg_level = libc::SOL_SOCKET;
            (*first).cmsg_type = libc::SCM_RIGHTS;
            (*first).cmsg_len = libc::CMSG_LEN(payload as u32) as usize;
            std::ptr::copy_nonoverlapping(fds.as_ptr().cast::<u8>(), libc::CMSG_DATA(first), payload);
        }
    }
    let flags = libc::MSG_NOSIGNAL | wait.flag();
    // SAFETY: `header` names live buffers that the kernel only reads.
    retry(|| unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags) } as i64)
}

/// How [`receive`] and [`send_waiting`] wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until something arrives, or there is room.
    Block,
    /// Not at all: `EAGAIN` where there is nothing, or no room.
    Poll,
}

impl Wait {
    fn flag(self) -> i32 {
        if self == Self::Poll { libc::MSG_DONTWAIT } else { 0 }
    }
}

/// Receives one message (for a stream: some bytes) and its descriptors.
///
/// # Errors
/// What `recvmsg(2)` says.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], wait: Wait) -> Result<Received> {
    receive_vectored(socket, &mut [IoSliceMut::new(buffer)], wait)
}

/// Makes each wait to send or receive end after `limit`, with `EAGAIN` (`SO_SNDTIMEO`, `SO_RCVTIMEO`).
///
/// # Errors
/// What `setsockopt(2)` says.
pub fn limit_waits(socket: BorrowedFd<'_>, limit: Duration) -> Result<()> {
    let limit = libc::timeval {
        tv_sec: i64::try_from(limit.as_secs()).map_err(|_| Errno::EDOM)?,
        tv_usec: i64::from(limit.subsec_micros()),
    };
    for option in [libc::SO_SNDTIMEO, libc::SO_RCVTIMEO] {
        // SAFETY: `limit` is a live value of the size given.
        let done = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const limit).cast(),
                size_of_val(&limit) as libc::socklen_t,
            )
        };
        check(i64::from(done))?;
    }
    Ok(())
}

/// [`receive`] into several buffers.
///
/// # Errors
/// What `recvmsg(2)` says.
pub fn receive_vectored(
    socket: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
    wait: Wait,
) -> Result<Received> {
    let mut control = Control([0u8; CONTROL_LEN]);
    // SAFETY: all zeros is a valid `msghdr`.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = buffers.as_mut_ptr().cast();
    header.msg_iovlen = buffers.len();
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = CONTROL_LEN;
    let flags = libc::MSG_CMSG_CLOEXEC | wait.flag();
    // SAFETY: `header` names live exclusive buffers of the lengths it says.
    let len = retry(|| unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) } as i64)?;
    let fds = take_fds(&header);
    let is_truncated = header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    let has_lost_fds = header.msg_flags & libc::MSG_CTRUNC != 0;
    Ok(Received { len, fds, is_truncated, has_lost_fds })
}

/// Owns every descriptor in the control data that the kernel just wrote.
fn take_fds(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: the kernel filled `msg_control` with whole headers within `msg_controllen`; the walk stays inside.
    let mut next = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !next.is_null() {
        // SAFETY: `next` is a header inside the control data, per the walk.
        let cmsg = unsafe { next.read_unaligned() };
        if cmsg.cmsg_level == libc::SOL_SOCKET && cmsg.cmsg_type == libc::SCM_RIGHTS {
            // SAFETY: pure arithmetic.
            let head = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = cmsg.cmsg_len.saturating_sub(head) / size_of::<RawFd>();
            for index in 0..count {
                // SAFETY: the header says that `count` descriptors follow it, each new and owned by nobody.
                let fd = unsafe { libc::CMSG_DATA(next).cast::<RawFd>().add(index).read_unaligned() };
                if fd >= 0 {
                    // SAFETY: as above.
                    fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
                }
            }
        }
        // SAFETY: as for the first one.
        next = unsafe { libc::CMSG_NXTHDR(header, next) };
    }
    fds
}

fn retry(mut call: impl FnMut() -> i64) -> Result<usize> {
    loop {
        match check(call()) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Hands `with` a path of any length as a socket address: one that is longer than an address has room for goes by way of
/// its open directory.
fn with_address<T>(
    path: &Path,
    with: impl FnOnce(&libc::sockaddr_un, libc::socklen_t) -> Result<T>,
) -> Result<T> {
    let is_short = path.as_os_str().len() < size_of::<libc::sockaddr_un>() - PATH_OFFSET;
    if is_short {
        let (addr, len) = address(path)?;
        return with(&addr, len);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::EINVAL) };
    let errno = |error: std::io::Error| Errno::from_raw(error.raw_os_error().unwrap_or(Errno::EIO.raw()));
    let dir = File::open(parent).map_err(errno)?;
    let (addr, len) = address(&Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name))?;
    with(&addr, len)
}

/// Where the path begins in a socket address.
const PATH_OFFSET: usize = std::mem::offset_of!(libc::sockaddr_un, sun_path);

/// A path as a socket address. Abstract names are not made here: they are visible beyond a mount name space.
fn address(path: &Path) -> Result<(libc::sockaddr_un, libc::socklen_t)> {
    let bytes = path.as_os_str().as_bytes();
    // SAFETY: all zeros is a valid `sockaddr_un`.
    let mut addr: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    if bytes.is_empty() || bytes.contains(&0) {
        return Err(Errno::EINVAL);
    }
    if bytes.len() >= addr.sun_path.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    addr.sun_family = libc::AF_UNIX as libc::sa_family_t;
    for (to, from) in addr.sun_path.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    let len = PATH_OFFSET + bytes.len() + 1;
    Ok((addr, len as libc::socklen_t))
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::fd::{AsFd, AsRawFd};

    use abi::Errno;

    use super::{Kind, Wait, accept, connect, listen, pair, receive, send};

    #[test]
    fn messages_keep_boundaries_and_carry_descriptors() {
        let (a, b) = pair(Kind::SeqPacket).unwrap();
        let (x, y) = pair(Kind::Stream).unwrap();
        let fds = [x.as_fd(), y.as_fd(), x.as_fd()];
        assert_eq!(send(a.as_fd(), &[IoSlice::new(b"one"), IoSlice::new(b"two")], &fds), Ok(6));
        assert_eq!(send(a.as_fd(), &[IoSlice::new(b"longer than the buffer")], &[]), Ok(22));
        let mut buffer = [0; 8];
        let first = receive(b.as_fd(), &mut buffer, Wait::Block).unwrap();
        assert_eq!((first.len, first.fds.len(), first.is_truncated), (6, 3, false));
        assert_eq!(&buffer[..6], b"onetwo");
        assert_ne!(first.fds[0].as_raw_fd(), first.fds[2].as_raw_fd());
        let second = receive(b.as_fd(), &mut buffer, Wait::Block).unwrap();
        assert_eq!((second.len, second.is_truncated), (8, true));
        assert_eq!(receive(b.as_fd(), &mut buffer, Wait::Poll).unwrap_err(), Errno::EAGAIN);
        drop(b);
        assert_eq!(send(a.as_fd(), &[IoSlice::new(b"x")], &[]), Err(Errno::EPIPE));
        assert_eq!(receive(a.as_fd(), &mut buffer, Wait::Block).unwrap().len, 0);
    }

    #[test]
    fn the_most_descriptors_arrive_whole() {
        let (a, b) = pair(Kind::SeqPacket).unwrap();
        let many = vec![a.as_fd(); super::MAX_FDS];
        send(a.as_fd(), &[IoSlice::new(b"x")], &many).unwrap();
        let got = receive(b.as_fd(), &mut [0; 4], Wait::Block).unwrap();
        assert_eq!((got.fds.len(), got.is_truncated), (super::MAX_FDS, false));
        assert_eq!(send(a.as_fd(), &[], &vec![a.as_fd(); super::MAX_FDS + 1]), Err(Errno::EINVAL));
    }

    #[test]
    fn paths_listen_and_connect() {
        let dir = std::env::temp_dir().join(format!("host-unix-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("s");
        let listener = listen(&path, Kind::SeqPacket, 4).unwrap();
        let client = connect(&path, Kind::SeqPacket).unwrap();
        let server = accept(listener.as_fd()).unwrap();
        send(client.as_fd(), &[IoSlice::new(b"hi")], &[]).unwrap();
        assert_eq!(receive(server.as_fd(), &mut [0; 4], Wait::Block).unwrap().len, 2);
        let long = dir.join("x".repeat(120));
        std::fs::create_dir(&long).unwrap();
        let _listener = listen(&long.join("s"), Kind::Stream, 4).unwrap();
        connect(&long.join("s"), Kind::Stream).unwrap();
        assert_eq!(connect(&long.join("none"), Kind::Stream).unwrap_err(), Errno::ENOENT);
        assert_eq!(connect(&long.join("x".repeat(120)), Kind::Stream).unwrap_err(), Errno::ENAMETOOLONG);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
