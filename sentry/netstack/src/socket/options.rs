//! Socket options as plain data. Setters check ranges as Linux does; who applies them is the socket.
//!
//! man 7 socket, ip, ipv6, tcp, udp.

use crate::base::addr::Family;
use crate::base::config::{Config, Congestion};
use crate::base::error::{Error, Result};
use crate::base::filter::Filter;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// Longest interval that TCP's keepalive options take, seconds.
const MAX_KEEP_SECONDS: u32 = 32_767;
/// Most keepalive probes.
const MAX_KEEP_PROBES: u32 = 127;
/// Most SYN retransmissions.
const MAX_SYN_COUNT: u32 = 127;
/// Smallest buffers that `SO_RCVBUF` and `SO_SNDBUF` give (after doubling).
const MIN_RCVBUF: usize = 2304;
const MIN_SNDBUF: usize = 4608;

/// How received packets are time-stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Timestamps {
    /// Not at all.
    #[default]
    Off,
    /// `SO_TIMESTAMP`
    Micros,
    /// `SO_TIMESTAMPNS`
    Nanos,
}

/// `IP_MTU_DISCOVER` and `IPV6_MTU_DISCOVER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MtuDiscover {
    /// Never set DF; fragment.
    Dont,
    /// Set DF, fragment only where the socket is a datagram one.
    #[default]
    Want,
    /// Always set DF; too long gives `EMSGSIZE`.
    Do,
    /// Set DF, ignore the path MTU.
    Probe,
    /// Ignore path MTU news; fragment to the interface's MTU.
    Interface,
    /// As `Interface`, but also fragment where the packet would not fit.
    Omit,
}

impl MtuDiscover {
    /// From the number of the option.
    pub const fn from_raw(raw: i32) -> Result<Self> {
        Ok(match raw {
            0 => Self::Dont,
            1 => Self::Want,
            2 => Self::Do,
            3 => Self::Probe,
            4 => Self::Interface,
            5 => Self::Omit,
            _ => return Err(Error::Invalid),
        })
    }

    /// The number of the option.
    #[must_use]
    pub const fn raw(self) -> i32 {
        self as i32
    }
}

/// All options of a socket.
#[derive(Clone, Debug)]
pub struct Options {
    /// `SOL_SOCKET`
    pub base: BaseOptions,
    /// `IPPROTO_IP`
    pub ip4: Ip4Options,
    /// `IPPROTO_IPV6`
    pub ip6: Ip6Options,
    /// `IPPROTO_TCP`
    pub tcp: TcpOptions,
}

/// Options of `SOL_SOCKET`.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct BaseOptions {
    /// `SO_REUSEADDR`
    pub reuse_addr: bool,
    /// `SO_REUSEPORT`
    pub reuse_port: bool,
    /// `SO_BROADCAST`
    pub broadcast: bool,
    /// `SO_KEEPALIVE`
    pub keepalive: bool,
    /// `SO_OOBINLINE`
    pub oob_inline: bool,
    /// `SO_DONTROUTE`
    pub dont_route: bool,
    /// `SO_NO_CHECK`
    pub no_check: bool,
    /// `SO_RXQ_OVFL`
    pub rxq_overflow: bool,
    /// `SO_TIMESTAMP`, `SO_TIMESTAMPNS`
    pub timestamps: Timestamps,
    /// `SO_LINGER`
    pub linger: Option<Duration>,
    /// `SO_PRIORITY`
    pub priority: u32,
    /// `SO_MARK`
    pub mark: u32,
    /// `SO_BINDTODEVICE` as an interface index, 0 for none.
    pub device: u32,
    /// `SO_RCVLOWAT`
    pub rcv_lowat: usize,
    /// `SO_ATTACH_FILTER`: which packets the socket wants, and how much of them.
    pub filter: Option<Arc<Filter>>,
    /// The owner's user id: who may share a port by `SO_REUSEPORT`.
    pub uid: u32,
    /// The number that the owner shows for the socket (`/proc/net/tcp`, sock_diag).
    pub inode: u32,
    rcv_buf: usize,
    snd_buf: usize,
    rcv_locked: bool,
    snd_locked: bool,
}

