//! Connection requests: SYNs that a listener has answered and whose handshake is not over, and SYN cookies for when
//! there are too many (RFC 4987).
//!
//! A cookie's sequence number holds a minute counter, the peer's segment size and a keyed hash; what else the SYN said
//! travels in the low bits of the time stamp.

use super::conn::{Accepted, initial_sequence, timestamp_offset, wanted_scale};
use super::segment::{Flags, Header, Segment, TcpOptionsIn};
use crate::base::addr::Family;
use crate::base::config::Ecn;
use crate::base::time::Instant;
use crate::core::{Core, Path, PathKind, Tuple, Via};
use crate::ip::output::{Checksum, IpHeader};
use crate::ip::packet::protocol;
use crate::link::device::TxMeta;
use crate::socket::options::{Options, Sender};
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// Segment sizes that a cookie can tell.
const COOKIE_MSS: [u16; 8] = [216, 536, 1024, 1220, 1380, 1440, 1460, 8960];
/// Minutes for which a cookie is good.
const COOKIE_LIFETIME: u64 = 2;

/// A request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) tuple: Tuple,
    pub(crate) path: Path,
    pub(crate) accepted: Accepted,
    /// When the SYN-ACK is sent again.
    pub(crate) next_at: Instant,
    pub(crate) retries: u32,
    /// `TCP_DEFER_ACCEPT`: the handshake is over but no data has come; until when that is waited for.
    pub(crate) deferred_until: Option<Instant>,
}

impl Core {
    /// Makes a request of a SYN.
    pub(crate) fn new_request(&self, segment: &Segment<'_>, options: &Options) -> Option<Request> {
        let tuple = segment.tuple;
        let path = self.reply_path(&tuple, segment.device)?;
        let config = self.config();
        let mut peer = segment.options;
        peer.sack_permitted &= config.tcp_sack;
        peer.timestamp = peer.timestamp.filter(|_| config.tcp_timestamps);
        peer.window_scale = peer.window_scale.filter(|_| config.tcp_window_scaling);
        let wants_ecn = segment.has(Flags::ECE | Flags::CWR) && config.tcp_ecn != Ecn::Off;
        let accepted = Accepted {
            iss: initial_sequence(self, &tuple),
            irs: segment.seq,
            peer,
            has_ecn: wants_ecn,
            ts_offset: timestamp_offset(self, &tuple),
            ts_recent: peer.timestamp.map_or(0, |(value, _)| value),
            rcv_wnd: (options.base.rcv_buf() / 2).min(65_535) as u32,
            rcv_scale: if peer.window_scale.is_some() { wanted_scale(&config, options) } else { 0 },
            sent_at: Some(self.now()),
        };
        let next_at = self.now() + Duration::from_secs(1);
        Some(Request { tuple, path, accepted, next_at, retries: 0, deferred_until: None })
    }

    fn reply_path(&self, tuple: &Tuple, device: u32) -> Option<Path> {
        let device = if crate::base::addr::is_link_local(tuple.remote.ip) { device } else { 0 };
        let via = Via { source: Some(tuple.local.ip), device, on_link_only: false };
        let path = self.path(tuple.remote.ip, &via).ok()?;
        matches!(path.kind, PathKind::Local | PathKind::Unicast).then_some(path)
    }

    /// Answers a request with a SYN-ACK.
    pub(crate) fn send_syn_ack(&self, request: &Request, options: &Options) {
        let accepted = &request.accepted;
        let family = Family::of(request.tuple.remote.ip);
        let mut flags = Flags::SYN | Flags::ACK;
        flags.set(Flags::ECE, accepted.has_ecn && request.retries == 0);
        let stamp = (self.now().millis() as u32).wrapping_add(accepted.ts_offset);
        let header = Header {
            seq: accepted.iss,
            ack: accepted.irs.wrapping_add(1),
            flags,
            window: accepted.rcv_wnd as u16,
            mss: Some(super::conn::own_mss(&request.path, family, options)),
            window_scale: accepted.peer.window_scale.map(|_| accepted.rcv_scale),
            sack_permitted: accepted.peer.sack_permitted,
            timestamp: accepted.peer.timestamp.map(|_| (stamp, accepted.ts_recent)),
            ..Header::default()
        };
        self.send_tcp(
            &request.path,
            &request.tuple,
            &header,
            (options.ttl(family, &self.config()), options.tos(family)),
            Some(options.sender()),
        );
    }

