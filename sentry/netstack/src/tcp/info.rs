//! `TCP_INFO`: what a socket tells about its connection (`struct tcp_info`).

use super::socket::{Role, TcpCore};
use super::state::TcpState;
use crate::socket::options::Options;
use std::net::IpAddr;

/// What a loopback link carries where there is none to ask.
const LOOPBACK_MTU: u32 = 65_536;

/// The fields of Linux's `struct tcp_info` that the stack knows. Times are in microseconds where not said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are Linux's, without the tcpi_ prefix")]
pub struct TcpInfo {
    pub state: TcpState,
    pub ca_state: u8,
    pub retransmits: u8,
    pub probes: u8,
    pub backoff: u8,
    /// Bits: 1 time stamps, 2 SACK, 4 window scaling, 8 ECN, 16 ECN seen.
    pub options: u8,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub rto: u32,
    pub ato: u32,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    pub unacked: u32,
    pub sacked: u32,
    pub lost: u32,
    pub retrans: u32,
    /// Milliseconds.
    pub last_data_sent: u32,
    /// Milliseconds.
    pub last_data_recv: u32,
    /// Milliseconds.
    pub last_ack_recv: u32,
    pub pmtu: u32,
    pub rcv_ssthresh: u32,
    pub rtt: u32,
    pub rttvar: u32,
    pub snd_ssthresh: u32,
    pub snd_cwnd: u32,
    pub advmss: u32,
    pub reordering: u32,
    pub rcv_rtt: u32,
    pub rcv_space: u32,
    pub total_retrans: u32,
    pub pacing_rate: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u32,
    pub segs_in: u32,
    pub notsent_bytes: u32,
    pub min_rtt: u32,
    pub data_segs_in: u32,
    pub data_segs_out: u32,
    pub delivery_rate: u64,
    pub delivered: u32,
    pub delivered_ce: u32,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub dsack_dups: u32,
    pub reord_seen: u32,
    pub rcv_ooopack: u32,
    pub snd_wnd: u32,
    pub rcv_wnd: u32,
}

impl TcpInfo {
    /// What a socket without a connection says.
    pub(crate) const fn empty(state: TcpState) -> Self {
        Self {
            state,
            ca_state: 0,
            retransmits: 0,
            probes: 0,
            backoff: 0,
            options: 0,
            snd_wscale: 0,
            rcv_wscale: 0,
            rto: 1_000_000,
            ato: 0,
            snd_mss: 536,
            rcv_mss: 88,
            unacked: 0,
            sacked: 0,
            lost: 0,
            retrans: 0,
            last_data_sent: 0,
            last_data_recv: 0,
            last_ack_recv: 0,
            pmtu: 0,
            rcv_ssthresh: 0,
            rtt: 0,
            rttvar: 250_000,
            snd_ssthresh: 0x7fff_ffff,
            snd_cwnd: 10,
            advmss: 0,
            reordering: 3,
            rcv_rtt: 0,
            rcv_space: 0,
            total_retrans: 0,
            pacing_rate: u64::MAX,
            bytes_acked: 0,
            bytes_received: 0,
            segs_out: 0,
            segs_in: 0,
            notsent_bytes: 0,
            min_rtt: 0,
            data_segs_in: 0,
            data_segs_out: 0,
            delivery_rate: 0,
            delivered: 0,
            delivered_ce: 0,
            bytes_sent: 0,
            bytes_retrans: 0,
            dsack_dups: 0,
            reord_seen: 0,
            rcv_ooopack: 0,
            snd_wnd: 0,
            rcv_wnd: 0,
        }
    }

    pub(crate) fn of(core: &TcpCore) -> Self {
        let inner = core.inner.lock();
        let empty = Self::empty(inner.state());
        match &inner.role {
            // For a listener Linux gives the queue's length and limit.
            Role::Listening(listener) => {
                Self { unacked: listener.ready.len() as u32, sacked: listener.backlog, ..empty }
            }
            Role::Local(end) => {
                let (received, sent) = end.totals();
                let (advmss, mss) = loopback_segments(core, end.tuple().remote.ip, &inner.options);
                Self {
                    options: 7,
                    snd_wscale: 7,
                    rcv_wscale: 7,
                    rto: 204_000,
                    snd_mss: mss,
                    rcv_mss: mss,
                    advmss,
                    pmtu: core.stack.loopback().map_or(LOOPBACK_MTU, |nic| nic.mtu()),
                    rtt: 20,
                    rttvar: 10,
                    min_rtt: 10,
                    rcv_ssthresh: inner.options.base.rcv_buf() as u32,
                    rcv_space: inner.options.base.rcv_buf() as u32,
                    snd_wnd: inner.options.base.rcv_buf() as u32,
                    rcv_wnd: inner.options.base.rcv_buf() as u32,
                    bytes_acked: sent,
                    bytes_sent: sent,
                    bytes_received: received,
                    ..empty
                }
            }
            Role::Net(conn) => conn.info(&inner.options, core.stack.now()),
            Role::Idle | Role::Waiting(_) => empty,
        }
    }
}

/// The largest segments that a connection over loopback would take and send, were it cut into segments: what fits the
/// link beside headers with time stamps, and half of that, since a segment is at most half of the first window.
fn loopback_segments(core: &TcpCore, peer: IpAddr, options: &Options) -> (u32, u32) {
    let mtu = core.stack.loopback().map_or(LOOPBACK_MTU, |nic| nic.mtu());
    let fits = match peer {
        IpAddr::V4(_) => mtu.min(u16::MAX.into()).saturating_sub(52),
        IpAddr::V6(_) => mtu.saturating_sub(72),
    };
    match options.tcp.max_seg() {
        0 => (fits, fits / 2),
        clamp => {
            let clamp = u32::from(clamp).saturating_sub(12);
            (fits.min(clamp), clamp.min(fits / 2))
        }
    }
}
