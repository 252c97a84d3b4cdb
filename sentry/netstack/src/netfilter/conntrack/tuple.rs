//! The addresses by which a packet's connection is known.

use crate::base::addr::Endpoint;
use crate::ip::packet::{get16, protocol};
use std::net::IpAddr;

/// Addresses, ports and protocol of packets in one direction. Echoes have their identifier in both ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Source.
    pub from: Endpoint,
    /// Destination.
    pub to: Endpoint,
    /// Protocol number.
    pub protocol: u8,
    /// Type of an ICMP message.
    pub kind: u8,
}

impl Tuple {
    /// Of a packet with these addresses and this transport header. `None` for one that is no connection's.
    pub(in super::super) fn of(from: IpAddr, to: IpAddr, protocol: u8, transport: &[u8]) -> Option<Self> {
        let (from_port, to_port, kind) = match protocol {
            protocol::TCP | protocol::UDP => (get16(transport, 0)?, get16(transport, 2)?, 0),
            protocol::ICMP | protocol::ICMPV6 => {
                let kind = *transport.first()?;
                answer_to(protocol, kind)?;
                let id = get16(transport, 4)?;
                (id, id, kind)
            }
            _ => (0, 0, 0),
        };
        Some(Self { from: Endpoint::new(from, from_port), to: Endpoint::new(to, to_port), protocol, kind })
    }

    /// Of the answers.
    #[must_use]
    pub fn inverted(&self) -> Self {
        let kind = answer_to(self.protocol, self.kind).unwrap_or(0);
        Self { from: self.to, to: self.from, protocol: self.protocol, kind }
    }

    /// Whether a packet with these addresses can begin a connection: answers cannot.
    pub(in super::super) const fn can_begin(&self) -> bool {
        match self.protocol {
            protocol::ICMP => matches!(self.kind, 8 | 13 | 15 | 17),
            protocol::ICMPV6 => self.kind == 128,
            _ => true,
        }
    }
}

/// The type of message that answers one of this type, or that it answers.
const fn answer_to(protocol: u8, kind: u8) -> Option<u8> {
    match (protocol, kind) {
        (protocol::ICMP, 8) => Some(0),
        (protocol::ICMP, 0) => Some(8),
        (protocol::ICMP, 13 | 15 | 17) => Some(kind + 1),
        (protocol::ICMP, 14 | 16 | 18) => Some(kind - 1),
        (protocol::ICMPV6, 128) => Some(129),
        (protocol::ICMPV6, 129) => Some(128),
        _ => None,
    }
}
