//! Acknowledgements: what they free, what they say about losses, and what follows for the congestion window.

use super::{Connection, Env, Recovery, Undo};
use crate::base::ready::Readiness;
use crate::tcp::scoreboard::Delivered;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::state::TcpState;
use std::time::Duration;

/// Duplicate acknowledgements that mean a loss where there is no SACK.
const DUP_THRESHOLD: u32 = 3;

impl Connection {
    /// Processes the acknowledgement of a segment that begins at `start`; false where the segment is to be dropped.
    pub(super) fn on_ack(&mut self, env: &mut Env<'_>, segment: &Segment<'_>, start: i64) -> bool {
        let ack = self.own_position(segment.ack);
        let nxt = self.nxt.cast_signed();
        let una = self.una.cast_signed();
        if self.state == TcpState::SynReceived {
            if ack != 1 {
                env.core.send_tcp_reset(segment);
                return false;
            }
            self.snd_wnd = self.window_of(segment);
            self.state = TcpState::Established;
            self.established_by_ack(env);
        }
        if ack > nxt || ack < una - self.max_wnd.max(65_535).cast_signed() {
            // RFC 5961 5.2: outside what could be meant.
            self.challenge(env);
            return false;
        }
        self.totals.last_ack_recv = env.now;
        self.keep_probes = 0;
        if ack < una {
            // An old acknowledgement, overtaken on the way; its SACK blocks are still news.
            let mut delivered = Delivered::default();
            self.take_sack(env, segment, &mut delivered);
            self.after_ack(env, segment, delivered, false);
            return true;
        }
        let ack = ack.cast_unsigned();
        let had_window = self.snd_wnd;
        self.update_window(segment, ack, start);
        let is_duplicate = ack == self.una
            && segment.payload.is_empty()
            && !segment.has(Flags::FIN)
            && self.snd_wnd == had_window
            && !self.board.is_empty();
        let mut delivered = Delivered::default();
        let advances = ack > self.una;
        if advances {
            delivered = self.advance(env, ack);
        }
        self.take_sack(env, segment, &mut delivered);
        self.measure(env, segment, &delivered);
        self.probes = 0;
        if self.snd_wnd > 0 {
            self.persist_backoff = 0;
            if had_window == 0 {
                self.timers.persist = None;
            }
        }
        if is_duplicate && !self.sack_ok {
            self.dupacks += 1;
            if self.dupacks == DUP_THRESHOLD && self.recovery == Recovery::Open {
                self.board.mark_first_lost(self.mss);
            }
        }
        self.after_ack(env, segment, delivered, advances);
        if advances {
            self.close_step(env);
        }
        true
    }

    fn established_by_ack(&mut self, env: &mut Env<'_>) {
        self.max_wnd = self.snd_wnd;
        self.established(env);
        env.wake |= Readiness::OUT;
    }

    /// The window that a segment offers. That of a SYN is never scaled.
    fn window_of(&self, segment: &Segment<'_>) -> u64 {
        let scale = if segment.has(Flags::SYN) { 0 } else { self.snd_scale };
        u64::from(segment.window) << scale
    }

    fn update_window(&mut self, segment: &Segment<'_>, ack: u64, start: i64) {
        let window = self.window_of(segment);
        let start = start.max(0).cast_unsigned();
        if ack > self.una || start > self.wl1 || start == self.wl1 && (window > self.snd_wnd || window == 0) {
            self.snd_wnd = window;
            self.wl1 = start;
            self.max_wnd = self.max_wnd.max(window);
        }
    }

