//! Settings of a stack: what Linux keeps under `/proc/sys/net`, with Linux's defaults.

/// The three sizes of `tcp_rmem` and `tcp_wmem`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSizes {
    /// Guaranteed even under memory pressure.
    pub min: usize,
    /// What a socket starts with.
    pub default: usize,
    /// What automatic tuning may reach.
    pub max: usize,
}

/// Congestion control algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Congestion {
    /// RFC 9438.
    #[default]
    Cubic,
    /// RFC 5681 with RFC 6582.
    Reno,
}

impl Congestion {
    /// Every algorithm, as in `tcp_available_congestion_control`.
    pub const ALL: [Self; 2] = [Self::Cubic, Self::Reno];

    /// Linux's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Reno => "reno",
        }
    }

    /// The algorithm of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// When ECN is used (`tcp_ecn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ecn {
    /// Never.
    Off,
    /// Offered on connections made and accepted.
    On,
    /// Accepted when a peer offers it. Linux's default.
    #[default]
    Accept,
}

/// Settings of an interface that the stack acts on (`ipv4/conf/*`, `ipv6/conf/*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own in /proc/sys")]
pub struct NicSettings {
    /// `ipv4/conf/*/forwarding`
    pub forwards: bool,
    /// `ipv6/conf/*/forwarding`
    pub forwards_v6: bool,
    /// `rp_filter`
    pub rp_filter: u8,
    /// `send_redirects`
    pub send_redirects: bool,
    /// `route_localnet`
    pub route_localnet: bool,
}

impl Default for NicSettings {
    fn default() -> Self {
        Self {
            forwards: false,
            forwards_v6: false,
            rp_filter: 0,
            send_redirects: true,
            route_localnet: false,
        }
    }
}

