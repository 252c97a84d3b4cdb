//! A connection over packets: the state machine of RFC 9293 with its extensions.
//!
//! It is plain data under its socket's lock; what it needs from outside comes in an [`Env`]. Positions in sequence
//! space are 64-bit: 0 is the SYN, byte `n` of the stream is `n + 1`, the FIN follows the last byte. Only the edge to
//! the wire knows 32-bit numbers, so nothing inside wraps.

mod ack;
mod bulk;
mod input;
mod open;
mod output;
mod promise;
mod right_size;
mod timer;
mod user;

use super::assembler::Assembler;
use super::congestion::Window;
use super::rtt::Rtt;
use super::scoreboard::Scoreboard;
use super::state::TcpState;
use super::urgent::Urgent;
use crate::base::config::Config;
use crate::base::error::Error;
use crate::base::ready::Readiness;
use crate::base::time::Instant;
use crate::buf::StreamBuf;
use crate::core::{Core, Path, Tuple};
use crate::socket::options::Options;
use right_size::RcvTuning;
use std::sync::Arc;

pub(crate) use open::{Accepted, initial_sequence, own_mss, timestamp_offset, wanted_scale};

/// What a connection needs from its socket and stack, and what it tells them.
pub(crate) struct Env<'a> {
    pub(crate) core: &'a Core,
    pub(crate) config: Arc<Config>,
    pub(crate) now: Instant,
    pub(crate) options: &'a mut Options,
    /// What the socket's observer is to hear once no lock is held.
    pub(crate) wake: Readiness,
}

impl<'a> Env<'a> {
    pub(crate) fn new(core: &'a Core, options: &'a mut Options) -> Self {
        Self { core, config: core.config(), now: core.now(), options, wake: Readiness::empty() }
    }
}

/// Phases of loss recovery; each but `Open` ends when `point` is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    Open,
    /// Reduced after a congestion mark.
    Reduced {
        point: u64,
    },
    /// Fast recovery.
    Fast {
        point: u64,
    },
    /// After a retransmission timeout.
    Loss {
        point: u64,
    },
}

/// What a window reduction is undone to, if it turns out to have been a mistake.
#[derive(Clone, Copy, Debug)]
struct Undo {
    cwnd: u64,
    ssthresh: u64,
    /// Our time stamp when the first retransmission was sent.
    stamp: Option<u32>,
    /// Retransmissions not yet reported as needless.
    retransmits: u32,
}

/// Time stamps in use (RFC 7323).
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamps {
    pub(super) offset: u32,
    pub(super) recent: u32,
    pub(super) recent_at: Instant,
}

/// Explicit congestion notification (RFC 3168).
#[derive(Clone, Copy, Debug, Default)]
struct EcnState {
    is_on: bool,
    /// Tell the peer until it answers with CWR.
    echo: bool,
    /// Tell the peer that we reduced.
    send_cwr: bool,
    seen: bool,
}

/// When acknowledgements are sent.
#[derive(Clone, Copy, Debug)]
struct AckState {
    /// One must go out now.
    is_due: bool,
    /// Position last acknowledged.
    sent_for: u64,
    /// Segments that are still acknowledged at once.
    quick: u32,
    /// The application answers what it receives: acknowledgements wait for the answer.
    is_interactive: bool,
    /// Estimated size of the peer's segments.
    rcv_mss: u64,
    last_received: Instant,
    /// Last time a segment that made no sense was answered.
    last_invalid: Option<Instant>,
}

/// Deadlines. `None` is off.
#[derive(Clone, Copy, Debug, Default)]
struct Timers {
    retransmit: Option<Instant>,
    probe_loss: Option<Instant>,
    reorder: Option<Instant>,
    persist: Option<Instant>,
    delayed_ack: Option<Instant>,
    keepalive: Option<Instant>,
    /// End of an orphan's FIN-WAIT-2.
    fin_wait: Option<Instant>,
}

impl Timers {
    fn next(&self) -> Option<Instant> {
        let all = [
            self.retransmit,
            self.probe_loss,
            self.reorder,
            self.persist,
            self.delayed_ack,
            self.keepalive,
            self.fin_wait,
        ];
        all.into_iter().flatten().min()
    }
}

/// Totals for `TCP_INFO`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) segs_in: u32,
    pub(super) segs_out: u32,
    pub(super) data_segs_in: u32,
    pub(super) data_segs_out: u32,
    pub(super) bytes_sent: u64,
    pub(super) bytes_retrans: u64,
    pub(super) retrans: u32,
    pub(super) delivered: u32,
    pub(super) dsacks: u32,
    pub(super) ooo: u32,
    pub(super) last_data_sent: Instant,
    pub(super) last_ack_recv: Instant,
}

/// A connection.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "protocol facts that are independent of each other")]
pub(crate) struct Connection {
    pub(crate) tuple: Tuple,
    pub(crate) path: Path,
    pub(crate) state: TcpState,
    /// It ended in TIME-WAIT; what is to be remembered goes to the table.
    pub(crate) ends_in_time_wait: bool,
    /// The error that ended it, until somebody takes it.
    pub(crate) error: Option<Error>,
    /// Nobody holds the socket any more.
    pub(crate) is_orphan: bool,
    /// Counted among the stack's orphans.
    pub(crate) is_counted_orphan: bool,
    pub(crate) shut_read: bool,
    /// Deadlines for which the stack's wheel is armed, the earliest last. An entry is added only ahead of all others,
    /// so there are few.
    pub(crate) armed: Vec<Instant>,
    /// Counted in `CurrEstab`.
    pub(crate) is_counted: bool,
    /// It has ended, and left the table.
    pub(crate) is_settled: bool,

