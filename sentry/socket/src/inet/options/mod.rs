//! Options of levels SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOL_RAW and IPPROTO_ICMPV6.
//!
//! Most options are a number kept in the stack's plain [`Options`](netstack::Options): [`numbers`] has the tables of
//! those. What has another form, or other rules for streams, is handled by name. A few are kept and told, and change
//! nothing: [`KEPT`].

mod multicast;
mod numbers;
mod tcp_info;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use abi::inet::{ICMP_FILTER, ICMPV6_FILTER, SOL_ICMPV6, SOL_IP, SOL_IPV6, SOL_RAW, SOL_TCP, ip, ipv6, tcp};
use abi::socket::{SOL_SOCKET, so};
use abi::{Errno, Result};
use kernel::Task;
use kernel::socket::SocketOptions;
use kernel::task::Capability;
use netstack::{Congestion, Endpoint, Family, TcpSocket, Timestamps};

use super::address::encode;
use super::any::{AnySocket, InetSocket};
use super::errno;
use super::namespace::NetNamespace;
use crate::filter;
use numbers::Get;
pub(super) use numbers::byte;

/// The bits of TOS and traffic class that TCP keeps for itself.
const ECN_BITS: u8 = 3;
/// `IPPROTO_TCP`
const IPPROTO_TCP: u8 = 6;
/// Switches about what this stack never meets or tells (security labels, checksums that were not verified, the size of
/// fragments, extension headers and flow labels of received packets): they are kept, and do nothing.
const KEPT: &[(i32, i32)] = &[
    (SOL_IP, ip::PASSSEC),
    (SOL_IP, ip::CHECKSUM),
    (SOL_IP, ip::RECVFRAGSIZE),
    (SOL_IPV6, ipv6::OLD_HOPOPTS),
    (SOL_IPV6, ipv6::OLD_DSTOPTS),
    (SOL_IPV6, ipv6::OLD_RTHDR),
    (SOL_IPV6, ipv6::FLOWINFO),
    (SOL_IPV6, ipv6::ROUTER_ALERT_ISOLATE),
    (SOL_IPV6, ipv6::FLOWINFO_SEND),
    (SOL_IPV6, ipv6::RECVHOPOPTS),
    (SOL_IPV6, ipv6::RECVRTHDR),
    (SOL_IPV6, ipv6::RECVDSTOPTS),
    (SOL_IPV6, ipv6::RECVPATHMTU),
    (SOL_IPV6, ipv6::RECVFRAGSIZE),
];

/// The `int` (or, as Linux allows at IP level, the byte) that an option's value is.
pub(super) fn number(value: &[u8]) -> Result<i32> {
    match value {
        [a, b, c, d, ..] => Ok(i32::from_ne_bytes([*a, *b, *c, *d])),
        [byte, ..] => Ok(i32::from(*byte)),
        [] => Err(Errno::EINVAL),
    }
}

/// Whether the level exists for the socket.
fn has_level(socket: &InetSocket, level: i32) -> bool {
    match level {
        SOL_IP => true,
        SOL_IPV6 => socket.family == Family::V6,
        SOL_TCP => socket.tcp().is_some(),
        SOL_RAW => matches!(socket.any, AnySocket::Raw(_)),
        SOL_ICMPV6 => matches!(socket.any, AnySocket::Raw(_)) && socket.family == Family::V6,
        _ => false,
    }
}

