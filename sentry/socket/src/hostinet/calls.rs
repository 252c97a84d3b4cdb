//! The host calls that sockets of the host need, beside those that every sandbox may make.
//!
//! Options are allowed one by one, those that guests use and that reach nothing but the socket: no filters or programs,
//! no upper-layer protocols, no repair mode, nothing that maps or pins memory.

use host::seccomp::{ArgCheck, Rule, nr};

/// `SOL_SOCKET`: REUSEADDR, DONTROUTE, BROADCAST, SNDBUF, RCVBUF, KEEPALIVE, OOBINLINE, PRIORITY, LINGER, REUSEPORT,
/// RCVLOWAT, BINDTODEVICE, TIMESTAMP, TIMESTAMPNS, RXQ_OVFL, PEEK_OFF, INCOMING_CPU.
const SET_SOCKET: &[u32] = &[2, 5, 6, 7, 8, 9, 10, 12, 13, 15, 18, 25, 29, 35, 40, 42, 49];
/// `SOL_SOCKET`, only told: ERROR.
const GET_SOCKET: &[u32] = &[4, 25];
/// `IPPROTO_IP`: TOS, TTL, HDRINCL, RECVOPTS, RETOPTS, PKTINFO, MTU_DISCOVER, RECVERR, RECVTTL, RECVTOS, MTU, FREEBIND,
/// RECVORIGDSTADDR, MINTTL, BIND_ADDRESS_NO_PORT, RECVFRAGSIZE, MULTICAST_IF, MULTICAST_TTL, MULTICAST_LOOP,
/// ADD_MEMBERSHIP, DROP_MEMBERSHIP, the four of source filters, MCAST_JOIN_GROUP, MCAST_LEAVE_GROUP, MULTICAST_ALL,
/// UNICAST_IF, LOCAL_PORT_RANGE.
const IP: &[u32] = &[
    1, 2, 3, 6, 7, 8, 10, 11, 12, 13, 14, 15, 20, 21, 24, 25, 32, 33, 34, 35, 36, 37, 38, 39, 40, 42, 45, 49,
    50, 51,
];
/// `IPPROTO_IPV6`: CHECKSUM, UNICAST_HOPS, MULTICAST_IF, MULTICAST_HOPS, MULTICAST_LOOP, ADD_MEMBERSHIP,
/// DROP_MEMBERSHIP, MTU_DISCOVER, MTU, RECVERR, V6ONLY, MULTICAST_ALL, MCAST_JOIN_GROUP, MCAST_LEAVE_GROUP, RECVPKTINFO,
/// RECVHOPLIMIT, RECVPATHMTU, DONTFRAG, RECVTCLASS, TCLASS, AUTOFLOWLABEL, UNICAST_IF, FREEBIND.
const IPV6: &[u32] =
    &[7, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 29, 42, 45, 49, 51, 60, 62, 66, 67, 70, 76, 78];
/// `IPPROTO_TCP`: NODELAY, MAXSEG, CORK, KEEPIDLE, KEEPINTVL, KEEPCNT, SYNCNT, LINGER2, DEFER_ACCEPT, WINDOW_CLAMP, INFO,
/// QUICKACK, CONGESTION, USER_TIMEOUT, FASTOPEN, NOTSENT_LOWAT, FASTOPEN_CONNECT, INQ, TX_DELAY.
const TCP: &[u32] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 18, 23, 25, 30, 36, 37];
/// `IPPROTO_UDP`: CORK, SEGMENT, GRO.
const UDP: &[u32] = &[1, 103, 104];
/// `SOL_RAW` and `IPPROTO_ICMPV6`: the filter by ICMP type.
const FILTER: &[u32] = &[1];

/// The options of one level.
macro_rules! option_rule {
    ($call:ident, $name:literal, $level:literal, $options:ident) => {
        Rule::when(nr::$call, $name, &[ArgCheck::Eq32(1, $level), ArgCheck::OneOf32(2, $options)])
    };
}

/// The allow-list.
pub const HOST_CALLS: &[Rule] = &[
    Rule::any(nr::SYS_connect, "connect"),
    Rule::any(nr::SYS_listen, "listen"),
    Rule::any(nr::SYS_getsockname, "getsockname"),
    Rule::any(nr::SYS_getpeername, "getpeername"),
    // `TIOCOUTQ` (`SIOCOUTQ`), `SIOCATMARK`.
    Rule::when(nr::SYS_ioctl, "ioctl", &[ArgCheck::OneOf32(1, &[0x5411, 0x8905])]),
    option_rule!(SYS_setsockopt, "setsockopt", 1, SET_SOCKET),
    option_rule!(SYS_setsockopt, "setsockopt", 0, IP),
    option_rule!(SYS_setsockopt, "setsockopt", 41, IPV6),
    option_rule!(SYS_setsockopt, "setsockopt", 6, TCP),
    option_rule!(SYS_setsockopt, "setsockopt", 17, UDP),
    option_rule!(SYS_setsockopt, "setsockopt", 255, FILTER),
    option_rule!(SYS_setsockopt, "setsockopt", 58, FILTER),
    option_rule!(SYS_getsockopt, "getsockopt", 1, GET_SOCKET),
    option_rule!(SYS_getsockopt, "getsockopt", 0, IP),
    option_rule!(SYS_getsockopt, "getsockopt", 41, IPV6),
    option_rule!(SYS_getsockopt, "getsockopt", 6, TCP),
    option_rule!(SYS_getsockopt, "getsockopt", 17, UDP),
    option_rule!(SYS_getsockopt, "getsockopt", 255, FILTER),
    option_rule!(SYS_getsockopt, "getsockopt", 58, FILTER),
];

/// Whether option `name` may be set.
pub(super) fn may_set(level: i32, name: i32) -> bool {
    is_allowed(nr::SYS_setsockopt, level, name)
}

/// Whether option `name` may be read.
pub(super) fn may_get(level: i32, name: i32) -> bool {
    is_allowed(nr::SYS_getsockopt, level, name)
}

fn is_allowed(call: i64, level: i32, name: i32) -> bool {
    let (level, name) = (level.cast_unsigned(), name.cast_unsigned());
    HOST_CALLS.iter().any(|rule| {
        rule.nr == call
            && matches!(rule.args, [ArgCheck::Eq32(1, of), ArgCheck::OneOf32(2, names)]
                if *of == level && names.contains(&name))
    })
}

#[cfg(test)]
mod tests {
    use super::{may_get, may_set};

    #[test]
    fn options_that_reach_beyond_the_socket_stay_out() {
        // SO_ATTACH_FILTER, SO_ATTACH_BPF, SO_MARK, SO_ZEROCOPY, TCP_REPAIR, TCP_ULP, TCP_ZEROCOPY_RECEIVE.
        for (level, name) in
            [(1, 26), (1, 50), (1, 36), (1, 60), (6, 19), (6, 31), (6, 35), (0, 64), (263, 1)]
        {
            assert!(!may_set(level, name), "{level} {name}");
            assert!(!may_get(level, name), "{level} {name}");
        }
        assert!(may_set(6, 1) && may_get(6, 1) && may_get(1, 4) && !may_set(1, 4));
    }
}
