//! `struct tcp_info` (`TCP_INFO`, `man 7 tcp`).

/// The structure as Linux lays it out.
pub(super) fn encode_info(info: &netstack::TcpInfo) -> Vec<u8> {
    let bytes = [
        info.state as u8,
        info.ca_state,
        info.retransmits,
        info.probes,
        info.backoff,
        info.options,
        (info.rcv_wscale << 4) | (info.snd_wscale & 0xf),
        0,
    ];
    let words = [
        info.rto,
        info.ato,
        info.snd_mss,
        info.rcv_mss,
        info.unacked,
        info.sacked,
        info.lost,
        info.retrans,
        0,
        info.last_data_sent,
        0,
        info.last_data_recv,
        info.last_ack_recv,
        info.pmtu,
        info.rcv_ssthresh,
        info.rtt,
        info.rttvar,
        info.snd_ssthresh,
        info.snd_cwnd,
        info.advmss,
        info.reordering,
        info.rcv_rtt,
        info.rcv_space,
        info.total_retrans,
    ];
    let mut data = bytes.to_vec();
    data.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    for long in [info.pacing_rate, u64::MAX, info.bytes_acked, info.bytes_received] {
        data.extend(long.to_ne_bytes());
    }
    for word in
        [info.segs_out, info.segs_in, info.notsent_bytes, info.min_rtt, info.data_segs_in, info.data_segs_out]
    {
        data.extend(word.to_ne_bytes());
    }
    for long in [info.delivery_rate, 0, 0, 0] {
        data.extend(long.to_ne_bytes());
    }
    for word in [info.delivered, info.delivered_ce] {
        data.extend(word.to_ne_bytes());
    }
    for long in [info.bytes_sent, info.bytes_retrans] {
        data.extend(long.to_ne_bytes());
    }
    for word in [info.dsack_dups, info.reord_seen, info.rcv_ooopack] {
        data.extend(word.to_ne_bytes());
    }
    data
}