impl BaseOptions {
    /// `SO_RCVBUF` as getsockopt gives it (doubled already).
    #[must_use]
    pub const fn rcv_buf(&self) -> usize {
        self.rcv_buf
    }

    /// `SO_SNDBUF` as getsockopt gives it.
    #[must_use]
    pub const fn snd_buf(&self) -> usize {
        self.snd_buf
    }

    /// Whether `SO_RCVBUF` was set, which ends automatic tuning.
    #[must_use]
    pub const fn is_rcv_locked(&self) -> bool {
        self.rcv_locked
    }

    /// Whether `SO_SNDBUF` was set.
    #[must_use]
    pub const fn is_snd_locked(&self) -> bool {
        self.snd_locked
    }

    /// `SO_RCVBUF`: limited to `rmem_max`, then doubled.
    pub fn set_rcv_buf(&mut self, bytes: i32, config: &Config) {
        self.force_rcv_buf(usize::try_from(bytes).unwrap_or(usize::MAX).min(config.rmem_max));
    }

    /// `SO_RCVBUFFORCE`.
    pub fn force_rcv_buf(&mut self, bytes: usize) {
        self.rcv_buf = bytes.min(i32::MAX as usize / 2).saturating_mul(2).max(MIN_RCVBUF);
        self.rcv_locked = true;
    }

    /// `SO_SNDBUF`: limited to `wmem_max`, then doubled.
    pub fn set_snd_buf(&mut self, bytes: i32, config: &Config) {
        self.force_snd_buf(usize::try_from(bytes).unwrap_or(usize::MAX).min(config.wmem_max));
    }

    /// `SO_SNDBUFFORCE`.
    pub fn force_snd_buf(&mut self, bytes: usize) {
        self.snd_buf = bytes.min(i32::MAX as usize / 2).saturating_mul(2).max(MIN_SNDBUF);
        self.snd_locked = true;
    }

    /// Automatic tuning raises the receive buffer.
    pub(crate) fn tune_rcv_buf(&mut self, bytes: usize) {
        if !self.rcv_locked {
            self.rcv_buf = self.rcv_buf.max(bytes);
        }
    }

    /// Automatic tuning raises the send buffer.
    pub(crate) fn tune_snd_buf(&mut self, bytes: usize) {
        if !self.snd_locked {
            self.snd_buf = self.snd_buf.max(bytes);
        }
    }
}

/// A joined multicast group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The group.
    pub group: IpAddr,
    /// On this interface.
    pub interface: u32,
    /// Whether `sources` are those accepted (`true`) or those blocked.
    pub is_include: bool,
    /// Sources of `IP_ADD_SOURCE_MEMBERSHIP`, `IP_BLOCK_SOURCE`.
    pub sources: Vec<IpAddr>,
}

impl Membership {
    /// Whether the socket wants this group's packets from `source`.
    #[must_use]
    pub fn accepts(&self, source: IpAddr) -> bool {
        self.sources.contains(&source) == self.is_include
    }
}

