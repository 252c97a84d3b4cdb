//! Segments that arrive on a connection: the checks of RFC 9293 section 3.10.7 with RFC 5961 and RFC 7323, then
//! data and FIN.

use super::output::{DELAYED_ACK, Push};
use super::{Connection, Env};
use crate::base::error::Error;
use crate::base::ready::Readiness;
use crate::tcp::assembler::Insert;
use crate::tcp::conn::open::QUICK_ACKS;
use crate::tcp::segment::{Flags, Segment};
use crate::tcp::state::TcpState;
use crate::tcp::urgent::Urgent;
use std::time::Duration;

/// Age at which the peer's last time stamp no longer protects (RFC 7323 5.5).
const STAMP_LIFETIME: Duration = Duration::from_secs(24 * 24 * 3600);

/// What a SYN means to a connection that has had one.
enum SynAgain {
    /// The same again, since our answer was lost.
    Answer,
    /// The answer to our own SYN, which crossed the peer's.
    Completes,
    /// Nothing that the peer would send now.
    Odd,
}

impl Connection {
    /// Takes a segment.
    pub(crate) fn on_segment(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) {
        self.totals.segs_in = self.totals.segs_in.wrapping_add(segment.packets);
        match self.state {
            TcpState::Closed => return,
            TcpState::SynSent => return self.on_syn_sent(env, segment),
            _ => {}
        }
        let start = self.peer_position(segment.seq);
        if !self.is_acceptable(env, segment, start) {
            return;
        }
        if segment.has(Flags::RST) {
            return self.on_reset(env, start);
        }
        if segment.has(Flags::SYN) {
            match self.judge_syn(segment, start) {
                SynAgain::Answer => return self.send_syn(env),
                SynAgain::Completes => {}
                SynAgain::Odd => {
                    env.core.counters.tcp_ext.syn_challenge.inc();
                    return self.challenge(env);
                }
            }
        }
        if !segment.has(Flags::ACK) {
            return;
        }
        if !self.on_ack(env, segment, start) {
            return;
        }
        if self.state == TcpState::Closed {
            return;
        }
        // Only now: a segment whose acknowledgement makes no sense tells nothing about the peer's clock.
        self.note_stamp(env, segment, start);
        if self.refuses_data(segment, start) {
            env.core.counters.tcp_ext.abort_on_data.inc();
            self.send_reset(env);
            return self.finish(env, Some(Error::ConnReset));
        }
        self.on_urgent(env, segment, start);
        self.on_data(env, segment, start);
        self.output(env, Push::Normal);
        self.note_time_wait(env);
    }

    /// What a SYN means to a connection that has had one.
    fn judge_syn(&self, segment: &Segment<'_>, start: i64) -> SynAgain {
        if self.state != TcpState::SynReceived || start != 0 {
            return SynAgain::Odd;
        }
        if !segment.has(Flags::ACK) {
            return SynAgain::Answer;
        }
        // Both ends have opened at once (RFC 9293 figure 8).
        if segment.seq_len() == 1 && self.own_position(segment.ack) == 1 {
            SynAgain::Completes
        } else {
            SynAgain::Odd
        }
    }

    /// Whether the segment lies in the window and is no ghost. Otherwise it was answered as it should be.
    fn is_acceptable(&mut self, env: &mut Env<'_>, segment: &Segment<'_>, start: i64) -> bool {
        let counters = &env.core.counters.tcp_ext;
        if let (Some(stamps), Some((value, _))) = (self.stamps, segment.options.timestamp)
            && stamps.recent.wrapping_sub(value).cast_signed() > 0
            && env.now.since(stamps.recent_at) < STAMP_LIFETIME
            && !segment.has(Flags::RST)
        {
            counters.paws_estab_rejected.inc();
            self.answer_invalid(env);
            return false;
        }
        let end = start + i64::from(segment.seq_len());
        let too_old = end < self.acks.sent_for.cast_signed();
        let too_new = start > self.rcv_adv.cast_signed().max(self.rcv_nxt.cast_signed());
        if !too_old && !too_new {
            return true;
        }
        if !segment.has(Flags::RST) {
            if segment.has(Flags::SYN) {
                counters.syn_challenge.inc();
                self.challenge(env);
            } else if too_old && !segment.payload.is_empty() {
                // Our acknowledgement was lost: say it again, and that the data came twice.
                self.note_duplicate(env, start.max(0).cast_unsigned(), end.max(0).cast_unsigned());
                counters.delayed_ack_lost.inc();
                self.acks.quick = self.acks.quick.max(2);
                self.send_ack(env);
            } else {
                self.answer_invalid(env);
            }
        }
        false
    }

