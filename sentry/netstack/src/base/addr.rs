//! Addresses: families, prefixes, and the mapping of IPv4 into IPv6 sockets.

use super::error::{Error, Result};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// The family of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// `AF_INET`
    V4,
    /// `AF_INET6`, which can carry IPv4 in mapped addresses.
    V6,
}

impl Family {
    /// The family that an address belongs to.
    #[must_use]
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The address that means "any".
    #[must_use]
    pub const fn any(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// The loopback address.
    #[must_use]
    pub const fn loopback(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Self::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        }
    }

    /// Length of the network header without options.
    pub(crate) const fn header_len(self) -> usize {
        match self {
            Self::V4 => 20,
            Self::V6 => 40,
        }
    }
}

/// An address with its prefix length, of an interface or a route.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    /// The address; bits past the prefix are kept.
    pub addr: IpAddr,
    /// Number of leading bits that count.
    pub len: u8,
}

impl Prefix {
    /// `addr/len`; a length over the address's width is refused.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub const fn new(addr: IpAddr, len: u8) -> Result<Self> {
        let max = match addr {
            IpAddr::V4(_) => 32,
            IpAddr::V6(_) => 128,
        };
        if len > max { Err(Error::Invalid) } else { Ok(Self { addr, len }) }
    }

    /// The prefix that holds every address of a family.
    #[must_use]
    pub const fn all(family: Family) -> Self {
        Self { addr: family.any(), len: 0 }
    }

    /// Whether `ip` lies inside.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.addr, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.len.min(32))).unwrap_or(0);
                net.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.len.min(128))).unwrap_or(0);
                net.to_bits() & mask == ip.to_bits() & mask
            }
            _ => false,
        }
    }

    /// The prefix with the bits past its length cleared.
    #[must_use]
    pub fn network(&self) -> Self {
        let addr = match self.addr {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.len.min(32))).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.len.min(128))).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
        };
        Self { addr, len: self.len }
    }

    /// The directed broadcast address of an IPv4 network with more than two addresses.
    #[must_use]
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.addr {
            IpAddr::V4(ip) if self.len < 31 => {
                Some(Ipv4Addr::from_bits(ip.to_bits() | (u32::MAX >> u32::from(self.len))))
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

/// An address and port, with mapped IPv4 already unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Address.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
}

impl Endpoint {
    /// This address and port.
    #[must_use]
    pub const fn new(ip: IpAddr, port: u16) -> Self {
        Self { ip, port }
    }

    pub(crate) const fn any(family: Family) -> Self {
        Self { ip: family.any(), port: 0 }
    }
}

/// An address as a caller gave it, taken apart for a socket of `family`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserAddr {
    pub(crate) at: Endpoint,
    /// The interface named by `sin6_scope_id`, 0 for none.
    pub(crate) scope: u32,
}

impl UserAddr {
    /// Checks the family and unmaps IPv4.
    pub(crate) fn parse(family: Family, v6_only: bool, addr: SocketAddr) -> Result<Self> {
        match (family, addr) {
            (Family::V4, SocketAddr::V4(a)) => {
                Ok(Self { at: Endpoint::new(IpAddr::V4(*a.ip()), a.port()), scope: 0 })
            }
            (Family::V6, SocketAddr::V6(a)) => match a.ip().to_ipv4_mapped() {
                Some(_) if v6_only => Err(Error::NetUnreachable),
                Some(ip) => Ok(Self { at: Endpoint::new(IpAddr::V4(ip), a.port()), scope: 0 }),
                None => {
                    let scope = if is_link_local(IpAddr::V6(*a.ip())) { a.scope_id() } else { 0 };
                    Ok(Self { at: Endpoint::new(IpAddr::V6(*a.ip()), a.port()), scope })
                }
            },
            (Family::V6, SocketAddr::V4(a)) if !v6_only => {
                Ok(Self { at: Endpoint::new(IpAddr::V4(*a.ip()), a.port()), scope: 0 })
            }
            _ => Err(Error::FamilyNotSupported),
        }
    }
}

/// The address as the caller of a socket of `family` expects it.
pub(crate) fn to_user(family: Family, at: Endpoint, scope: u32) -> SocketAddr {
    match (family, at.ip) {
        (Family::V6, IpAddr::V4(ip)) => {
            let ip = if ip.is_unspecified() { Ipv6Addr::UNSPECIFIED } else { ip.to_ipv6_mapped() };
            SocketAddr::V6(SocketAddrV6::new(ip, at.port, 0, 0))
        }
        (_, IpAddr::V6(ip)) => {
            let scope = if is_link_local(at.ip) { scope } else { 0 };
            SocketAddr::V6(SocketAddrV6::new(ip, at.port, 0, scope))
        }
        (Family::V4, ip) => SocketAddr::new(ip, at.port),
    }
}

/// Whether an address means something only on one link: `fe80::/10` and link-local multicast.
pub(crate) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(ip) => {
            ip.is_unicast_link_local() || (ip.is_multicast() && matches!(ip.octets()[1] & 0xf, 1 | 2))
        }
    }
}

/// Whether an address is the IPv4 limited broadcast address.
pub(crate) const fn is_limited_broadcast(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V4(ip) if ip.is_broadcast())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(s: &str, len: u8) -> Prefix {
        Prefix::new(s.parse().unwrap(), len).unwrap()
    }

    #[test]
    fn prefixes_contain_their_addresses() {
        assert!(prefix("10.1.2.3", 8).contains("10.9.9.9".parse().unwrap()));
        assert!(!prefix("10.1.2.3", 16).contains("10.9.9.9".parse().unwrap()));
        assert!(prefix("0.0.0.0", 0).contains("1.2.3.4".parse().unwrap()));
        assert!(!prefix("0.0.0.0", 0).contains("::1".parse().unwrap()));
        assert!(prefix("::", 0).contains("fe80::1".parse().unwrap()));
        assert_eq!(prefix("192.168.1.77", 24).broadcast(), Some(Ipv4Addr::new(192, 168, 1, 255)));
        assert_eq!(prefix("192.168.1.77", 32).broadcast(), None);
        assert!(Prefix::new("1.2.3.4".parse().unwrap(), 33).is_err());
    }

    #[test]
    fn mapped_addresses_are_unmapped_and_mapped_back() {
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:80".parse().unwrap();
        let user = UserAddr::parse(Family::V6, false, mapped).unwrap();
        assert_eq!(user.at.ip, "127.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(to_user(Family::V6, user.at, 0), mapped);
        assert!(UserAddr::parse(Family::V6, true, mapped).is_err());
        assert!(UserAddr::parse(Family::V4, false, mapped).is_err());
    }
}