/// Options of `IPPROTO_IP`.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Ip4Options {
    /// `IP_TTL`; `None` is the stack's default.
    pub ttl: Option<u8>,
    /// `IP_MINTTL`
    pub min_ttl: u8,
    /// `IP_TOS`
    pub tos: u8,
    /// `IP_MTU_DISCOVER`
    pub mtu_discover: MtuDiscover,
    /// `IP_RECVTTL`
    pub recv_ttl: bool,
    /// `IP_RECVTOS`
    pub recv_tos: bool,
    /// `IP_PKTINFO`
    pub pktinfo: bool,
    /// `IP_RECVORIGDSTADDR`
    pub recv_orig_dst: bool,
    /// `IP_RECVOPTS`, `IP_RETOPTS`
    pub recv_opts: bool,
    /// `IP_RETOPTS`
    pub ret_opts: bool,
    /// `IP_RECVERR`
    pub recv_err: bool,
    /// `IP_HDRINCL` (raw sockets)
    pub hdr_incl: bool,
    /// `IP_ROUTER_ALERT` (raw sockets)
    pub router_alert: bool,
    /// `IP_FREEBIND`
    pub freebind: bool,
    /// `IP_TRANSPARENT`
    pub transparent: bool,
    /// `IP_BIND_ADDRESS_NO_PORT`
    pub bind_address_no_port: bool,
    /// `IP_MULTICAST_ALL`
    pub multicast_all: bool,
    /// `IP_MULTICAST_LOOP`
    pub multicast_loop: bool,
    /// `IP_MULTICAST_TTL`
    pub multicast_ttl: u8,
    /// `IP_MULTICAST_IF`: interface index, 0 for none.
    pub multicast_if: u32,
    /// `IP_MULTICAST_IF`: source address.
    pub multicast_addr: Ipv4Addr,
    /// `IP_UNICAST_IF`
    pub unicast_if: u32,
    /// `IP_OPTIONS`
    pub options: Vec<u8>,
}

/// Options of `IPPROTO_IPV6`.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct Ip6Options {
    /// `IPV6_V6ONLY`
    pub v6_only: bool,
    /// `IPV6_UNICAST_HOPS`
    pub hop_limit: Option<u8>,
    /// `IPV6_MINHOPCOUNT`
    pub min_hop_count: u8,
    /// `IPV6_TCLASS`
    pub tclass: u8,
    /// `IPV6_MTU_DISCOVER`
    pub mtu_discover: MtuDiscover,
    /// `IPV6_DONTFRAG`
    pub dont_frag: bool,
    /// `IPV6_RECVPKTINFO`
    pub recv_pktinfo: bool,
    /// `IPV6_RECVHOPLIMIT`
    pub recv_hop_limit: bool,
    /// `IPV6_RECVTCLASS`
    pub recv_tclass: bool,
    /// `IPV6_RECVORIGDSTADDR`
    pub recv_orig_dst: bool,
    /// `IPV6_RECVERR`
    pub recv_err: bool,
    /// `IPV6_FREEBIND`
    pub freebind: bool,
    /// `IPV6_TRANSPARENT`
    pub transparent: bool,
    /// `IPV6_AUTOFLOWLABEL`
    pub auto_flow_label: bool,
    /// `IPV6_HDRINCL` (raw sockets)
    pub hdr_incl: bool,
    /// `IPV6_CHECKSUM` (raw sockets): offset of the checksum that the stack fills in.
    pub checksum: Option<u16>,
    /// `IPV6_MULTICAST_ALL`
    pub multicast_all: bool,
    /// `IPV6_MULTICAST_LOOP`
    pub multicast_loop: bool,
    /// `IPV6_MULTICAST_HOPS`
    pub multicast_hops: u8,
    /// `IPV6_MULTICAST_IF`
    pub multicast_if: u32,
    /// `IPV6_UNICAST_IF`
    pub unicast_if: u32,
    /// `ICMPV6_FILTER`: a set bit blocks that type.
    pub icmp_filter: [u32; 8],
}

