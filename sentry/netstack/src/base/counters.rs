//! Counters under the names of `/proc/net/snmp`, `/proc/net/netstat` and `/proc/net/snmp6`.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// One counter or gauge.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes one away (gauges).
    pub fn dec(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! group {
    ($(#[$meta:meta])* $name:ident, $label:literal, { $($field:ident $linux:ident)* }) => {
        $(#[$meta])*
        #[derive(Debug, Default)]
        pub struct $name {
            $(#[doc = concat!("`", stringify!($linux), "`")] pub $field: Counter,)*
        }

        impl $name {
            /// The first word of this group's two lines.
            pub const LABEL: &'static str = $label;

            /// Linux's names with the values, in Linux's order.
            #[must_use]
            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($linux), self.$field.get()),)*]
            }
        }
    };
}

group! {
    /// IPv4 (RFC 1213).
    Ip, "Ip", {
        forwarding Forwarding default_ttl DefaultTTL in_receives InReceives in_hdr_errors InHdrErrors
        in_addr_errors InAddrErrors forw_datagrams ForwDatagrams in_unknown_protos InUnknownProtos
        in_discards InDiscards in_delivers InDelivers out_requests OutRequests out_discards OutDiscards
        out_no_routes OutNoRoutes reasm_timeout ReasmTimeout reasm_reqds ReasmReqds reasm_oks ReasmOKs
        reasm_fails ReasmFails frag_oks FragOKs frag_fails FragFails frag_creates FragCreates
        out_transmits OutTransmits
    }
}

group! {
    /// ICMP for IPv4.
    Icmp, "Icmp", {
        in_msgs InMsgs in_errors InErrors in_csum_errors InCsumErrors in_dest_unreachs InDestUnreachs
        in_time_excds InTimeExcds in_parm_probs InParmProbs in_src_quenchs InSrcQuenchs in_redirects InRedirects
        in_echos InEchos in_echo_reps InEchoReps in_timestamps InTimestamps in_timestamp_reps InTimestampReps
        in_addr_masks InAddrMasks in_addr_mask_reps InAddrMaskReps out_msgs OutMsgs out_errors OutErrors
        out_rate_limit_global OutRateLimitGlobal out_rate_limit_host OutRateLimitHost
        out_dest_unreachs OutDestUnreachs out_time_excds OutTimeExcds out_parm_probs OutParmProbs
        out_src_quenchs OutSrcQuenchs out_redirects OutRedirects out_echos OutEchos out_echo_reps OutEchoReps
        out_timestamps OutTimestamps out_timestamp_reps OutTimestampReps out_addr_masks OutAddrMasks
        out_addr_mask_reps OutAddrMaskReps
    }
}

group! {
    /// TCP.
    Tcp, "Tcp", {
        rto_algorithm RtoAlgorithm rto_min RtoMin rto_max RtoMax max_conn MaxConn active_opens ActiveOpens
        passive_opens PassiveOpens attempt_fails AttemptFails estab_resets EstabResets curr_estab CurrEstab
        in_segs InSegs out_segs OutSegs retrans_segs RetransSegs in_errs InErrs out_rsts OutRsts
        in_csum_errors InCsumErrors
    }
}

group! {
    /// UDP (over IPv4 in `/proc/net/snmp`; one of these exists for each family).
    Udp, "Udp", {
        in_datagrams InDatagrams no_ports NoPorts in_errors InErrors out_datagrams OutDatagrams
        rcvbuf_errors RcvbufErrors sndbuf_errors SndbufErrors in_csum_errors InCsumErrors
        ignored_multi IgnoredMulti mem_errors MemErrors
    }
}

