//! A packet on its way past the chains: its bytes, what is known of it, and changes to it.

use super::conntrack::{Flow, Tracked, Tuple};
use super::{Hook, Shape};
use crate::base::addr::{Endpoint, Family};
use crate::ip::checksum;
use crate::ip::packet::{Cast, Packet, get16, protocol, put16};
use crate::link::nic::Nic;
use crate::socket::options::Sender;
use std::net::IpAddr;
use std::sync::Arc;

/// A whole packet.
#[derive(Debug)]
pub(crate) struct Passing<'a> {
    /// From the network header on.
    pub(crate) bytes: &'a mut [u8],
    /// The socket's that sends it, or the one that it was received as.
    pub(crate) family: Family,
    /// Length of the network headers.
    pub(crate) header_len: usize,
    pub(crate) protocol: u8,
    /// The transport checksum is made later: changes leave it alone.
    pub(crate) is_unsummed: bool,
    pub(crate) cast: Cast,
    pub(crate) hook: Hook,
    pub(crate) input: Option<Arc<Nic>>,
    pub(crate) output: Option<Arc<Nic>>,
    pub(crate) owner: Option<Sender>,
    pub(crate) mark: u32,
    pub(super) track: Tracked,
    /// A connection that begins with this packet and is in no table yet.
    pub(super) fresh: Option<Box<Flow>>,
    /// What it may still cost at this hook; see [`MAX_WORK`](super::machine::MAX_WORK).
    pub(super) work: u32,
}

/// What was found out about a packet's connection, from one hook to the next.
#[derive(Debug, Default)]
pub(crate) struct Followed {
    track: Tracked,
    fresh: Option<Box<Flow>>,
    mark: u32,
}

impl<'a> Passing<'a> {
    /// A packet at `hook` of which nothing else is known.
    pub(super) fn new(bytes: &'a mut [u8], shape: Shape, cast: Cast, hook: Hook) -> Self {
        Self {
            bytes,
            family: shape.family,
            header_len: shape.header_len,
            protocol: shape.protocol,
            is_unsummed: shape.is_unsummed,
            cast,
            hook,
            input: None,
            output: None,
            owner: None,
            mark: 0,
            track: Tracked::None,
            fresh: None,
            work: 0,
        }
    }

    /// A packet that has arrived, at `hook`, with what is known of its connection.
    pub(super) fn arrived(packet: &Packet<'_>, bytes: &'a mut [u8], hook: Hook, followed: Followed) -> Self {
        let shape = Shape {
            family: Family::of(packet.to),
            header_len: packet.header_len,
            protocol: packet.protocol,
            is_unsummed: packet.is_unsummed(),
        };
        Self {
            input: Some(Arc::clone(packet.nic)),
            mark: followed.mark,
            track: followed.track,
            fresh: followed.fresh,
            ..Self::new(bytes, shape, packet.cast, hook)
        }
    }

    /// What is known of its connection, for the next hook.
    pub(super) fn follow(self) -> Followed {
        Followed { track: self.track, fresh: self.fresh, mark: self.mark }
    }
}

