//! Packet sockets: whole frames of a link, in batches (`man 7 packet`).
//!
//! With offload, each frame has a `virtio_net_hdr` before it: frames may be larger than the link's MTU, and checksums
//! be left open, in both directions. [`Batch::receive`] sleeps in the host until a frame comes and takes what else is
//! there; [`send`] never waits.

use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use abi::{Errno, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::check;

/// Bytes of queue for sending.
const SEND_QUEUE: usize = 4 << 20;
/// Frames carry a `virtio_net_hdr` that says what was left to the device.
const PACKET_VNET_HDR: libc::c_int = 15;
/// What this host sends on the link is not for us.
const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
/// Frames that one call receives or sends at most.
const BATCH: usize = 8;
/// The largest frame: 64 KiB with all headers and tags.
const FRAME_MAX: usize = (64 << 10) + 128;

/// Offload bits of a received or sent frame: `struct virtio_net_hdr`, in native order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct OffloadHeader {
    /// [`Self::NEEDS_CHECKSUM`], [`Self::CHECKSUM_VALID`].
    pub flags: u8,
    /// `VIRTIO_NET_HDR_GSO_*`.
    pub gso_type: u8,
    /// Length of all headers.
    pub header_len: u16,
    /// Payload of each packet of a segment; 0 where the frame is one packet.
    pub gso_size: u16,
    /// Where the checksummed part begins.
    pub checksum_start: u16,
    /// Where in it the checksum lies.
    pub checksum_offset: u16,
}

impl OffloadHeader {
    /// The checksum is still to be completed.
    pub const NEEDS_CHECKSUM: u8 = 1;
    /// The checksum was verified.
    pub const CHECKSUM_VALID: u8 = 2;
    /// A TCP segment over IPv4.
    pub const GSO_TCP4: u8 = 1;
    /// A TCP segment over IPv6.
    pub const GSO_TCP6: u8 = 4;
    /// The first packet alone carries CWR; added to the others.
    pub const GSO_ECN: u8 = 0x80;
}