/// Options of `IPPROTO_TCP`.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub struct TcpOptions {
    /// `TCP_NODELAY`
    pub nodelay: bool,
    /// `TCP_CORK`
    pub cork: bool,
    /// `TCP_QUICKACK`: `Some` where it was set, which holds until the stack's own mode changes.
    pub quickack: Option<bool>,
    /// `TCP_INQ`
    pub inq: bool,
    /// `TCP_FASTOPEN_CONNECT`
    pub fastopen_connect: bool,
    /// `TCP_FASTOPEN`: length of the queue; accepted and kept.
    pub fastopen: u32,
    /// `TCP_CONGESTION`
    pub congestion: Congestion,
    /// `TCP_USER_TIMEOUT`
    pub user_timeout: Option<Duration>,
    /// `TCP_WINDOW_CLAMP`, 0 for none.
    pub window_clamp: u32,
    /// `TCP_NOTSENT_LOWAT`, 0 for the stack's.
    pub notsent_lowat: u32,
    /// `TCP_THIN_LINEAR_TIMEOUTS`
    pub thin_linear_timeouts: bool,
    keep_idle: Option<Duration>,
    keep_interval: Option<Duration>,
    keep_count: Option<u32>,
    max_seg: u16,
    defer_accept: Duration,
    syn_count: Option<u32>,
    /// `TCP_LINGER2`: `Some(None)` means do not wait in FIN-WAIT-2.
    linger2: Option<Option<Duration>>,
}

fn seconds(value: i32, max: u32) -> Result<Duration> {
    match u32::try_from(value) {
        Ok(n) if (1..=max).contains(&n) => Ok(Duration::from_secs(u64::from(n))),
        _ => Err(Error::Invalid),
    }
}

impl TcpOptions {
    /// `TCP_KEEPIDLE`
    pub fn set_keep_idle(&mut self, value: i32) -> Result<()> {
        self.keep_idle = Some(seconds(value, MAX_KEEP_SECONDS)?);
        Ok(())
    }

    /// `TCP_KEEPINTVL`
    pub fn set_keep_interval(&mut self, value: i32) -> Result<()> {
        self.keep_interval = Some(seconds(value, MAX_KEEP_SECONDS)?);
        Ok(())
    }

    /// `TCP_KEEPCNT`
    pub fn set_keep_count(&mut self, value: i32) -> Result<()> {
        let count = u32::try_from(value).map_err(|_| Error::Invalid)?;
        if !(1..=MAX_KEEP_PROBES).contains(&count) {
            return Err(Error::Invalid);
        }
        self.keep_count = Some(count);
        Ok(())
    }

    /// `TCP_SYNCNT`
    pub fn set_syn_count(&mut self, value: i32) -> Result<()> {
        let count = u32::try_from(value).map_err(|_| Error::Invalid)?;
        if !(1..=MAX_SYN_COUNT).contains(&count) {
            return Err(Error::Invalid);
        }
        self.syn_count = Some(count);
        Ok(())
    }

    /// `TCP_MAXSEG`: 0 or 88..=32767.
    pub fn set_max_seg(&mut self, value: i32) -> Result<()> {
        match u16::try_from(value) {
            Ok(mss) if mss == 0 || (88..=32_767).contains(&mss) => {
                self.max_seg = mss;
                Ok(())
            }
            _ => Err(Error::Invalid),
        }
    }

    /// `TCP_DEFER_ACCEPT`, seconds; negative counts as zero.
    pub fn set_defer_accept(&mut self, value: i32) {
        self.defer_accept = Duration::from_secs(u64::try_from(value).unwrap_or(0));
    }

    /// `TCP_LINGER2`, seconds; negative means that FIN-WAIT-2 is skipped, zero restores the default.
    pub fn set_linger2(&mut self, value: i32) {
        self.linger2 = match value {
            ..0 => Some(None),
            0 => None,
            1..=120 => Some(Some(Duration::from_secs(value.unsigned_abs().into()))),
            _ => Some(Some(Duration::from_secs(120))),
        };
    }

    /// `TCP_USER_TIMEOUT`, milliseconds.
    pub fn set_user_timeout(&mut self, value: i32) -> Result<()> {
        let ms = u64::try_from(value).map_err(|_| Error::Invalid)?;
        self.user_timeout = (ms > 0).then(|| Duration::from_millis(ms));
        Ok(())
    }

