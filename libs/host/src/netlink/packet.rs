//! Packet sockets (`man 7 packet`).

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use abi::Result;

use crate::check;

/// Bytes of queue in each direction.
const QUEUE: libc::c_int = 4 << 20;
/// Frames carry a `virtio_net_hdr` that says what was left to the device.
const PACKET_VNET_HDR: libc::c_int = 15;

/// A socket that sends and receives whole frames on link `index`. With `offload`, each frame has a `virtio_net_hdr`
/// before it.
///
/// # Errors
/// `EPERM` without CAP_NET_RAW in the network name space.
pub fn packet_socket(index: u32, offload: bool) -> Result<OwnedFd> {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: a plain system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    // SAFETY: the call just made this descriptor, and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(check(i64::from(fd))? as RawFd) };
    if offload {
        set(&fd, libc::SOL_PACKET, PACKET_VNET_HDR, 1)?;
    }
    // More than the host's usual limit takes CAP_NET_ADMIN in the first name space; without it the usual limit holds.
    for (force, plain) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
        if set(&fd, libc::SOL_SOCKET, force, QUEUE).is_err() {
            set(&fd, libc::SOL_SOCKET, plain, QUEUE)?;
        }
    }
    // SAFETY: all zeros is a valid `sockaddr_ll`.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol;
    address.sll_ifindex = index.cast_signed();
    let len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `address` is a whole `sockaddr_ll` of the length given.
    check(i64::from(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) }))?;
    Ok(fd)
}

fn set(fd: &OwnedFd, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `value` is a live int of the length given.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    check(i64::from(done)).map(|_| ())
}
