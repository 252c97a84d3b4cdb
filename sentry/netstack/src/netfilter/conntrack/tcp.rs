//! The states of a TCP connection as one who looks on sees them (Linux's nf_conntrack_proto_tcp, without windows).
//!
//! A reset counts only where the other end expects it: one that is older makes no sense, one that is newer may be
//! answered with a challenge (RFC 5961) and ends nothing by itself.

use super::Direction;
use crate::ip::packet::get32;

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

/// What of a segment is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    flags: u8,
    sequence: u32,
    acknowledged: u32,
    /// Where its data end.
    end: u32,
}

impl Segment {
    /// Takes a segment apart; `None` where it is too short.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (sequence, acknowledged) = (get32(bytes, 4)?, get32(bytes, 8)?);
        let (offset, flags) = (usize::from(bytes.get(12)? >> 4) * 4, *bytes.get(13)?);
        let len = bytes.len().saturating_sub(offset) as u32;
        Some(Self {
            flags: flags & (FIN | SYN | RST | ACK),
            sequence,
            acknowledged,
            end: sequence.wrapping_add(len),
        })
    }

    const fn is(self, bits: u8) -> bool {
        self.flags & bits == bits
    }
}

/// A connection's state, and who said first that it ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TcpTrack {
    pub(super) state: TcpState,
    first_fin: Option<Direction>,
    /// The highest number that each direction has acknowledged.
    acknowledged: [Option<u32>; 2],
    /// Where the data of the last segment ended, if it was an ordinary one, and its direction.
    last_end: Option<(Direction, u32)>,
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
    pub(super) fn advance(&mut self, direction: Direction, segment: Segment) -> Option<bool> {
        use TcpState::{
            CloseWait, Established, FinWait, LastAck, None as Fresh, SynReceived, SynSent, TimeWait,
        };
        let is = |bits: u8| segment.is(bits);
        let makes_sense = match segment.flags & (FIN | SYN | RST) {
            0 => is(ACK),
            FIN => is(ACK),
            SYN | RST => true,
            _ => false,
        };
        if !makes_sense {
            return None;
        }
        if is(RST) {
            return self.reset(direction, segment).then_some(false);
        }
        self.note_numbers(direction, segment);
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

impl TcpTrack {
    /// A reset passes. False where it makes no sense.
    fn reset(&mut self, direction: Direction, segment: Segment) -> bool {
        let last_end = self.last_end.take();
        if self.state == TcpState::None {
            return false;
        }
        let off_by = self.acknowledged[direction.other() as usize]
            .map_or(0, |expected| segment.sequence.wrapping_sub(expected).cast_signed());
        if off_by < 0 {
            return false;
        }
        // It may follow data that were not acknowledged yet.
        let is_expected = off_by == 0 || last_end == Some((direction, segment.sequence));
        if is_expected || self.state != TcpState::Established {
            self.state = TcpState::Close;
        }
        true
    }

    /// Notes the numbers of a segment that is no reset.
    fn note_numbers(&mut self, direction: Direction, segment: Segment) {
        self.last_end = (segment.flags == ACK).then_some((direction, segment.end));
        if segment.is(SYN) && !segment.is(ACK) {
            // What was known is another connection's.
            self.acknowledged = [None; 2];
        } else if segment.is(ACK) {
            let known = &mut self.acknowledged[direction as usize];
            let is_newer = |known: u32| segment.acknowledged.wrapping_sub(known).cast_signed() > 0;
            if known.is_none_or(is_newer) {
                *known = Some(segment.acknowledged);
            }
        }
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

    fn segment(flags: u8, sequence: u32, acknowledged: u32) -> Segment {
        Segment { flags, sequence, acknowledged, end: sequence }
    }

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
            assert!(track.advance(direction, segment(flags, 0, 0)).is_some());
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
            assert_eq!(TcpTrack::default().advance(Direction::Original, segment(flags, 0, 0)), None);
        }
    }

    #[test]
    fn resets_end_a_connection_where_they_are_expected() {
        use Direction::{Original, Reply};
        let mut open = TcpTrack::default();
        let handshake = [
            (Original, SYN, 100, 0),
            (Reply, SYN | ACK, u32::MAX, 101),
            (Original, ACK, 101, 0),
            (Reply, ACK, 0, 101),
        ];
        for (direction, flags, sequence, acknowledged) in handshake {
            assert!(open.advance(direction, segment(flags, sequence, acknowledged)).is_some());
        }
        let after = |direction, sequence| {
            let mut track = open;
            let makes_sense = track.advance(direction, segment(RST, sequence, 0)).is_some();
            (makes_sense, track.state)
        };
        assert_eq!(after(Original, 101), (true, TcpState::Close));
        assert_eq!(after(Original, 100), (false, TcpState::Established), "an old one");
        assert_eq!(after(Original, 102), (true, TcpState::Established), "a guess");
        assert_eq!(after(Reply, 0), (true, TcpState::Close));
        assert_eq!(after(Reply, u32::MAX), (false, TcpState::Established));
        // Right behind data that nobody has acknowledged yet.
        let mut track = open;
        let data = Segment { end: 151, ..segment(ACK, 101, 0) };
        assert!(track.advance(Original, data).is_some());
        assert!(track.advance(Original, segment(RST, 151, 0)).is_some());
        assert_eq!(track.state, TcpState::Close);
    }
}
