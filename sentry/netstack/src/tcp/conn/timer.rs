//! What happens when a connection's deadlines pass.

use super::output::Push;
use super::{Connection, Env, Recovery, Undo};
use crate::base::error::Error;
use crate::base::time::Instant;
use crate::core::Via;
use crate::tcp::rtt::{MAX_RTO, MIN_RTO};
use crate::tcp::state::TcpState;
use std::time::Duration;

/// Retransmissions that an orphan gets where `tcp_orphan_retries` is 0.
const ORPHAN_RETRIES: u32 = 8;
/// How long small segments are used after full ones seemed to vanish.
const BLACK_HOLE: Duration = Duration::from_secs(60);

impl Connection {
    /// Does what is due.
    pub(crate) fn on_timer(&mut self, env: &mut Env<'_>) {
        let now = env.now;
        if take_due(&mut self.timers.delayed_ack, now) {
            env.core.counters.tcp_ext.delayed_acks.inc();
            self.acks.is_interactive = false;
            self.acks.is_due = true;
        }
        if take_due(&mut self.timers.reorder, now) {
            self.detect_losses(env);
        }
        if take_due(&mut self.timers.probe_loss, now) {
            self.send_loss_probe(env);
        }
        if take_due(&mut self.timers.retransmit, now) {
            self.on_retransmit_timeout(env);
        }
        if take_due(&mut self.timers.persist, now) {
            self.on_persist(env);
        }
        if take_due(&mut self.timers.keepalive, now) {
            self.on_keepalive(env);
        }
        if take_due(&mut self.timers.fin_wait, now) {
            self.finish(env, None);
        }
        self.output(env, Push::Normal);
    }

    /// How often an unanswered segment is sent again before the peer counts as gone.
    fn is_given_up(&self, env: &Env<'_>) -> bool {
        let stuck = self.board.oldest().map_or(Duration::ZERO, |oldest| env.now.since(oldest));
        if let Some(limit) = env.options.tcp.user_timeout
            && self.state.is_synchronized()
            && stuck >= limit
        {
            return true;
        }
        let limit = match self.state {
            TcpState::SynSent => env.options.tcp.syn_count(&env.config),
            TcpState::SynReceived => env.config.tcp_synack_retries.into(),
            _ if self.is_orphan => orphan_retries(env),
            _ => env.config.tcp_retries2.into(),
        };
        self.retries > limit
    }

    fn on_retransmit_timeout(&mut self, env: &mut Env<'_>) {
        if self.board.is_empty() {
            return;
        }
        self.retries += 1;
        if self.is_given_up(env) {
            env.core.counters.tcp_ext.abort_on_timeout.inc();
            if !self.state.is_synchronized() {
                env.core.counters.tcp.attempt_fails.inc();
            }
            let error = self.soft_error.take().unwrap_or(Error::TimedOut);
            return self.finish(env, Some(error));
        }
        self.rtt.backoff += 1;
        self.refresh_path(env);
        if !self.state.is_synchronized() {
            env.core.counters.tcp_ext.syn_retrans.inc();
            env.core.counters.tcp.retrans_segs.inc();
            self.totals.retrans = self.totals.retrans.wrapping_add(1);
            // RFC 3168 6.1.1.1: the peer or the path may drop SYNs that offer ECN.
            self.ecn.is_on = false;
            self.send_syn(env);
            self.board.on_retransmit(0, env.now);
            self.timers.retransmit = Some(env.now + self.rtt.rto());
            return;
        }
        env.core.counters.tcp_ext.timeouts.inc();
        self.suspect_black_hole(env);
        if !matches!(self.recovery, Recovery::Loss { .. }) {
            self.undo = Some(Undo {
                cwnd: self.window.cwnd,
                ssthresh: self.window.ssthresh,
                stamp: None,
                retransmits: 0,
            });
            self.window.reduce(self.nxt - self.una);
        }
        self.window.collapse();
        self.recovery = Recovery::Loss { point: self.nxt };
        self.tlp = None;
        self.timers.probe_loss = None;
        self.timers.reorder = None;
        self.dupacks = 0;
        if self.board.mark_all_lost() {
            env.core.counters.tcp_ext.sack_reneging.inc();
        }
        self.timers.retransmit = Some(env.now + self.rtt.rto());
    }

