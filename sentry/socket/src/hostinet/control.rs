//! Control messages between guest and host: both are Linux's, so they pass as they are, if they are of a kind that
//! says something about one packet and no more.

use abi::socket::{CmsgHdr, SCM_CREDENTIALS, SCM_RIGHTS, SOL_SOCKET};
use abi::{Errno, Result};
use kernel::socket::{ControlMessage, write_control};
use zerocopy::FromBytes;

const SOL_IP: i32 = 0;
const SOL_UDP: i32 = 17;
const SOL_IPV6: i32 = 41;
/// What a sender may say: IP_TOS, IP_TTL, IP_PKTINFO; IPV6_PKTINFO, IPV6_HOPLIMIT, IPV6_DONTFRAG, IPV6_TCLASS;
/// UDP_SEGMENT.
const SENDABLE: &[(i32, i32)] = &[
    (SOL_IP, 1),
    (SOL_IP, 2),
    (SOL_IP, 8),
    (SOL_IPV6, 50),
    (SOL_IPV6, 52),
    (SOL_IPV6, 62),
    (SOL_IPV6, 67),
    (SOL_UDP, 103),
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
    use kernel::socket::ControlMessage;

    use super::{decode, encode};

    #[test]
    fn what_concerns_one_packet_passes() {
        let ttl = ControlMessage::Raw { level: 0, kind: 2, data: 9i32.to_ne_bytes().to_vec() };
        let bytes = encode(std::slice::from_ref(&ttl)).unwrap();
        let back = decode(&bytes);
        assert!(
            matches!(&back[..], [ControlMessage::Raw { level: 0, kind: 2, data }] if data[..] == 9i32.to_ne_bytes())
        );
        let mark = ControlMessage::Raw { level: 1, kind: 36, data: vec![0; 4] };
        assert_eq!(encode(&[mark]), Err(Errno::EINVAL));
        assert!(decode(&[0xff; 40]).is_empty());
        assert!(decode(&bytes[..15]).is_empty());
    }
}
