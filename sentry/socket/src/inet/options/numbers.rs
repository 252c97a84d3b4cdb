//! Options that are one number of the stack's plain [`Options`], read and written alike.

use std::time::Duration;

use abi::inet::{SOL_IP, SOL_IPV6, SOL_TCP, ip, ipv6, tcp};
use netstack::{Config, MtuDiscover, Options};

/// Reads an option; the stack's configuration has the defaults.
pub(super) type Get = fn(&Options, &Config) -> i32;
/// Writes it.
pub(super) type Set = fn(&mut Options, i32) -> netstack::Result<()>;

/// How the option `name` of `level` is read and written, where it is one `int`.
pub(super) fn find(level: i32, name: i32) -> Option<(Get, Set)> {
    if level == SOL_TCP {
        TCP_NUMBERS.iter().find(|row| row.0 == name).map(|row| (row.1, row.2))
    } else {
        NUMBERS.iter().find(|row| (row.0, row.1) == (level, name)).map(|row| (row.2, row.3))
    }
}

/// (level, name, getter, setter) of the options that are one `int`.
const NUMBERS: &[(i32, i32, Get, Set)] = &[
    (
        SOL_IP,
        ip::TTL,
        |o, c| i32::from(o.ip4.ttl.unwrap_or(c.ip_default_ttl)),
        |o, v| ttl(v).map(|v| o.ip4.ttl = v),
    ),
    (SOL_IP, ip::RECVOPTS, |o, _| i32::from(o.ip4.recv_opts), |o, v| flag(&mut o.ip4.recv_opts, v)),
    (SOL_IP, ip::RETOPTS, |o, _| i32::from(o.ip4.ret_opts), |o, v| flag(&mut o.ip4.ret_opts, v)),
    (SOL_IP, ip::PKTINFO, |o, _| i32::from(o.ip4.pktinfo), |o, v| flag(&mut o.ip4.pktinfo, v)),
    (
        SOL_IP,
        ip::MTU_DISCOVER,
        |o, _| o.ip4.mtu_discover.raw(),
        |o, v| MtuDiscover::from_raw(v).map(|v| o.ip4.mtu_discover = v),
    ),
    (SOL_IP, ip::RECVERR, |o, _| i32::from(o.ip4.recv_err), |o, v| flag(&mut o.ip4.recv_err, v)),
    (SOL_IP, ip::RECVTTL, |o, _| i32::from(o.ip4.recv_ttl), |o, v| flag(&mut o.ip4.recv_ttl, v)),
    (SOL_IP, ip::RECVTOS, |o, _| i32::from(o.ip4.recv_tos), |o, v| flag(&mut o.ip4.recv_tos, v)),
    (SOL_IP, ip::FREEBIND, |o, _| i32::from(o.ip4.freebind), |o, v| flag(&mut o.ip4.freebind, v)),
    (
        SOL_IP,
        ip::RECVORIGDSTADDR,
        |o, _| i32::from(o.ip4.recv_orig_dst),
        |o, v| flag(&mut o.ip4.recv_orig_dst, v),
    ),
    (SOL_IP, ip::MINTTL, |o, _| i32::from(o.ip4.min_ttl), |o, v| byte(v).map(|v| o.ip4.min_ttl = v)),
    (
        SOL_IP,
        ip::BIND_ADDRESS_NO_PORT,
        |o, _| i32::from(o.ip4.bind_address_no_port),
        |o, v| flag(&mut o.ip4.bind_address_no_port, v),
    ),
    (
        SOL_IP,
        ip::MULTICAST_TTL,
        |o, _| i32::from(o.ip4.multicast_ttl),
        |o, v| byte(if v == -1 { 1 } else { v }).map(|v| o.ip4.multicast_ttl = v),
    ),
    (
        SOL_IP,
        ip::MULTICAST_LOOP,
        |o, _| i32::from(o.ip4.multicast_loop),
        |o, v| flag(&mut o.ip4.multicast_loop, v),
    ),
    (
        SOL_IP,
        ip::MULTICAST_ALL,
        |o, _| i32::from(o.ip4.multicast_all),
        |o, v| switch(&mut o.ip4.multicast_all, v),
    ),
    (
        SOL_IPV6,
        ipv6::UNICAST_HOPS,
        |o, c| i32::from(o.ip6.hop_limit.unwrap_or(c.ipv6_hop_limit)),
        |o, v| {
            if v == -1 {
                o.ip6.hop_limit = None;
                return Ok(());
            }
            byte(v).map(|v| o.ip6.hop_limit = Some(v))
        },
    ),
    (
        SOL_IPV6,
        ipv6::MULTICAST_HOPS,
        |o, _| i32::from(o.ip6.multicast_hops),
        |o, v| byte(if v == -1 { 1 } else { v }).map(|v| o.ip6.multicast_hops = v),
    ),
    (
        SOL_IPV6,
        ipv6::MULTICAST_LOOP,
        |o, _| i32::from(o.ip6.multicast_loop),
        |o, v| switch(&mut o.ip6.multicast_loop, v),
    ),
    (
        SOL_IPV6,
        ipv6::MTU_DISCOVER,
        |o, _| o.ip6.mtu_discover.raw(),
        |o, v| MtuDiscover::from_raw(v).map(|v| o.ip6.mtu_discover = v),
    ),
    (SOL_IPV6, ipv6::RECVERR, |o, _| i32::from(o.ip6.recv_err), |o, v| flag(&mut o.ip6.recv_err, v)),
    (SOL_IPV6, ipv6::V6ONLY, |o, _| i32::from(o.ip6.v6_only), |o, v| flag(&mut o.ip6.v6_only, v)),
    (
        SOL_IPV6,
        ipv6::MULTICAST_ALL,
        |o, _| i32::from(o.ip6.multicast_all),
        |o, v| flag(&mut o.ip6.multicast_all, v),
    ),
    (
        SOL_IPV6,
        ipv6::RECVPKTINFO,
        |o, _| i32::from(o.ip6.recv_pktinfo),
        |o, v| flag(&mut o.ip6.recv_pktinfo, v),
    ),
    (
        SOL_IPV6,
        ipv6::RECVHOPLIMIT,
        |o, _| i32::from(o.ip6.recv_hop_limit),
        |o, v| flag(&mut o.ip6.recv_hop_limit, v),
    ),
    (SOL_IPV6, ipv6::DONTFRAG, |o, _| i32::from(o.ip6.dont_frag), |o, v| flag(&mut o.ip6.dont_frag, v)),
    (SOL_IPV6, ipv6::RECVTCLASS, |o, _| i32::from(o.ip6.recv_tclass), |o, v| flag(&mut o.ip6.recv_tclass, v)),
    (
        SOL_IPV6,
        ipv6::AUTOFLOWLABEL,
        |o, _| i32::from(o.ip6.auto_flow_label),
        |o, v| flag(&mut o.ip6.auto_flow_label, v),
    ),
    (
        SOL_IPV6,
        ipv6::MINHOPCOUNT,
        |o, _| i32::from(o.ip6.min_hop_count),
        |o, v| byte(v).map(|v| o.ip6.min_hop_count = v),
    ),
    (
        SOL_IPV6,
        ipv6::RECVORIGDSTADDR,
        |o, _| i32::from(o.ip6.recv_orig_dst),
        |o, v| flag(&mut o.ip6.recv_orig_dst, v),
    ),
    (SOL_IPV6, ipv6::FREEBIND, |o, _| i32::from(o.ip6.freebind), |o, v| flag(&mut o.ip6.freebind, v)),
];