impl Passing<'_> {
    /// Takes `work` from what the packet may cost; false where so much is not left.
    pub(super) fn spend(&mut self, work: u32) -> bool {
        let left = self.work.checked_sub(work);
        self.work = left.unwrap_or(0);
        left.is_some()
    }

    pub(crate) const fn family(&self) -> Family {
        self.family
    }

    /// Where the source or the destination address lies.
    fn address_at(&self, is_source: bool) -> usize {
        match (self.family(), is_source) {
            (Family::V4, true) => 12,
            (Family::V4, false) => 16,
            (Family::V6, true) => 8,
            (Family::V6, false) => 24,
        }
    }

    fn address(&self, is_source: bool) -> IpAddr {
        read_address(self.bytes, self.address_at(is_source), self.family()).unwrap_or(self.family().any())
    }

    pub(crate) fn from(&self) -> IpAddr {
        self.address(true)
    }

    pub(crate) fn to(&self) -> IpAddr {
        self.address(false)
    }

    pub(crate) fn transport(&self) -> &[u8] {
        self.bytes.get(self.header_len..).unwrap_or(&[])
    }

    pub(super) fn has_ports(&self) -> bool {
        matches!(self.protocol, protocol::TCP | protocol::UDP)
    }

    /// Source and destination port.
    pub(super) fn ports(&self) -> Option<(u16, u16)> {
        let transport = self.transport();
        get16(transport, 0).zip(get16(transport, 2)).filter(|_| self.has_ports())
    }

    /// Gives the packet another source or destination.
    pub(super) fn rewrite(&mut self, is_source: bool, end: Endpoint) {
        if self.address(is_source) != end.ip {
            self.rewrite_address(is_source, end.ip);
        }
        let port_at = if is_source { 0 } else { 2 };
        if self.has_ports() && get16(self.transport(), port_at).is_some_and(|port| port != end.port) {
            self.rewrite_field(port_at, end.port);
        }
    }

    fn rewrite_address(&mut self, is_source: bool, ip: IpAddr) {
        let at = self.address_at(is_source);
        let octets = match ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let Some(old) = self.bytes.get(at..at + octets.len()).map(<[u8]>::to_vec) else { return };
        for (old, new) in old.chunks(2).zip(octets.chunks(2)) {
            let (old, new) = (u16::from_be_bytes([old[0], old[1]]), u16::from_be_bytes([new[0], new[1]]));
            if self.family() == Family::V4 {
                // Of an IP header, no checksum has a special meaning.
                adjust(self.bytes, 10, old, new, |sum| !sum);
            }
            // The pseudo header holds the addresses; ICMP over IPv4 has none.
            if self.protocol != protocol::ICMP {
                self.adjust_transport(old, new);
            }
        }
        self.bytes[at..at + octets.len()].copy_from_slice(&octets);
    }

    /// Stores a 16-bit field of the transport header.
    pub(super) fn rewrite_field(&mut self, at: usize, value: u16) {
        let at_byte = self.header_len + at;
        let Some(old) = get16(self.bytes, at_byte) else { return };
        put16(self.bytes, at_byte, value);
        self.adjust_transport(old, value);
    }

    fn adjust_transport(&mut self, old: u16, new: u16) {
        let offset = match self.protocol {
            protocol::TCP => 16,
            protocol::UDP => 6,
            protocol::ICMP | protocol::ICMPV6 => 2,
            _ => return,
        };
        let at = self.header_len + offset;
        // The sum of ICMP over IPv4 is complete from the beginning.
        let is_open = self.is_unsummed && self.protocol != protocol::ICMP;
        let is_absent = self.protocol == protocol::UDP && get16(self.bytes, at) == Some(0);
        if !is_open && !is_absent {
            let protocol = self.protocol;
            adjust(self.bytes, at, old, new, |sum| checksum::transport_field(protocol, sum));
        }
    }

    /// The addresses and ports by which its connection is known; `None` where it belongs to none.
    pub(super) fn tuple(&self) -> Option<Tuple> {
        Tuple::of(self.from(), self.to(), self.protocol, self.transport())
    }
}

/// The address at an offset.
pub(crate) fn read_address(bytes: &[u8], at: usize, family: Family) -> Option<IpAddr> {
    match family {
        Family::V4 => bytes.get(at..)?.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        Family::V6 => bytes.get(at..)?.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
    }
}

/// Corrects the checksum at `at` for a word that changes (RFC 1624); `field` makes the field's value of a sum.
fn adjust(bytes: &mut [u8], at: usize, old: u16, new: u16, field: impl FnOnce(u16) -> u16) {
    let Some(sum) = get16(bytes, at) else { return };
    let sum = checksum::add(checksum::add(!sum, !old), new);
    put16(bytes, at, field(sum));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP datagram over IPv4 to `port` with this word in it, and its checksum.
    fn datagram(port: u16, word: u16) -> Vec<u8> {
        let mut bytes = vec![0; 30];
        bytes[0] = 0x45;
        bytes[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        put16(&mut bytes, 22, port);
        put16(&mut bytes, 24, 10);
        put16(&mut bytes, 28, word);
        let (from, to) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let pseudo = checksum::pseudo(from, to, protocol::UDP, 10);
        let sum = checksum::add(pseudo, checksum::sum(&bytes[20..]));
        put16(&mut bytes, 26, checksum::transport_field(protocol::UDP, sum));
        bytes
    }

    #[test]
    fn a_datagram_that_is_given_another_port_keeps_a_checksum() {
        for word in 0..=u16::MAX {
            let mut bytes = datagram(53, word);
            let shape =
                Shape { family: Family::V4, header_len: 20, protocol: protocol::UDP, is_unsummed: false };
            let mut packet = Passing::new(&mut bytes, shape, Cast::Unicast, Hook::Prerouting);
            packet.rewrite_field(2, 5353);
            assert_eq!(bytes, datagram(5353, word));
        }
    }
}