    /// Full segments vanish and nobody says why: smaller ones may pass (RFC 4821 in its simplest form). It may also
    /// have been plain loss, so after a while the full size is tried again.
    fn suspect_black_hole(&mut self, env: &Env<'_>) {
        let first = env.config.tcp_retries1.into();
        if env.config.tcp_mtu_probing == 0 || self.retries < first {
            return;
        }
        let base = u64::from(env.config.tcp_base_mss);
        let target = if self.retries < 2 * first { base } else { 512 };
        if self.mss <= target {
            return;
        }
        let (full, _) = self.black_hole.unwrap_or((self.peer_mss, env.now));
        self.black_hole = Some((full, env.now));
        self.peer_mss = target;
        self.update_mss(env);
        env.core.counters.tcp_ext.mtup_fail.inc();
    }

    /// Things go well: tries the full segment size again, some time after it seemed to vanish.
    pub(super) fn leave_black_hole(&mut self, env: &Env<'_>) {
        if let Some((full, _)) = self.black_hole.take_if(|(_, since)| env.now.since(*since) > BLACK_HOLE) {
            self.peer_mss = full;
            self.update_mss(env);
        }
    }

    /// Looks the way up again: routes and path MTUs change.
    pub(super) fn refresh_path(&mut self, env: &Env<'_>) {
        let via =
            Via { source: Some(self.tuple.local.ip), device: env.options.base.device, on_link_only: false };
        if let Ok(path) = env.core.path(self.tuple.remote.ip, &via) {
            self.path = path;
            if self.state.is_synchronized() {
                self.update_mss(env);
            }
        }
    }

    /// A smaller path MTU was learnt.
    pub(crate) fn on_pmtu(&mut self, env: &mut Env<'_>) {
        let before = self.mss;
        self.refresh_path(env);
        if self.mss < before && self.state.is_synchronized() {
            env.core.counters.tcp_ext.mtup_success.inc();
            // What is on the way is too long and will not arrive.
            self.board.mark_all_lost();
            self.output(env, Push::Normal);
        }
    }

    /// Loss probe: new data if there is some, else the last segment again.
    fn send_loss_probe(&mut self, env: &mut Env<'_>) {
        if self.board.is_empty() || self.recovery != Recovery::Open {
            return;
        }
        env.core.counters.tcp_ext.loss_probes.inc();
        let available = self.data_end().saturating_sub(self.nxt);
        let usable = (self.una + self.snd_wnd).saturating_sub(self.nxt).min(available).min(self.mss);
        if usable > 0 && !self.fin_sent {
            let (start, end) = (self.nxt, self.nxt + usable);
            self.board.push(start, end, env.now);
            self.nxt = end;
            self.totals.bytes_sent += usable;
            self.tlp = Some((self.nxt, false));
            self.send_range(env, start, end, crate::tcp::segment::Flags::empty());
        } else if let Some(last) = self.board.last(self.mss) {
            self.tlp = Some((self.nxt, true));
            self.retransmit(env, last.start, last.end);
        }
        self.timers.retransmit = Some(env.now + self.rtt.rto());
    }

    /// The window stays shut, or a corked segment has waited long enough.
    fn on_persist(&mut self, env: &mut Env<'_>) {
        if !self.board.is_empty() || self.data_end() <= self.nxt {
            return;
        }
        if self.una + self.snd_wnd > self.nxt {
            // There is room: what held the data back was corking or a silly window.
            return self.output(env, Push::Force);
        }
        let timed_out =
            env.options.tcp.user_timeout.is_some_and(|t| env.now.since(self.totals.last_ack_recv) >= t);
        if self.is_shut_out(env) || timed_out && self.probes > 0 {
            env.core.counters.tcp_ext.abort_on_timeout.inc();
            return self.finish(env, Some(Error::TimedOut));
        }
        self.probes += 1;
        self.persist_backoff += 1;
        env.core.counters.tcp_ext.win_probe.inc();
        self.send_probe(env);
        self.timers.persist = Some(env.now + self.persist_wait());
    }