/// Settings of a stack. Field names are those of the files under `/proc/sys/net`.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own in /proc/sys")]
pub struct Config {
    /// `core/rmem_default`
    pub rmem_default: usize,
    /// `core/rmem_max`
    pub rmem_max: usize,
    /// `core/wmem_default`
    pub wmem_default: usize,
    /// `core/wmem_max`
    pub wmem_max: usize,
    /// `core/somaxconn`
    pub somaxconn: u32,
    /// `core/optmem_max`
    pub optmem_max: usize,
    /// `ipv4/tcp_rmem`
    pub tcp_rmem: BufferSizes,
    /// `ipv4/tcp_wmem`
    pub tcp_wmem: BufferSizes,
    /// `ipv4/ip_local_port_range`
    pub ip_local_port_range: (u16, u16),
    /// `ipv4/ip_unprivileged_port_start`; checked by the caller, which knows capabilities.
    pub ip_unprivileged_port_start: u16,
    /// `ipv4/ip_default_ttl`
    pub ip_default_ttl: u8,
    /// `ipv6/conf/all/hop_limit`
    pub ipv6_hop_limit: u8,
    /// `ipv4/ip_forward`
    pub ip_forward: bool,
    /// `ipv6/conf/all/forwarding`
    pub ipv6_forward: bool,
    /// What new interfaces begin with (`conf/default`).
    pub nic_default: NicSettings,
    /// What holds besides an interface's own (`conf/all`), but for forwarding.
    pub nic_all: NicSettings,
    /// `ipv4/ip_no_pmtu_disc`
    pub ip_no_pmtu_disc: bool,
    /// `ipv4/ip_nonlocal_bind`
    pub ip_nonlocal_bind: bool,
    /// `ipv6/bindv6only`
    pub bindv6only: bool,
    /// `ipv6/conf/all/accept_ra`
    pub accept_ra: bool,
    /// `ipv6/conf/all/dad_transmits`
    pub dad_transmits: u8,
    /// `ipv4/ping_group_range`; checked by the caller, which knows groups.
    pub ping_group_range: (u32, u32),
    /// `ipv4/icmp_echo_ignore_all`
    pub icmp_echo_ignore_all: bool,
    /// `ipv4/icmp_echo_ignore_broadcasts`
    pub icmp_echo_ignore_broadcasts: bool,
    /// `ipv4/icmp_msgs_per_sec`
    pub icmp_msgs_per_sec: u32,
    /// `ipv4/ipfrag_high_thresh`: bytes that fragments awaiting reassembly may hold.
    pub ipfrag_high_thresh: usize,
    /// `ipv4/ipfrag_time`, seconds.
    pub ipfrag_time: u32,
    /// `ipv4/igmp_max_memberships`
    pub igmp_max_memberships: u32,
    /// `ipv4/neigh/default/gc_thresh3`: neighbours kept at most.
    pub neigh_max: usize,
    /// `ipv4/tcp_available_congestion_control` is fixed; this is `tcp_congestion_control`.
    pub tcp_congestion_control: Congestion,
    /// `ipv4/tcp_ecn`
    pub tcp_ecn: Ecn,
    /// `ipv4/tcp_sack`
    pub tcp_sack: bool,
    /// `ipv4/tcp_dsack`
    pub tcp_dsack: bool,
    /// `ipv4/tcp_timestamps`
    pub tcp_timestamps: bool,
    /// `ipv4/tcp_window_scaling`
    pub tcp_window_scaling: bool,
    /// `ipv4/tcp_moderate_rcvbuf`
    pub tcp_moderate_rcvbuf: bool,
    /// `ipv4/tcp_syncookies`: 0 never, 1 when the queue overflows, 2 always.
    pub tcp_syncookies: u8,
    /// `ipv4/tcp_max_syn_backlog`
    pub tcp_max_syn_backlog: u32,
    /// `ipv4/tcp_abort_on_overflow`
    pub tcp_abort_on_overflow: bool,
    /// `ipv4/tcp_syn_retries`
    pub tcp_syn_retries: u8,
    /// `ipv4/tcp_synack_retries`
    pub tcp_synack_retries: u8,
    /// `ipv4/tcp_retries1`
    pub tcp_retries1: u8,
    /// `ipv4/tcp_retries2`
    pub tcp_retries2: u8,
    /// `ipv4/tcp_orphan_retries`
    pub tcp_orphan_retries: u8,
    /// `ipv4/tcp_max_orphans`
    pub tcp_max_orphans: u32,
    /// `ipv4/tcp_max_tw_buckets`
    pub tcp_max_tw_buckets: u32,
    /// `ipv4/tcp_tw_reuse`: 0 never, 1 always, 2 on loopback.
    pub tcp_tw_reuse: u8,
    /// `ipv4/tcp_rfc1337`
    pub tcp_rfc1337: bool,
    /// `ipv4/tcp_fin_timeout`, seconds.
    pub tcp_fin_timeout: u32,
    /// `ipv4/tcp_keepalive_time`, seconds.
    pub tcp_keepalive_time: u32,
    /// `ipv4/tcp_keepalive_intvl`, seconds.
    pub tcp_keepalive_intvl: u32,
    /// `ipv4/tcp_keepalive_probes`
    pub tcp_keepalive_probes: u32,
    /// `ipv4/tcp_slow_start_after_idle`
    pub tcp_slow_start_after_idle: bool,
    /// `ipv4/tcp_notsent_lowat`
    pub tcp_notsent_lowat: u32,
    /// `ipv4/tcp_challenge_ack_limit`, per second.
    pub tcp_challenge_ack_limit: u32,
    /// `ipv4/tcp_invalid_ratelimit`, milliseconds.
    pub tcp_invalid_ratelimit: u32,
    /// `ipv4/tcp_mtu_probing`: 0 off, 1 when a black hole is suspected.
    pub tcp_mtu_probing: u8,
    /// `ipv4/tcp_base_mss`
    pub tcp_base_mss: u16,
    /// `ipv4/tcp_min_snd_mss`
    pub tcp_min_snd_mss: u16,
    /// `ipv4/tcp_max_reordering`
    pub tcp_max_reordering: u32,
    /// `ipv4/tcp_fastopen`
    pub tcp_fastopen: u32,
    /// `ipv4/tcp_limit_output_bytes`
    pub tcp_limit_output_bytes: usize,
    /// Frames that the loopback queue may hold.
    pub loopback_queue: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rmem_default: 212_992,
            rmem_max: 4 << 20,
            wmem_default: 212_992,
            wmem_max: 4 << 20,
            somaxconn: 4096,
            optmem_max: 131_072,
            tcp_rmem: BufferSizes { min: 4096, default: 131_072, max: 6 << 20 },
            tcp_wmem: BufferSizes { min: 4096, default: 16_384, max: 4 << 20 },
            ip_local_port_range: (32_768, 60_999),
            ip_unprivileged_port_start: 1024,
            ip_default_ttl: 64,
            ipv6_hop_limit: 64,
            ip_forward: false,
            ipv6_forward: false,
            nic_default: NicSettings::default(),
            nic_all: NicSettings::default(),
            ip_no_pmtu_disc: false,
            ip_nonlocal_bind: false,
            bindv6only: false,
            accept_ra: true,
            dad_transmits: 1,
            ping_group_range: (0, 2_147_483_647),
            icmp_echo_ignore_all: false,
            icmp_echo_ignore_broadcasts: true,
            icmp_msgs_per_sec: 1000,
            ipfrag_high_thresh: 4 << 20,
            ipfrag_time: 30,
            igmp_max_memberships: 20,
            neigh_max: 1024,
            tcp_congestion_control: Congestion::Cubic,
            tcp_ecn: Ecn::Accept,
            tcp_sack: true,
            tcp_dsack: true,
            tcp_timestamps: true,
            tcp_window_scaling: true,
            tcp_moderate_rcvbuf: true,
            tcp_syncookies: 1,
            tcp_max_syn_backlog: 1024,
            tcp_abort_on_overflow: false,
            tcp_syn_retries: 6,
            tcp_synack_retries: 5,
            tcp_retries1: 3,
            tcp_retries2: 15,
            tcp_orphan_retries: 0,
            tcp_max_orphans: 8192,
            tcp_max_tw_buckets: 16_384,
            tcp_tw_reuse: 2,
            tcp_rfc1337: false,
            tcp_fin_timeout: 60,
            tcp_keepalive_time: 7200,
            tcp_keepalive_intvl: 75,
            tcp_keepalive_probes: 9,
            tcp_slow_start_after_idle: true,
            tcp_notsent_lowat: u32::MAX,
            tcp_challenge_ack_limit: 1000,
            tcp_invalid_ratelimit: 500,
            tcp_mtu_probing: 1,
            tcp_base_mss: 1024,
            tcp_min_snd_mss: 48,
            tcp_max_reordering: 300,
            tcp_fastopen: 1,
            tcp_limit_output_bytes: 4 << 20,
            loopback_queue: 4096,
        }
    }
}
