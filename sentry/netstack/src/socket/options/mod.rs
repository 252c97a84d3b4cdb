//! Socket options as plain data. Setters check ranges as Linux does; who applies them is the socket.

mod base;
mod ip;
mod tcp;

pub use base::{BaseOptions, Timestamps};
pub use ip::{Ip4Options, Ip6Options, Membership, MtuDiscover};
pub use tcp::TcpOptions;

use crate::base::addr::Family;
use crate::base::config::Config;

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

/// Whose socket a packet comes from, and its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mark: u32,
}

impl Options {
    /// Whom packets of the socket come from.
    pub(crate) const fn sender(&self) -> Sender {
        Sender { uid: self.base.uid, gid: self.base.gid, mark: self.base.mark }
    }

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
