//! The Internet checksum (RFC 1071).

use super::packet::protocol;
use std::net::IpAddr;

/// The sum of `data` as 16-bit words, not complemented, folded to 16 bits. An odd last byte is padded.
pub(crate) fn sum(data: &[u8]) -> u16 {
    let (words, rest) = data.as_chunks::<8>();
    let mut total = 0u64;
    // Big-endian words, two 32-bit halves at a time: 2^32 additions fit.
    for word in words {
        let word = u64::from_be_bytes(*word);
        total += (word >> 32) + (word & 0xffff_ffff);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let last = u64::from_be_bytes(last);
    fold(total + (last >> 32) + (last & 0xffff_ffff))
}

const fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// The sum of two sums.
pub(crate) const fn add(a: u16, b: u16) -> u16 {
    fold(a as u64 + b as u64)
}

/// The sum of the pseudo header.
pub(crate) fn pseudo(from: IpAddr, to: IpAddr, protocol: u8, len: usize) -> u16 {
    let addrs = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => add(sum(&from.octets()), sum(&to.octets())),
        (IpAddr::V6(from), IpAddr::V6(to)) => add(sum(&from.octets()), sum(&to.octets())),
        // Never sent: both ends are of one family.
        _ => 0,
    };
    add(addrs, fold(len as u64 + u64::from(protocol)))
}

/// The value of a transport protocol's checksum field for a sum: UDP has no zero.
pub(crate) const fn transport_field(protocol: u8, sum: u16) -> u16 {
    match !sum {
        0 if protocol == protocol::UDP => 0xffff,
        field => field,
    }
}

/// Whether a transport segment with its checksum in place is intact.
pub(crate) fn verify(from: IpAddr, to: IpAddr, protocol: u8, segment: &[u8]) -> bool {
    add(pseudo(from, to, protocol, segment.len()), sum(segment)) == 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn simple(data: &[u8]) -> u16 {
        let words = data.chunks(2).map(|w| u64::from(w[0]) << 8 | u64::from(*w.get(1).unwrap_or(&0)));
        fold(words.sum())
    }

    proptest! {
        #[test]
        fn agrees_with_the_simple_way(data in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(sum(&data), simple(&data));
        }
    }
}