/// The value of an option that the common part does not keep.
pub(super) fn get(socket: &InetSocket, net: &NetNamespace, level: i32, name: i32) -> Option<Result<Vec<u8>>> {
    if level == SOL_SOCKET {
        return get_socket_level(socket, net, name);
    }
    if !has_level(socket, level) {
        return Some(Err(Errno::ENOPROTOOPT));
    }
    let config = net.stack().config();
    let int = |value: i32| Ok(value.to_ne_bytes().to_vec());
    let number = |get: Get| int(socket.read(|options| get(options, &config)));
    if let (SOL_TCP, tcp::MAXSEG, AnySocket::Tcp(socket)) = (level, name, &socket.any)
        && let Some(mss) = socket.segment_size()
    {
        return Some(int(mss.cast_signed()));
    }
    if let Some(row) = numbers::find(level, name) {
        return Some(number(row.0));
    }
    if KEPT.contains(&(level, name)) {
        return Some(int(i32::from(socket.keeps(level, name))));
    }
    Some(match (level, name, &socket.any) {
        (SOL_TCP, tcp::CONGESTION, _) => {
            let mut name = socket.read(|options| options.tcp.congestion.name().as_bytes().to_vec());
            name.resize(16, 0);
            Ok(name)
        }
        (SOL_TCP, tcp::INFO, AnySocket::Tcp(socket)) => Ok(tcp_info::encode_info(&socket.info())),
        (SOL_RAW, ICMP_FILTER, AnySocket::Raw(_)) => {
            Ok(socket.read(|all| all.ip4.icmp_filter.to_ne_bytes().to_vec()))
        }
        (SOL_ICMPV6, ICMPV6_FILTER, _) => {
            Ok(socket.read(|all| all.ip6.icmp_filter.iter().flat_map(|word| word.to_ne_bytes()).collect()))
        }
        (SOL_RAW | SOL_IPV6, ipv6::CHECKSUM, AnySocket::Raw(_)) => {
            int(socket.read(|all| all.ip6.checksum.map_or(-1, i32::from)))
        }
        (SOL_IP, ip::TOS, _) => int(socket.read(|all| all.ip4.tos.into())),
        (SOL_IP, ip::HDRINCL, _) => int(socket.read(|all| all.ip4.hdr_incl.into())),
        // None can be set.
        (SOL_IP, ip::OPTIONS, _) => Ok(Vec::new()),
        (SOL_IP, ip::SO_ORIGINAL_DST, AnySocket::Tcp(tcp)) => original_destination(tcp, net, Family::V4),
        (SOL_IPV6, ipv6::SO_ORIGINAL_DST, AnySocket::Tcp(tcp)) => original_destination(tcp, net, Family::V6),
        (SOL_IP, ip::MTU, _) | (SOL_IPV6, ipv6::MTU, _) => path_mtu(socket, net).and_then(int),
        (SOL_IP, ip::TRANSPARENT, _) => int(socket.read(|all| all.ip4.transparent.into())),
        (SOL_IPV6, ipv6::TRANSPARENT, _) => int(socket.read(|all| all.ip6.transparent.into())),
        (SOL_IP, ip::MULTICAST_IF, _) => {
            Ok(socket.read(|options| options.ip4.multicast_addr.octets().to_vec()))
        }
        (SOL_IP, ip::UNICAST_IF, _) => Ok(socket.read(|all| all.ip4.unicast_if.to_be_bytes().to_vec())),
        (SOL_IPV6, ipv6::UNICAST_IF, _) => Ok(socket.read(|all| all.ip6.unicast_if.to_be_bytes().to_vec())),
        (SOL_IPV6, ipv6::MULTICAST_IF, _) => int(socket.read(|all| all.ip6.multicast_if.cast_signed())),
        (SOL_IPV6, ipv6::TCLASS, _) => int(socket.read(|all| all.ip6.tclass.into())),
        _ => Err(Errno::ENOPROTOOPT),
    })
}

/// Where the peer of a connection wanted to go before a packet filter sent it here.
fn original_destination(socket: &TcpSocket, net: &NetNamespace, family: Family) -> Result<Vec<u8>> {
    let end = |address: SocketAddr| Endpoint::new(address.ip().to_canonical(), address.port());
    let peer = socket.peer_addr().map_err(|_| Errno::ENOENT)?;
    let (local, peer) = (end(socket.local_addr()), end(peer));
    let filters = net.stack().netfilter();
    let wanted = filters.original_destination(IPPROTO_TCP, local, peer);
    let wanted = wanted.filter(|wanted| Family::of(wanted.ip) == family).ok_or(Errno::ENOENT)?;
    Ok(encode((wanted.ip, wanted.port).into()))
}

