//! Addresses: `struct sockaddr_un`.

use abi::socket::AF_UNIX;
use abi::{Errno, Result};

/// Bytes of `sun_path`.
const PATH_LEN: usize = 108;

/// A socket's name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum UnixAddress {
    /// None.
    #[default]
    Unnamed,
    /// A name in the abstract name space, without the leading NUL.
    Abstract(Vec<u8>),
    /// A path, as it was given to bind(2).
    Path(Vec<u8>),
}

impl UnixAddress {
    /// Parses a `sockaddr`.
    ///
    /// # Errors
    /// `EINVAL` for another family or a wrong length.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let (family, path) = bytes.split_at_checked(2).ok_or(Errno::EINVAL)?;
        if family != AF_UNIX.to_ne_bytes() || path.len() > PATH_LEN {
            return Err(Errno::EINVAL);
        }
        Ok(match path {
            [] => Self::Unnamed,
            [0, name @ ..] => Self::Abstract(name.to_vec()),
            _ => Self::Path(path.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()),
        })
    }

    /// As a `sockaddr`.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = AF_UNIX.to_ne_bytes().to_vec();
        match self {
            Self::Unnamed => {}
            Self::Abstract(name) => {
                bytes.push(0);
                bytes.extend_from_slice(name);
            }
            Self::Path(path) => {
                bytes.extend_from_slice(path);
                bytes.push(0);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use abi::Errno;

    use super::UnixAddress;

    #[test]
    fn addresses_round_trip() {
        for address in [
            UnixAddress::Unnamed,
            UnixAddress::Abstract(b"a\0b".to_vec()),
            UnixAddress::Abstract(Vec::new()),
            UnixAddress::Path(b"/tmp/s".to_vec()),
        ] {
            assert_eq!(UnixAddress::parse(&address.encode()), Ok(address));
        }
        assert_eq!(UnixAddress::parse(&[1, 0, b'x']), Ok(UnixAddress::Path(b"x".to_vec())));
        assert_eq!(UnixAddress::parse(&[2, 0, b'x']), Err(Errno::EINVAL));
        assert_eq!(UnixAddress::parse(&[1]), Err(Errno::EINVAL));
        assert_eq!(UnixAddress::parse(&[[1, 0].as_slice(), &[b'x'; 109]].concat()), Err(Errno::EINVAL));
    }
}
