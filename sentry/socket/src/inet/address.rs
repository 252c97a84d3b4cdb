//! `sockaddr_in` and `sockaddr_in6`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use abi::socket::{AF_INET, AF_INET6};
use abi::{Errno, Result};
use netstack::Family;

/// Bytes of a `sockaddr_in`.
const V4_LEN: usize = 16;
/// Bytes of a `sockaddr_in6` without its scope, which old programs leave out.
const V6_MIN_LEN: usize = 24;

/// What a `sockaddr` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// `AF_UNSPEC`: connect(2) dissolves an association.
    Unspecified,
    /// An address.
    Address(SocketAddr),
}

/// Parses a `sockaddr` for a socket of `family`.
///
/// # Errors
/// `EINVAL` where it is too short; `EAFNOSUPPORT` for another family.
pub(crate) fn parse(family: Family, bytes: &[u8]) -> Result<Parsed> {
    let &[a, b, ref rest @ ..] = bytes else { return Err(Errno::EINVAL) };
    match (u16::from_ne_bytes([a, b]), family) {
        (0, _) => Ok(Parsed::Unspecified),
        (AF_INET, Family::V4) => {
            let rest: &[u8; V4_LEN - 2] = rest.first_chunk().ok_or(Errno::EINVAL)?;
            let port = u16::from_be_bytes([rest[0], rest[1]]);
            let ip = Ipv4Addr::new(rest[2], rest[3], rest[4], rest[5]);
            Ok(Parsed::Address(SocketAddr::new(IpAddr::V4(ip), port)))
        }
        (AF_INET6, Family::V6) => parse_v6(rest),
        (AF_INET, Family::V6) if bytes.len() < V6_MIN_LEN => Err(Errno::EINVAL),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}

fn parse_v6(rest: &[u8]) -> Result<Parsed> {
    if rest.len() + 2 < V6_MIN_LEN {
        return Err(Errno::EINVAL);
    }
    let word = |at: usize| {
        rest.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes)
    };
    let port = u16::from_be_bytes([rest[0], rest[1]]);
    let octets: [u8; 16] = rest[6..22].try_into().map_err(|_| Errno::EINVAL)?;
    let address = SocketAddrV6::new(Ipv6Addr::from(octets), port, u32::from_be(word(2)), word(22));
    Ok(Parsed::Address(SocketAddr::V6(address)))
}

/// An address alone, `AF_UNSPEC` refused.
///
/// # Errors
/// As [`parse`]; `EAFNOSUPPORT` for `AF_UNSPEC`.
pub(crate) fn parse_address(family: Family, bytes: &[u8]) -> Result<SocketAddr> {
    match parse(family, bytes)? {
        Parsed::Address(address) => Ok(address),
        Parsed::Unspecified => Err(Errno::EAFNOSUPPORT),
    }
}

/// `address` as a `sockaddr`; an IPv6 socket's IPv4 peers are in mapped form already.
pub(super) fn encode(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address {
        SocketAddr::V4(v4) => {
            let mut bytes = AF_INET.to_ne_bytes().to_vec();
            bytes.extend(port);
            bytes.extend(v4.ip().octets());
            bytes.resize(V4_LEN, 0);
            bytes
        }
        SocketAddr::V6(v6) => {
            let mut bytes = AF_INET6.to_ne_bytes().to_vec();
            bytes.extend(port);
            bytes.extend(v6.flowinfo().to_be_bytes());
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_ne_bytes());
            bytes
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use abi::Errno;
    use netstack::Family;

    use super::{Parsed, encode, parse};

    #[test]
    fn addresses_round_trip() {
        for (family, text) in
            [(Family::V4, "127.0.0.1:80"), (Family::V6, "[fe80::1%3]:65535"), (Family::V6, "[::]:0")]
        {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(parse(family, &encode(address)), Ok(Parsed::Address(address)));
        }
        let v4 = encode("1.2.3.4:5".parse().unwrap());
        assert_eq!(parse(Family::V6, &v4), Err(Errno::EINVAL));
        assert_eq!(parse(Family::V4, &v4[..15]), Err(Errno::EINVAL));
        assert_eq!(parse(Family::V4, &[0; 16]), Ok(Parsed::Unspecified));
        assert_eq!(parse(Family::V4, &[1, 0, 0, 0]), Err(Errno::EAFNOSUPPORT));
        assert_eq!(parse(Family::V4, &[2]), Err(Errno::EINVAL));
    }
}