    /// Positions before `ack` have arrived.
    fn advance(&mut self, env: &mut Env<'_>, ack: u64) -> Delivered {
        let delivered = self.board.ack(ack, env.now);
        self.una = ack;
        let bytes = (ack - 1).min(self.tx.end()).saturating_sub(self.tx.start());
        self.tx.consume(&env.core.pool, bytes as usize);
        self.retries = 0;
        self.rtt.backoff = 0;
        self.dupacks = 0;
        self.soft_error = None;
        if self.urgent_out.is_some_and(|at| at < ack) {
            self.urgent_out = None;
        }
        self.timers.retransmit = (!self.board.is_empty()).then(|| env.now + self.rtt.rto());
        self.leave_black_hole(env);
        self.confirm_neighbour(env);
        if self.wants_room && self.has_room(env) {
            self.wants_room = false;
            env.wake |= Readiness::OUT;
        }
        delivered
    }

    /// Progress proves that the next hop is reachable.
    fn confirm_neighbour(&mut self, env: &Env<'_>) {
        let pause = Duration::from_secs(5);
        if self.confirmed_at.is_none_or(|at| env.now.since(at) > pause) {
            self.confirmed_at = Some(env.now);
            env.core.neighbours.lock().confirm((self.path.nic.index, self.path.next_hop), env.now);
        }
    }

    /// Takes SACK blocks; the first may report a duplicate.
    fn take_sack(&mut self, env: &mut Env<'_>, segment: &Segment<'_>, delivered: &mut Delivered) {
        if !self.sack_ok {
            return;
        }
        let position = |number: u32| u64::try_from(self.own_position(number)).ok();
        let blocks = segment.options.sack.map(|block| {
            let (start, end) = block?;
            Some((position(start)?, position(end)?)).filter(|(start, end)| start < end)
        });
        for (index, block) in blocks.iter().enumerate() {
            let Some((start, end)) = *block else { continue };
            if index == 0 && self.is_dsack(env, (start, end), blocks[1]) {
                self.on_dsack(env, start, end);
                continue;
            }
            if end > self.nxt {
                env.core.counters.tcp_ext.sack_discard.inc();
                continue;
            }
            if end > self.una {
                self.board.sack(start.max(self.una), end, self.mss, env.now, delivered);
            }
        }
    }

    /// RFC 2883: a block below the acknowledgement, or inside the second one.
    fn is_dsack(&self, _env: &Env<'_>, first: (u64, u64), second: Option<(u64, u64)>) -> bool {
        first.1 <= self.una || second.is_some_and(|second| second.0 <= first.0 && first.1 <= second.1)
    }

    fn on_dsack(&mut self, env: &mut Env<'_>, _start: u64, end: u64) {
        env.core.counters.tcp_ext.dsack_recv.inc();
        self.totals.dsacks = self.totals.dsacks.wrapping_add(1);
        if let Some((point, true)) = self.tlp
            && end >= point.min(self.una)
        {
            // The probe was needless: nothing had been lost.
            self.tlp = None;
            return;
        }
        self.board.on_dsack();
        if let Some(undo) = &mut self.undo {
            undo.retransmits = undo.retransmits.saturating_sub(1);
            if undo.retransmits == 0 && undo.stamp.is_some() {
                env.core.counters.tcp_ext.dsack_undo.inc();
                self.undo_reduction();
            }
        }
    }

    fn measure(&mut self, env: &Env<'_>, segment: &Segment<'_>, delivered: &Delivered) {
        if let Some(rtt) = delivered.rtt {
            self.rtt.sample(rtt, env.now);
        } else if let (true, Some(_), Some((_, echo))) =
            (delivered.acked > 0, self.stamps, segment.options.timestamp)
        {
            // Only retransmissions were acknowledged: the stamp tells which one it was.
            let age = self.stamp(env.now).wrapping_sub(echo);
            if echo != 0 && age < 60_000 {
                self.rtt.sample(Duration::from_millis(age.into()), env.now);
            }
        }
    }