group! {
    /// TCP details of `/proc/net/netstat`.
    TcpExt, "TcpExt", {
        syncookies_sent SyncookiesSent syncookies_recv SyncookiesRecv syncookies_failed SyncookiesFailed
        embryonic_rsts EmbryonicRsts prune_called PruneCalled rcv_pruned RcvPruned ofo_pruned OfoPruned
        tw TW tw_recycled TWRecycled paws_active_rejected PAWSActive paws_estab_rejected PAWSEstab
        delayed_acks DelayedACKs delayed_ack_lost DelayedACKLost listen_overflows ListenOverflows
        listen_drops ListenDrops hp_hits TCPHPHits pure_acks TCPPureAcks hp_acks TCPHPAcks
        reno_recovery TCPRenoRecovery sack_recovery TCPSackRecovery sack_reneging TCPSACKReneging
        sack_reorder TCPSACKReorder full_undo TCPFullUndo dsack_undo TCPDSACKUndo loss_undo TCPLossUndo
        lost_retransmit TCPLostRetransmit fast_retrans TCPFastRetrans slow_start_retrans TCPSlowStartRetrans
        timeouts TCPTimeouts loss_probes TCPLossProbes loss_probe_recovery TCPLossProbeRecovery
        backlog_drop TCPBacklogDrop dsack_old_sent TCPDSACKOldSent dsack_ofo_sent TCPDSACKOfoSent
        dsack_recv TCPDSACKRecv dsack_ofo_recv TCPDSACKOfoRecv abort_on_data TCPAbortOnData
        abort_on_close TCPAbortOnClose abort_on_memory TCPAbortOnMemory abort_on_timeout TCPAbortOnTimeout
        abort_on_linger TCPAbortOnLinger abort_failed TCPAbortFailed memory_pressures TCPMemoryPressures
        sack_discard TCPSACKDiscard dsack_ignored TCPDSACKIgnoredOld spurious_rtos TCPSpuriousRTOs
        req_q_full_do_cookies TCPReqQFullDoCookies req_q_full_drop TCPReqQFullDrop ofo_queue TCPOFOQueue
        ofo_drop TCPOFODrop ofo_merge TCPOFOMerge challenge_ack TCPChallengeACK
        syn_challenge TCPSYNChallenge time_wait_overflow TCPTimeWaitOverflow auto_corking TCPAutoCorking
        from_zero_window_adv TCPFromZeroWindowAdv to_zero_window_adv TCPToZeroWindowAdv
        want_zero_window_adv TCPWantZeroWindowAdv syn_retrans TCPSynRetrans orig_data_sent TCPOrigDataSent
        keep_alive TCPKeepAlive mtup_fail TCPMTUPFail mtup_success TCPMTUPSuccess
        delivered TCPDelivered delivered_ce TCPDeliveredCE ack_skipped TCPACKSkippedSeq
        win_probe TCPWinProbe zero_window_drop TCPZeroWindowDrop rcv_q_drop TCPRcvQDrop
        loopback_bytes TCPLoopbackBytes
    }
}

group! {
    /// IPv4 details of `/proc/net/netstat`.
    IpExt, "IpExt", {
        in_no_routes InNoRoutes in_truncated_pkts InTruncatedPkts in_mcast_pkts InMcastPkts
        out_mcast_pkts OutMcastPkts in_bcast_pkts InBcastPkts out_bcast_pkts OutBcastPkts in_octets InOctets
        out_octets OutOctets in_mcast_octets InMcastOctets out_mcast_octets OutMcastOctets
        in_bcast_octets InBcastOctets out_bcast_octets OutBcastOctets in_csum_errors InCsumErrors
        in_noect_pkts InNoECTPkts in_ect1_pkts InECT1Pkts in_ect0_pkts InECT0Pkts in_ce_pkts InCEPkts
        reasm_overlaps ReasmOverlaps
    }
}

group! {
    /// IPv6.
    Ip6, "Ip6", {
        in_receives InReceives in_hdr_errors InHdrErrors in_too_big_errors InTooBigErrors in_no_routes InNoRoutes
        in_addr_errors InAddrErrors in_unknown_protos InUnknownProtos in_truncated_pkts InTruncatedPkts
        in_discards InDiscards in_delivers InDelivers out_forw_datagrams OutForwDatagrams
        out_requests OutRequests out_discards OutDiscards out_no_routes OutNoRoutes reasm_timeout ReasmTimeout
        reasm_reqds ReasmReqds reasm_oks ReasmOKs reasm_fails ReasmFails frag_oks FragOKs frag_fails FragFails
        frag_creates FragCreates in_mcast_pkts InMcastPkts out_mcast_pkts OutMcastPkts in_octets InOctets
        out_octets OutOctets
    }
}

