//! What is sent and when: retransmissions, new data under both windows, Nagle's rule, acknowledgements.

use super::{Connection, Env, Recovery};
use crate::base::addr::Family;
use crate::ip::output::{Checksum, HEADROOM, IpHeader};
use crate::ip::packet::protocol;
use crate::link::device::TxMeta;
use crate::socket::options::MtuDiscover;
use crate::tcp::segment::{Flags, Header};
use crate::tcp::state::TcpState;
use std::time::Duration;

/// Largest segment for the device to cut.
const MAX_GSO: u64 = 65_000;
/// Segments in flight at most: a peer that takes only tiny ones must not make long lists of them.
const MAX_FLIGHT: u64 = 32_768;
/// Longest wait before an acknowledgement.
pub(super) const DELAYED_ACK: Duration = Duration::from_millis(40);
/// Extra time for a delayed acknowledgement when only one segment is out (RFC 8985 7.2).
const PROBE_SLACK: Duration = Duration::from_millis(200);

/// Whether short segments must go out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Push {
    /// By Nagle's rule.
    Normal,
    /// At once.
    Force,
}

impl Connection {
    /// Sends whatever may be sent.
    pub(crate) fn output(&mut self, env: &mut Env<'_>, push: Push) {
        if !self.state.is_synchronized() {
            return;
        }
        self.send_lost(env);
        self.send_new(env, push);
        if self.acks.is_due {
            self.send_ack(env);
        }
        self.arm_persist(env);
    }

    /// Sends lost ranges again.
    fn send_lost(&mut self, env: &mut Env<'_>) {
        while self.board.lost() > 0 && self.pipe() < self.window.cwnd {
            let room = self.segment_room();
            let Some(sent) = self.board.next_lost(room) else { return };
            self.retransmit(env, sent.start, sent.end);
            match self.recovery {
                Recovery::Loss { .. } => env.core.counters.tcp_ext.slow_start_retrans.inc(),
                _ => env.core.counters.tcp_ext.fast_retrans.inc(),
            }
        }
    }

    /// Sends `start..end` once more.
    pub(super) fn retransmit(&mut self, env: &mut Env<'_>, start: u64, end: u64) {
        let stamp = self.stamp(env.now);
        if let Some(undo) = &mut self.undo {
            undo.stamp.get_or_insert(stamp);
            undo.retransmits += 1;
        }
        self.board.on_retransmit(start, env.now);
        self.window.on_sent(end - start);
        self.totals.retrans = self.totals.retrans.wrapping_add(1);
        self.totals.bytes_retrans += end - start;
        env.core.counters.tcp.retrans_segs.inc();
        self.send_range(env, start, end, Flags::empty());
        if self.timers.retransmit.is_none() {
            self.timers.retransmit = Some(env.now + self.rtt.rto());
        }
    }

    /// Sends new data.
    fn send_new(&mut self, env: &mut Env<'_>, push: Push) {
        if !matches!(
            self.state,
            TcpState::Established
                | TcpState::CloseWait
                | TcpState::FinWait1
                | TcpState::Closing
                | TcpState::LastAck
        ) {
            return;
        }
        self.restart_if_idle(env);
        let mut sent_any = false;
        while let Some(len) = self.sendable(env, push) {
            let (start, end) = (self.nxt, self.nxt + len);
            let with_fin = self.fin_queued && end == self.data_end() && !self.fin_sent;
            let end = end + u64::from(with_fin);
            self.board.push(start, end, env.now);
            self.window.on_sent(len);
            self.nxt = end;
            self.fin_sent |= with_fin;
            if len > 0 && len < self.mss {
                self.small_end = end;
            }
            env.core.counters.tcp_ext.orig_data_sent.inc();
            self.totals.bytes_sent += len;
            self.totals.last_data_sent = env.now;
            self.send_range(env, start, end, Flags::empty());
            sent_any = true;
        }
        if sent_any {
            if self.timers.retransmit.is_none() {
                self.timers.retransmit = Some(env.now + self.rtt.rto());
            }
            self.timers.persist = None;
            self.arm_loss_probe(env);
            if env.now.since(self.acks.last_received) < DELAYED_ACK {
                self.acks.is_interactive = true;
            }
        }
    }