    /// Acknowledges a segment that made no sense, but not too often.
    fn answer_invalid(&mut self, env: &mut Env<'_>) {
        let pause = Duration::from_millis(env.config.tcp_invalid_ratelimit.into());
        if self.acks.last_invalid.is_some_and(|last| env.now.since(last) < pause) {
            return env.core.counters.tcp_ext.ack_skipped.inc();
        }
        self.acks.last_invalid = Some(env.now);
        self.send_ack(env);
    }

    /// Challenge acknowledgement (RFC 5961), limited over the whole stack.
    pub(super) fn challenge(&mut self, env: &mut Env<'_>) {
        if env.core.may_challenge(env.config.tcp_challenge_ack_limit, env.now) {
            env.core.counters.tcp_ext.challenge_ack.inc();
            self.answer_invalid(env);
        }
    }

    fn on_reset(&mut self, env: &mut Env<'_>, start: i64) {
        if start != self.rcv_nxt.cast_signed() {
            return self.challenge(env);
        }
        let error = match self.state {
            TcpState::SynReceived => Error::ConnRefused,
            TcpState::CloseWait => Error::Pipe,
            _ => Error::ConnReset,
        };
        if self.state.is_open() {
            env.core.counters.tcp.estab_resets.inc();
        }
        self.finish(env, Some(error));
    }

    fn on_syn_sent(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) {
        let acks_ours = segment.has(Flags::ACK);
        if acks_ours && self.own_position(segment.ack) != 1 {
            if !segment.has(Flags::RST) {
                env.core.send_tcp_reset(segment);
            }
            return;
        }
        if segment.has(Flags::RST) {
            if acks_ours {
                env.core.counters.tcp.attempt_fails.inc();
                self.finish(env, Some(Error::ConnRefused));
            }
            return;
        }
        if !segment.has(Flags::SYN) {
            return;
        }
        self.ecn.is_on &= segment.has(Flags::ECE) && !segment.has(Flags::CWR);
        self.on_syn_answer(env, segment, acks_ours);
        if acks_ours {
            env.wake |= Readiness::OUT;
            // Data or a FIN in the answer is rare, and will come again.
            self.acks.is_due = true;
            self.output(env, Push::Normal);
        } else {
            self.send_syn(env);
        }
    }

    /// Remembers the peer's time stamp (RFC 7323 4.3).
    fn note_stamp(&mut self, env: &Env<'_>, segment: &Segment<'_>, start: i64) {
        let last_ack = self.acks.sent_for.cast_signed();
        if let (Some(stamps), Some((value, _))) = (&mut self.stamps, segment.options.timestamp)
            && start <= last_ack
            && value.wrapping_sub(stamps.recent).cast_signed() >= 0
        {
            stamps.recent = value;
            stamps.recent_at = env.now;
        }
    }

    /// Data for a socket that was shut in both directions, or closed, is answered with a reset (RFC 1122 4.2.2.13).
    fn refuses_data(&self, segment: &Segment<'_>, start: i64) -> bool {
        let fresh = start + segment.payload.len() as i64 > self.rcv_nxt.cast_signed();
        let closing = matches!(
            self.state,
            TcpState::FinWait1 | TcpState::FinWait2 | TcpState::Closing | TcpState::LastAck
        );
        !segment.payload.is_empty() && fresh && self.shut_read && closing
    }

