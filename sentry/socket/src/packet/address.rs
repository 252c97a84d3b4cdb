//! `sockaddr_ll`.

use abi::socket::AF_PACKET;
use abi::{Errno, Result};
use netstack::{LinkAddr, Mac};

/// Bytes of a `sockaddr_ll`.
pub(super) const LEN: usize = 20;
/// Bytes up to the hardware address.
const HEAD: usize = 12;

/// Parses an address. The hardware address may be cut short where it is empty.
///
/// # Errors
/// `EINVAL` where it is too short or of another family.
pub(super) fn parse(bytes: &[u8]) -> Result<LinkAddr> {
    let head: &[u8; HEAD] = bytes.first_chunk().ok_or(Errno::EINVAL)?;
    if u16::from_ne_bytes([head[0], head[1]]) != AF_PACKET {
        return Err(Errno::EINVAL);
    }
    let mut mac = [0; 6];
    if let Some(given) = bytes.get(HEAD..HEAD + 6) {
        mac.copy_from_slice(given);
    } else if head[11] != 0 {
        return Err(Errno::EINVAL);
    }
    Ok(LinkAddr {
        interface: u32::from_ne_bytes([head[4], head[5], head[6], head[7]]),
        protocol: u16::from_be_bytes([head[2], head[3]]),
        hardware: u16::from_ne_bytes([head[8], head[9]]),
        kind: head[10],
        mac: Mac(mac),
    })
}

/// The address as bytes.
pub(super) fn encode(address: &LinkAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(LEN);
    bytes.extend(AF_PACKET.to_ne_bytes());
    bytes.extend(address.protocol.to_be_bytes());
    bytes.extend(address.interface.to_ne_bytes());
    bytes.extend(address.hardware.to_ne_bytes());
    bytes.extend([address.kind, 6]);
    bytes.extend(address.mac.0);
    bytes.resize(LEN, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use netstack::{LinkAddr, Mac};

    use super::{LEN, encode, parse};

    #[test]
    fn addresses_round_trip() {
        let address =
            LinkAddr { interface: 7, protocol: 0x800, hardware: 1, kind: 4, mac: Mac([1, 2, 3, 4, 5, 6]) };
        let bytes = encode(&address);
        assert_eq!((bytes.len(), parse(&bytes)), (LEN, Ok(address)));
        assert!(parse(&bytes[..11]).is_err() && parse(&bytes[..12]).is_err() && parse(&[0; LEN]).is_err());
    }
}
