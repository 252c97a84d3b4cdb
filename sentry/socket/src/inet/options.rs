//! Options of levels SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP, SOL_RAW and IPPROTO_ICMPV6.
//!
//! Most options are a number kept in the stack's plain [`Options`]: [`NUMBERS`] is the table of those, read and written
//! alike. What has another form is handled by name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use abi::socket::{SOL_SOCKET, so};
use abi::{Errno, Result};
use kernel::Task;
use kernel::socket::SocketOptions;
use kernel::task::Capability;
use netstack::{Config, Congestion, Family, Membership, MtuDiscover, Options, Timestamps};

use super::any::{AnySocket, InetSocket};
use super::errno;
use super::namespace::NetNamespace;

pub(super) const SOL_IP: i32 = 0;
pub(super) const SOL_TCP: i32 = 6;
pub(super) const SOL_IPV6: i32 = 41;
pub(super) const IP_PKTINFO: i32 = 8;
const IP_MULTICAST_IF: i32 = 32;
const IP_ADD_MEMBERSHIP: i32 = 35;
const IP_DROP_MEMBERSHIP: i32 = 36;
const IPV6_JOIN_GROUP: i32 = 20;
const IPV6_LEAVE_GROUP: i32 = 21;
pub(super) const IPV6_PKTINFO: i32 = 50;
const IPV6_CHECKSUM: i32 = 7;
const SOL_ICMPV6: i32 = 58;
const SOL_RAW: i32 = 255;
const ICMP_FILTER: i32 = 1;
const ICMPV6_FILTER: i32 = 1;
const TCP_INFO: i32 = 11;
const TCP_CONGESTION: i32 = 13;

type Get = fn(&Options, &Config) -> i32;
type Set = fn(&mut Options, i32) -> netstack::Result<()>;