fn get_socket_level(socket: &InetSocket, net: &NetNamespace, name: i32) -> Option<Result<Vec<u8>>> {
    match name {
        so::BINDTODEVICE => {
            let index = socket.read(|options| options.base.device);
            let name = net.stack().nic(index).map(|nic| nic.name() + "\0").unwrap_or_default();
            Some(Ok(name.into_bytes()))
        }
        so::PEERNAME => Some(socket.peer_addr().map(encode).map_err(errno)),
        so::ATTACH_FILTER => Some(Ok(socket.read(|options| filter::encode(options.base.filter.as_deref())))),
        _ => None,
    }
}

/// Sets an option that the common part does not keep.
pub(super) fn set(
    task: &Task,
    socket: &InetSocket,
    net: &NetNamespace,
    level: i32,
    name: i32,
    value: &[u8],
) -> Option<Result<()>> {
    if level == SOL_SOCKET {
        return set_socket_level(task, socket, net, name, value);
    }
    if !has_level(socket, level) {
        return Some(Err(Errno::ENOPROTOOPT));
    }
    // IPv4's options may be bytes; two of IPv6's take less than an int, which counts as nothing. TCP's are ints, but for
    // names.
    let may_be_short = match level {
        SOL_IPV6 => [ipv6::DONTFRAG, ipv6::AUTOFLOWLABEL].contains(&name),
        SOL_TCP => name == tcp::CONGESTION,
        _ => true,
    };
    if value.len() < size_of::<i32>() && !may_be_short {
        return Some(Err(Errno::EINVAL));
    }
    Some(set_at_level(task, socket, net, (level, name), value))
}

fn set_at_level(
    task: &Task,
    socket: &InetSocket,
    net: &NetNamespace,
    (level, name): (i32, i32),
    value: &[u8],
) -> Result<()> {
    let is_tcp = socket.tcp().is_some();
    match (level, name) {
        (SOL_IP, ip::MULTICAST_TTL) if is_tcp => return Err(Errno::EINVAL),
        (SOL_IPV6, ipv6::MULTICAST_HOPS) if is_tcp => return Err(Errno::ENOPROTOOPT),
        _ => {}
    }
    if let Some((_, set)) = numbers::find(level, name) {
        let value = number(value)?;
        return socket.change(|options| set(options, value)).map_err(errno);
    }
    if KEPT.contains(&(level, name)) {
        number(value).map(|on| socket.keep(level, name, on != 0))?;
        return Ok(());
    }
    if let Some(done) = multicast::set(socket, net, level, name, value) {
        return done;
    }
    match (level, name) {
        (SOL_TCP, tcp::CONGESTION) => set_congestion(socket, value),
        (SOL_IP, ip::TOS) => number(value).map(|tos| set_tos(socket, tos as u8)),
        (SOL_IPV6, ipv6::TCLASS) => set_traffic_class(socket, number(value)?),
        (SOL_IP, ip::HDRINCL) if matches!(socket.any, AnySocket::Raw(_)) => {
            number(value).map(|on| socket.change(|all| all.ip4.hdr_incl = on != 0))
        }
        (SOL_IP, ip::OPTIONS) if value.is_empty() => Ok(()),
        (SOL_IP, ip::OPTIONS) => Err(Errno::EINVAL),
        (SOL_IP, ip::TRANSPARENT) | (SOL_IPV6, ipv6::TRANSPARENT) => {
            set_transparent(task, socket, net, level, value)
        }
        (SOL_IP, ip::MULTICAST_IF) => multicast::set_interface_v4(socket, net, value),
        (SOL_IPV6, ipv6::MULTICAST_IF) => multicast::set_interface_v6(socket, net, value),
        (SOL_IP, ip::UNICAST_IF) | (SOL_IPV6, ipv6::UNICAST_IF) => set_unicast_if(socket, net, level, value),
        (SOL_RAW, ICMP_FILTER) => set_icmp_filter(socket, value),
        (SOL_ICMPV6, ICMPV6_FILTER) => set_icmp6_filter(socket, value),
        (SOL_RAW | SOL_IPV6, ipv6::CHECKSUM) => set_checksum_offset(socket, value),
        _ => Err(Errno::ENOPROTOOPT),
    }
}