    /// How many bytes of new data may be sent as one segment; `Some(0)` is a lone FIN.
    fn sendable(&mut self, env: &Env<'_>, push: Push) -> Option<u64> {
        if self.fin_sent {
            return None;
        }
        let available = self.data_end() - self.nxt;
        if available == 0 {
            return self.fin_queued.then_some(0);
        }
        let usable = (self.una + self.snd_wnd).saturating_sub(self.nxt).min(available);
        if usable == 0 || self.nxt - self.una >= self.mss * MAX_FLIGHT {
            return None;
        }
        let pipe = self.pipe();
        if pipe >= self.window.cwnd {
            self.is_cwnd_limited = true;
            return None;
        }
        let mss = self.segment_room();
        if usable >= mss {
            let most = if self.path.nic.offloads().segmentation { MAX_GSO } else { mss };
            let room = (self.window.cwnd - pipe).max(mss);
            let len = usable.min(most).min(room) / mss * mss;
            return Some(len.max(mss));
        }
        let is_last = usable == available;
        let is_final = is_last && self.fin_queued;
        let is_urgent = self.urgent_out.is_some_and(|at| at >= self.nxt);
        let is_held = env.options.tcp.cork || self.holds_more;
        let nagle = !env.options.tcp.nodelay && self.small_end > self.una;
        let fits = is_last && !is_held && !nagle;
        // A window that takes less than a segment is used only if it is a fair share of it (RFC 9293 3.8.6.2.1).
        let fair = !is_last && usable >= self.max_wnd / 2;
        (push == Push::Force || is_final || is_urgent || fits || fair).then_some(usable)
    }

    /// Payload of a full segment with the options that the next one carries.
    fn segment_room(&self) -> u64 {
        let blocks = self.sack_blocks().iter().flatten().count() as u64;
        let sack = if blocks > 0 { 4 + 8 * blocks } else { 0 };
        self.mss.saturating_sub(sack).max(8)
    }

    /// After a pause the window is no longer known to fit.
    fn restart_if_idle(&mut self, env: &Env<'_>) {
        let idle = env.now.since(self.totals.last_data_sent);
        if env.config.tcp_slow_start_after_idle && self.board.is_empty() && idle > self.rtt.base_rto() {
            self.window.restart_after(idle, self.rtt.base_rto());
        }
    }

    /// Sends positions `start..end`: data, and the FIN or SYN where they are included.
    pub(super) fn send_range(&mut self, env: &mut Env<'_>, start: u64, end: u64, extra: Flags) {
        let data_start = start.max(1);
        let data_end = end.min(self.data_end()).max(data_start);
        let len = (data_end - data_start) as usize;
        if start == 0 {
            return self.send_syn(env);
        }
        let room = self.segment_room();
        let has_fin = self.fin_queued && end > self.data_end();
        let mut flags = Flags::ACK | extra;
        flags.set(Flags::FIN, has_fin);
        flags.set(Flags::PSH, len > 0 && data_end == self.data_end());
        let mut header = self.header(env, start, flags);
        if let Some(urgent) = self.urgent_out.filter(|at| *at >= start && *at - start < 0xffff) {
            header.flags |= Flags::URG;
            header.urgent = (urgent - start + 1) as u16;
        }
        if self.ecn.is_on && len > 0 && self.ecn.send_cwr {
            header.flags |= Flags::CWR;
            self.ecn.send_cwr = false;
        }
        let head_len = header.len();
        let mut data = header.emit(&self.tuple, len);
        let copied = self.tx.copy_at(data_start - 1, &mut data[HEADROOM + head_len..]);
        debug_assert_eq!(copied, len);
        let mut meta = TxMeta::default();
        if len as u64 > room {
            let family = Family::of(self.tuple.remote.ip);
            let link = self.path.nic.header_len();
            meta.gso_size = room.min(65_535) as u16;
            meta.header_len = (link + family.header_len() + head_len) as u16;
            meta.is_v6 = family == Family::V6;
            meta.has_ecn = header.flags.contains(Flags::CWR);
        }
        if len > 0 {
            let packets = (len as u64).div_ceil(self.mss).max(1) as u32;
            self.totals.data_segs_out = self.totals.data_segs_out.wrapping_add(packets);
        }
        self.transmit(env, data, meta, len > 0);
        self.acknowledged(env);
    }