/// A socket that sends and receives whole frames on link `index`. With `offload`, each has an [`OffloadHeader`]. The host
/// keeps `receive_queue` bytes of frames for it.
///
/// # Errors
/// `EPERM` without CAP_NET_RAW in the network name space.
pub fn open(index: u32, offload: bool, receive_queue: usize) -> Result<OwnedFd> {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: a plain system call without pointers.
    let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    // SAFETY: the call just made this descriptor, and nothing else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(check(i64::from(fd))? as RawFd) };
    if offload {
        set(&fd, libc::SOL_PACKET, PACKET_VNET_HDR, 1)?;
    }
    set(&fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)?;
    // More than the host's usual limit takes CAP_NET_ADMIN in the first name space; without it the usual limit holds.
    for (force, plain, queue) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, receive_queue),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, SEND_QUEUE),
    ] {
        let queue = libc::c_int::try_from(queue).unwrap_or(libc::c_int::MAX);
        if set(&fd, libc::SOL_SOCKET, force, queue).is_err() {
            set(&fd, libc::SOL_SOCKET, plain, queue)?;
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

/// Buffers for received frames: as many as have turned out to be of use. Whoever is shown a frame may share its buffer,
/// and keep the frame without a copy.
pub struct Batch {
    buffers: Vec<Arc<Box<[u8]>>>,
    /// Length of each frame of the last receive.
    lengths: Vec<usize>,
    /// Bytes of the header before each frame.
    header_len: usize,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch({} frames)", self.lengths.len())
    }
}

impl Batch {
    /// For a socket that was opened with or without `offload`.
    #[must_use]
    pub const fn new(offload: bool) -> Self {
        let header_len = if offload { size_of::<OffloadHeader>() } else { 0 };
        Self { buffers: Vec::new(), lengths: Vec::new(), header_len }
    }

    /// Waits for a frame and receives all that are there, as far as there are buffers. `fresh` gives buffers of so many
    /// bytes, for those that are in use elsewhere.
    ///
    /// # Errors
    /// `ENETDOWN` once when the link goes down; what `recvmmsg(2)` says.
    pub fn receive(&mut self, fd: BorrowedFd<'_>, fresh: impl FnMut(usize) -> Arc<Box<[u8]>>) -> Result<()> {
        self.receive_with(fd, libc::MSG_WAITFORONE, fresh)
    }

    /// Receives the frames that are there, as far as there are buffers.
    ///
    /// # Errors
    /// `EAGAIN` where there are none; as [`Self::receive`].
    pub fn receive_now(
        &mut self,
        fd: BorrowedFd<'_>,
        fresh: impl FnMut(usize) -> Arc<Box<[u8]>>,
    ) -> Result<()> {
        self.receive_with(fd, libc::MSG_DONTWAIT, fresh)
    }

    /// Buffers that nobody else uses; more of them where the last receive has filled all.
    fn renew(&mut self, mut fresh: impl FnMut(usize) -> Arc<Box<[u8]>>) {
        for buffer in &mut self.buffers {
            if Arc::get_mut(buffer).is_none() {
                *buffer = fresh(FRAME_MAX);
            }
        }
        if self.lengths.len() == self.buffers.len() {
            let count = (self.buffers.len() * 2).clamp(1, BATCH);
            self.buffers.resize_with(count, || fresh(FRAME_MAX));
        }
    }

    fn receive_with(
        &mut self,
        fd: BorrowedFd<'_>,
        flags: libc::c_int,
        fresh: impl FnMut(usize) -> Arc<Box<[u8]>>,
    ) -> Result<()> {
        self.renew(fresh);
        self.lengths.clear();
        let mut parts = [libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: all zeros is a valid `mmsghdr`.
        let mut messages: [libc::mmsghdr; BATCH] = unsafe { std::mem::zeroed() };
        let mut count = 0;
        for ((part, message), buffer) in parts.iter_mut().zip(&mut messages).zip(&mut self.buffers) {
            let Some(buffer) = Arc::get_mut(buffer) else { break };
            *part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            count += 1;
        }
        // SAFETY: the first `count` messages name buffers that `self` alone has, as `get_mut` says, and keeps borrowed
        // exclusively until the call is over, each of the length given.
        let got = unsafe {
            let flags = flags | libc::MSG_TRUNC;
            libc::recvmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), count, flags as _, std::ptr::null_mut())
        };
        let got = check(i64::from(got))?;
        // With MSG_TRUNC the length is the frame's own: one that did not fit is nonsense and dropped as empty.
        let fits = |len: usize| if len <= FRAME_MAX { len } else { 0 };
        self.lengths.extend(messages.iter().take(got).map(|message| fits(message.msg_len as usize)));
        Ok(())
    }

    /// The frames of the last receive: where they lie, and in which buffer.
    pub fn frames(&self) -> impl Iterator<Item = (OffloadHeader, &Arc<Box<[u8]>>, Range<usize>)> {
        self.lengths.iter().zip(&self.buffers).filter_map(|(len, buffer)| {
            let header = buffer.get(..*len)?.get(..self.header_len)?;
            let header = OffloadHeader::read_from_bytes(header).unwrap_or_default();
            Some((header, buffer, self.header_len..*len))
        })
    }
}

/// Sends one frame without waiting, behind its header where the socket has them.
///
/// # Errors
/// `EAGAIN` and `ENOBUFS` where the link's queue is full; `ENETDOWN`; what `sendmsg(2)` says.
pub fn send(fd: BorrowedFd<'_>, header: Option<&OffloadHeader>, frame: &[u8]) -> Result<()> {
    let header = header.map_or(&[][..], IntoBytes::as_bytes);
    let part =
        |bytes: &[u8]| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut parts = [part(header), part(frame)];
    // SAFETY: all zeros is a valid `msghdr`.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len();
    loop {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the message names live buffers that the kernel only reads.
        let done = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, flags) };
        match check(done as i64) {
            Err(Errno::EINTR) => {}
            other => return other.map(|_| ()),
        }
    }
}

/// Waits for one message on a connected socket.
///
/// # Errors
/// What `recv(2)` says, of earlier messages too.
pub fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize> {
    // SAFETY: the buffer is live, exclusive and of the length given.
    check(unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) } as i64)
}

/// Shares the flows of a link among the sockets that join `group`.
///
/// # Errors
/// `EINVAL` where the sockets differ.
pub fn join_group(fd: &OwnedFd, group: u16) -> Result<()> {
    const PACKET_FANOUT: libc::c_int = 18;
    // PACKET_FANOUT_HASH is 0, so the upper half has no mode to say.
    set(fd, libc::SOL_PACKET, PACKET_FANOUT, group.into())
}
