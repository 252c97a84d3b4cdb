//! Options of `IPPROTO_IP` and `IPPROTO_IPV6` (man 7 ip, ipv6), and memberships of multicast groups.

use crate::base::error::{Error, Result};
use std::net::{IpAddr, Ipv4Addr};

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
    ///
    /// # Errors
    /// [`Error::Invalid`].
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
    /// `ICMP_FILTER` (raw sockets): a set bit blocks that type.
    pub icmp_filter: u32,
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
            icmp_filter: 0,
        }
    }
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
