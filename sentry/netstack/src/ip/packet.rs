//! A received packet taken apart, and helpers for reading and writing fields.

use crate::link::device::RxMeta;
use crate::link::nic::Nic;
use crate::socket::message::PacketInfo;
use std::net::IpAddr;
use std::sync::Arc;

/// Protocol numbers (IANA).
pub(crate) mod protocol {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const IGMP: u8 = 2;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const NO_NEXT: u8 = 59;
    pub(crate) const DEST_OPTIONS: u8 = 60;
}

/// Where the destination of a packet or datagram lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    Unicast,
    Broadcast,
    Multicast,
}

/// Whom a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// This host.
    Local,
    /// Another, by way of this one.
    Elsewhere,
    /// Nobody who can be reached from here.
    Nobody,
}

/// An IP packet that has arrived, whole unless it is passed on as a fragment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) nic: &'a Arc<Nic>,
    pub(crate) from: IpAddr,
    pub(crate) to: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) cast: Cast,
    pub(crate) aim: Aim,
    /// It came in fragments.
    pub(crate) is_reassembled: bool,
    /// Network header with options and extension headers, then the transport segment.
    pub(crate) whole: &'a [u8],
    /// Length of the network headers.
    pub(crate) header_len: usize,
    pub(crate) meta: RxMeta<'a>,
}

impl<'a> Packet<'a> {
    /// The transport segment.
    pub(crate) fn payload(&self) -> &'a [u8] {
        self.whole.get(self.header_len..).unwrap_or(&[])
    }

    /// Whether its transport checksum is still to be made: what a device put together gets new ones too.
    pub(crate) fn is_unsummed(&self) -> bool {
        self.meta.checksum.is_some() || self.meta.gso_size != 0
    }

    /// What sockets are told about the packet.
    pub(crate) fn info(&self, stamp_ns: u64) -> PacketInfo {
        PacketInfo {
            interface: self.nic.index,
            to: None,
            ttl: self.ttl,
            tos: self.tos,
            stamp_ns: if self.meta.stamp_ns != 0 { self.meta.stamp_ns } else { stamp_ns },
            dropped: 0,
        }
    }
}

/// The big-endian 16-bit number at `at`.
pub(crate) fn get16(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

/// The big-endian 32-bit number at `at`.
pub(crate) fn get32(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Stores a big-endian 16-bit number; out of range it does nothing.
pub(crate) fn put16(data: &mut [u8], at: usize, value: u16) {
    if let Some(place) = data.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Stores a big-endian 32-bit number; out of range it does nothing.
pub(crate) fn put32(data: &mut [u8], at: usize, value: u32) {
    if let Some(place) = data.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}