    /// A header with everything that each segment carries.
    fn header(&mut self, env: &mut Env<'_>, at: u64, flags: Flags) -> Header {
        let mut flags = flags;
        if self.ecn.echo {
            flags |= Flags::ECE;
        }
        Header {
            seq: self.seq(at),
            ack: self.peer_seq(self.rcv_nxt),
            flags,
            window: self.offered_window(env),
            timestamp: self.stamps.map(|stamps| (self.stamp(env.now), stamps.recent)),
            sack: self.sack_blocks(),
            ..Header::default()
        }
    }

    /// SACK blocks to report: a duplicate first (RFC 2883), then what came ahead.
    fn sack_blocks(&self) -> [Option<(u32, u32)>; 3] {
        let mut blocks = [None; 3];
        if !self.sack_ok || self.ooo.is_empty() && self.dsack.is_none() {
            return blocks;
        }
        let runs = self.ooo.report(3);
        // The assembler counts stream bytes, which lie one behind positions.
        let runs = runs.into_iter().map(|(start, end)| (start + 1, end + 1));
        for (place, (start, end)) in blocks.iter_mut().zip(self.dsack.into_iter().chain(runs)) {
            *place = Some((self.peer_seq(start), self.peer_seq(end)));
        }
        blocks
    }

    /// The window to offer, unscaled.
    pub(super) fn offer(&self, env: &Env<'_>) -> u64 {
        let mut room = env.options.base.rcv_buf() as u64 / 2;
        if env.options.tcp.window_clamp != 0 {
            room = room.min(env.options.tcp.window_clamp.into());
        }
        room.saturating_sub(self.rx.len() as u64).min(65_535 << self.rcv_scale)
    }