fn set_socket_level(
    task: &Task,
    socket: &InetSocket,
    net: &NetNamespace,
    name: i32,
    value: &[u8],
) -> Option<Result<()>> {
    Some(match name {
        so::BINDTODEVICE => bind_to_device(task, socket, net, value),
        so::ATTACH_FILTER => filter::read(task, value)
            .map(|filter| socket.change(|options| options.base.filter = Some(filter))),
        so::DETACH_FILTER => {
            let old = socket.change(|options| options.base.filter.take());
            old.map(drop).ok_or(Errno::ENOENT)
        }
        _ => return None,
    })
}

/// TCP's ECN bits are its own.
fn set_tos(socket: &InetSocket, tos: u8) {
    let tos = if socket.tcp().is_some() { tos & !ECN_BITS } else { tos };
    socket.change(|options| options.ip4.tos = tos);
}

/// `IPV6_TCLASS`: -1 for the default.
fn set_traffic_class(socket: &InetSocket, class: i32) -> Result<()> {
    let class = byte(if class == -1 { 0 } else { class }).map_err(errno)?;
    let class = if socket.tcp().is_some() { class & !ECN_BITS } else { class };
    socket.change(|options| options.ip6.tclass = class);
    Ok(())
}

/// `IP_TRANSPARENT`: for CAP_NET_RAW or CAP_NET_ADMIN.
fn set_transparent(
    task: &Task,
    socket: &InetSocket,
    net: &NetNamespace,
    level: i32,
    value: &[u8],
) -> Result<()> {
    let on = number(value)? != 0;
    let has = |capability| net.allows(&task.creds(), capability);
    if on && !has(Capability::NetAdmin) && !has(Capability::NetRaw) {
        return Err(Errno::EPERM);
    }
    socket.change(|options| {
        let slot = if level == SOL_IP { &mut options.ip4.transparent } else { &mut options.ip6.transparent };
        *slot = on;
    });
    Ok(())
}

/// `IP_UNICAST_IF`, `IPV6_UNICAST_IF`: an index in network order, 0 for none.
fn set_unicast_if(socket: &InetSocket, net: &NetNamespace, level: i32, value: &[u8]) -> Result<()> {
    let index = u32::from_be_bytes(*value.first_chunk().ok_or(Errno::EINVAL)?);
    if index != 0 && net.stack().nic(index).is_none() {
        return Err(Errno::EADDRNOTAVAIL);
    }
    socket.change(|options| {
        let slot = if level == SOL_IP { &mut options.ip4.unicast_if } else { &mut options.ip6.unicast_if };
        *slot = index;
    });
    Ok(())
}

/// `IP_MTU`, `IPV6_MTU`: the largest packet to the peer.
fn path_mtu(socket: &InetSocket, net: &NetNamespace) -> Result<i32> {
    let peer = socket.peer_addr().map_err(|_| Errno::ENOTCONN)?;
    let device = socket.read(|options| options.base.device);
    let ip = match peer.ip() {
        IpAddr::V6(ip) => ip.to_canonical(),
        ip => ip,
    };
    let mtu = net.stack().find_route(ip, device).map_err(errno)?.mtu;
    // IPv4 has no larger packets.
    let most = if ip.is_ipv4() { 65_535 } else { u32::MAX >> 1 };
    Ok(mtu.min(most).cast_signed())
}

fn set_icmp_filter(socket: &InetSocket, value: &[u8]) -> Result<()> {
    if !matches!(socket.any, AnySocket::Raw(_)) {
        return Err(Errno::ENOPROTOOPT);
    }
    let mask = u32::from_ne_bytes(*value.first_chunk().ok_or(Errno::EINVAL)?);
    socket.change(|all| all.ip4.icmp_filter = mask);
    Ok(())
}

