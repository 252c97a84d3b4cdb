//! What the application asks of a connection.

use super::output::Push;
use super::{Connection, Env, Recovery};
use crate::base::error::{Error, Result};
use crate::base::io::{Discard, Sink, Source};
use crate::base::ready::Readiness;
use crate::socket::message::{Received, RecvFlags, SendFlags};
use crate::socket::options::Options;
use crate::tcp::info::TcpInfo;
use crate::tcp::state::TcpState;
use crate::tcp::urgent;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Connection {
    /// Takes as much data as fits.
    pub(crate) fn send(
        &mut self,
        env: &mut Env<'_>,
        source: &mut dyn Source,
        flags: SendFlags,
    ) -> Result<usize> {
        if matches!(self.state, TcpState::SynSent | TcpState::SynReceived) {
            return Err(Error::Again);
        }
        if self.is_shut_write() {
            return Err(self.error.take().unwrap_or(Error::Pipe));
        }
        self.holds_more = flags.contains(SendFlags::MORE);
        let mut sent = 0;
        while source.remaining() > 0 {
            let room = env.options.base.snd_buf().saturating_sub(self.tx.len());
            if room == 0 {
                self.wants_room = true;
                break;
            }
            let done = self.tx.append(&env.core.pool, source, room);
            sent += done.bytes;
            if flags.contains(SendFlags::OOB) && source.remaining() == 0 && done.bytes > 0 {
                self.urgent_out = Some(self.tx.end());
            }
            if done.bytes > 0 {
                let all = source.remaining() == 0;
                // More of the same call follows: a short segment can wait for it.
                let held = self.holds_more;
                self.holds_more |= !all;
                self.output(env, Push::Normal);
                self.holds_more = held;
            }
            if done.faulted && sent == 0 {
                return Err(Error::Fault);
            }
            if done.starved && sent == 0 {
                self.wants_room = true;
                return Err(Error::NoBuffers);
            }
            if done.faulted || done.starved {
                break;
            }
        }
        if source.remaining() > 0 && !flags.contains(SendFlags::MORE) {
            self.output(env, Push::Normal);
        }
        if sent == 0 && source.remaining() > 0 { Err(Error::Again) } else { Ok(sent) }
    }

    /// Gives what was received.
    pub(crate) fn recv(
        &mut self,
        env: &mut Env<'_>,
        sink: &mut dyn Sink,
        flags: RecvFlags,
    ) -> Result<Received> {
        let inline = env.options.base.oob_inline;
        if flags.contains(RecvFlags::OOB) {
            let n = urgent::read_urgent(&self.rx, &mut self.urgent_in, inline, sink, flags)?;
            return Ok(Received { copied: n, full_len: n, is_oob: true, ..Received::default() });
        }
        let room = sink.room();
        let read = if flags.contains(RecvFlags::TRUNC) {
            let mut discard = Discard(room);
            urgent::read(&mut self.rx, &mut self.urgent_in, inline, &env.core.pool, &mut discard, flags)
        } else {
            urgent::read(&mut self.rx, &mut self.urgent_in, inline, &env.core.pool, sink, flags)
        };
        match read {
            Some(0) if room > 0 => Err(Error::Fault),
            Some(n) => {
                if !flags.contains(RecvFlags::PEEK) {
                    self.after_read(env);
                }
                Ok(Received {
                    copied: n,
                    full_len: n,
                    left: self.readable(env.options),
                    ..Received::default()
                })
            }
            None if self.fin_received => Ok(Received::default()),
            None => match self.error.take() {
                Some(error) => Err(error),
                None if self.shut_read || self.state == TcpState::Closed => Ok(Received::default()),
                None => Err(Error::Again),
            },
        }
    }

    /// Data was read: the window may have opened enough to tell, and the buffer may have to grow.
    pub(super) fn after_read(&mut self, env: &mut Env<'_>) {
        if !self.state.is_synchronized() || self.fin_received {
            return;
        }
        self.tune_receive_buffer(env);
        let offered = self.rcv_adv.saturating_sub(self.rcv_nxt);
        let now = self.offer(env);
        let owes = self.rcv_nxt > self.acks.sent_for;
        let opened =
            now >= offered * 2 && now >= self.acks.rcv_mss.min(env.options.base.rcv_buf() as u64 / 4);
        let all_read = owes && self.rx.is_empty() && !self.acks.is_interactive;
        if opened || all_read || owes && self.rcv_nxt - self.acks.sent_for > self.acks.rcv_mss {
            self.send_ack(env);
        }
    }

    pub(crate) fn readable(&self, options: &Options) -> usize {
        urgent::readable(&self.rx, self.urgent_in, options.base.oob_inline)
    }

    /// Unread bytes, and unacknowledged ones.
    pub(crate) fn queues(&self, options: &Options) -> (usize, usize) {
        (self.readable(options), self.tx.len())
    }

    /// Bytes not yet sent (`SIOCOUTQNSD`).
    pub(crate) fn unsent(&self) -> usize {
        self.data_end().saturating_sub(self.nxt) as usize
    }

    pub(crate) fn at_mark(&self) -> bool {
        self.urgent_in.is_some_and(|urgent| urgent.at == self.rx.start())
    }

    /// Whether a third of the send buffer is free, and not too much is unsent.
    pub(super) fn has_room(&self, env: &Env<'_>) -> bool {
        Self::is_roomy(env.options, &env.config, self.tx.len(), self.unsent())
    }

    fn is_roomy(options: &Options, config: &crate::base::config::Config, used: usize, unsent: usize) -> bool {
        let lowat = match options.tcp.notsent_lowat {
            0 => config.tcp_notsent_lowat,
            lowat => lowat,
        };
        used <= options.base.snd_buf() / 3 * 2 && unsent < lowat as usize
    }

    pub(crate) fn readiness(&mut self, options: &Options, config: &crate::base::config::Config) -> Readiness {
        let mut ready = Readiness::empty();
        ready.set(Readiness::ERR, self.error.is_some());
        if matches!(self.state, TcpState::SynSent | TcpState::SynReceived) {
            return ready;
        }
        let closed = self.state == TcpState::Closed;
        let shut_read = self.shut_read || self.fin_received || closed;
        let shut_write = self.is_shut_write();
        let writable = shut_write || Self::is_roomy(options, config, self.tx.len(), self.unsent());
        self.wants_room |= !writable;
        let lowat = options.base.rcv_lowat.clamp(1, (options.base.rcv_buf() / 2).max(1));
        ready.set(Readiness::IN, shut_read || self.readable(options) >= lowat);
        ready.set(Readiness::OUT, writable);
        ready.set(Readiness::RDHUP, shut_read);
        ready.set(Readiness::HUP, closed || shut_read && shut_write);
        ready.set(Readiness::PRI, urgent::is_pending(self.urgent_in));
        ready
    }

    /// shutdown(2), writing: a FIN follows the data.
    pub(crate) fn shut_write(&mut self, env: &mut Env<'_>) {
        if self.fin_queued {
            return;
        }
        self.state = match self.state {
            TcpState::Established | TcpState::SynReceived => TcpState::FinWait1,
            TcpState::CloseWait => TcpState::LastAck,
            _ => return,
        };
        self.fin_queued = true;
        self.holds_more = false;
        self.output(env, Push::Normal);
    }

    /// The socket is closed: FIN, or a reset where data is lost by it.
    pub(crate) fn close(&mut self, env: &mut Env<'_>) {
        self.is_orphan = true;
        self.shut_read = true;
        let unread = self.readable(env.options) > 0;
        let lingers_not = env.options.base.linger.is_some_and(|time| time.is_zero());
        self.rx.clear(&env.core.pool);
        match self.state {
            TcpState::Closed => return,
            TcpState::SynSent => return self.finish(env, None),
            _ => {}
        }
        if unread || lingers_not {
            let counters = &env.core.counters.tcp_ext;
            if unread {
                counters.abort_on_close.inc();
            } else {
                counters.abort_on_data.inc();
            };
            return self.abort(env, None);
        }
        self.shut_write(env);
        self.enter_fin_wait2(env);
        if self.state != TcpState::Closed && !self.count_orphan(env) {
            env.core.counters.tcp_ext.abort_on_memory.inc();
            self.abort(env, None);
        }
    }

    /// Counts the connection among the stack's orphans; false where there are more than there may be.
    fn count_orphan(&mut self, env: &Env<'_>) -> bool {
        self.is_counted_orphan = true;
        env.core.orphans.fetch_add(1, Ordering::Relaxed) < env.config.tcp_max_orphans
    }

    /// Resets the connection.
    pub(crate) fn abort(&mut self, env: &mut Env<'_>, error: Option<Error>) {
        if self.state.is_synchronized() || self.state == TcpState::SynReceived {
            if self.state.is_open() {
                env.core.counters.tcp.estab_resets.inc();
            }
            self.send_reset(env);
        }
        self.finish(env, error);
    }

    /// Options changed.
    pub(crate) fn apply_options(&mut self, env: &mut Env<'_>) {
        self.window.algorithm = env.options.tcp.congestion;
        if env.options.tcp.quickack == Some(true) {
            self.acks.is_interactive = false;
            self.acks.is_due |= self.rcv_nxt > self.acks.sent_for && self.state.is_synchronized();
        }
        if env.options.base.keepalive != self.timers.keepalive.is_some() || env.options.base.keepalive {
            self.arm_keepalive(env);
        }
        self.output(env, Push::Normal);
    }

    /// `TCP_INFO`
    pub(crate) fn info(&self, options: &Options, now: crate::base::time::Instant) -> TcpInfo {
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let age =
            |at: crate::base::time::Instant| u32::try_from(now.since(at).as_millis()).unwrap_or(u32::MAX);
        let segments = |bytes: u64| u32::try_from(bytes.div_ceil(self.mss.max(1))).unwrap_or(u32::MAX);
        let flags = u8::from(self.stamps.is_some())
            | u8::from(self.sack_ok) << 1
            | u8::from(self.snd_scale > 0 || self.rcv_scale > 0) << 2
            | u8::from(self.ecn.is_on) << 3
            | u8::from(self.ecn.seen) << 4;
        let srtt = self.rtt.srtt().unwrap_or_default();
        let rate = |rtt: Duration| (self.window.cwnd as f64 / rtt.as_secs_f64().max(1e-6)) as u64;
        TcpInfo {
            ca_state: match self.recovery {
                Recovery::Open => u8::from(self.board.sacked() > 0),
                Recovery::Reduced { .. } => 2,
                Recovery::Fast { .. } => 3,
                Recovery::Loss { .. } => 4,
            },
            retransmits: u8::try_from(self.retries).unwrap_or(u8::MAX),
            probes: u8::try_from(self.probes.max(self.keep_probes)).unwrap_or(u8::MAX),
            backoff: u8::try_from(self.rtt.backoff.max(self.persist_backoff)).unwrap_or(u8::MAX),
            options: flags,
            snd_wscale: self.snd_scale,
            rcv_wscale: self.rcv_scale,
            rto: micros(self.rtt.rto()),
            ato: micros(super::output::DELAYED_ACK),
            snd_mss: self.mss as u32,
            rcv_mss: self.acks.rcv_mss as u32,
            unacked: segments(self.nxt - self.una),
            sacked: segments(self.board.sacked()),
            lost: segments(self.board.lost()),
            retrans: 0,
            last_data_sent: age(self.totals.last_data_sent),
            last_data_recv: age(self.acks.last_received),
            last_ack_recv: age(self.totals.last_ack_recv),
            pmtu: self.path.mtu,
            rcv_ssthresh: (options.base.rcv_buf() / 2) as u32,
            rtt: micros(srtt),
            rttvar: micros(self.rtt.var()),
            snd_ssthresh: u32::try_from(self.window.ssthresh / self.mss.max(1)).unwrap_or(0x7fff_ffff),
            snd_cwnd: segments(self.window.cwnd),
            advmss: (self.path.mtu as usize).saturating_sub(if self.tuple.local.ip.is_ipv4() {
                40
            } else {
                60
            }) as u32,
            reordering: if self.board.has_reordering() { 300 } else { 3 },
            rcv_rtt: micros(self.tuning.rtt),
            rcv_space: u32::try_from(self.tuning.space).unwrap_or(u32::MAX),
            total_retrans: self.totals.retrans,
            pacing_rate: u64::MAX,
            bytes_acked: self.tx.start(),
            bytes_received: self.rcv_nxt.saturating_sub(1 + u64::from(self.fin_received)),
            segs_out: self.totals.segs_out,
            segs_in: self.totals.segs_in,
            notsent_bytes: self.unsent() as u32,
            min_rtt: micros(self.rtt.min().unwrap_or_default()),
            data_segs_in: self.totals.data_segs_in,
            data_segs_out: self.totals.data_segs_out,
            delivery_rate: if srtt.is_zero() { 0 } else { rate(srtt) },
            delivered: self.totals.delivered,
            bytes_sent: self.totals.bytes_sent + self.totals.bytes_retrans,
            bytes_retrans: self.totals.bytes_retrans,
            dsack_dups: self.totals.dsacks,
            reord_seen: u32::from(self.board.has_reordering()),
            rcv_ooopack: self.totals.ooo,
            snd_wnd: u32::try_from(self.snd_wnd).unwrap_or(u32::MAX),
            rcv_wnd: u32::try_from(self.rcv_adv.saturating_sub(self.rcv_nxt)).unwrap_or(u32::MAX),
            ..TcpInfo::empty(self.state)
        }
    }
}