    /// Time without traffic before the first keepalive probe.
    #[must_use]
    pub fn keep_idle(&self, config: &Config) -> Duration {
        self.keep_idle.unwrap_or(Duration::from_secs(config.tcp_keepalive_time.into()))
    }

    /// Time between keepalive probes.
    #[must_use]
    pub fn keep_interval(&self, config: &Config) -> Duration {
        self.keep_interval.unwrap_or(Duration::from_secs(config.tcp_keepalive_intvl.into()))
    }

    /// Probes that may go unanswered.
    #[must_use]
    pub fn keep_count(&self, config: &Config) -> u32 {
        self.keep_count.unwrap_or(config.tcp_keepalive_probes)
    }

    /// SYN retransmissions.
    #[must_use]
    pub fn syn_count(&self, config: &Config) -> u32 {
        self.syn_count.unwrap_or_else(|| config.tcp_syn_retries.into())
    }

    /// `TCP_MAXSEG` as it was set, 0 for never.
    #[must_use]
    pub const fn max_seg(&self) -> u16 {
        self.max_seg
    }

    /// `TCP_DEFER_ACCEPT`; zero is off.
    #[must_use]
    pub const fn defer_accept(&self) -> Duration {
        self.defer_accept
    }

    /// How long an orphan stays in FIN-WAIT-2; `None` is not at all.
    #[must_use]
    pub fn linger2(&self, config: &Config) -> Option<Duration> {
        self.linger2.unwrap_or(Some(Duration::from_secs(config.tcp_fin_timeout.into())))
    }
}

impl Options {
    /// The options of a fresh socket. TCP sockets start with buffers of their own sizes.
    #[must_use]
    pub fn new(config: &Config, is_tcp: bool) -> Self {
        let (rcv_buf, snd_buf) = if is_tcp {
            (config.tcp_rmem.default, config.tcp_wmem.default)
        } else {
            (config.rmem_default, config.wmem_default)
        };
        Self {
            base: BaseOptions::new(rcv_buf, snd_buf),
            ip4: Ip4Options::default(),
            ip6: Ip6Options { v6_only: config.bindv6only, ..Ip6Options::default() },
            tcp: TcpOptions::new(config),
        }
    }

    /// TTL or hop limit for unicast packets.
    pub(crate) fn ttl(&self, family: Family, config: &Config) -> u8 {
        match family {
            Family::V4 => self.ip4.ttl.unwrap_or(config.ip_default_ttl),
            Family::V6 => self.ip6.hop_limit.unwrap_or(config.ipv6_hop_limit),
        }
    }

    /// TTL or hop limit for multicast packets.
    pub(crate) const fn multicast_ttl(&self, family: Family) -> u8 {
        match family {
            Family::V4 => self.ip4.multicast_ttl,
            Family::V6 => self.ip6.multicast_hops,
        }
    }

    /// TOS or traffic class.
    pub(crate) const fn tos(&self, family: Family) -> u8 {
        match family {
            Family::V4 => self.ip4.tos,
            Family::V6 => self.ip6.tclass,
        }
    }

    /// MTU discovery mode.
    pub(crate) const fn mtu_discover(&self, family: Family) -> MtuDiscover {
        match family {
            Family::V4 => self.ip4.mtu_discover,
            Family::V6 => self.ip6.mtu_discover,
        }
    }

    /// Whether errors go to the error queue.
    pub(crate) const fn recv_err(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.ip4.recv_err,
            Family::V6 => self.ip6.recv_err,
        }
    }

    /// Whether sent multicast comes back to this host.
    pub(crate) const fn multicast_loop(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.ip4.multicast_loop,
            Family::V6 => self.ip6.multicast_loop,
        }
    }

    /// Interface for sent multicast.
    pub(crate) const fn multicast_if(&self, family: Family) -> u32 {
        match family {
            Family::V4 => self.ip4.multicast_if,
            Family::V6 => self.ip6.multicast_if,
        }
    }

    /// Whether an address that is not ours may be bound.
    pub(crate) const fn may_bind_foreign(&self) -> bool {
        self.ip4.freebind || self.ip4.transparent || self.ip6.freebind || self.ip6.transparent
    }
}

