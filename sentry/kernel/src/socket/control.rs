//! Control messages: descriptors and credentials that travel with data (`man 3 cmsg`, `man 7 unix`).

use std::sync::Arc;

use abi::socket::{CmsgHdr, SCM_CREDENTIALS, SCM_MAX_FD, SCM_RIGHTS, SOL_SOCKET, Ucred};
use abi::{Errno, Result};
use zerocopy::{FromBytes, IntoBytes};

use crate::task::Pid;
use crate::vfs::{Fd, File};

/// Bytes of a header.
const HEADER: usize = size_of::<CmsgHdr>();

/// One control message inside the kernel.
#[derive(Clone, Debug)]
pub enum ControlMessage {
    /// `SCM_RIGHTS`: open files.
    Rights(Vec<Arc<File>>),
    /// `SCM_CREDENTIALS`: who sent it.
    Credentials(Ucred),
    /// `SCM_PIDFD`: the process that sent it, for who receives.
    Process(Arc<Pid>),
    /// Anything else, as its family encodes it.
    Raw {
        /// `cmsg_level`.
        level: i32,
        /// `cmsg_type`.
        kind: i32,
        /// The data behind the header.
        data: Vec<u8>,
    },
}

/// Length of `len` data bytes with their header and padding (`CMSG_SPACE`).
#[must_use]
pub fn control_len(len: usize) -> usize {
    (HEADER + len).next_multiple_of(8)
}

/// Takes the control buffer of a sendmsg(2) apart; `file` resolves descriptors.
///
/// # Errors
/// `EINVAL` for a malformed buffer or for too many descriptors in the whole message, `EBADF`.
pub fn parse_control(
    mut bytes: &[u8],
    file: &mut dyn FnMut(Fd) -> Result<Arc<File>>,
) -> Result<Vec<ControlMessage>> {
    let (mut messages, mut descriptors) = (Vec::new(), 0);
    while bytes.len() >= HEADER {
        let (header, _) = CmsgHdr::read_from_prefix(bytes).map_err(|_| Errno::EINVAL)?;
        let len = usize::try_from(header.cmsg_len).map_err(|_| Errno::EINVAL)?;
        if len < HEADER || len > bytes.len() {
            return Err(Errno::EINVAL);
        }
        let message = parse_one(&header, &bytes[HEADER..len], file)?;
        if let ControlMessage::Rights(files) = &message {
            descriptors += files.len();
            if descriptors > SCM_MAX_FD {
                return Err(Errno::EINVAL);
            }
        }
        messages.push(message);
        bytes = bytes.get(len.next_multiple_of(8)..).unwrap_or(&[]);
    }
    Ok(messages)
}

fn parse_one(
    header: &CmsgHdr,
    data: &[u8],
    file: &mut dyn FnMut(Fd) -> Result<Arc<File>>,
) -> Result<ControlMessage> {
    match (header.cmsg_level, header.cmsg_type) {
        (SOL_SOCKET, SCM_RIGHTS) => {
            let numbers = <[Fd]>::ref_from_bytes(&data[..data.len() / 4 * 4]);
            let numbers: Vec<Fd> = match numbers {
                Ok(numbers) => numbers.to_vec(),
                Err(_) => data.chunks_exact(4).map(|c| Fd::from_ne_bytes([c[0], c[1], c[2], c[3]])).collect(),
            };
            if numbers.len() > SCM_MAX_FD {
                return Err(Errno::EINVAL);
            }
            numbers.into_iter().map(file).collect::<Result<_>>().map(ControlMessage::Rights)
        }
        (SOL_SOCKET, SCM_CREDENTIALS) => {
            Ucred::read_from_bytes(data).map(ControlMessage::Credentials).map_err(|_| Errno::EINVAL)
        }
        (SOL_SOCKET, _) => Err(Errno::EINVAL),
        (level, kind) => Ok(ControlMessage::Raw { level, kind, data: data.to_vec() }),
    }
}

/// Appends a control message to `buffer` without exceeding `limit` bytes; returns whether something was cut off.
pub fn write_control(buffer: &mut Vec<u8>, limit: usize, level: i32, kind: i32, data: &[u8]) -> bool {
    let room = limit.saturating_sub(buffer.len());
    if room < HEADER {
        return true;
    }
    let kept = data.len().min(room - HEADER);
    let header = CmsgHdr { cmsg_len: (HEADER + kept) as u64, cmsg_level: level, cmsg_type: kind };
    buffer.extend_from_slice(header.as_bytes());
    buffer.extend_from_slice(&data[..kept]);
    // The padding counts only as far as there is room for it.
    buffer.resize(buffer.len().next_multiple_of(8).min(limit), 0);
    kept < data.len()
}

#[cfg(test)]
mod tests {
    use abi::Errno;

    use super::{ControlMessage, parse_control, write_control};

    #[test]
    fn control_round_trip_and_truncation() {
        let mut buffer = Vec::new();
        assert!(!write_control(&mut buffer, 64, 41, 50, &[1, 2, 3, 4, 5]));
        assert_eq!(buffer.len(), 24);
        let parsed = parse_control(&buffer, &mut |_| Err(Errno::EBADF)).unwrap();
        assert!(
            matches!(&parsed[..], [ControlMessage::Raw { level: 41, kind: 50, data }] if data[..] == [1, 2, 3, 4, 5])
        );
        let mut short = Vec::new();
        assert!(write_control(&mut short, 18, 41, 50, &[1, 2, 3, 4, 5]));
        assert_eq!(short.len(), 18);
    }

    #[test]
    fn malformed_control_is_refused() {
        let none = &mut |_| Err(Errno::EBADF);
        assert!(parse_control(&[0; 15], none).unwrap().is_empty());
        assert_eq!(parse_control(&[0; 16], none).unwrap_err(), Errno::EINVAL);
        let mut huge = [0xff; 24];
        huge[8..].fill(1);
        assert_eq!(parse_control(&huge, none).unwrap_err(), Errno::EINVAL);
        let mut rights = Vec::new();
        write_control(&mut rights, 64, 1, 1, &7i32.to_ne_bytes());
        assert_eq!(parse_control(&rights, none).unwrap_err(), Errno::EBADF);
    }
}
