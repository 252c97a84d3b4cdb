//! One connection.

use super::tcp::{self, Segment, TcpTrack};
use super::{Direction, Tuple};
use crate::base::time::Instant;
use crate::ip::packet::protocol;
use bitflags::bitflags;
use std::time::Duration;

bitflags! {
    /// What has happened to a connection, in the places of `IPS_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Status: u32 {
        /// It was answered.
        const SEEN_REPLY = 1 << 1;
        /// It has earned not to be forgotten early.
        const ASSURED = 1 << 2;
        /// Its first packet has made it past the chains.
        const CONFIRMED = 1 << 3;
        /// Its source is translated.
        const SRC_NAT = 1 << 4;
        /// Its destination is translated.
        const DST_NAT = 1 << 5;
        /// It was decided whether its source is translated.
        const SRC_NAT_DONE = 1 << 7;
        /// It was decided whether its destination is translated.
        const DST_NAT_DONE = 1 << 8;
    }
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Of packets from whoever began, as sent.
    pub original: Tuple,
    /// Of the answers, as the answering side sends them.
    pub reply: Tuple,
    /// What has happened to it.
    pub status: Status,
    /// `ct mark`
    pub mark: u32,
    /// When it is forgotten unless a packet comes.
    pub expires: Instant,
    /// Where it stands among the table's deadlines.
    pub(super) looked_at: Instant,
    tcp: TcpTrack,
    /// A datagram came after it had been answered.
    is_stream: bool,
}

impl Flow {
    pub(in super::super) fn new(original: Tuple) -> Self {
        Self {
            original,
            reply: original.inverted(),
            status: Status::default(),
            mark: 0,
            expires: Instant::from_nanos(0),
            looked_at: Instant::from_nanos(0),
            tcp: TcpTrack::default(),
            is_stream: false,
        }
    }

    /// Its addresses as packets in one direction have them when they enter.
    #[must_use]
    pub const fn tuple(&self, direction: Direction) -> &Tuple {
        match direction {
            Direction::Original => &self.original,
            Direction::Reply => &self.reply,
        }
    }

    /// The state of a TCP connection, as `TCP_CONNTRACK_*`.
    #[must_use]
    pub fn tcp_state(&self) -> Option<u8> {
        (self.original.protocol == protocol::TCP).then_some(self.tcp.state as u8)
    }

    /// A packet passes. False where it makes no sense.
    pub(in super::super) fn advance(&mut self, direction: Direction, transport: &[u8]) -> bool {
        if self.original.protocol == protocol::TCP {
            let Some(segment) = Segment::parse(transport) else { return false };
            let Some(became_established) = self.tcp.advance(direction, segment) else { return false };
            if became_established && self.status.contains(Status::SEEN_REPLY) {
                self.status |= Status::ASSURED;
            }
        } else if self.status.contains(Status::SEEN_REPLY) && direction == Direction::Original {
            self.is_stream = self.original.protocol == protocol::UDP;
            if self.is_stream {
                self.status |= Status::ASSURED;
            }
        }
        if direction == Direction::Reply {
            self.status |= Status::SEEN_REPLY;
        }
        true
    }

    /// How long it is remembered without packets (Linux's defaults).
    pub(super) fn lifetime(&self) -> Duration {
        let seconds = match self.original.protocol {
            protocol::TCP => tcp::lifetime(self.tcp.state),
            protocol::UDP if self.is_stream => 120,
            protocol::UDP | protocol::ICMP | protocol::ICMPV6 => 30,
            _ => 600,
        };
        Duration::from_secs(seconds)
    }

    /// Whether a packet begins a connection anew whose ends are done with this one.
    pub(in super::super) fn is_followed_by(&self, direction: Direction, transport: &[u8]) -> bool {
        let flags = transport.get(13).copied().unwrap_or(0);
        self.original.protocol == protocol::TCP && self.tcp.is_followed_by(direction, flags)
    }
}