impl BaseOptions {
    const fn new(rcv_buf: usize, snd_buf: usize) -> Self {
        Self {
            reuse_addr: false,
            reuse_port: false,
            broadcast: false,
            keepalive: false,
            oob_inline: false,
            dont_route: false,
            no_check: false,
            rxq_overflow: false,
            timestamps: Timestamps::Off,
            linger: None,
            priority: 0,
            mark: 0,
            device: 0,
            rcv_lowat: 1,
            filter: None,
            uid: 0,
            inode: 0,
            rcv_buf,
            snd_buf,
            rcv_locked: false,
            snd_locked: false,
        }
    }
}

impl Default for Ip4Options {
    fn default() -> Self {
        Self {
            ttl: None,
            min_ttl: 0,
            tos: 0,
            mtu_discover: MtuDiscover::Want,
            recv_ttl: false,
            recv_tos: false,
            pktinfo: false,
            recv_orig_dst: false,
            recv_opts: false,
            ret_opts: false,
            recv_err: false,
            hdr_incl: false,
            router_alert: false,
            freebind: false,
            transparent: false,
            bind_address_no_port: false,
            multicast_all: true,
            multicast_loop: true,
            multicast_ttl: 1,
            multicast_if: 0,
            multicast_addr: Ipv4Addr::UNSPECIFIED,
            unicast_if: 0,
            options: Vec::new(),
        }
    }
}

impl Default for Ip6Options {
    fn default() -> Self {
        Self {
            v6_only: false,
            hop_limit: None,
            min_hop_count: 0,
            tclass: 0,
            mtu_discover: MtuDiscover::Want,
            dont_frag: false,
            recv_pktinfo: false,
            recv_hop_limit: false,
            recv_tclass: false,
            recv_orig_dst: false,
            recv_err: false,
            freebind: false,
            transparent: false,
            auto_flow_label: true,
            hdr_incl: false,
            checksum: None,
            multicast_all: true,
            multicast_loop: true,
            multicast_hops: 1,
            multicast_if: 0,
            unicast_if: 0,
            icmp_filter: [0; 8],
        }
    }
}

impl TcpOptions {
    fn new(config: &Config) -> Self {
        Self {
            nodelay: false,
            cork: false,
            quickack: None,
            inq: false,
            fastopen_connect: false,
            fastopen: 0,
            congestion: config.tcp_congestion_control,
            user_timeout: None,
            window_clamp: 0,
            notsent_lowat: 0,
            thin_linear_timeouts: false,
            keep_idle: None,
            keep_interval: None,
            keep_count: None,
            max_seg: 0,
            defer_accept: Duration::ZERO,
            syn_count: None,
            linger2: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_double_and_are_bounded() {
        let config = Config::default();
        let mut options = Options::new(&config, true);
        options.base.set_rcv_buf(1, &config);
        assert_eq!(options.base.rcv_buf(), MIN_RCVBUF);
        options.base.set_snd_buf(-1, &config);
        assert_eq!(options.base.snd_buf(), config.wmem_max * 2);
        assert!(options.base.is_snd_locked());
    }

    #[test]
    fn tcp_ranges_are_linux_ranges() {
        let mut tcp = Options::new(&Config::default(), true).tcp;
        assert_eq!(tcp.set_keep_idle(0), Err(Error::Invalid));
        assert_eq!(tcp.set_keep_idle(32_768), Err(Error::Invalid));
        assert_eq!(tcp.set_keep_count(128), Err(Error::Invalid));
        assert_eq!(tcp.set_max_seg(87), Err(Error::Invalid));
        assert_eq!(tcp.set_max_seg(1460), Ok(()));
        assert_eq!(tcp.set_user_timeout(-1), Err(Error::Invalid));
    }
}