    /// Losses, recovery and the window, after an acknowledgement was booked.
    fn after_ack(&mut self, env: &mut Env<'_>, segment: &Segment<'_>, delivered: Delivered, advances: bool) {
        self.totals.delivered =
            self.totals.delivered.wrapping_add((delivered.bytes / self.mss.max(1)) as u32);
        self.end_probe_episode(env, delivered);
        if advances {
            self.detect_spurious(env, segment);
        }
        if self.sack_ok {
            self.detect_losses(env);
        }
        if segment.has(Flags::ECE) && self.ecn.is_on {
            self.on_congestion_mark(env);
        }
        self.recovery_step(env, delivered, advances);
        if advances {
            self.arm_loss_probe(env);
        }
    }

    /// RACK: what is lost by now, and when to look again.
    pub(super) fn detect_losses(&mut self, env: &mut Env<'_>) {
        let in_recovery = !matches!(self.recovery, Recovery::Open | Recovery::Reduced { .. });
        let min = self.rtt.min().unwrap_or(Duration::ZERO);
        let srtt = self.rtt.srtt().unwrap_or(Duration::from_millis(100));
        self.timers.reorder = self.board.detect(min, srtt, in_recovery, self.mss, env.now);
        if self.board.lost() > 0 && !in_recovery {
            self.begin_recovery(env);
        }
    }

    fn begin_recovery(&mut self, env: &mut Env<'_>) {
        let flight = self.nxt - self.una;
        if !matches!(self.recovery, Recovery::Reduced { .. }) {
            self.undo = Some(Undo {
                cwnd: self.window.cwnd,
                ssthresh: self.window.ssthresh,
                stamp: None,
                retransmits: 0,
            });
            self.window.reduce(flight);
        }
        self.window.begin_recovery(flight);
        self.recovery = Recovery::Fast { point: self.nxt };
        self.timers.probe_loss = None;
        self.tlp = None;
        if self.sack_ok {
            env.core.counters.tcp_ext.sack_recovery.inc();
        } else {
            env.core.counters.tcp_ext.reno_recovery.inc();
        }
    }

    /// RFC 8985 7.4: a loss probe that was answered without a DSACK repaired a loss.
    fn end_probe_episode(&mut self, env: &mut Env<'_>, delivered: Delivered) {
        let Some((point, was_retransmission)) = self.tlp else { return };
        if self.una < point {
            return;
        }
        self.tlp = None;
        if was_retransmission && delivered.retransmitted && self.recovery == Recovery::Open {
            env.core.counters.tcp_ext.loss_probe_recovery.inc();
            self.window.reduce(self.window.cwnd);
            self.window.cwnd = self.window.ssthresh;
            self.recovery = Recovery::Reduced { point: self.nxt };
        }
    }

    /// Eifel (RFC 3522): the acknowledgement answers the original, so the retransmission was needless.
    fn detect_spurious(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) {
        let Some(Undo { stamp: Some(stamp), .. }) = self.undo else { return };
        let Some((_, echo)) = segment.options.timestamp.filter(|_| self.stamps.is_some()) else { return };
        if echo == 0 || echo.wrapping_sub(stamp).cast_signed() >= 0 {
            return;
        }
        match self.recovery {
            Recovery::Loss { .. } => {
                env.core.counters.tcp_ext.spurious_rtos.inc();
                env.core.counters.tcp_ext.loss_undo.inc();
            }
            _ => env.core.counters.tcp_ext.full_undo.inc(),
        }
        self.undo_reduction();
    }

    fn undo_reduction(&mut self) {
        if let Some(undo) = self.undo.take() {
            self.window.undo(undo.cwnd, undo.ssthresh);
            self.board.unmark_lost();
            self.recovery = Recovery::Open;
        }
    }

    /// The peer saw a congestion mark: one reduction for each window.
    fn on_congestion_mark(&mut self, _env: &mut Env<'_>) {
        if self.recovery == Recovery::Open {
            self.window.reduce(self.nxt - self.una);
            self.window.begin_recovery(self.nxt - self.una);
            self.recovery = Recovery::Reduced { point: self.nxt };
            self.ecn.send_cwr = true;
        }
    }