    fn on_urgent(&mut self, env: &mut Env<'_>, segment: &Segment<'_>, start: i64) {
        if !segment.has(Flags::URG) || segment.urgent == 0 {
            return;
        }
        // The pointer names the byte after the urgent one, as everybody but the RFC has it.
        let at = start + i64::from(segment.urgent) - 2;
        let Ok(at) = u64::try_from(at) else { return };
        // In what has been received already it means nothing: that may have been read, or promised to a reader.
        if at + 1 < self.rcv_nxt || self.urgent_in.is_some_and(|old| at <= old.at) {
            return;
        }
        self.urgent_in = Some(Urgent { at, is_read: false });
        env.wake |= Readiness::PRI;
    }

    /// Takes data and FIN.
    fn on_data(&mut self, env: &mut Env<'_>, segment: &Segment<'_>, start: i64) {
        let end = start + segment.payload.len() as i64;
        if segment.is_ce && !segment.payload.is_empty() && self.ecn.is_on {
            self.ecn.echo = true;
            self.ecn.seen = true;
            self.acks.is_due = true;
        }
        if segment.has(Flags::CWR) && !segment.payload.is_empty() {
            self.ecn.echo = segment.is_ce && self.ecn.is_on;
        }
        let may_end = self.rcv_nxt.cast_signed()..=self.rcv_adv.cast_signed() + 1;
        if segment.has(Flags::FIN) && self.fin_at.is_none() && may_end.contains(&end) {
            self.fin_at = u64::try_from(end).ok();
        }
        if !segment.payload.is_empty() && !self.fin_received {
            self.totals.data_segs_in = self.totals.data_segs_in.wrapping_add(segment.packets);
            self.take_payload(env, segment, start, end);
        } else if segment.seq_len() > 0 && end < self.rcv_nxt.cast_signed() {
            self.acks.is_due = true;
        }
        self.take_fin(env, segment);
    }

    fn take_payload(&mut self, env: &mut Env<'_>, segment: &Segment<'_>, start: i64, end: i64) {
        let next = self.rcv_nxt.cast_signed();
        if end <= next {
            self.note_duplicate(env, start.max(0).cast_unsigned(), end.cast_unsigned());
            self.acks.is_due = true;
            self.acks.quick = self.acks.quick.max(2);
            return;
        }
        // What lies beyond the window or beyond the FIN is cut off.
        let mut limit = self.rcv_adv.max(self.rcv_nxt);
        if let Some(fin) = self.fin_at {
            limit = limit.min(fin);
        }
        let limit = limit.cast_signed().min(end);
        if start.max(next) >= limit {
            if self.rcv_adv <= self.rcv_nxt {
                env.core.counters.tcp_ext.zero_window_drop.inc();
            }
            self.acks.is_due = true;
            return;
        }
        let skip = (next - start).max(0) as usize;
        let data = &segment.payload[skip..(limit - start) as usize];
        let at = start.max(next).cast_unsigned();
        self.note_arrival(env, segment);
        if at > self.rcv_nxt {
            return self.take_ahead(env, at, data);
        }
        if skip > 0 {
            self.note_duplicate(env, start.max(0).cast_unsigned(), self.rcv_nxt);
        }
        let taken = self.rx.append_frame(&env.core.pool, data, segment.buffer);
        if taken < data.len() {
            env.core.counters.tcp_ext.rcv_q_drop.inc();
            self.acks.is_due = true;
        }
        let had_gap = !self.ooo.is_empty();
        self.rcv_nxt += taken as u64;
        if had_gap && taken == data.len() {
            // Stream bytes lie one behind positions.
            self.rcv_nxt = self.ooo.drain(&env.core.pool, &mut self.rx, self.rcv_nxt - 1) + 1;
            self.acks.is_due = true;
        }
        if taken > 0 {
            env.wake |= Readiness::IN;
        }
        self.schedule_ack(env);
        self.measure_round_trip(env, segment);
    }

