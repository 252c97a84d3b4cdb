//! Options of levels SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOL_RAW and IPPROTO_ICMPV6.
//!
//! Most options are a number: [`option_numbers`] has the table of those. What has another form is handled by name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use abi::inet::{ICMP_FILTER, ICMPV6_FILTER, SOL_ICMPV6, SOL_IP, SOL_IPV6, SOL_RAW, SOL_TCP, ip, ipv6, tcp};
use abi::socket::{SOL_SOCKET, so};
use abi::{Errno, Result};
use kernel::Task;
use kernel::socket::SocketOptions;
use kernel::task::Capability;
use netstack::{Congestion, Family, Membership, Timestamps};

use super::any::{AnySocket, InetSocket};
use super::errno;
use super::namespace::NetNamespace;
use super::option_numbers::{self, Get, Set};

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
    if (level, name) == (SOL_SOCKET, so::BINDTODEVICE) {
        let index = socket.read(|options| options.base.device);
        let name = net.stack().nic(index).map(|nic| nic.name() + "\0").unwrap_or_default();
        return Some(Ok(name.into_bytes()));
    }
    if !has_level(socket, level) {
        return None;
    }
    let config = net.stack().config();
    let int = |get: Get| Ok(socket.read(|options| get(options, &config)).to_ne_bytes().to_vec());
    if let Some((get, _)) = option_numbers::find(level, name) {
        return Some(int(get));
    }
    Some(match (level, name, &socket.any) {
        (SOL_TCP, tcp::CONGESTION, _) => {
            let mut name = socket.read(|options| options.tcp.congestion.name().as_bytes().to_vec());
            name.resize(16, 0);
            Ok(name)
        }
        (SOL_TCP, tcp::INFO, AnySocket::Tcp(tcp)) => Ok(encode_info(&tcp.info())),
        (SOL_RAW, ICMP_FILTER, AnySocket::Raw(raw)) => Ok(raw.icmp_filter().to_ne_bytes().to_vec()),
        (SOL_ICMPV6, ICMPV6_FILTER, _) => {
            Ok(socket.read(|all| all.ip6.icmp_filter.iter().flat_map(|word| word.to_ne_bytes()).collect()))
        }
        (SOL_RAW | SOL_IPV6, ipv6::CHECKSUM, _) => {
            Ok(socket.read(|all| all.ip6.checksum.map_or(-1, i32::from)).to_ne_bytes().to_vec())
        }
        (SOL_IP, ip::MULTICAST_IF, _) => {
            Ok(socket.read(|options| options.ip4.multicast_addr.octets().to_vec()))
        }
        _ => Err(Errno::ENOPROTOOPT),
    })
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
    if (level, name) == (SOL_SOCKET, so::BINDTODEVICE) {
        return Some(bind_to_device(task, socket, net, value));
    }
    if !has_level(socket, level) {
        return None;
    }
    let apply = |set: Set| {
        let value = number(value)?;
        socket.change(|options| set(options, value)).map_err(errno)
    };
    if let Some((_, set)) = option_numbers::find(level, name) {
        return Some(apply(set));
    }
    Some(match (level, name) {
        (SOL_TCP, tcp::CONGESTION) => set_congestion(socket, value),
        (SOL_IP, ip::MULTICAST_IF) => set_multicast_if(socket, value),
        (SOL_IP, ip::ADD_MEMBERSHIP | ip::DROP_MEMBERSHIP) => {
            group_v4(net, value).and_then(|group| change_group(socket, group, name == ip::ADD_MEMBERSHIP))
        }
        (SOL_IPV6, ipv6::JOIN_GROUP | ipv6::LEAVE_GROUP) => {
            group_v6(value).and_then(|group| change_group(socket, group, name == ipv6::JOIN_GROUP))
        }
        (SOL_RAW, ICMP_FILTER) => set_icmp_filter(socket, value),
        (SOL_ICMPV6, ICMPV6_FILTER) => set_icmp6_filter(socket, value),
        (SOL_RAW | SOL_IPV6, ipv6::CHECKSUM) => set_checksum_offset(socket, value),
        _ => Err(Errno::ENOPROTOOPT),
    })
}

