//! `TCP_INFO` (`man 7 tcp`): what the stack knows of a connection, as Linux lays it out.

use abi::tcp_info::TcpInfo;
use zerocopy::IntoBytes;

/// The structure's bytes.
pub(super) fn encode_info(info: &netstack::TcpInfo) -> Vec<u8> {
    let told = TcpInfo {
        state: info.state as u8,
        ca_state: info.ca_state,
        retransmits: info.retransmits,
        probes: info.probes,
        backoff: info.backoff,
        options: info.options,
        wscales: (info.rcv_wscale << 4) | (info.snd_wscale & 0xf),
        rto: info.rto,
        ato: info.ato,
        snd_mss: info.snd_mss,
        rcv_mss: info.rcv_mss,
        unacked: info.unacked,
        sacked: info.sacked,
        lost: info.lost,
        retrans: info.retrans,
        last_data_sent: info.last_data_sent,
        last_data_recv: info.last_data_recv,
        last_ack_recv: info.last_ack_recv,
        pmtu: info.pmtu,
        rcv_ssthresh: info.rcv_ssthresh,
        rtt: info.rtt,
        rttvar: info.rttvar,
        snd_ssthresh: info.snd_ssthresh,
        snd_cwnd: info.snd_cwnd,
        advmss: info.advmss,
        reordering: info.reordering,
        rcv_rtt: info.rcv_rtt,
        rcv_space: info.rcv_space,
        total_retrans: info.total_retrans,
        pacing_rate: info.pacing_rate,
        max_pacing_rate: u64::MAX,
        bytes_acked: info.bytes_acked,
        bytes_received: info.bytes_received,
        segs_out: info.segs_out,
        segs_in: info.segs_in,
        notsent_bytes: info.notsent_bytes,
        min_rtt: info.min_rtt,
        data_segs_in: info.data_segs_in,
        data_segs_out: info.data_segs_out,
        delivery_rate: info.delivery_rate,
        delivered: info.delivered,
        delivered_ce: info.delivered_ce,
        bytes_sent: info.bytes_sent,
        bytes_retrans: info.bytes_retrans,
        dsack_dups: info.dsack_dups,
        reord_seen: info.reord_seen,
        rcv_ooopack: info.rcv_ooopack,
        snd_wnd: info.snd_wnd,
        rcv_wnd: info.rcv_wnd,
        ..TcpInfo::default()
    };
    told.as_bytes().to_vec()
}