    fn recovery_step(&mut self, env: &mut Env<'_>, delivered: Delivered, advances: bool) {
        match self.recovery {
            Recovery::Open => {
                if self.board.lost() > 0 {
                    self.begin_recovery(env);
                    self.window.on_recovery_ack(delivered.bytes, self.pipe(), advances);
                } else if advances
                    && (self.is_cwnd_limited || self.window.in_slow_start() && self.uses_window())
                {
                    self.is_cwnd_limited = false;
                    self.grow_window(env, delivered.acked);
                }
            }
            Recovery::Reduced { point } | Recovery::Fast { point } if self.una >= point => {
                self.window.end_recovery();
                self.recovery = Recovery::Open;
                self.undo = None;
                self.board.on_recovered();
            }
            Recovery::Reduced { .. } => self.window.on_recovery_ack(delivered.bytes, self.pipe(), advances),
            Recovery::Fast { .. } => {
                if !self.sack_ok {
                    // NewReno (RFC 6582): a partial acknowledgement exposes the next loss; each duplicate means
                    // that something has left the network.
                    if advances {
                        self.board.mark_first_lost(self.mss);
                    }
                    let left = if advances { delivered.bytes } else { self.mss };
                    self.window.on_recovery_ack(left, self.pipe(), advances);
                    return;
                }
                self.window.on_recovery_ack(delivered.bytes, self.pipe(), advances);
            }
            Recovery::Loss { point } => {
                if advances {
                    self.grow_window(env, delivered.acked);
                }
                if self.una >= point {
                    self.recovery = Recovery::Open;
                    self.undo = None;
                    self.board.on_recovered();
                }
            }
        }
    }

    /// Data in flight; without SACK as duplicate acknowledgements let guess.
    pub(super) fn pipe(&self) -> u64 {
        let guess = if self.sack_ok { 0 } else { u64::from(self.dupacks) * self.mss };
        self.board.pipe().saturating_sub(guess)
    }

    /// Whether the data in flight comes near the window, so that a larger one would be used.
    fn uses_window(&self) -> bool {
        self.window.cwnd < 2 * (self.board.pipe() + self.mss * 2)
    }

    fn grow_window(&mut self, env: &mut Env<'_>, acked: u64) {
        let ceiling = (env.config.tcp_wmem.max as u64).max(env.options.base.snd_buf() as u64);
        self.window.on_ack(acked, env.now, self.rtt.srtt(), ceiling);
        // Room for twice the window, so that the application keeps it full.
        let wanted = (self.window.cwnd as usize).saturating_mul(2).min(env.config.tcp_wmem.max);
        if wanted > env.options.base.snd_buf() {
            env.options.base.tune_snd_buf(wanted);
            if self.wants_room && self.has_room(env) {
                self.wants_room = false;
                env.wake |= Readiness::OUT;
            }
        }
    }

    /// Our FIN may have been acknowledged.
    fn close_step(&mut self, env: &mut Env<'_>) {
        if !self.fin_sent || self.una < self.nxt || self.una <= self.data_end() {
            return;
        }
        match self.state {
            TcpState::FinWait1 => {
                self.state = TcpState::FinWait2;
                self.enter_fin_wait2(env);
            }
            TcpState::Closing => self.state = TcpState::TimeWait,
            TcpState::LastAck => self.finish(env, None),
            _ => {}
        }
    }

    /// An orphan does not wait for the peer's FIN for ever.
    pub(super) fn enter_fin_wait2(&mut self, env: &mut Env<'_>) {
        if self.state != TcpState::FinWait2 || !self.is_orphan {
            return;
        }
        match env.options.tcp.linger2(&env.config) {
            Some(wait) => self.timers.fin_wait = Some(env.now + wait),
            None => {
                env.core.counters.tcp_ext.abort_on_linger.inc();
                self.send_reset(env);
                self.finish(env, None);
            }
        }
    }
}