    /// Keeps a segment that came ahead of others.
    fn take_ahead(&mut self, env: &mut Env<'_>, at: u64, data: &[u8]) {
        let counters = &env.core.counters.tcp_ext;
        self.acks.is_due = true;
        if self.ooo.covers(at - 1, at - 1 + data.len() as u64) {
            counters.dsack_ofo_sent.inc();
            if self.sack_ok && env.config.tcp_dsack {
                self.dsack = Some((at, at + data.len() as u64));
            }
            return;
        }
        match self.ooo.insert(&env.core.pool, at - 1, data) {
            Insert::New => {
                counters.ofo_queue.inc();
                self.totals.ooo = self.totals.ooo.wrapping_add(1);
            }
            Insert::Duplicate => {}
            Insert::NoRoom => counters.ofo_drop.inc(),
        }
    }

    /// Data came twice: the next acknowledgement says so.
    fn note_duplicate(&mut self, env: &Env<'_>, start: u64, end: u64) {
        if self.sack_ok && env.config.tcp_dsack && start < end {
            env.core.counters.tcp_ext.dsack_old_sent.inc();
            self.dsack = Some((start, end.min(self.rcv_nxt).max(start + 1)));
        }
    }

    fn note_arrival(&mut self, env: &Env<'_>, segment: &Segment<'_>) {
        let idle = env.now.since(self.acks.last_received);
        if idle > self.rtt.base_rto().max(Duration::from_secs(1)) {
            self.acks.quick = QUICK_ACKS;
        }
        self.acks.last_received = env.now;
        let size = segment.payload.len() as u64 / u64::from(segment.packets);
        let typical = &mut self.acks.rcv_mss;
        if size >= *typical || segment.packets > 1 {
            *typical = size.clamp(88, 65_535);
        } else if !segment.has(Flags::PSH) && size >= 88 {
            *typical = size;
        }
    }

    /// Decides when new data is acknowledged.
    fn schedule_ack(&mut self, env: &Env<'_>) {
        let owed = self.rcv_nxt - self.acks.sent_for;
        let quick = match env.options.tcp.quickack {
            Some(on) => on,
            None => self.acks.quick > 0 && !self.acks.is_interactive,
        };
        if owed > self.acks.rcv_mss && self.keeps_window(env) || quick || !self.ooo.is_empty() {
            self.acks.is_due = true;
        } else if self.timers.delayed_ack.is_none() {
            self.timers.delayed_ack = Some(env.now + DELAYED_ACK);
        }
    }

    /// Whether an acknowledgement now would leave the peer as large a window as the last one did. While the reader has
    /// not got so far, its next read acknowledges, and opens the window with the same segment (Linux:
    /// `__tcp_ack_snd_check`). Otherwise each segment was acknowledged twice.
    fn keeps_window(&self, env: &Env<'_>) -> bool {
        let told = self.rcv_adv.saturating_sub(self.acks.sent_for);
        self.readable(env.options) < env.options.base.rcv_lowat || self.offer(env) >= told
    }

    /// The peer has sent everything.
    fn take_fin(&mut self, env: &mut Env<'_>, segment: &Segment<'_>) {
        if self.fin_received {
            // A FIN that comes again: our acknowledgement was lost.
            self.acks.is_due |= segment.has(Flags::FIN);
            return;
        }
        if self.fin_at != Some(self.rcv_nxt) {
            return;
        }
        self.fin_received = true;
        self.rcv_nxt += 1;
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt);
        self.ooo.clear(&env.core.pool);
        self.acks.is_due = true;
        self.state = match self.state {
            TcpState::SynReceived | TcpState::Established => TcpState::CloseWait,
            TcpState::FinWait1 => TcpState::Closing,
            TcpState::FinWait2 => TcpState::TimeWait,
            other => other,
        };
        if !self.state.is_open() || self.state == TcpState::CloseWait {
            env.wake |= Readiness::IN | Readiness::RDHUP;
        }
        if self.is_shut_write() {
            env.wake |= Readiness::HUP;
        }
    }

    /// Leaves the rest of a finished connection to the table.
    pub(super) fn note_time_wait(&mut self, env: &mut Env<'_>) {
        if self.state == TcpState::TimeWait {
            self.ends_in_time_wait = true;
            self.finish(env, None);
        }
    }
}