    /// Answers a SYN with a cookie and forgets it.
    pub(crate) fn send_cookie(&self, segment: &Segment<'_>, options: &Options) {
        let Some(mut request) = self.new_request(segment, options) else { return };
        let minute = self.now().millis() / 60_000;
        let mss = request.accepted.peer.mss.unwrap_or(536);
        let index = COOKIE_MSS.iter().rposition(|known| *known <= mss).unwrap_or(0);
        request.accepted.iss = self.cookie(&request.tuple, segment.seq, minute, index as u32);
        request.accepted.has_ecn = false;
        if request.accepted.peer.timestamp.is_some() {
            // The low six bits of our stamp: window scale (15 for none) and SACK. It may not run ahead.
            let bits = u32::from(request.accepted.peer.window_scale.unwrap_or(15))
                | u32::from(request.accepted.peer.sack_permitted) << 4;
            let clock = self.now().millis() as u32;
            let real = clock.wrapping_add(request.accepted.ts_offset);
            let stamped = (real & !0x3f | bits).wrapping_sub(if real & 0x3f < bits { 0x40 } else { 0 });
            request.accepted.ts_offset = stamped.wrapping_sub(clock);
        } else {
            request.accepted.peer.window_scale = None;
            request.accepted.peer.sack_permitted = false;
        }
        self.counters.tcp_ext.syncookies_sent.inc();
        self.send_syn_ack(&request, options);
    }

    fn cookie(&self, tuple: &Tuple, irs: u32, minute: u64, mss_index: u32) -> u32 {
        let mut sip = self.hasher();
        sip.write_u8(3);
        tuple.hash(&mut sip);
        sip.write_u32(irs);
        sip.write_u64(minute);
        sip.write_u32(mss_index);
        // 24 bits of hash, 5 of the minute, 3 of the size.
        (sip.finish() as u32) << 8 | (minute as u32 & 0x1f) << 3 | mss_index
    }

    /// The handshake that an acknowledgement of a cookie finishes.
    pub(crate) fn check_cookie(&self, segment: &Segment<'_>, options: &Options) -> Option<Request> {
        let cookie = segment.ack.wrapping_sub(1);
        let irs = segment.seq.wrapping_sub(1);
        let now = self.now().millis() / 60_000;
        let age = now.wrapping_sub(u64::from(cookie >> 3 & 0x1f)) & 0x1f;
        let minute = now.checked_sub(age).filter(|_| age < COOKIE_LIFETIME)?;
        let index = cookie & 7;
        if self.cookie(&segment.tuple, irs, minute, index) != cookie {
            self.counters.tcp_ext.syncookies_failed.inc();
            return None;
        }
        let echo = segment.options.timestamp.map(|(_, echo)| echo);
        let scale = echo.map(|echo| (echo & 0xf) as u8).filter(|scale| *scale <= 14);
        let peer = TcpOptionsIn {
            mss: Some(COOKIE_MSS[index as usize]),
            window_scale: scale,
            sack_permitted: echo.is_some_and(|echo| echo >> 4 & 1 != 0),
            timestamp: segment.options.timestamp,
            sack: [None; 3],
        };
        let mut request = self.new_request(&Segment { options: peer, seq: irs, ..*segment }, options)?;
        request.accepted.iss = cookie;
        request.accepted.has_ecn = false;
        request.accepted.sent_at = None;
        self.counters.tcp_ext.syncookies_recv.inc();
        Some(request)
    }

    /// Sends a segment without data that belongs to no connection.
    pub(crate) fn send_tcp(
        &self,
        path: &Path,
        tuple: &Tuple,
        header: &Header,
        (ttl, tos): (u8, u8),
        sender: Option<Sender>,
    ) {
        let ip = IpHeader {
            path,
            from: tuple.local.ip,
            to: tuple.remote.ip,
            protocol: protocol::TCP,
            ttl,
            tos,
            dont_fragment: true,
            may_fragment: true,
            options: &[],
            sender,
        };
        self.counters.tcp.out_segs.inc();
        let data = header.emit(tuple, 0);
        let _lost_like_any_packet = self.ip_send(&ip, data, Some(Checksum { offset: 16 }), TxMeta::default());
    }

    /// Resets whatever the sender of `segment` believes in (RFC 9293 3.10.7.1).
    pub(crate) fn send_tcp_reset(&self, segment: &Segment<'_>) {
        if segment.has(Flags::RST) {
            return;
        }
        let header = if segment.has(Flags::ACK) {
            Header { seq: segment.ack, flags: Flags::RST, ..Header::default() }
        } else {
            let ack = segment.seq.wrapping_add(segment.seq_len());
            Header { ack, flags: Flags::RST | Flags::ACK, ..Header::default() }
        };
        if let Some(path) = self.reply_path(&segment.tuple, segment.device) {
            self.counters.tcp.out_rsts.inc();
            let config = self.config();
            let ttl =
                if segment.tuple.local.ip.is_ipv4() { config.ip_default_ttl } else { config.ipv6_hop_limit };
            self.send_tcp(&path, &segment.tuple, &header, (ttl, 0), None);
        }
    }
}
