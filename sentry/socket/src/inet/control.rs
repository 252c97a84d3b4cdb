//! Control messages of internet sockets: what senders ask for, and what receivers have asked to be told
//! (`man 7 ip`, `man 7 ipv6`, `man 3 cmsg`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use abi::inet::{SOL_IP, SOL_IPV6, SOL_TCP, ip, ipv6, tcp};
use abi::socket::{SOL_SOCKET, so};
use abi::time::{Timespec, Timeval};
use abi::{Errno, Result};
use kernel::socket::ControlMessage;
use netstack::{Family, PacketInfo, SendMeta, Timestamps};
use zerocopy::IntoBytes;

use super::address::encode;
use super::any::InetSocket;
use super::errno;
use super::options::{byte, number};

/// What a sender asks for in control messages. As on Linux, what means nothing to internet sockets at all is passed
/// over: other levels, and the descriptors and credentials that only unix sockets carry.
pub(super) fn apply(meta: &mut SendMeta, control: &[ControlMessage]) -> Result<()> {
    for message in control {
        let ControlMessage::Raw { level, kind, data } = message else { continue };
        match (*level, *kind) {
            (SOL_IP, ip::PKTINFO) => {
                let words = data.first_chunk::<12>().ok_or(Errno::EINVAL)?;
                meta.interface = u32::from_ne_bytes([words[0], words[1], words[2], words[3]]);
                let source = Ipv4Addr::new(words[4], words[5], words[6], words[7]);
                meta.source = (!source.is_unspecified()).then_some(IpAddr::V4(source));
            }
            (SOL_IPV6, ipv6::PKTINFO) => {
                let (source, rest) = data.split_first_chunk::<16>().ok_or(Errno::EINVAL)?;
                let index = rest.first_chunk::<4>().ok_or(Errno::EINVAL)?;
                meta.interface = u32::from_ne_bytes(*index);
                let source = Ipv6Addr::from(*source);
                meta.source = (!source.is_unspecified()).then_some(IpAddr::V6(source));
            }
            (SOL_IP, ip::TTL) => match byte(number(data)?).map_err(errno)? {
                0 => return Err(Errno::EINVAL),
                hops => meta.ttl = Some(hops),
            },
            (SOL_IP, ip::TOS) => meta.tos = Some(byte(number(data)?).map_err(errno)?),
            (SOL_IPV6, ipv6::HOPLIMIT) => meta.ttl = byte_or_default(data)?,
            (SOL_IPV6, ipv6::TCLASS) => meta.tos = byte_or_default(data)?,
            (SOL_SOCKET | SOL_IP | SOL_IPV6, _) => return Err(Errno::EINVAL),
            _ => {}
        }
    }
    Ok(())
}

/// An `int` of exactly that size: 0 to 255, or -1 for what the socket or the stack has.
fn byte_or_default(data: &[u8]) -> Result<Option<u8>> {
    let value = i32::from_ne_bytes(data.try_into().map_err(|_| Errno::EINVAL)?);
    if value == -1 { Ok(None) } else { byte(value).map(Some).map_err(errno) }
}

/// When a packet came, in the form that the socket's options ask for: the kind of `SOL_SOCKET` and the data.
pub(crate) fn time_stamp(form: Timestamps, info: &PacketInfo) -> Option<(i32, Vec<u8>)> {
    let at_ns = info.stamp_ns.cast_signed();
    match form {
        Timestamps::Off => None,
        Timestamps::Micros => Some((so::TIMESTAMP, Timeval::from_ns(at_ns).as_bytes().to_vec())),
        Timestamps::Nanos => Some((so::TIMESTAMPNS, Timespec::from_ns(at_ns).as_bytes().to_vec())),
    }
}

/// The control messages that the socket's options ask for.
pub(super) fn of_received(socket: &InetSocket, got: &netstack::Received) -> Vec<ControlMessage> {
    let mut messages = Vec::new();
    let mut add =
        |level: i32, kind: i32, data: Vec<u8>| messages.push(ControlMessage::Raw { level, kind, data });
    let is_stream = socket.tcp().is_some();
    socket.read(|options| {
        let info = &got.info;
        if options.tcp.inq && is_stream {
            add(SOL_TCP, tcp::CM_INQ, i32::try_from(got.left).unwrap_or(i32::MAX).to_ne_bytes().to_vec());
        }
        // The others are about packets, which a stream does not show.
        if is_stream {
            return;
        }
        if let Some((kind, data)) = time_stamp(options.base.timestamps, info) {
            add(SOL_SOCKET, kind, data);
        }
        if options.base.rxq_overflow && info.dropped != 0 {
            add(SOL_SOCKET, so::RXQ_OVFL, info.dropped.to_ne_bytes().to_vec());
        }
        if options.ip4.pktinfo
            && let Some(data) = pktinfo_v4(info)
        {
            add(SOL_IP, ip::PKTINFO, data);
        }
        if options.ip4.recv_orig_dst
            && let Some(to @ SocketAddr::V4(_)) = info.to
        {
            add(SOL_IP, ip::RECVORIGDSTADDR, encode(to));
        }
        if options.ip6.recv_orig_dst
            && let Some(to @ SocketAddr::V6(_)) = info.to
        {
            add(SOL_IPV6, ipv6::RECVORIGDSTADDR, encode(to));
        }
        if options.ip4.recv_ttl {
            add(SOL_IP, ip::TTL, i32::from(info.ttl).to_ne_bytes().to_vec());
        }
        if options.ip4.recv_tos {
            add(SOL_IP, ip::TOS, vec![info.tos]);
        }
        if options.ip6.recv_pktinfo
            && let Some(SocketAddr::V6(to)) = info.to
        {
            let mut data = to.ip().octets().to_vec();
            data.extend(info.interface.to_ne_bytes());
            add(SOL_IPV6, ipv6::PKTINFO, data);
        }
        if options.ip6.recv_hop_limit {
            add(SOL_IPV6, ipv6::HOPLIMIT, i32::from(info.ttl).to_ne_bytes().to_vec());
        }
        if options.ip6.recv_tclass {
            add(SOL_IPV6, ipv6::TCLASS, i32::from(info.tos).to_ne_bytes().to_vec());
        }
    });
    if let Some(error) = &got.error {
        let (level, kind) =
            if socket.family == Family::V4 { (SOL_IP, ip::RECVERR) } else { (SOL_IPV6, ipv6::RECVERR) };
        add(level, kind, extended_error(error));
    }
    messages
}

/// `struct in_pktinfo`.
fn pktinfo_v4(info: &PacketInfo) -> Option<Vec<u8>> {
    let Some(SocketAddr::V4(to)) = info.to else { return None };
    Some([info.interface.to_ne_bytes(), to.ip().octets(), to.ip().octets()].concat())
}

/// `struct sock_extended_err` with the offender behind it.
fn extended_error(error: &netstack::ExtendedError) -> Vec<u8> {
    let mut data = (error.error.errno() as u32).to_ne_bytes().to_vec();
    data.extend([error.origin as u8, error.kind, error.code, 0]);
    data.extend(error.info.to_ne_bytes());
    data.extend([0; 4]);
    data.extend(error.offender.map_or_else(|| vec![0; 16], |ip| encode(SocketAddr::new(ip, 0))));
    data
}
