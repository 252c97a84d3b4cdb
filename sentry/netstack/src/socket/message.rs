//! What goes with the data of a send or receive call: addresses, flags, ancillary values.

use crate::base::error::Error;
use bitflags::bitflags;
use std::net::{IpAddr, SocketAddr};

bitflags! {
    /// Flags of a receive call. The values are Linux's `MSG_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct RecvFlags: u32 {
        /// Out-of-band data.
        const OOB = 0x1;
        /// Leave the data in the queue.
        const PEEK = 0x2;
        /// Datagrams: give the true length. Streams: discard instead of copying.
        const TRUNC = 0x20;
        /// Read from the error queue.
        const ERRQUEUE = 0x2000;
    }
}

bitflags! {
    /// Flags of a send call. The values are Linux's `MSG_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct SendFlags: u32 {
        /// Out-of-band data.
        const OOB = 0x1;
        /// Do not use a gateway.
        const DONTROUTE = 0x4;
        /// More data follows.
        const MORE = 0x8000;
        /// The neighbour is known to be reachable.
        const CONFIRM = 0x800;
    }
}

/// Ancillary values of a send call (`man 7 ip`, `man 7 ipv6`).
#[derive(Clone, Copy, Debug, Default)]
pub struct SendMeta {
    /// Destination; `None` uses the connected peer.
    pub to: Option<SocketAddr>,
    /// Flags.
    pub flags: SendFlags,
    /// `IP_PKTINFO`/`IPV6_PKTINFO`: source address.
    pub source: Option<IpAddr>,
    /// `IP_PKTINFO`/`IPV6_PKTINFO`: interface, 0 for none.
    pub interface: u32,
    /// `IP_TTL`/`IPV6_HOPLIMIT`
    pub ttl: Option<u8>,
    /// `IP_TOS`/`IPV6_TCLASS`
    pub tos: Option<u8>,
}

/// What a receive call tells about the data.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Bytes given to the sink.
    pub copied: usize,
    /// Length of the whole datagram; for streams as `copied`.
    pub full_len: usize,
    /// Sender.
    pub from: Option<SocketAddr>,
    /// The address that it was sent to, and whether it is link information that was asked for.
    pub info: PacketInfo,
    /// An entry of the error queue.
    pub error: Option<ExtendedError>,
    /// The data was out of band or ends at the mark.
    pub is_oob: bool,
    /// `TCP_INQ`: bytes left in the queue.
    pub left: usize,
    /// Packet sockets: the link's view.
    pub link: Option<LinkAddr>,
}

/// `struct sockaddr_ll` (man 7 packet).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct LinkAddr {
    /// Interface.
    pub interface: u32,
    /// Ethernet type, in host order.
    pub protocol: u16,
    /// `ARPHRD_*`
    pub hardware: u16,
    /// `PACKET_HOST`, `PACKET_BROADCAST`, `PACKET_MULTICAST`, `PACKET_OTHERHOST`, `PACKET_OUTGOING`.
    pub kind: u8,
    /// Link address of the sender, or the destination for sending.
    pub mac: crate::link::nic::Mac,
}

impl Received {
    /// Whether the datagram did not fit.
    #[must_use]
    pub const fn is_truncated(&self) -> bool {
        self.full_len > self.copied
    }
}

/// How a packet arrived. The adapter turns into control messages what the socket's options ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PacketInfo {
    /// Interface.
    pub interface: u32,
    /// Destination address (and port, for `IP_RECVORIGDSTADDR`).
    pub to: Option<SocketAddr>,
    /// TTL or hop limit.
    pub ttl: u8,
    /// TOS or traffic class.
    pub tos: u8,
    /// Wall-clock time of arrival, ns since 1970.
    pub stamp_ns: u64,
    /// Packets dropped so far for want of buffer space (`SO_RXQ_OVFL`).
    pub dropped: u32,
}

/// Where an entry of the error queue comes from (`ee_origin`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ErrorOrigin {
    /// This stack.
    Local = 1,
    /// An ICMP message.
    Icmp = 2,
    /// An ICMPv6 message.
    Icmp6 = 3,
}

/// `struct sock_extended_err`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError {
    /// The error.
    pub error: Error,
    /// Who found it.
    pub origin: ErrorOrigin,
    /// ICMP type.
    pub kind: u8,
    /// ICMP code.
    pub code: u8,
    /// `ee_info`: the path MTU for `EMSGSIZE`.
    pub info: u32,
    /// Who reported it.
    pub offender: Option<IpAddr>,
}
