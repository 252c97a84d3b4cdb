//! Control messages of internet sockets: what senders ask for, and what receivers have asked to be told
//! (`man 7 ip`, `man 7 ipv6`, `man 3 cmsg`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use abi::socket::{SOL_SOCKET, so};
use abi::{Errno, Result};
use kernel::socket::ControlMessage;
use netstack::{Family, PacketInfo, SendMeta, Timestamps};

use super::any::InetSocket;
use super::errno;
use super::options::{IP_PKTINFO, IPV6_PKTINFO, SOL_IP, SOL_IPV6, SOL_TCP, byte, number};

/// What a sender asks for in control messages.
pub(super) fn apply(meta: &mut SendMeta, control: &[ControlMessage]) -> Result<()> {
    for message in control {
        let ControlMessage::Raw { level, kind, data } = message else { return Err(Errno::EINVAL) };
        match (*level, *kind) {
            (SOL_IP, IP_PKTINFO) => {
                let words = data.first_chunk::<12>().ok_or(Errno::EINVAL)?;
                meta.interface = u32::from_ne_bytes([words[0], words[1], words[2], words[3]]);
                let source = Ipv4Addr::new(words[4], words[5], words[6], words[7]);
                meta.source = (!source.is_unspecified()).then_some(IpAddr::V4(source));
            }
            (SOL_IPV6, IPV6_PKTINFO) => {
                let (source, rest) = data.split_first_chunk::<16>().ok_or(Errno::EINVAL)?;
                let index = rest.first_chunk::<4>().ok_or(Errno::EINVAL)?;
                meta.interface = u32::from_ne_bytes(*index);
                let source = Ipv6Addr::from(*source);
                meta.source = (!source.is_unspecified()).then_some(IpAddr::V6(source));
            }
            (SOL_IP, 2) | (SOL_IPV6, 52) => meta.ttl = Some(byte(number(data)?).map_err(errno)?),
            (SOL_IP, 1) | (SOL_IPV6, 67) => meta.tos = Some(byte(number(data)?).map_err(errno)?),
            _ => return Err(Errno::EINVAL),
        }
    }
    Ok(())
}

/// The control messages that the socket's options ask for.
pub(super) fn of_received(socket: &InetSocket, got: &netstack::Received) -> Vec<ControlMessage> {
    let mut messages = Vec::new();
    let mut add =
        |level: i32, kind: i32, data: Vec<u8>| messages.push(ControlMessage::Raw { level, kind, data });
    socket.read(|options| {
        let info = &got.info;
        let (seconds, nanos) =
            ((info.stamp_ns / 1_000_000_000) as i64, (info.stamp_ns % 1_000_000_000) as i64);
        match options.base.timestamps {
            Timestamps::Off => {}
            Timestamps::Micros => add(SOL_SOCKET, so::TIMESTAMP, pair(seconds, nanos / 1000)),
            Timestamps::Nanos => add(SOL_SOCKET, so::TIMESTAMPNS, pair(seconds, nanos)),
        }
        if options.base.rxq_overflow {
            add(SOL_SOCKET, so::RXQ_OVFL, info.dropped.to_ne_bytes().to_vec());
        }
        if options.ip4.pktinfo
            && let Some(data) = pktinfo_v4(info)
        {
            add(SOL_IP, IP_PKTINFO, data);
        }
        if options.ip4.recv_ttl {
            add(SOL_IP, 2, i32::from(info.ttl).to_ne_bytes().to_vec());
        }
        if options.ip4.recv_tos {
            add(SOL_IP, 1, vec![info.tos]);
        }
        if options.ip6.recv_pktinfo
            && let Some(SocketAddr::V6(to)) = info.to
        {
            let mut data = to.ip().octets().to_vec();
            data.extend(info.interface.to_ne_bytes());
            add(SOL_IPV6, IPV6_PKTINFO, data);
        }
        if options.ip6.recv_hop_limit {
            add(SOL_IPV6, 52, i32::from(info.ttl).to_ne_bytes().to_vec());
        }
        if options.ip6.recv_tclass {
            add(SOL_IPV6, 67, i32::from(info.tos).to_ne_bytes().to_vec());
        }
        if options.tcp.inq && socket.tcp().is_some() {
            add(SOL_TCP, 36, i32::try_from(got.left).unwrap_or(i32::MAX).to_ne_bytes().to_vec());
        }
    });
    if let Some(error) = &got.error {
        let level = if socket.family == Family::V4 { (SOL_IP, 11) } else { (SOL_IPV6, 25) };
        add(level.0, level.1, extended_error(error));
    }
    messages
}

fn pair(a: i64, b: i64) -> Vec<u8> {
    [a.to_ne_bytes(), b.to_ne_bytes()].concat()
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
    data.extend(
        error.offender.map_or_else(|| vec![0; 16], |ip| super::address::encode(SocketAddr::new(ip, 0))),
    );
    data
}
