//! How connections begin: actively with a SYN, or from a handshake that a listener has seen through.

use super::{AckState, Connection, EcnState, Env, RcvTuning, Recovery, Stamps, Timers, Totals};
use crate::base::addr::Family;
use crate::base::config::{Config, Ecn};
use crate::base::time::Instant;
use crate::buf::StreamBuf;
use crate::core::{Core, Path, Tuple};
use crate::socket::options::Options;
use crate::tcp::assembler::Assembler;
use crate::tcp::congestion::Window;
use crate::tcp::rtt::Rtt;
use crate::tcp::scoreboard::Scoreboard;
use crate::tcp::segment::{Segment, TcpOptionsIn};
use crate::tcp::state::TcpState;
use std::hash::{Hash, Hasher};

/// What a peer that says nothing about its segment size can take (RFC 9293 3.7.1).
pub(crate) const DEFAULT_MSS: u16 = 536;
/// Segments acknowledged at once in the beginning.
pub(super) const QUICK_ACKS: u32 = 16;

/// What a listener has learnt in the handshake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) iss: u32,
    pub(crate) irs: u32,
    pub(crate) peer: TcpOptionsIn,
    pub(crate) has_ecn: bool,
    pub(crate) ts_offset: u32,
    pub(crate) ts_recent: u32,
    /// Window that the SYN-ACK offered.
    pub(crate) rcv_wnd: u32,
    pub(crate) rcv_scale: u8,
    /// When the SYN-ACK was sent, if it was sent once.
    pub(crate) sent_at: Option<Instant>,
}

/// The initial sequence number (RFC 6528): a clock of 4 µs ticks and a keyed hash of the addresses.
pub(crate) fn initial_sequence(core: &Core, tuple: &Tuple) -> u32 {
    let mut sip = core.hasher();
    sip.write_u8(1);
    tuple.hash(&mut sip);
    (sip.finish() as u32).wrapping_add((core.now().nanos() / 4096) as u32)
}

/// Where the time stamps of a connection begin: differs by address pair, so that they tell nothing about others.
pub(crate) fn timestamp_offset(core: &Core, tuple: &Tuple) -> u32 {
    let mut sip = core.hasher();
    sip.write_u8(2);
    (tuple.local.ip, tuple.remote.ip).hash(&mut sip);
    sip.finish() as u32
}

/// The window scale that lets the largest buffer be offered.
pub(crate) fn wanted_scale(config: &Config, options: &Options) -> u8 {
    let space = config.tcp_rmem.max.max(config.rmem_max).max(options.base.rcv_buf());
    (0..14).find(|scale| space >> scale <= 65_535).unwrap_or(14)
}

/// The segment size that we offer: what fits the path, less where the socket says so.
pub(crate) fn own_mss(path: &Path, family: Family, options: &Options) -> u16 {
    let fits = (path.mtu as usize).saturating_sub(family.header_len() + 20).clamp(88, 65_535) as u16;
    match options.tcp.max_seg() {
        0 => fits,
        clamp => fits.min(clamp),
    }
}

impl Connection {
    fn blank(env: &Env<'_>, tuple: Tuple, path: Path, iss: u32) -> Self {
        let mss = u64::from(DEFAULT_MSS);
        Self {
            tuple,
            path,
            state: TcpState::SynSent,
            ends_in_time_wait: false,
            error: None,
            is_orphan: false,
            is_counted_orphan: false,
            shut_read: false,
            armed: Vec::new(),
            is_counted: false,
            is_settled: false,
            iss,
            una: 0,
            nxt: 0,
            tx: StreamBuf::default(),
            fin_queued: false,
            fin_sent: false,
            snd_wnd: 0,
            max_wnd: 0,
            wl1: 0,
            snd_scale: 0,
            rcv_scale: 0,
            mss,
            peer_mss: mss,
            board: Scoreboard::new(),
            window: Window::new(env.options.tcp.congestion, mss),
            rtt: Rtt::new(),
            recovery: Recovery::Open,
            undo: None,
            dupacks: 0,
            tlp: None,
            small_end: 0,
            holds_more: false,
            urgent_out: None,
            wants_room: false,
            retries: 0,
            probes: 0,
            persist_backoff: 0,
            keep_probes: 0,
            soft_error: None,
            is_cwnd_limited: false,
            black_hole: None,
            confirmed_at: None,
            irs: 0,
            rcv_nxt: 0,
            rcv_adv: 0,
            rx: StreamBuf::default(),
            ooo: Assembler::default(),
            fin_at: None,
            fin_received: false,
            urgent_in: None,
            dsack: None,
            sack_ok: false,
            stamps: None,
            ecn: EcnState::default(),
            acks: AckState {
                is_due: false,
                sent_for: 0,
                quick: QUICK_ACKS,
                is_interactive: false,
                rcv_mss: mss,
                last_received: env.now,
                last_invalid: None,
            },
            tuning: RcvTuning::new(0, 0, env.now),
            timers: Timers::default(),
            totals: Totals { last_data_sent: env.now, last_ack_recv: env.now, ..Totals::default() },
        }
    }

