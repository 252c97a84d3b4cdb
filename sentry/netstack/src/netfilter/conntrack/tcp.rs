//! The states of a TCP connection as one who looks on sees them (Linux's nf_conntrack_proto_tcp, without windows).

use super::Direction;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum TcpState {
    /// Nothing was seen.
    #[default]
    None,
    SynSent,
    SynReceived,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
}

/// A connection's state, and who said first that it ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TcpTrack {
    pub(super) state: TcpState,
    first_fin: Option<Direction>,
}

impl TcpTrack {
    /// Whether a segment begins another connection between ends that are done with this one.
    pub(super) fn is_followed_by(&self, direction: Direction, flags: u8) -> bool {
        let is_opening = flags & (FIN | SYN | RST | ACK) == SYN;
        let is_over = match direction {
            Direction::Original => matches!(self.state, TcpState::TimeWait | TcpState::Close),
            Direction::Reply => self.state == TcpState::TimeWait,
        };
        is_opening && is_over
    }

    /// A segment passes. `None` where its flags make no sense; else whether the connection is now established.
    pub(super) fn advance(&mut self, direction: Direction, flags: u8) -> Option<bool> {
        use TcpState::{
            Close, CloseWait, Established, FinWait, LastAck, None as Fresh, SynReceived, SynSent, TimeWait,
        };
        let flags = flags & (FIN | SYN | RST | ACK);
        let is = |bits: u8| flags & bits == bits;
        let makes_sense = match flags & (FIN | SYN | RST) {
            0 => is(ACK),
            FIN => is(ACK),
            SYN | RST => true,
            _ => false,
        };
        if !makes_sense {
            return None;
        }
        if is(RST) {
            if self.state == Fresh {
                return None;
            }
            self.state = Close;
            return Some(false);
        }
        if is(SYN) {
            match (direction, is(ACK), self.state) {
                (Direction::Original, false, Fresh) => self.state = SynSent,
                (Direction::Reply, true, SynSent | SynReceived) => self.state = SynReceived,
                // The connection is opened from both ends.
                (Direction::Reply, false, SynSent) => self.state = SynReceived,
                (Direction::Original, true, Fresh) => return None,
                _ => {}
            }
            return Some(false);
        }
        if is(FIN) {
            self.state = match self.first_fin {
                None => {
                    self.first_fin = Some(direction);
                    FinWait
                }
                Some(first) if first != direction => LastAck,
                Some(_) => self.state,
            };
            return Some(false);
        }
        self.state = match (self.state, self.first_fin) {
            // One that began before anybody looked.
            (Fresh | SynReceived, _) => Established,
            (FinWait, Some(first)) if first != direction => CloseWait,
            (LastAck, Some(first)) if first == direction => TimeWait,
            (state, _) => state,
        };
        Some(self.state == Established)
    }
}

/// Seconds that a connection in a state is remembered.
pub(super) const fn lifetime(state: TcpState) -> u64 {
    match state {
        TcpState::None => 300,
        TcpState::SynSent | TcpState::FinWait | TcpState::TimeWait => 120,
        TcpState::SynReceived | TcpState::CloseWait => 60,
        TcpState::Established => 432_000,
        TcpState::LastAck => 30,
        TcpState::Close => 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_from_its_first_segment_to_its_last() {
        use Direction::{Original, Reply};
        let mut track = TcpTrack::default();
        let steps = [
            (Original, SYN, TcpState::SynSent),
            (Reply, SYN | ACK, TcpState::SynReceived),
            (Original, ACK, TcpState::Established),
            (Reply, ACK, TcpState::Established),
            (Original, FIN | ACK, TcpState::FinWait),
            (Reply, ACK, TcpState::CloseWait),
            (Reply, FIN | ACK, TcpState::LastAck),
            (Original, ACK, TcpState::TimeWait),
            (Reply, RST | ACK, TcpState::Close),
        ];
        for (direction, flags, state) in steps {
            assert!(track.advance(direction, flags).is_some());
            assert_eq!(track.state, state);
            let ends = [Original, Reply].map(|from| track.is_followed_by(from, SYN));
            let may_follow =
                [matches!(state, TcpState::TimeWait | TcpState::Close), state == TcpState::TimeWait];
            assert_eq!(ends, may_follow);
            assert!(!track.is_followed_by(Original, SYN | ACK));
        }
    }

    #[test]
    fn segments_that_make_no_sense_are_told() {
        for flags in [0, SYN | FIN, SYN | RST, FIN, RST] {
            assert_eq!(TcpTrack::default().advance(Direction::Original, flags), None);
        }
    }
}
