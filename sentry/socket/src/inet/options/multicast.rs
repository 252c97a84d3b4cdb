//! Options about multicast: the interface that packets leave by, groups, sources (`man 7 ip`, RFC 3678).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use abi::inet::{SOL_IP, ip, ipv6, mcast};
use abi::{Errno, Result};
use netstack::{DatagramSocket, Family, Membership, max_sources};

use super::number;
use crate::inet::any::InetSocket;
use crate::inet::errno;
use crate::inet::namespace::NetNamespace;

/// Bytes of a `sockaddr_storage`.
const STORAGE: usize = 128;

/// What is to be done to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Join,
    Leave,
    JoinSource,
    LeaveSource,
    Block,
    Unblock,
}

/// A request: the group, the interface (0 for whichever leads there), the source.
struct Request {
    group: IpAddr,
    interface: u32,
    source: Option<IpAddr>,
}

/// Whether `name` is about groups, and if so, carries it out.
pub(super) fn set(
    socket: &InetSocket,
    net: &NetNamespace,
    level: i32,
    name: i32,
    value: &[u8],
) -> Option<Result<()>> {
    let change = match (level, name) {
        (SOL_IP, ip::ADD_MEMBERSHIP) | (_, mcast::JOIN_GROUP) => Change::Join,
        (SOL_IP, ip::DROP_MEMBERSHIP) | (_, mcast::LEAVE_GROUP) => Change::Leave,
        (SOL_IP, ip::ADD_SOURCE_MEMBERSHIP) | (_, mcast::JOIN_SOURCE_GROUP) => Change::JoinSource,
        (SOL_IP, ip::DROP_SOURCE_MEMBERSHIP) | (_, mcast::LEAVE_SOURCE_GROUP) => Change::LeaveSource,
        (SOL_IP, ip::BLOCK_SOURCE) | (_, mcast::BLOCK_SOURCE) => Change::Block,
        (SOL_IP, ip::UNBLOCK_SOURCE) | (_, mcast::UNBLOCK_SOURCE) => Change::Unblock,
        (_, ipv6::JOIN_GROUP) if level != SOL_IP => Change::Join,
        (_, ipv6::LEAVE_GROUP) if level != SOL_IP => Change::Leave,
        _ => return None,
    };
    let request = match name {
        ip::ADD_MEMBERSHIP | ip::DROP_MEMBERSHIP if level == SOL_IP => group_v4(net, value),
        ip::UNBLOCK_SOURCE..=ip::DROP_SOURCE_MEMBERSHIP if level == SOL_IP => source_v4(net, value),
        ipv6::JOIN_GROUP | ipv6::LEAVE_GROUP => group_v6(value),
        _ => any_family(value, !matches!(change, Change::Join | Change::Leave)),
    };
    let Some(socket) = socket.datagrams() else {
        return Some(Err(if level == SOL_IP { Errno::EPROTO } else { Errno::ENOPROTOOPT }));
    };
    Some(request.and_then(|request| apply(socket, change, request)))
}

fn apply(socket: &DatagramSocket, change: Change, request: Request) -> Result<()> {
    let Request { group, interface, source } = request;
    let join = |is_include, sources| {
        socket.join_group(Membership { group, interface, is_include, sources }).map_err(errno)
    };
    let leave = || socket.leave_group(group, interface).map_err(errno);
    let Some(source) = source else {
        return if change == Change::Join { join(false, Vec::new()) } else { leave() };
    };
    let mut outcome = Ok(false);
    let filtered =
        socket.filter_group(group, interface, |membership| outcome = filter(membership, change, source));
    match (filtered.map_err(errno), change) {
        (Err(Errno::EADDRNOTAVAIL), Change::JoinSource) => join(true, vec![source]),
        (Err(Errno::EADDRNOTAVAIL), _) => Err(Errno::EINVAL),
        (Err(errno), _) => Err(errno),
        // The last source of a group that was joined for its sources alone.
        (Ok(()), _) => {
            if outcome? {
                leave()
            } else {
                Ok(())
            }
        }
    }
}

/// Changes the sources of a membership; says whether nothing is left of it.
fn filter(membership: &mut Membership, change: Change, source: IpAddr) -> Result<bool> {
    let wants_include = matches!(change, Change::JoinSource | Change::LeaveSource);
    if membership.is_include != wants_include {
        return Err(Errno::EINVAL);
    }
    let at = membership.sources.iter().position(|known| *known == source);
    match (change, at) {
        (Change::JoinSource | Change::Block, Some(_)) => return Err(Errno::EADDRNOTAVAIL),
        (Change::JoinSource | Change::Block, None) => {
            if membership.sources.len() >= max_sources(membership.group) {
                return Err(Errno::ENOBUFS);
            }
            membership.sources.push(source);
        }
        (_, Some(at)) => {
            membership.sources.swap_remove(at);
        }
        (_, None) => return Err(Errno::EADDRNOTAVAIL),
    }
    Ok(membership.is_include && membership.sources.is_empty())
}

fn v4_at(value: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = value.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets))
}

/// The interface with an address; 0 where there is none.
fn with_address(net: &NetNamespace, address: Ipv4Addr) -> u32 {
    let has = |nic: &&std::sync::Arc<netstack::Nic>| nic.addrs().iter().any(|own| own.ip() == address);
    net.stack().nics().iter().find(has).map_or(0, |nic| nic.index)
}

