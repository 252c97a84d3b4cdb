//! TCP segments that arrive: whose they are.

use super::segment::{Flags, Header, Malformed, Segment};
use super::socket::TcpCore;
use super::table::{Conn, TimeWait};
use crate::base::time::Instant;
use crate::core::{Core, Tuple};
use crate::ip::icmp::Verdict;
use crate::ip::packet::{Cast, Packet};
use crate::socket::ports::{Arrival, Wanted};
use std::sync::Arc;
use std::time::Duration;

/// Counts challenge acknowledgements in the current second.
#[derive(Debug)]
pub(crate) struct ChallengeLimit {
    second: u64,
    count: u32,
}

impl ChallengeLimit {
    pub(crate) const fn new() -> Self {
        Self { second: 0, count: 0 }
    }
}

impl Core {
    /// A TCP segment arrives.
    pub(crate) fn tcp_input(&self, packet: &Packet<'_>) {
        let counters = &self.counters.tcp;
        counters.in_segs.inc();
        if packet.cast != Cast::Unicast {
            return counters.in_errs.inc();
        }
        let segment = match Segment::parse(packet) {
            Ok(segment) => segment,
            Err(why) => {
                if why == Malformed::Checksum {
                    counters.in_csum_errors.inc();
                }
                return counters.in_errs.inc();
            }
        };
        match self.tcp.get(&segment.tuple) {
            Some(Conn::Socket(socket)) => return socket.on_segment(&segment),
            Some(Conn::TimeWait(wait)) if !self.late_segment(&segment, &wait) => return,
            Some(Conn::TimeWait(_)) | None => {}
        }
        let arrival = Arrival { to: segment.tuple.local, from: segment.tuple.remote, device: segment.device };
        match self.tcp_ports.lookup(&arrival, Wanted::Listening) {
            Some(listener) => listener.on_listen_segment(&segment),
            None => self.send_tcp_reset(&segment),
        }
    }

    /// A segment of a connection in TIME-WAIT (RFC 9293 3.10.7.4, RFC 6191). True where it opens a new connection.
    fn late_segment(&self, segment: &Segment<'_>, wait: &TimeWait) -> bool {
        let Some(late) = wait.segments else {
            // A connection within the stack has no segments; this one begins something new.
            return segment.has(Flags::SYN);
        };
        let ahead = segment.seq.wrapping_sub(late.rcv_nxt).cast_signed();
        let newer_stamp = match (late.ts_recent, segment.options.timestamp) {
            (Some(recent), Some((value, _))) => value.wrapping_sub(recent).cast_signed() > 0,
            _ => false,
        };
        if segment.has(Flags::RST) {
            if ahead == 0 && !self.config().tcp_rfc1337 {
                self.touch_time_wait(&segment.tuple, self.now(), true);
            }
            return false;
        }
        if segment.has(Flags::SYN) && !segment.has(Flags::ACK) && (ahead > 0 || newer_stamp) {
            self.touch_time_wait(&segment.tuple, self.now(), true);
            return true;
        }
        if segment.has(Flags::FIN) && ahead >= 0 {
            self.touch_time_wait(&segment.tuple, self.now(), false);
        }
        if segment.seq_len() > 0 || ahead != 0 {
            self.answer_late(segment, &late);
        }
        false
    }

    fn answer_late(&self, segment: &Segment<'_>, late: &super::table::LateSegments) {
        let stamp = (self.now().millis() as u32).wrapping_add(late.ts_offset);
        let header = Header {
            seq: late.snd_nxt,
            ack: late.rcv_nxt,
            flags: Flags::ACK,
            window: late.window as u16,
            timestamp: late.ts_recent.map(|recent| (stamp, recent)),
            ..Header::default()
        };
        let via = crate::core::Via { source: Some(segment.tuple.local.ip), ..crate::core::Via::default() };
        if let Ok(path) = self.path(segment.tuple.remote.ip, &via) {
            self.send_tcp(&path, &segment.tuple, &header, (self.config().ip_default_ttl, 0), None);
        }
    }

    /// Whether another challenge acknowledgement may be sent in this second.
    pub(crate) fn may_challenge(&self, limit: u32, now: Instant) -> bool {
        let mut state = self.challenges.lock();
        let second = now.nanos() / Duration::from_secs(1).as_nanos() as u64;
        if state.second != second {
            state.second = second;
            state.count = 0;
        }
        state.count += 1;
        state.count <= limit
    }

    /// An ICMP error concerns a segment that was sent with sequence number `seq`.
    pub(crate) fn tcp_error(&self, tuple: Tuple, seq: u32, verdict: &Verdict) {
        if let Some(Conn::Socket(socket)) = self.tcp.get(&tuple) {
            TcpCore::on_icmp(&socket, seq, verdict);
        }
    }

    /// Registers a connection's addresses; false where a live connection has them.
    pub(super) fn register(&self, tuple: Tuple, socket: &Arc<TcpCore>) -> bool {
        match self.tcp.insert(tuple, socket) {
            Ok(Some(old)) => {
                self.counters.tcp_ext.tw_recycled.inc();
                if let Some(user) = old.user {
                    user.release(self);
                }
                true
            }
            Ok(None) => true,
            Err(()) => false,
        }
    }
}