fn set_icmp_filter(socket: &InetSocket, value: &[u8]) -> Result<()> {
    let AnySocket::Raw(raw) = &socket.any else { return Err(Errno::ENOPROTOOPT) };
    let mask = value.first_chunk::<4>().ok_or(Errno::EINVAL)?;
    raw.set_icmp_filter(u32::from_ne_bytes(*mask));
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
    if bound != 0 && !task.creds().has_in(task.namespaces().net.user_ns(), Capability::NetRaw) {
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

/// `struct in_addr`, `ip_mreq` or `ip_mreqn`.
fn set_multicast_if(socket: &InetSocket, value: &[u8]) -> Result<()> {
    let octets = |at: usize| -> Option<[u8; 4]> { value.get(at..at + 4)?.try_into().ok() };
    let address = if value.len() >= 8 { octets(4) } else { octets(0) }.ok_or(Errno::EINVAL)?;
    let interface = octets(8).map_or(0, u32::from_ne_bytes);
    socket.change(|options| {
        options.ip4.multicast_addr = Ipv4Addr::from(address);
        options.ip4.multicast_if = interface;
    });
    Ok(())
}

fn group_v4(net: &NetNamespace, value: &[u8]) -> Result<(IpAddr, u32)> {
    let octets = |at: usize| -> Option<[u8; 4]> { value.get(at..at + 4)?.try_into().ok() };
    let group = Ipv4Addr::from(octets(0).ok_or(Errno::EINVAL)?);
    let address = IpAddr::V4(Ipv4Addr::from(octets(4).ok_or(Errno::EINVAL)?));
    let by_address = || {
        let nics = net.stack().nics();
        nics.iter().find(|nic| nic.addrs().iter().any(|a| a.ip() == address)).map_or(0, |nic| nic.index)
    };
    Ok((
        IpAddr::V4(group),
        octets(8).map(u32::from_ne_bytes).filter(|index| *index != 0).unwrap_or_else(by_address),
    ))
}

fn group_v6(value: &[u8]) -> Result<(IpAddr, u32)> {
    let (group, rest) = value.split_first_chunk::<16>().ok_or(Errno::EINVAL)?;
    let index = rest.first_chunk::<4>().ok_or(Errno::EINVAL)?;
    Ok((IpAddr::V6(Ipv6Addr::from(*group)), u32::from_ne_bytes(*index)))
}

fn change_group(socket: &InetSocket, (group, interface): (IpAddr, u32), joins: bool) -> Result<()> {
    let membership = || Membership { group, interface, is_include: false, sources: Vec::new() };
    match (&socket.any, joins) {
        (AnySocket::Udp(udp), true) => udp.join_group(membership()),
        (AnySocket::Udp(udp), false) => udp.leave_group(group, interface),
        (AnySocket::Raw(raw), true) => raw.join_group(membership()),
        (AnySocket::Raw(raw), false) => raw.leave_group(group, interface),
        _ => return Err(Errno::EOPNOTSUPP),
    }
    .map_err(errno)
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
        base.timestamps = match (common.is_set(so::TIMESTAMP), common.is_set(so::TIMESTAMPNS)) {
            (_, true) => Timestamps::Nanos,
            (true, false) => Timestamps::Micros,
            _ => Timestamps::Off,
        };
        if common.is_receive_buffer_locked() {
            base.set_rcv_buf(i32::try_from(common.receive_buffer() / 2).unwrap_or(i32::MAX), &config);
        }
        if common.is_send_buffer_locked() {
            base.set_snd_buf(i32::try_from(common.send_buffer() / 2).unwrap_or(i32::MAX), &config);
        }
    });
}

/// Low ports need CAP_NET_BIND_SERVICE.
pub(super) fn check_port(task: &Task, net: &NetNamespace, port: u16) -> Result<()> {
    let first_free = net.stack().config().ip_unprivileged_port_start;
    if port != 0
        && port < first_free
        && !task.creds().has_in(task.namespaces().net.user_ns(), Capability::NetBindService)
    {
        return Err(Errno::EACCES);
    }
    Ok(())
}

/// `struct tcp_info`, as much of it as Linux 6.1 has.
fn encode_info(info: &netstack::TcpInfo) -> Vec<u8> {
    let bytes = [
        info.state as u8,
        info.ca_state,
        info.retransmits,
        info.probes,
        info.backoff,
        info.options,
        (info.rcv_wscale << 4) | (info.snd_wscale & 0xf),
        0,
    ];
    let words = [
        info.rto,
        info.ato,
        info.snd_mss,
        info.rcv_mss,
        info.unacked,
        info.sacked,
        info.lost,
        info.retrans,
        0,
        info.last_data_sent,
        0,
        info.last_data_recv,
        info.last_ack_recv,
        info.pmtu,
        info.rcv_ssthresh,
        info.rtt,
        info.rttvar,
        info.snd_ssthresh,
        info.snd_cwnd,
        info.advmss,
        info.reordering,
        info.rcv_rtt,
        info.rcv_space,
        info.total_retrans,
    ];
    let mut data = bytes.to_vec();
    data.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    for long in [info.pacing_rate, u64::MAX, info.bytes_acked, info.bytes_received] {
        data.extend(long.to_ne_bytes());
    }
    for word in
        [info.segs_out, info.segs_in, info.notsent_bytes, info.min_rtt, info.data_segs_in, info.data_segs_out]
    {
        data.extend(word.to_ne_bytes());
    }
    for long in [info.delivery_rate, 0, 0, 0] {
        data.extend(long.to_ne_bytes());
    }
    for word in [info.delivered, info.delivered_ce] {
        data.extend(word.to_ne_bytes());
    }
    for long in [info.bytes_sent, info.bytes_retrans] {
        data.extend(long.to_ne_bytes());
    }
    for word in [info.dsack_dups, info.reord_seen, info.rcv_ooopack] {
        data.extend(word.to_ne_bytes());
    }
    data
}