/// (level, name, getter, setter) of the options that are one `int`.
const NUMBERS: &[(i32, i32, Get, Set)] = &[
    (SOL_IP, 1, |o, _| i32::from(o.ip4.tos), |o, v| byte(v).map(|v| o.ip4.tos = v)),
    (
        SOL_IP,
        2,
        |o, c| i32::from(o.ip4.ttl.unwrap_or(c.ip_default_ttl)),
        |o, v| ttl(v).map(|v| o.ip4.ttl = v),
    ),
    (SOL_IP, 3, |o, _| i32::from(o.ip4.hdr_incl), |o, v| flag(&mut o.ip4.hdr_incl, v)),
    (SOL_IP, 6, |o, _| i32::from(o.ip4.recv_opts), |o, v| flag(&mut o.ip4.recv_opts, v)),
    (SOL_IP, 7, |o, _| i32::from(o.ip4.ret_opts), |o, v| flag(&mut o.ip4.ret_opts, v)),
    (SOL_IP, IP_PKTINFO, |o, _| i32::from(o.ip4.pktinfo), |o, v| flag(&mut o.ip4.pktinfo, v)),
    (
        SOL_IP,
        10,
        |o, _| o.ip4.mtu_discover.raw(),
        |o, v| MtuDiscover::from_raw(v).map(|v| o.ip4.mtu_discover = v),
    ),
    (SOL_IP, 11, |o, _| i32::from(o.ip4.recv_err), |o, v| flag(&mut o.ip4.recv_err, v)),
    (SOL_IP, 12, |o, _| i32::from(o.ip4.recv_ttl), |o, v| flag(&mut o.ip4.recv_ttl, v)),
    (SOL_IP, 13, |o, _| i32::from(o.ip4.recv_tos), |o, v| flag(&mut o.ip4.recv_tos, v)),
    (SOL_IP, 15, |o, _| i32::from(o.ip4.freebind), |o, v| flag(&mut o.ip4.freebind, v)),
    (SOL_IP, 20, |o, _| i32::from(o.ip4.recv_orig_dst), |o, v| flag(&mut o.ip4.recv_orig_dst, v)),
    (SOL_IP, 21, |o, _| i32::from(o.ip4.min_ttl), |o, v| byte(v).map(|v| o.ip4.min_ttl = v)),
    (
        SOL_IP,
        24,
        |o, _| i32::from(o.ip4.bind_address_no_port),
        |o, v| flag(&mut o.ip4.bind_address_no_port, v),
    ),
    (
        SOL_IP,
        33,
        |o, _| i32::from(o.ip4.multicast_ttl),
        |o, v| byte(if v == -1 { 1 } else { v }).map(|v| o.ip4.multicast_ttl = v),
    ),
    (SOL_IP, 34, |o, _| i32::from(o.ip4.multicast_loop), |o, v| flag(&mut o.ip4.multicast_loop, v)),
    (SOL_IP, 49, |o, _| i32::from(o.ip4.multicast_all), |o, v| flag(&mut o.ip4.multicast_all, v)),
    (
        SOL_IPV6,
        16,
        |o, c| i32::from(o.ip6.hop_limit.unwrap_or(c.ipv6_hop_limit)),
        |o, v| {
            if v == -1 {
                o.ip6.hop_limit = None;
                return Ok(());
            }
            byte(v).map(|v| o.ip6.hop_limit = Some(v))
        },
    ),
    (SOL_IPV6, 17, |o, _| o.ip6.multicast_if as i32, |o, v| index(v).map(|v| o.ip6.multicast_if = v)),
    (
        SOL_IPV6,
        18,
        |o, _| i32::from(o.ip6.multicast_hops),
        |o, v| byte(if v == -1 { 1 } else { v }).map(|v| o.ip6.multicast_hops = v),
    ),
    (SOL_IPV6, 19, |o, _| i32::from(o.ip6.multicast_loop), |o, v| flag(&mut o.ip6.multicast_loop, v)),
    (
        SOL_IPV6,
        23,
        |o, _| o.ip6.mtu_discover.raw(),
        |o, v| MtuDiscover::from_raw(v).map(|v| o.ip6.mtu_discover = v),
    ),
    (SOL_IPV6, 25, |o, _| i32::from(o.ip6.recv_err), |o, v| flag(&mut o.ip6.recv_err, v)),
    (SOL_IPV6, 26, |o, _| i32::from(o.ip6.v6_only), |o, v| flag(&mut o.ip6.v6_only, v)),
    (SOL_IPV6, 29, |o, _| i32::from(o.ip6.multicast_all), |o, v| flag(&mut o.ip6.multicast_all, v)),
    (SOL_IPV6, 49, |o, _| i32::from(o.ip6.recv_pktinfo), |o, v| flag(&mut o.ip6.recv_pktinfo, v)),
    (SOL_IPV6, 51, |o, _| i32::from(o.ip6.recv_hop_limit), |o, v| flag(&mut o.ip6.recv_hop_limit, v)),
    (SOL_IPV6, 62, |o, _| i32::from(o.ip6.dont_frag), |o, v| flag(&mut o.ip6.dont_frag, v)),
    (SOL_IPV6, 66, |o, _| i32::from(o.ip6.recv_tclass), |o, v| flag(&mut o.ip6.recv_tclass, v)),
    (
        SOL_IPV6,
        67,
        |o, _| i32::from(o.ip6.tclass),
        |o, v| byte(if v == -1 { 0 } else { v }).map(|v| o.ip6.tclass = v),
    ),
    (SOL_IPV6, 70, |o, _| i32::from(o.ip6.auto_flow_label), |o, v| flag(&mut o.ip6.auto_flow_label, v)),
    (SOL_IPV6, 78, |o, _| i32::from(o.ip6.freebind), |o, v| flag(&mut o.ip6.freebind, v)),
];

/// The same for TCP.
const TCP_NUMBERS: &[(i32, Get, Set)] = &[
    (1, |o, _| i32::from(o.tcp.nodelay), |o, v| flag(&mut o.tcp.nodelay, v)),
    (
        2,
        |o, _| i32::from(if o.tcp.max_seg() == 0 { 536 } else { o.tcp.max_seg() }),
        |o, v| o.tcp.set_max_seg(v),
    ),
    (3, |o, _| i32::from(o.tcp.cork), |o, v| flag(&mut o.tcp.cork, v)),
    (4, |o, c| seconds(o.tcp.keep_idle(c)), |o, v| o.tcp.set_keep_idle(v)),
    (5, |o, c| seconds(o.tcp.keep_interval(c)), |o, v| o.tcp.set_keep_interval(v)),
    (6, |o, c| o.tcp.keep_count(c) as i32, |o, v| o.tcp.set_keep_count(v)),
    (7, |o, c| o.tcp.syn_count(c) as i32, |o, v| o.tcp.set_syn_count(v)),
    (
        8,
        |o, c| o.tcp.linger2(c).map_or(-1, seconds),
        |o, v| {
            o.tcp.set_linger2(v);
            Ok(())
        },
    ),
    (
        9,
        |o, _| seconds(o.tcp.defer_accept()),
        |o, v| {
            o.tcp.set_defer_accept(v);
            Ok(())
        },
    ),
    (10, |o, _| o.tcp.window_clamp as i32, |o, v| index(v).map(|v| o.tcp.window_clamp = v)),
    (
        12,
        |o, _| i32::from(o.tcp.quickack.unwrap_or(true)),
        |o, v| {
            o.tcp.quickack = Some(v != 0);
            Ok(())
        },
    ),
    (16, |o, _| i32::from(o.tcp.thin_linear_timeouts), |o, v| flag(&mut o.tcp.thin_linear_timeouts, v)),
    (
        18,
        |o, _| o.tcp.user_timeout.map_or(0, |time| i32::try_from(time.as_millis()).unwrap_or(i32::MAX)),
        |o, v| o.tcp.set_user_timeout(v),
    ),
    (23, |o, _| o.tcp.fastopen as i32, |o, v| index(v).map(|v| o.tcp.fastopen = v)),
    (
        25,
        |o, _| o.tcp.notsent_lowat as i32,
        |o, v| {
            o.tcp.notsent_lowat = v as u32;
            Ok(())
        },
    ),
    (30, |o, _| i32::from(o.tcp.fastopen_connect), |o, v| flag(&mut o.tcp.fastopen_connect, v)),
    (36, |o, _| i32::from(o.tcp.inq), |o, v| flag(&mut o.tcp.inq, v)),
];