/// (name, getter, setter) of TCP's.
const TCP_NUMBERS: &[(i32, Get, Set)] = &[
    (tcp::NODELAY, |o, _| i32::from(o.tcp.nodelay), |o, v| flag(&mut o.tcp.nodelay, v)),
    (
        tcp::MAXSEG,
        |o, _| i32::from(if o.tcp.max_seg() == 0 { 536 } else { o.tcp.max_seg() }),
        |o, v| o.tcp.set_max_seg(v),
    ),
    (tcp::CORK, |o, _| i32::from(o.tcp.cork), |o, v| flag(&mut o.tcp.cork, v)),
    (tcp::KEEPIDLE, |o, c| seconds(o.tcp.keep_idle(c)), |o, v| o.tcp.set_keep_idle(v)),
    (tcp::KEEPINTVL, |o, c| seconds(o.tcp.keep_interval(c)), |o, v| o.tcp.set_keep_interval(v)),
    (tcp::KEEPCNT, |o, c| o.tcp.keep_count(c) as i32, |o, v| o.tcp.set_keep_count(v)),
    (tcp::SYNCNT, |o, c| o.tcp.syn_count(c) as i32, |o, v| o.tcp.set_syn_count(v)),
    (
        tcp::LINGER2,
        |o, c| o.tcp.linger2(c).map_or(-1, seconds),
        |o, v| {
            o.tcp.set_linger2(v);
            Ok(())
        },
    ),
    (
        tcp::DEFER_ACCEPT,
        |o, _| seconds(o.tcp.defer_accept()),
        |o, v| {
            o.tcp.set_defer_accept(v);
            Ok(())
        },
    ),
    (tcp::WINDOW_CLAMP, |o, _| o.tcp.window_clamp as i32, |o, v| index(v).map(|v| o.tcp.window_clamp = v)),
    (
        tcp::QUICKACK,
        |o, _| i32::from(o.tcp.quickack.unwrap_or(true)),
        |o, v| {
            o.tcp.quickack = Some(v != 0);
            Ok(())
        },
    ),
    (
        tcp::THIN_LINEAR_TIMEOUTS,
        |o, _| i32::from(o.tcp.thin_linear_timeouts),
        |o, v| flag(&mut o.tcp.thin_linear_timeouts, v),
    ),
    (
        tcp::USER_TIMEOUT,
        |o, _| o.tcp.user_timeout.map_or(0, |time| i32::try_from(time.as_millis()).unwrap_or(i32::MAX)),
        |o, v| o.tcp.set_user_timeout(v),
    ),
    (tcp::FASTOPEN, |o, _| o.tcp.fastopen as i32, |o, v| index(v).map(|v| o.tcp.fastopen = v)),
    (
        tcp::NOTSENT_LOWAT,
        |o, _| o.tcp.notsent_lowat as i32,
        |o, v| {
            o.tcp.notsent_lowat = v as u32;
            Ok(())
        },
    ),
    (
        tcp::FASTOPEN_CONNECT,
        |o, _| i32::from(o.tcp.fastopen_connect),
        |o, v| flag(&mut o.tcp.fastopen_connect, v),
    ),
    (tcp::INQ, |o, _| i32::from(o.tcp.inq), |o, v| flag(&mut o.tcp.inq, v)),
];

fn flag(slot: &mut bool, value: i32) -> netstack::Result<()> {
    *slot = value != 0;
    Ok(())
}

/// 0 to 255.
pub(in crate::inet) fn byte(value: i32) -> netstack::Result<u8> {
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

/// 0 and more.
fn index(value: i32) -> netstack::Result<u32> {
    u32::try_from(value).map_err(|_| netstack::Error::Invalid)
}

fn seconds(time: Duration) -> i32 {
    i32::try_from(time.as_secs()).unwrap_or(i32::MAX)
}

/// A switch that takes 0 and 1 and nothing else.
fn switch(slot: &mut bool, value: i32) -> netstack::Result<()> {
    *slot = match value {
        0 => false,
        1 => true,
        _ => return Err(netstack::Error::Invalid),
    };
    Ok(())
}