/// `struct ip_mreq` or `ip_mreqn`.
fn group_v4(net: &NetNamespace, value: &[u8]) -> Result<Request> {
    let group = v4_at(value, 0).ok_or(Errno::EINVAL)?;
    let address = v4_at(value, 4).ok_or(Errno::EINVAL)?;
    let index = value.get(8..12).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes);
    let interface = if index == 0 { with_address(net, address) } else { index };
    if interface == 0 && !address.is_unspecified() {
        return Err(Errno::ENODEV);
    }
    Ok(Request { group: group.into(), interface, source: None })
}

/// `struct ip_mreq_source`: group, interface, source.
fn source_v4(net: &NetNamespace, value: &[u8]) -> Result<Request> {
    let [group, address, source] = [0, 4, 8].map(|at| v4_at(value, at));
    let address = address.ok_or(Errno::EINVAL)?;
    let source = Some(source.ok_or(Errno::EINVAL)?.into());
    let interface = with_address(net, address);
    Ok(Request { group: group.ok_or(Errno::EINVAL)?.into(), interface, source })
}

/// `struct ipv6_mreq`.
fn group_v6(value: &[u8]) -> Result<Request> {
    let (group, rest) = value.split_first_chunk::<16>().ok_or(Errno::EINVAL)?;
    let index = rest.first_chunk::<4>().ok_or(Errno::EINVAL)?;
    Ok(Request { group: Ipv6Addr::from(*group).into(), interface: u32::from_ne_bytes(*index), source: None })
}

/// `struct group_req` or `group_source_req`: an interface, then one or two socket addresses.
fn any_family(value: &[u8], has_source: bool) -> Result<Request> {
    let ip = |at: usize| {
        let bytes = value.get(at..at + STORAGE).ok_or(Errno::EINVAL)?;
        match u16::from_ne_bytes([bytes[0], bytes[1]]) {
            abi::socket::AF_INET => v4_at(bytes, 4).map(IpAddr::V4).ok_or(Errno::EINVAL),
            abi::socket::AF_INET6 => {
                let octets: [u8; 16] = bytes[8..24].try_into().map_err(|_| Errno::EINVAL)?;
                Ok(IpAddr::V6(Ipv6Addr::from(octets)))
            }
            _ => Err(Errno::EADDRNOTAVAIL),
        }
    };
    let interface = number(value)?.cast_unsigned();
    let source = if has_source { Some(ip(8 + STORAGE)?) } else { None };
    Ok(Request { group: ip(8)?, interface, source })
}

/// `IP_MULTICAST_IF`: `struct in_addr`, `ip_mreq` or `ip_mreqn`.
///
/// # Errors
/// `EADDRNOTAVAIL` for what is no interface of ours, `EINVAL` on a stream.
pub(super) fn set_interface_v4(socket: &InetSocket, net: &NetNamespace, value: &[u8]) -> Result<()> {
    if socket.tcp().is_some() {
        return Err(Errno::EINVAL);
    }
    let address = v4_at(value, if value.len() >= 8 { 4 } else { 0 }).ok_or(Errno::EINVAL)?;
    let given = value.get(8..12).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes);
    let interface = match given {
        0 if address.is_unspecified() => 0,
        0 => with_address(net, address),
        index => net.stack().nic(index).map_or(0, |nic| nic.index),
    };
    if interface == 0 && !(given == 0 && address.is_unspecified()) {
        return Err(Errno::EADDRNOTAVAIL);
    }
    socket.change(|options| {
        options.ip4.multicast_addr = address;
        options.ip4.multicast_if = interface;
    });
    Ok(())
}

/// `IPV6_MULTICAST_IF`: an index.
///
/// # Errors
/// `ENODEV`; `ENOPROTOOPT` on a stream.
pub(super) fn set_interface_v6(socket: &InetSocket, net: &NetNamespace, value: &[u8]) -> Result<()> {
    let index = number(value)?.cast_unsigned();
    if socket.tcp().is_some() && socket.family == Family::V6 {
        return Err(Errno::ENOPROTOOPT);
    }
    if index != 0 && net.stack().nic(index).is_none() {
        return Err(Errno::ENODEV);
    }
    socket.change(|options| options.ip6.multicast_if = index);
    Ok(())
}

#[cfg(test)]
mod tests {
    use abi::Errno;
    use netstack::Membership;

    use super::{Change, filter};

    #[test]
    fn sources_come_and_go() {
        let ip = |text: &str| text.parse().unwrap();
        let mut joined = Membership {
            group: ip("232.1.1.1"),
            interface: 1,
            is_include: true,
            sources: vec![ip("10.0.0.1")],
        };
        assert_eq!(filter(&mut joined, Change::JoinSource, ip("10.0.0.2")), Ok(false));
        assert_eq!(filter(&mut joined, Change::JoinSource, ip("10.0.0.2")), Err(Errno::EADDRNOTAVAIL));
        assert_eq!(filter(&mut joined, Change::Block, ip("10.0.0.2")), Err(Errno::EINVAL));
        assert_eq!(filter(&mut joined, Change::LeaveSource, ip("10.0.0.1")), Ok(false));
        assert_eq!(filter(&mut joined, Change::LeaveSource, ip("10.0.0.2")), Ok(true));
    }
}