fn flag(slot: &mut bool, value: i32) -> netstack::Result<()> {
    *slot = value != 0;
    Ok(())
}

pub(super) fn byte(value: i32) -> netstack::Result<u8> {
    u8::try_from(value).map_err(|_| netstack::Error::Invalid)
}

/// `IP_TTL`: 1 to 255, or -1 for the default.
fn ttl(value: i32) -> netstack::Result<Option<u8>> {
    match value {
        -1 => Ok(None),
        1..=255 => byte(value).map(Some),
        _ => Err(netstack::Error::Invalid),
    }
}

fn index(value: i32) -> netstack::Result<u32> {
    u32::try_from(value).map_err(|_| netstack::Error::Invalid)
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

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
    let found = match level {
        SOL_TCP => TCP_NUMBERS.iter().find(|row| row.0 == name).map(|row| row.1),
        _ => NUMBERS.iter().find(|row| (row.0, row.1) == (level, name)).map(|row| row.2),
    };
    if let Some(get) = found {
        return Some(int(get));
    }
    Some(match (level, name, &socket.any) {
        (SOL_TCP, TCP_CONGESTION, _) => {
            let mut name = socket.read(|options| options.tcp.congestion.name().as_bytes().to_vec());
            name.resize(16, 0);
            Ok(name)
        }
        (SOL_TCP, TCP_INFO, AnySocket::Tcp(tcp)) => Ok(encode_info(&tcp.info())),
        (SOL_RAW, ICMP_FILTER, AnySocket::Raw(raw)) => Ok(raw.icmp_filter().to_ne_bytes().to_vec()),
        (SOL_ICMPV6, ICMPV6_FILTER, _) => {
            Ok(socket.read(|all| all.ip6.icmp_filter.iter().flat_map(|word| word.to_ne_bytes()).collect()))
        }
        (SOL_RAW | SOL_IPV6, IPV6_CHECKSUM, _) => {
            Ok(socket.read(|all| all.ip6.checksum.map_or(-1, i32::from)).to_ne_bytes().to_vec())
        }
        (SOL_IP, IP_MULTICAST_IF, _) => {
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
    let found = match level {
        SOL_TCP => TCP_NUMBERS.iter().find(|row| row.0 == name).map(|row| row.2),
        _ => NUMBERS.iter().find(|row| (row.0, row.1) == (level, name)).map(|row| row.3),
    };
    if let Some(set) = found {
        return Some(apply(set));
    }
    Some(match (level, name) {
        (SOL_TCP, TCP_CONGESTION) => set_congestion(socket, value),
        (SOL_IP, IP_MULTICAST_IF) => set_multicast_if(socket, value),
        (SOL_IP, IP_ADD_MEMBERSHIP | IP_DROP_MEMBERSHIP) => {
            group_v4(net, value).and_then(|group| change_group(socket, group, name == IP_ADD_MEMBERSHIP))
        }
        (SOL_IPV6, IPV6_JOIN_GROUP | IPV6_LEAVE_GROUP) => {
            group_v6(value).and_then(|group| change_group(socket, group, name == IPV6_JOIN_GROUP))
        }
        (SOL_RAW, ICMP_FILTER) => set_icmp_filter(socket, value),
        (SOL_ICMPV6, ICMPV6_FILTER) => set_icmp6_filter(socket, value),
        (SOL_RAW | SOL_IPV6, IPV6_CHECKSUM) => set_checksum_offset(socket, value),
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