fn set_icmp6_filter(socket: &InetSocket, value: &[u8]) -> Result<()> {
    // A shorter value sets the first types.
    socket.change(|all| {
        for (slot, word) in all.ip6.icmp_filter.iter_mut().zip(value.chunks_exact(4)) {
            *slot = u32::from_ne_bytes([word[0], word[1], word[2], word[3]]);
        }
    });
    Ok(())
}

/// `IPV6_CHECKSUM`: where the stack puts a checksum; -1 for nowhere.
fn set_checksum_offset(socket: &InetSocket, value: &[u8]) -> Result<()> {
    if !matches!(socket.any, AnySocket::Raw(_)) {
        return Err(Errno::ENOPROTOOPT);
    }
    let offset = match number(value)? {
        ..0 => None,
        offset if offset % 2 != 0 => return Err(Errno::EINVAL),
        offset => Some(u16::try_from(offset).map_err(|_| Errno::EINVAL)?),
    };
    socket.change(|all| all.ip6.checksum = offset);
    Ok(())
}

fn bind_to_device(task: &Task, socket: &InetSocket, net: &NetNamespace, value: &[u8]) -> Result<()> {
    let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
    let index = if name.is_empty() {
        0
    } else {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENODEV)?;
        net.stack().nic_by_name(name).ok_or(Errno::ENODEV)?.index
    };
    let bound = socket.read(|options| options.base.device);
    if bound != 0 && !net.allows(&task.creds(), Capability::NetRaw) {
        return Err(Errno::EPERM);
    }
    socket.change(|options| options.base.device = index);
    Ok(())
}

fn set_congestion(socket: &InetSocket, value: &[u8]) -> Result<()> {
    let name = value.split(|byte| *byte == 0).next().unwrap_or_default();
    let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
    let algorithm = Congestion::from_name(name).ok_or(Errno::ENOENT)?;
    socket.change(|options| options.tcp.congestion = algorithm);
    Ok(())
}

/// Hands the common options down to the stack.
pub(super) fn apply_common(socket: &InetSocket, net: &NetNamespace, common: &SocketOptions) {
    let config = net.stack().config();
    let linger = common.linger();
    socket.change(|options| {
        let base = &mut options.base;
        base.reuse_addr = common.is_set(so::REUSEADDR);
        base.reuse_port = common.is_set(so::REUSEPORT);
        base.broadcast = common.is_set(so::BROADCAST);
        base.keepalive = common.is_set(so::KEEPALIVE);
        base.oob_inline = common.is_set(so::OOBINLINE);
        base.dont_route = common.is_set(so::DONTROUTE);
        base.no_check = common.is_set(so::NO_CHECK);
        base.rxq_overflow = common.is_set(so::RXQ_OVFL);
        base.linger = linger.on.then(|| Duration::from_secs(u64::from(linger.seconds)));
        base.rcv_lowat = common.low_water();
        base.timestamps = timestamps(common);
        if common.is_receive_buffer_locked() {
            base.set_rcv_buf(i32::try_from(common.receive_buffer() / 2).unwrap_or(i32::MAX), &config);
        }
        if common.is_send_buffer_locked() {
            base.set_snd_buf(i32::try_from(common.send_buffer() / 2).unwrap_or(i32::MAX), &config);
        }
    });
}

/// How packets are to be stamped by the common options.
pub(crate) fn timestamps(common: &SocketOptions) -> Timestamps {
    match (common.is_set(so::TIMESTAMP), common.is_set(so::TIMESTAMPNS)) {
        (_, true) => Timestamps::Nanos,
        (true, false) => Timestamps::Micros,
        _ => Timestamps::Off,
    }
}

/// Low ports need CAP_NET_BIND_SERVICE.
pub(crate) fn check_port(task: &Task, net: &NetNamespace, port: u16) -> Result<()> {
    let first_free = net.stack().config().ip_unprivileged_port_start;
    if port != 0 && port < first_free && !net.allows(&task.creds(), Capability::NetBindService) {
        return Err(Errno::EACCES);
    }
    Ok(())
}