    /// How long to wait before the next probe of a shut window.
    pub(super) fn persist_wait(&self) -> Duration {
        self.rtt.base_rto().saturating_mul(1 << self.persist_backoff.min(10)).clamp(MIN_RTO, MAX_RTO)
    }

    /// Whether a window has been shut for good. A peer that answers probes may keep a program waiting, but not an
    /// orphan, for which nobody can lose patience.
    fn is_shut_out(&self, env: &Env<'_>) -> bool {
        if !self.is_orphan {
            return self.probes > env.config.tcp_retries2.into();
        }
        let limit = orphan_retries(env);
        self.probes > limit || self.persist_backoff >= limit && self.persist_wait() >= MAX_RTO
    }

    /// Arms the keepalive timer, if the option is on.
    pub(crate) fn arm_keepalive(&mut self, env: &Env<'_>) {
        let alive = self.state.is_synchronized() && env.options.base.keepalive;
        self.timers.keepalive = alive.then(|| env.now + env.options.tcp.keep_idle(&env.config));
        self.keep_probes = 0;
    }

    fn on_keepalive(&mut self, env: &mut Env<'_>) {
        if !env.options.base.keepalive || !self.state.is_synchronized() {
            return;
        }
        let idle_limit = env.options.tcp.keep_idle(&env.config);
        let heard = self.totals.last_ack_recv.max(self.acks.last_received);
        let idle = env.now.since(heard);
        // Data on the way is watched by the retransmission timer.
        if idle < idle_limit || !self.board.is_empty() || self.data_end() > self.nxt {
            self.keep_probes = 0;
            let at = if idle < idle_limit { heard + idle_limit } else { env.now + idle_limit };
            self.timers.keepalive = Some(at);
            return;
        }
        let timed_out = match env.options.tcp.user_timeout {
            Some(limit) => idle >= limit && self.keep_probes > 0,
            None => self.keep_probes >= env.options.tcp.keep_count(&env.config),
        };
        if timed_out {
            env.core.counters.tcp_ext.abort_on_timeout.inc();
            self.send_reset(env);
            return self.finish(env, Some(Error::TimedOut));
        }
        self.keep_probes += 1;
        env.core.counters.tcp_ext.keep_alive.inc();
        self.send_probe(env);
        self.timers.keepalive = Some(env.now + env.options.tcp.keep_interval(&env.config));
    }
}

/// Retransmissions or probes that an orphan gets.
fn orphan_retries(env: &Env<'_>) -> u32 {
    match env.config.tcp_orphan_retries {
        0 => ORPHAN_RETRIES,
        retries => retries.into(),
    }
}

/// Clears a timer that is due; whether it was.
fn take_due(timer: &mut Option<Instant>, now: Instant) -> bool {
    timer.take_if(|at| *at <= now).is_some()
}

impl Connection {
    /// Whether `seq` was sent and is not acknowledged.
    pub(crate) fn is_in_flight(&self, seq: u32) -> bool {
        let at = self.own_position(seq);
        self.una.cast_signed() <= at && at < self.nxt.cast_signed()
    }

    /// An ICMP error arrived: it ends a connection that is being made, and is remembered otherwise.
    pub(crate) fn on_error(&mut self, env: &mut Env<'_>, error: Error, is_hard: bool) {
        if self.state.is_synchronized() {
            self.soft_error = Some(error);
        } else if is_hard || matches!(error, Error::HostUnreachable | Error::NetUnreachable) {
            env.core.counters.tcp.attempt_fails.inc();
            self.finish(env, Some(error));
        }
    }
}
