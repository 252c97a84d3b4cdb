//! Control messages between guest and host: both are Linux's, so they pass as they are, if they are of a kind that
//! says something about one packet and no more.

use abi::inet::{SOL_IP, SOL_IPV6, SOL_UDP, ip, ipv6, udp};
use abi::socket::{CmsgHdr, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET};
use abi::{Errno, Result};
use kernel::socket::{ControlMessage, write_control};
use zerocopy::FromBytes;

/// What a sender may say.
const SENDABLE: &[(i32, i32)] = &[
    (SOL_IP, ip::TOS),
    (SOL_IP, ip::TTL),
    (SOL_IP, ip::PKTINFO),
    (SOL_IPV6, ipv6::PKTINFO),
    (SOL_IPV6, ipv6::HOPLIMIT),
    (SOL_IPV6, ipv6::DONTFRAG),
    (SOL_IPV6, ipv6::TCLASS),
    (SOL_UDP, udp::SEGMENT),
];
/// The most that is passed on with one message.
const LIMIT: usize = 1024;

/// A guest's control messages for the host.
///
/// # Errors
/// `EINVAL` for one that is not passed on.
pub(super) fn encode(messages: &[ControlMessage]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for message in messages {
        match message {
            ControlMessage::Raw { level, kind, data } if SENDABLE.contains(&(*level, *kind)) => {
                if write_control(&mut bytes, LIMIT, *level, *kind, data) {
                    return Err(Errno::ENOBUFS);
                }
            }
            // Internet sockets ignore descriptors and credentials.
            ControlMessage::Rights(_) | ControlMessage::Credentials(_) | ControlMessage::Process(_) => {}
            ControlMessage::Raw { .. } => return Err(Errno::EINVAL),
        }
    }
    Ok(bytes)
}

/// The host's control messages for a guest.
pub(super) fn decode(mut bytes: &[u8]) -> Vec<ControlMessage> {
    const HEADER: usize = size_of::<CmsgHdr>();
    let mut messages = Vec::new();
    while let Ok((header, _)) = CmsgHdr::read_from_prefix(bytes) {
        let len = usize::try_from(header.cmsg_len).unwrap_or(0);
        let Some(data) = bytes.get(HEADER..len) else { break };
        let (level, kind) = (header.cmsg_level, header.cmsg_type);
        // They would name things of the host.
        if level != SOL_SOCKET || ![SCM_RIGHTS, SCM_CREDENTIALS].contains(&kind) {
            messages.push(ControlMessage::Raw { level, kind, data: data.to_vec() });
        }
        bytes = bytes.get(len.next_multiple_of(8)..).unwrap_or(&[]);
    }
    messages
}

#[cfg(test)]
mod tests {
    use abi::Errno;
    use abi::socket::so;
    use kernel::socket::ControlMessage;

    use super::{SOL_IP, SOL_SOCKET, decode, encode, ip};

    #[test]
    fn what_concerns_one_packet_passes() {
        let ttl = ControlMessage::Raw { level: SOL_IP, kind: ip::TTL, data: 9i32.to_ne_bytes().to_vec() };
        let bytes = encode(std::slice::from_ref(&ttl)).unwrap();
        let back = decode(&bytes);
        assert!(
            matches!(&back[..], [ControlMessage::Raw { level: SOL_IP, kind: ip::TTL, data }] if data[..] == 9i32.to_ne_bytes())
        );
        let mark = ControlMessage::Raw { level: SOL_SOCKET, kind: so::MARK, data: vec![0; 4] };
        assert_eq!(encode(&[mark]), Err(Errno::EINVAL));
        assert!(decode(&[0xff; 40]).is_empty());
        assert!(decode(&bytes[..15]).is_empty());
    }
}
