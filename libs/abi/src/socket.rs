//! Sockets: families, types, options, message headers (`linux/socket.h`, `asm-generic/socket.h`; `man 7 socket`).
#![allow(
    missing_docs,
    reason = "Linux's names: man 2 recv, man 2 recvmsg, man 2 recvmmsg, man 3 cmsg, man 7 unix, man 7 socket"
)]

use bitflags::bitflags;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `AF_UNIX`.
pub const AF_UNIX: u16 = 1;
/// `AF_INET`.
pub const AF_INET: u16 = 2;
/// `AF_INET6`.
pub const AF_INET6: u16 = 10;
/// `AF_NETLINK`.
pub const AF_NETLINK: u16 = 16;
/// `AF_PACKET`.
pub const AF_PACKET: u16 = 17;

/// Bytes of the largest socket address (`struct sockaddr_storage`).
pub const SOCKADDR_MAX: usize = 128;
/// The most that `listen` lets wait (`net.core.somaxconn`).
pub const SOMAXCONN: i32 = 4096;
/// The most descriptors in one message (`SCM_MAX_FD`).
pub const SCM_MAX_FD: usize = 253;
/// Close on exec, in `socket`'s type argument.
pub const SOCK_CLOEXEC: i32 = 0o2000000;
/// Not blocking, in `socket`'s type argument.
pub const SOCK_NONBLOCK: i32 = 0o4000;
/// The most buffers in one vector (`UIO_MAXIOV`).
pub const UIO_MAXIOV: usize = 1024;

/// The type of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum SocketType {
    /// A connected byte stream.
    Stream = 1,
    /// Messages without a connection.
    Datagram = 2,
    /// Packets as they are on the wire.
    Raw = 3,
    /// Connected messages that keep their bounds.
    SeqPacket = 5,
}

impl SocketType {
    /// The type with this number.
    #[must_use]
    pub fn from_raw(raw: i32) -> Option<Self> {
        Some(match raw {
            1 => Self::Stream,
            2 => Self::Datagram,
            3 => Self::Raw,
            5 => Self::SeqPacket,
            _ => return None,
        })
    }
}

bitflags! {
    /// Flags of send(2), recv(2) and of `msghdr.msg_flags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct MsgFlags: u32 {
        const OOB = 0x1;
        const PEEK = 0x2;
        const DONTROUTE = 0x4;
        const CTRUNC = 0x8;
        const TRUNC = 0x20;
        const DONTWAIT = 0x40;
        const EOR = 0x80;
        const WAITALL = 0x100;
        const CONFIRM = 0x800;
        const ERRQUEUE = 0x2000;
        const NOSIGNAL = 0x4000;
        const MORE = 0x8000;
        const WAITFORONE = 0x10000;
        const ZEROCOPY = 0x400_0000;
        const FASTOPEN = 0x2000_0000;
        const CMSG_CLOEXEC = 0x4000_0000;
    }
}

/// `struct msghdr` of x86-64.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MsgHdr {
    pub msg_name: u64,
    pub msg_namelen: u32,
    pub pad0: u32,
    pub msg_iov: u64,
    pub msg_iovlen: u64,
    pub msg_control: u64,
    pub msg_controllen: u64,
    pub msg_flags: u32,
    pub pad1: u32,
}

/// `struct mmsghdr`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct MMsgHdr {
    pub msg_hdr: MsgHdr,
    pub msg_len: u32,
    pub pad: u32,
}

/// `struct cmsghdr`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct CmsgHdr {
    pub cmsg_len: u64,
    pub cmsg_level: i32,
    pub cmsg_type: i32,
}

/// `struct ucred`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Ucred {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

impl Ucred {
    /// What is told of a peer that there is none of, or that is not known.
    pub const NOBODY: Self = Self { pid: 0, uid: u32::MAX, gid: u32::MAX };
}

/// `SOL_SOCKET`.
pub const SOL_SOCKET: i32 = 1;
/// `SOL_PACKET`.
pub const SOL_PACKET: i32 = 263;
/// `SCM_RIGHTS`.
pub const SCM_RIGHTS: i32 = 1;
/// `SCM_CREDENTIALS`.
pub const SCM_CREDENTIALS: i32 = 2;
/// `SCM_PIDFD`.
pub const SCM_PIDFD: i32 = 4;

/// Options at level `SOL_SOCKET`.
pub mod so {
    pub const DEBUG: i32 = 1;
    pub const REUSEADDR: i32 = 2;
    pub const TYPE: i32 = 3;
    pub const ERROR: i32 = 4;
    pub const DONTROUTE: i32 = 5;
    pub const BROADCAST: i32 = 6;
    pub const SNDBUF: i32 = 7;
    pub const RCVBUF: i32 = 8;
    pub const KEEPALIVE: i32 = 9;
    pub const OOBINLINE: i32 = 10;
    pub const NO_CHECK: i32 = 11;
    pub const PRIORITY: i32 = 12;
    pub const LINGER: i32 = 13;
    pub const REUSEPORT: i32 = 15;
    pub const PASSCRED: i32 = 16;
    pub const PEERCRED: i32 = 17;
    pub const RCVLOWAT: i32 = 18;
    pub const SNDLOWAT: i32 = 19;
    pub const RCVTIMEO: i32 = 20;
    pub const SNDTIMEO: i32 = 21;
    pub const BINDTODEVICE: i32 = 25;
    pub const ATTACH_FILTER: i32 = 26;
    pub const DETACH_FILTER: i32 = 27;
    pub const PEERNAME: i32 = 28;
    pub const TIMESTAMP: i32 = 29;
    pub const ACCEPTCONN: i32 = 30;
    pub const SNDBUFFORCE: i32 = 32;
    pub const RCVBUFFORCE: i32 = 33;
    pub const PASSSEC: i32 = 34;
    pub const TIMESTAMPNS: i32 = 35;
    pub const MARK: i32 = 36;
    pub const TIMESTAMPING: i32 = 37;
    pub const PROTOCOL: i32 = 38;
    pub const DOMAIN: i32 = 39;
    pub const RXQ_OVFL: i32 = 40;
    pub const PEEK_OFF: i32 = 42;
    pub const BUSY_POLL: i32 = 46;
    pub const INCOMING_CPU: i32 = 49;
    pub const ATTACH_BPF: i32 = 50;
    pub const INCOMING_NAPI_ID: i32 = 56;
    pub const COOKIE: i32 = 57;
    pub const PEERGROUPS: i32 = 59;
    pub const ZEROCOPY: i32 = 60;
    pub const PREFER_BUSY_POLL: i32 = 69;
    pub const PASSPIDFD: i32 = 76;
    pub const PEERPIDFD: i32 = 77;
}