group! {
    /// ICMPv6.
    Icmp6, "Icmp6", {
        in_msgs InMsgs in_errors InErrors out_msgs OutMsgs out_errors OutErrors in_csum_errors InCsumErrors
        out_rate_limit_host OutRateLimitHost in_dest_unreachs InDestUnreachs in_pkt_too_bigs InPktTooBigs
        in_time_excds InTimeExcds in_parm_problems InParmProblems in_echos InEchos in_echo_replies InEchoReplies
        in_group_memb_queries InGroupMembQueries in_router_advertisements InRouterAdvertisements
        in_neighbor_solicits InNeighborSolicits in_neighbor_advertisements InNeighborAdvertisements
        in_redirects InRedirects out_dest_unreachs OutDestUnreachs out_pkt_too_bigs OutPktTooBigs
        out_time_excds OutTimeExcds out_parm_problems OutParmProblems out_echos OutEchos
        out_echo_replies OutEchoReplies out_router_solicits OutRouterSolicits
        out_neighbor_solicits OutNeighborSolicits out_neighbor_advertisements OutNeighborAdvertisements
        out_mldv2_reports OutMLDv2Reports
    }
}

/// All counters of a stack.
#[derive(Debug, Default)]
pub struct Counters {
    /// IPv4.
    pub ip: Ip,
    /// ICMP.
    pub icmp: Icmp,
    /// TCP over both families.
    pub tcp: Tcp,
    /// UDP over IPv4.
    pub udp: Udp,
    /// UDP over IPv6.
    pub udp6: Udp,
    /// TCP details.
    pub tcp_ext: TcpExt,
    /// IPv4 details.
    pub ip_ext: IpExt,
    /// IPv6.
    pub ip6: Ip6,
    /// ICMPv6.
    pub icmp6: Icmp6,
}

impl Counters {
    /// Counters at zero, and the constants that are told among them.
    #[must_use]
    pub fn new(config: &super::config::Config) -> Self {
        let counters = Self::default();
        // "Not forwarding"; Van Jacobson's algorithm, and the limits of the retransmission time in ms.
        counters.ip.forwarding.add(2);
        counters.ip.default_ttl.add(config.ip_default_ttl.into());
        counters.tcp.rto_algorithm.inc();
        counters.tcp.rto_min.add(200);
        counters.tcp.rto_max.add(120_000);
        counters
    }

    /// The counters of UDP over one family.
    pub(crate) const fn udp_of(&self, family: super::addr::Family) -> &Udp {
        match family {
            super::addr::Family::V4 => &self.udp,
            super::addr::Family::V6 => &self.udp6,
        }
    }

    /// The text of `/proc/net/snmp`.
    #[must_use]
    pub fn snmp(&self) -> String {
        let mut text = String::new();
        table(&mut text, Ip::LABEL, &self.ip.rows());
        table(&mut text, Icmp::LABEL, &self.icmp.rows());
        table(&mut text, Tcp::LABEL, &self.tcp.rows());
        table(&mut text, Udp::LABEL, &self.udp.rows());
        table(&mut text, "UdpLite", &Udp::default().rows());
        text
    }

    /// The text of `/proc/net/netstat`.
    #[must_use]
    pub fn netstat(&self) -> String {
        let mut text = String::new();
        table(&mut text, TcpExt::LABEL, &self.tcp_ext.rows());
        table(&mut text, IpExt::LABEL, &self.ip_ext.rows());
        text
    }

    /// The text of `/proc/net/snmp6`.
    #[must_use]
    pub fn snmp6(&self) -> String {
        let mut text = String::new();
        for (label, rows) in
            [(Ip6::LABEL, self.ip6.rows()), (Icmp6::LABEL, self.icmp6.rows()), ("Udp6", self.udp6.rows())]
        {
            for (name, value) in rows {
                let _infallible = writeln!(text, "{:<32}\t{value}", format!("{label}{name}"));
            }
        }
        text
    }
}

fn table(text: &mut String, label: &str, rows: &[(&'static str, u64)]) {
    let names: Vec<_> = rows.iter().map(|row| row.0).collect();
    let values: Vec<_> = rows.iter().map(|row| row.1.to_string()).collect();
    let _infallible = writeln!(text, "{label}: {}\n{label}: {}", names.join(" "), values.join(" "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snmp_has_two_lines_per_group_of_equal_width() {
        let counters = Counters::default();
        counters.tcp.out_rsts.add(3);
        let text = counters.snmp();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 10);
        for pair in lines.chunks(2) {
            assert_eq!(pair[0].split(' ').count(), pair[1].split(' ').count());
        }
        let at = lines[4].split(' ').position(|name| name == "OutRsts").unwrap();
        assert_eq!(lines[5].split(' ').nth(at), Some("3"));
    }
}