    /// Begins a connection: sends the SYN.
    pub(crate) fn connect(env: &mut Env<'_>, tuple: Tuple, path: Path) -> Self {
        let iss = initial_sequence(env.core, &tuple);
        let mut conn = Self::blank(env, tuple, path, iss);
        if env.config.tcp_timestamps {
            let offset = timestamp_offset(env.core, &tuple);
            conn.stamps = Some(Stamps { offset, recent: 0, recent_at: env.now });
        }
        conn.sack_ok = env.config.tcp_sack;
        conn.ecn.is_on = env.config.tcp_ecn == Ecn::On;
        conn.rcv_scale =
            if env.config.tcp_window_scaling { wanted_scale(&env.config, env.options) } else { 0 };
        conn.send_syn(env);
        conn.nxt = 1;
        conn.board.push(0, 1, env.now);
        conn.timers.retransmit = Some(env.now + conn.rtt.rto());
        conn
    }

    /// The connection of a finished handshake. The segment that finished it is still to be processed.
    pub(crate) fn accepted(env: &mut Env<'_>, tuple: Tuple, path: Path, from: &Accepted) -> Self {
        let mut conn = Self::blank(env, tuple, path, from.iss);
        conn.state = TcpState::Established;
        conn.irs = from.irs;
        conn.una = 1;
        conn.nxt = 1;
        conn.rcv_nxt = 1;
        conn.acks.sent_for = 1;
        conn.rcv_adv = 1 + u64::from(from.rcv_wnd);
        conn.rcv_scale = from.rcv_scale;
        conn.stamps = from.peer.timestamp.is_some().then_some(Stamps {
            offset: from.ts_offset,
            recent: from.ts_recent,
            recent_at: env.now,
        });
        conn.sack_ok = from.peer.sack_permitted;
        conn.ecn.is_on = from.has_ecn;
        conn.adopt_peer(env, &from.peer);
        if let Some(sent_at) = from.sent_at {
            conn.rtt.sample(env.now.since(sent_at), env.now);
        }
        conn.established(env);
        conn
    }

    /// Takes over what the peer's SYN said.
    fn adopt_peer(&mut self, env: &Env<'_>, peer: &TcpOptionsIn) {
        self.peer_mss = u64::from(peer.mss.unwrap_or(DEFAULT_MSS).max(env.config.tcp_min_snd_mss));
        match peer.window_scale {
            Some(scale) if env.config.tcp_window_scaling => self.snd_scale = scale,
            _ => {
                self.snd_scale = 0;
                self.rcv_scale = 0;
            }
        }
        self.update_mss(env);
        self.acks.rcv_mss = self.mss;
    }

    /// Computes the segment size from what the peer takes and the path carries.
    pub(super) fn update_mss(&mut self, env: &Env<'_>) {
        let family = Family::of(self.tuple.remote.ip);
        let fits = u64::from(own_mss(&self.path, family, env.options));
        let stamps = if self.stamps.is_some() { 12 } else { 0 };
        self.mss =
            fits.min(self.peer_mss).saturating_sub(stamps).max(u64::from(env.config.tcp_min_snd_mss).max(8));
        self.window.set_mss(self.mss);
    }

    /// The handshake is done.
    pub(super) fn established(&mut self, env: &mut Env<'_>) {
        self.retries = 0;
        self.timers.retransmit = None;
        // Room for ten segments on the way and as many behind them.
        let segments = (self.mss as usize + 256) * 20;
        env.options.base.tune_snd_buf(segments.min(env.config.tcp_wmem.max));
        self.tuning = RcvTuning::new(self.rx.start(), (self.mss * 10).max(16_384), env.now);
        self.arm_keepalive(env);
    }

    /// Our SYN was answered.
    pub(super) fn on_syn_answer(&mut self, env: &mut Env<'_>, segment: &Segment<'_>, acks_ours: bool) {
        self.irs = segment.seq;
        self.rcv_nxt = 1;
        self.acks.sent_for = 1;
        self.rcv_adv = 1 + self.offer(env).min(65_535);
        match (segment.options.timestamp, &mut self.stamps) {
            (Some((value, _)), Some(stamps)) => {
                stamps.recent = value;
                stamps.recent_at = env.now;
            }
            _ => self.stamps = None,
        }
        self.sack_ok &= segment.options.sack_permitted;
        self.adopt_peer(env, &segment.options);
        // The window of a SYN is never scaled.
        self.snd_wnd = segment.window.into();
        self.max_wnd = self.snd_wnd;
        self.wl1 = 0;
        if acks_ours {
            let delivered = self.board.ack(1, env.now);
            if let Some(rtt) = delivered.rtt {
                self.rtt.sample(rtt, env.now);
            }
            self.rtt.backoff = 0;
            self.una = 1;
            self.state = TcpState::Established;
            self.established(env);
        } else {
            self.state = TcpState::SynReceived;
        }
    }
}
