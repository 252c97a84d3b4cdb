//! The host's internet sockets as bytes (`man 2 socket` and its kin): addresses are `sockaddr`s, options raw values.
//!
//! Sockets never wait: they are made with `SOCK_NONBLOCK`, and so are those that they accept. What the caller gives is
//! not checked here; the host does.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use abi::fcntl::ioctl::SIOCATMARK;
use abi::{Errno, Result};

use crate::check;
use crate::memory::{VolatileSlice, iovecs};

/// Bytes of a `sockaddr_storage`.
const ADDRESS_MAX: usize = 128;
/// Room for control messages: every kind that an internet socket delivers, several times over.
const CONTROL_MAX: usize = 1024;

/// What [`receive`] got.
#[derive(Debug)]
pub struct Received {
    /// Bytes stored; with `MSG_TRUNC` the length of the whole datagram.
    pub len: usize,
    /// The sender's `sockaddr`; empty where there is none.
    pub address: Vec<u8>,
    /// Control messages as the host has written them, whole `cmsghdr`s.
    pub control: Vec<u8>,
    /// `MSG_*`.
    pub flags: u32,
}

/// A new socket.
///
/// # Errors
/// What `socket(2)` says.
pub fn create(domain: i32, kind: i32, protocol: i32) -> Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: a plain system call without pointers.
    let fd = check(i64::from(unsafe { libc::socket(domain, kind, protocol) }))?;
    // SAFETY: the call just made this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Gives a socket an address.
///
/// # Errors
/// What `bind(2)` says.
pub fn bind(fd: BorrowedFd<'_>, address: &[u8]) -> Result<()> {
    // SAFETY: the address is live and of the length given.
    let done = unsafe { libc::bind(fd.as_raw_fd(), address.as_ptr().cast(), address.len() as u32) };
    check(i64::from(done)).map(drop)
}

/// Connects, or begins to (`EINPROGRESS`).
///
/// # Errors
/// What `connect(2)` says.
pub fn connect(fd: BorrowedFd<'_>, address: &[u8]) -> Result<()> {
    // SAFETY: the address is live and of the length given.
    let done = unsafe { libc::connect(fd.as_raw_fd(), address.as_ptr().cast(), address.len() as u32) };
    check(i64::from(done)).map(drop)
}

/// Takes a connection, and the peer's address.
///
/// # Errors
/// What `accept4(2)` says.
pub fn accept(fd: BorrowedFd<'_>) -> Result<(OwnedFd, Vec<u8>)> {
    let mut accepted = -1;
    let address = told(|address, len| {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: the address has as much room as its length says.
        accepted = unsafe { libc::accept4(fd.as_raw_fd(), address, len, flags) };
        accepted
    })?;
    // SAFETY: the call succeeded and just made this descriptor.
    Ok((unsafe { OwnedFd::from_raw_fd(accepted) }, address))
}

/// A socket's own address.
///
/// # Errors
/// What `getsockname(2)` says.
pub fn local_address(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    // SAFETY: the address has as much room as its length says.
    told(|address, len| unsafe { libc::getsockname(fd.as_raw_fd(), address, len) })
}

/// The address of its peer.
///
/// # Errors
/// What `getpeername(2)` says.
pub fn peer_address(fd: BorrowedFd<'_>) -> Result<Vec<u8>> {
    // SAFETY: the address has as much room as its length says.
    told(|address, len| unsafe { libc::getpeername(fd.as_raw_fd(), address, len) })
}

/// The address that a call stores.
fn told(call: impl FnOnce(*mut libc::sockaddr, *mut libc::socklen_t) -> i32) -> Result<Vec<u8>> {
    let mut address = vec![0u8; ADDRESS_MAX];
    let mut len = ADDRESS_MAX as libc::socklen_t;
    check(i64::from(call(address.as_mut_ptr().cast(), &raw mut len)))?;
    address.truncate(len as usize);
    Ok(address)
}

/// Sets an option.
///
/// # Errors
/// What `setsockopt(2)` says.
pub fn set_option(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> Result<()> {
    let len = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the value is live and of the length given.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value.as_ptr().cast(), len) };
    check(i64::from(done)).map(drop)
}

/// The value of an option, at most `room` bytes of it.
///
/// # Errors
/// What `getsockopt(2)` says.
pub fn option(fd: BorrowedFd<'_>, level: i32, name: i32, room: usize) -> Result<Vec<u8>> {
    let mut value = vec![0u8; room];
    let mut len = libc::socklen_t::try_from(room).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the value has as much room as its length says.
    let done =
        unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut len) };
    check(i64::from(done))?;
    value.truncate(len as usize);
    Ok(value)
}