    iss: u32,
    una: u64,
    nxt: u64,
    tx: StreamBuf,
    /// A FIN follows the data.
    fin_queued: bool,
    fin_sent: bool,
    snd_wnd: u64,
    max_wnd: u64,
    /// Segment and acknowledgement of the last window update.
    wl1: u64,
    snd_scale: u8,
    rcv_scale: u8,
    /// Payload of a full segment, with time stamps and without SACK blocks.
    mss: u64,
    peer_mss: u64,
    board: Scoreboard,
    window: Window,
    rtt: Rtt,
    recovery: Recovery,
    undo: Option<Undo>,
    dupacks: u32,
    /// End of the data when a loss probe was sent, and whether that was a retransmission.
    tlp: Option<(u64, bool)>,
    /// End of the last segment shorter than full.
    small_end: u64,
    /// `MSG_MORE`: hold the last short segment back.
    holds_more: bool,
    urgent_out: Option<u64>,
    wants_room: bool,
    /// Timeouts, probes, or keepalives without an answer.
    retries: u32,
    probes: u32,
    keep_probes: u32,
    /// Probes since the window was last open, answered or not: each waits twice as long as the one before.
    persist_backoff: u32,
    /// What an ICMP message hinted at, for when the connection times out.
    pub(super) soft_error: Option<Error>,
    is_cwnd_limited: bool,
    /// The peer's segment size while smaller ones are used because full ones seemed to vanish, and since when.
    black_hole: Option<(u64, Instant)>,
    /// When the neighbour table last heard of progress.
    confirmed_at: Option<Instant>,

    irs: u32,
    rcv_nxt: u64,
    /// Right edge of the window that was offered.
    rcv_adv: u64,
    rx: StreamBuf,
    ooo: Assembler,
    /// Position of the peer's FIN, once it was seen.
    fin_at: Option<u64>,
    fin_received: bool,
    urgent_in: Option<Urgent>,
    dsack: Option<(u64, u64)>,
    sack_ok: bool,
    stamps: Option<Stamps>,
    ecn: EcnState,
    acks: AckState,
    tuning: RcvTuning,
    timers: Timers,
    pub(super) totals: Totals,
}

impl Connection {
    /// The wire's number of position `x` of ours.
    fn seq(&self, x: u64) -> u32 {
        self.iss.wrapping_add(x as u32)
    }

    /// The wire's number of position `x` of the peer.
    fn peer_seq(&self, x: u64) -> u32 {
        self.irs.wrapping_add(x as u32)
    }

    /// The position of ours that an acknowledgement number means; below zero where it is older than the connection.
    fn own_position(&self, ack: u32) -> i64 {
        let delta = ack.wrapping_sub(self.seq(self.una)).cast_signed();
        self.una.cast_signed() + i64::from(delta)
    }

    /// The position of the peer that a sequence number means.
    fn peer_position(&self, seq: u32) -> i64 {
        let delta = seq.wrapping_sub(self.peer_seq(self.rcv_nxt)).cast_signed();
        self.rcv_nxt.cast_signed() + i64::from(delta)
    }

    /// Position after the last byte of data.
    fn data_end(&self) -> u64 {
        self.tx.end() + 1
    }

    /// Our time stamp.
    fn stamp(&self, now: Instant) -> u32 {
        (now.millis() as u32).wrapping_add(self.stamps.map_or(0, |stamps| stamps.offset))
    }

    /// Whether both directions are shut as far as the application is concerned.
    fn is_shut_write(&self) -> bool {
        self.fin_queued || self.state == TcpState::Closed
    }

    /// The next time that [`Connection::on_timer`] is needed.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Whether everything sent was acknowledged, the FIN included.
    pub(crate) fn is_drained(&self) -> bool {
        self.state == TcpState::Closed
            || self.una == self.nxt && self.nxt >= self.data_end() && self.fin_queued == self.fin_sent
    }

    /// Ends the connection. Received data stays readable.
    pub(super) fn finish(&mut self, env: &mut Env<'_>, error: Option<Error>) {
        if self.state == TcpState::Closed {
            return;
        }
        self.state = TcpState::Closed;
        if self.error.is_none() {
            self.error = error;
        }
        self.tx.clear(&env.core.pool);
        self.ooo.clear(&env.core.pool);
        self.board.clear();
        self.timers = Timers::default();
        self.fin_queued = true;
        env.wake |= Readiness::all() - Readiness::PRI;
    }

    /// Frees all memory; the socket is gone.
    pub(crate) fn discard(&mut self, core: &Core) {
        self.tx.clear(&core.pool);
        self.rx.clear(&core.pool);
        self.ooo.clear(&core.pool);
    }

    /// Our end of what is remembered in TIME-WAIT.
    pub(crate) fn late_segments(&self) -> super::table::LateSegments {
        super::table::LateSegments {
            snd_nxt: self.seq(self.nxt),
            rcv_nxt: self.peer_seq(self.rcv_nxt),
            window: (self.rcv_adv.saturating_sub(self.rcv_nxt) >> self.rcv_scale).min(65_535) as u32,
            ts_recent: self.stamps.map(|stamps| stamps.recent),
            ts_offset: self.stamps.map_or(0, |stamps| stamps.offset),
        }
    }
}