    /// The window field, and notes what was offered. The right edge never moves back (RFC 9293 3.8.6.2.2).
    fn offered_window(&mut self, env: &mut Env<'_>) -> u16 {
        let offered = self.rcv_adv.saturating_sub(self.rcv_nxt);
        let full = env.options.base.rcv_buf() as u64 / 2;
        let mut window = self.offer(env);
        if window < (full / 2).min(self.acks.rcv_mss) {
            window = 0;
        }
        let unit = 1u64 << self.rcv_scale;
        window = if window > offered { window / unit * unit } else { offered.div_ceil(unit) * unit };
        let window = window.max(offered.min(65_535 << self.rcv_scale)).div_ceil(unit).min(65_535) * unit;
        if window == 0 && offered > 0 {
            env.core.counters.tcp_ext.to_zero_window_adv.inc();
        } else if window > 0 && offered == 0 && self.state != TcpState::SynSent {
            env.core.counters.tcp_ext.from_zero_window_adv.inc();
        }
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt + window);
        (window >> self.rcv_scale) as u16
    }

    /// Sends a bare acknowledgement.
    pub(super) fn send_ack(&mut self, env: &mut Env<'_>) {
        let header = self.header(env, self.nxt, Flags::ACK);
        self.transmit(env, header.emit(&self.tuple, 0), TxMeta::default(), false);
        self.acks.quick = self.acks.quick.saturating_sub(1);
        self.acknowledged(env);
    }

    /// An acknowledgement went out, alone or with data.
    fn acknowledged(&mut self, _env: &Env<'_>) {
        self.acks.is_due = false;
        self.acks.sent_for = self.rcv_nxt;
        self.dsack = None;
        self.timers.delayed_ack = None;
    }

    /// Sends a segment that makes the peer answer: a window probe or a keepalive.
    pub(super) fn send_probe(&mut self, env: &mut Env<'_>) {
        let header = self.header(env, self.una.saturating_sub(1), Flags::ACK);
        self.transmit(env, header.emit(&self.tuple, 0), TxMeta::default(), false);
    }

    /// Sends a reset.
    pub(crate) fn send_reset(&mut self, env: &mut Env<'_>) {
        let header = Header {
            seq: self.seq(self.nxt),
            ack: self.peer_seq(self.rcv_nxt),
            flags: Flags::RST | Flags::ACK,
            ..Header::default()
        };
        env.core.counters.tcp.out_rsts.inc();
        self.transmit(env, header.emit(&self.tuple, 0), TxMeta::default(), false);
    }

    /// Sends the SYN, or the SYN-ACK of a simultaneous open.
    pub(super) fn send_syn(&mut self, env: &mut Env<'_>) {
        let family = Family::of(self.tuple.remote.ip);
        let is_answer = self.state == TcpState::SynReceived;
        let mut flags = Flags::SYN;
        flags.set(Flags::ACK, is_answer);
        if self.ecn.is_on {
            flags |= if is_answer { Flags::ECE } else { Flags::ECE | Flags::CWR };
        }
        let full = self.offer(env).min(65_535);
        self.rcv_adv = self.rcv_adv.max(self.rcv_nxt + full);
        let header = Header {
            seq: self.iss,
            ack: if is_answer { self.peer_seq(self.rcv_nxt) } else { 0 },
            flags,
            window: full as u16,
            mss: Some(super::open::own_mss(&self.path, family, env.options)),
            window_scale: env.config.tcp_window_scaling.then_some(self.rcv_scale),
            sack_permitted: self.sack_ok,
            timestamp: self.stamps.map(|stamps| (self.stamp(env.now), stamps.recent)),
            ..Header::default()
        };
        self.transmit(env, header.emit(&self.tuple, 0), TxMeta::default(), false);
    }

    fn transmit(&mut self, env: &mut Env<'_>, data: Vec<u8>, meta: TxMeta, has_data: bool) {
        let family = Family::of(self.tuple.remote.ip);
        let ect = if self.ecn.is_on && has_data && self.state.is_synchronized() { 2 } else { 0 };
        let discover = env.options.mtu_discover(family);
        let header = IpHeader {
            path: &self.path,
            from: self.tuple.local.ip,
            to: self.tuple.remote.ip,
            protocol: protocol::TCP,
            ttl: env.options.ttl(family, &env.config),
            tos: env.options.tos(family) & !3 | ect,
            dont_fragment: !matches!(discover, MtuDiscover::Dont) && !env.config.ip_no_pmtu_disc,
            // A segment that became too long when the path changed is cut rather than lost.
            may_fragment: true,
            options: &[],
            sender: Some(env.options.sender()),
        };
        self.totals.segs_out = self.totals.segs_out.wrapping_add(1);
        env.core.counters.tcp.out_segs.inc();
        // A packet that the link cannot take is lost like any other.
        let _lost_like_any_packet = env.core.ip_send(&header, data, Some(Checksum { offset: 16 }), meta);
    }

    /// Arms the loss probe (RFC 8985 section 7.2).
    pub(super) fn arm_loss_probe(&mut self, env: &Env<'_>) {
        self.timers.probe_loss = None;
        let may =
            self.sack_ok && self.recovery == Recovery::Open && self.tlp.is_none() && !self.board.is_empty();
        if !may || self.board.sacked() > 0 {
            return;
        }
        let mut pto = match self.rtt.srtt() {
            Some(srtt) => srtt * 2,
            None => Duration::from_secs(1),
        };
        if self.board.pipe() <= self.mss {
            pto += PROBE_SLACK;
        }
        let at = env.now + pto.max(Duration::from_millis(10));
        if self.timers.retransmit.is_none_or(|rto| at < rto) {
            self.timers.probe_loss = Some(at);
        }
    }

    /// With data to send, nothing in flight and no other timer, the window must be probed.
    pub(super) fn arm_persist(&mut self, env: &Env<'_>) {
        let waits = self.board.is_empty()
            && self.data_end() > self.nxt
            && matches!(
                self.state,
                TcpState::Established
                    | TcpState::CloseWait
                    | TcpState::FinWait1
                    | TcpState::LastAck
                    | TcpState::Closing
            );
        if !waits {
            self.timers.persist = None;
        } else if self.timers.persist.is_none() {
            self.timers.persist = Some(env.now + self.persist_wait());
        }
    }
}