/// Sends without waiting and without SIGPIPE. `control` is whole `cmsghdr`s.
///
/// # Errors
/// What `sendmsg(2)` says.
pub fn send(
    fd: BorrowedFd<'_>,
    from: &[VolatileSlice<'_>],
    address: &[u8],
    control: &[u8],
    flags: u32,
) -> Result<usize> {
    let mut parts = iovecs(from);
    // SAFETY: all zeros is a valid `msghdr`.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len();
    if !address.is_empty() {
        message.msg_name = address.as_ptr().cast_mut().cast();
        message.msg_namelen = address.len() as libc::socklen_t;
    }
    if !control.is_empty() {
        message.msg_control = control.as_ptr().cast_mut().cast();
        message.msg_controllen = control.len();
    }
    let flags = flags as i32 | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    loop {
        // SAFETY: the message names live buffers of the lengths it says, which the host only reads.
        match check(unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags) } as i64) {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

/// Receives without waiting.
///
/// # Errors
/// What `recvmsg(2)` says.
pub fn receive(fd: BorrowedFd<'_>, to: &[VolatileSlice<'_>], flags: u32) -> Result<Received> {
    let mut parts = iovecs(to);
    let mut address = vec![0u8; ADDRESS_MAX];
    let mut control = vec![0u8; CONTROL_MAX];
    // SAFETY: all zeros is a valid `msghdr`.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len();
    message.msg_name = address.as_mut_ptr().cast();
    message.msg_namelen = ADDRESS_MAX as libc::socklen_t;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = CONTROL_MAX;
    let flags = flags as i32 | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    let len = loop {
        // SAFETY: the message names live buffers of the lengths it says; guest memory may change under the host's
        // hands like any shared memory.
        match check(unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, flags) } as i64) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    address.truncate(message.msg_namelen as usize);
    control.truncate(message.msg_controllen);
    Ok(Received { len, address, control, flags: message.msg_flags as u32 })
}

/// Bytes that were written and not yet sent or acknowledged (`SIOCOUTQ`).
///
/// # Errors
/// What `ioctl(2)` says.
pub fn unsent_bytes(fd: BorrowedFd<'_>) -> Result<i32> {
    int_ioctl(fd, libc::TIOCOUTQ)
}

/// Whether the next byte is at the urgent mark (`SIOCATMARK`).
///
/// # Errors
/// What `ioctl(2)` says.
pub fn is_at_mark(fd: BorrowedFd<'_>) -> Result<bool> {
    int_ioctl(fd, libc::Ioctl::from(SIOCATMARK)).map(|value| value != 0)
}

fn int_ioctl(fd: BorrowedFd<'_>, command: libc::Ioctl) -> Result<i32> {
    let mut value = 0i32;
    // SAFETY: the request writes one int.
    check(i64::from(unsafe { libc::ioctl(fd.as_raw_fd(), command, &raw mut value) }))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use abi::Errno;

    use super::{
        accept, bind, connect, create, local_address, option, peer_address, receive, send, set_option,
    };
    use crate::memory::VolatileSlice;
    use crate::unix::start_listening;

    /// 127.0.0.1 with any port.
    const ANY: [u8; 16] = [2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];

    #[test]
    fn a_connection_carries_bytes() {
        let listener = create(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        bind(listener.as_fd(), &ANY).unwrap();
        start_listening(listener.as_fd(), 4).unwrap();
        assert_eq!(accept(listener.as_fd()).unwrap_err(), Errno::EAGAIN);
        let address = local_address(listener.as_fd()).unwrap();
        let client = create(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        match connect(client.as_fd(), &address) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(errno) => panic!("{errno}"),
        }
        let (server, peer) = accept(listener.as_fd()).unwrap();
        assert_eq!(peer, local_address(client.as_fd()).unwrap());
        assert_eq!(peer_address(client.as_fd()).unwrap(), address);
        let mut data = *b"hello";
        assert_eq!(send(client.as_fd(), &[VolatileSlice::from_mut(&mut data)], &[], &[], 0), Ok(5));
        let mut got = [0; 8];
        let received = receive(server.as_fd(), &[VolatileSlice::from_mut(&mut got)], 0).unwrap();
        assert_eq!((received.len, &got[..5]), (5, &b"hello"[..]));
        let none = receive(server.as_fd(), &[VolatileSlice::from_mut(&mut got)], 0);
        assert_eq!(none.unwrap_err(), Errno::EAGAIN);
    }

    #[test]
    fn options_are_bytes() {
        let socket = create(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
        set_option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, &1i32.to_ne_bytes()).unwrap();
        let value = option(socket.as_fd(), libc::IPPROTO_TCP, libc::TCP_NODELAY, 4).unwrap();
        assert_ne!(value, 0i32.to_ne_bytes());
        assert_eq!(set_option(socket.as_fd(), libc::IPPROTO_TCP, 9999, &[0; 4]), Err(Errno::ENOPROTOOPT));
    }
}
