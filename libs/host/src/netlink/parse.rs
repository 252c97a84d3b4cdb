//! The framing of netlink: messages and attributes, both a length, a type and padding to four bytes.

use std::net::IpAddr;

use abi::netlink::NLA_TYPE_MASK;

/// The messages in a datagram: (type, body).
#[derive(Debug)]
pub(super) struct Messages<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..16)?;
        let len = u32::from_ne_bytes(header[..4].try_into().ok()?) as usize;
        let kind = u16::from_ne_bytes(header[4..6].try_into().ok()?);
        let body = self.0.get(16..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, body))
    }
}

/// The attributes at the end of a message: (type, value).
#[derive(Debug)]
pub(super) struct Attributes<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let header = self.0.get(..4)?;
        let len = usize::from(u16::from_ne_bytes(header[..2].try_into().ok()?));
        let kind = u16::from_ne_bytes(header[2..4].try_into().ok()?) & NLA_TYPE_MASK;
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some((kind, value))
    }
}

/// An address of either family, by its length.
pub(super) fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Attributes, Messages};

    #[test]
    fn broken_lengths_end_the_walk() {
        for bytes in [&[][..], &[1; 3], &[0xff; 40], &[0; 64]] {
            assert!(Messages(bytes).count() <= 4);
            assert!(Attributes(bytes).take(100).count() <= 100);
        }
        let two = [5, 0, 1, 0, 9, 0, 0, 0, 4, 0, 2, 0];
        let found: Vec<_> = Attributes(&two).collect();
        assert_eq!(found, [(1, &[9][..]), (2, &[][..])]);
    }
}
