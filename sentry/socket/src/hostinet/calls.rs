//! The host calls that sockets of the host need, beside those that every sandbox may make.
//!
//! Options are allowed one by one, those that guests use and that reach nothing but the socket: no filters or programs,
//! no upper-layer protocols, no repair mode, nothing that maps or pins memory.

use abi::fcntl::ioctl::{SIOCATMARK, SIOCOUTQ};
use abi::inet::{
    ICMP_FILTER, ICMPV6_FILTER, SOL_ICMPV6, SOL_IP, SOL_IPV6, SOL_RAW, SOL_TCP, SOL_UDP, ip, ipv6, mcast,
    tcp, udp,
};
use abi::socket::{SOL_SOCKET, so};
use host::seccomp::{ArgCheck, Rule, nr};

const SET_SOCKET: &[u32] = &numbers([
    so::REUSEADDR,
    so::DONTROUTE,
    so::BROADCAST,
    so::SNDBUF,
    so::RCVBUF,
    so::KEEPALIVE,
    so::OOBINLINE,
    so::PRIORITY,
    so::LINGER,
    so::REUSEPORT,
    so::RCVLOWAT,
    so::BINDTODEVICE,
    so::TIMESTAMP,
    so::TIMESTAMPNS,
    so::RXQ_OVFL,
    so::PEEK_OFF,
    so::INCOMING_CPU,
]);
/// The host is asked for these alone: the sentry keeps the others itself.
const GET_SOCKET: &[u32] = &numbers([so::ERROR, so::BINDTODEVICE]);
const IP: &[u32] = &numbers([
    ip::TOS,
    ip::TTL,
    ip::HDRINCL,
    ip::RECVOPTS,
    ip::RETOPTS,
    ip::PKTINFO,
    ip::MTU_DISCOVER,
    ip::RECVERR,
    ip::RECVTTL,
    ip::RECVTOS,
    ip::MTU,
    ip::FREEBIND,
    ip::RECVORIGDSTADDR,
    ip::MINTTL,
    ip::BIND_ADDRESS_NO_PORT,
    ip::RECVFRAGSIZE,
    ip::MULTICAST_IF,
    ip::MULTICAST_TTL,
    ip::MULTICAST_LOOP,
    ip::ADD_MEMBERSHIP,
    ip::DROP_MEMBERSHIP,
    ip::UNBLOCK_SOURCE,
    ip::BLOCK_SOURCE,
    ip::ADD_SOURCE_MEMBERSHIP,
    ip::DROP_SOURCE_MEMBERSHIP,
    mcast::JOIN_GROUP,
    mcast::LEAVE_GROUP,
    ip::MULTICAST_ALL,
    ip::UNICAST_IF,
    ip::LOCAL_PORT_RANGE,
]);
const IPV6: &[u32] = &numbers([
    ipv6::CHECKSUM,
    ipv6::UNICAST_HOPS,
    ipv6::MULTICAST_IF,
    ipv6::MULTICAST_HOPS,
    ipv6::MULTICAST_LOOP,
    ipv6::JOIN_GROUP,
    ipv6::LEAVE_GROUP,
    ipv6::MTU_DISCOVER,
    ipv6::MTU,
    ipv6::RECVERR,
    ipv6::V6ONLY,
    ipv6::MULTICAST_ALL,
    mcast::JOIN_GROUP,
    mcast::LEAVE_GROUP,
    ipv6::RECVPKTINFO,
    ipv6::RECVHOPLIMIT,
    ipv6::RECVPATHMTU,
    ipv6::DONTFRAG,
    ipv6::RECVTCLASS,
    ipv6::TCLASS,
    ipv6::AUTOFLOWLABEL,
    ipv6::UNICAST_IF,
    ipv6::FREEBIND,
]);
const TCP: &[u32] = &numbers([
    tcp::NODELAY,
    tcp::MAXSEG,
    tcp::CORK,
    tcp::KEEPIDLE,
    tcp::KEEPINTVL,
    tcp::KEEPCNT,
    tcp::SYNCNT,
    tcp::LINGER2,
    tcp::DEFER_ACCEPT,
    tcp::WINDOW_CLAMP,
    tcp::INFO,
    tcp::QUICKACK,
    tcp::CONGESTION,
    tcp::USER_TIMEOUT,
    tcp::FASTOPEN,
    tcp::NOTSENT_LOWAT,
    tcp::FASTOPEN_CONNECT,
    tcp::INQ,
    tcp::TX_DELAY,
]);
const UDP: &[u32] = &numbers([udp::CORK, udp::SEGMENT, udp::GRO]);
/// The filters by ICMP type.
const RAW: &[u32] = &numbers([ICMP_FILTER]);
const ICMPV6: &[u32] = &numbers([ICMPV6_FILTER]);

/// Options as the filter compares them.
const fn numbers<const N: usize>(options: [i32; N]) -> [u32; N] {
    let mut numbers = [0; N];
    let mut n = 0;
    while n < N {
        numbers[n] = options[n].cast_unsigned();
        n += 1;
    }
    numbers
}

/// The options of one level.
macro_rules! option_rule {
    ($call:ident, $name:literal, $level:ident, $options:ident) => {
        Rule::when(
            nr::$call,
            $name,
            &[ArgCheck::Eq32(1, $level.cast_unsigned()), ArgCheck::OneOf32(2, $options)],
        )
    };
}

/// The allow-list.
pub const HOST_CALLS: &[Rule] = &[
    Rule::any(nr::SYS_connect, "connect"),
    Rule::any(nr::SYS_listen, "listen"),
    Rule::any(nr::SYS_getsockname, "getsockname"),
    Rule::any(nr::SYS_getpeername, "getpeername"),
    Rule::when(nr::SYS_ioctl, "ioctl", &[ArgCheck::OneOf32(1, &[SIOCOUTQ, SIOCATMARK])]),
    option_rule!(SYS_setsockopt, "setsockopt", SOL_SOCKET, SET_SOCKET),
    option_rule!(SYS_setsockopt, "setsockopt", SOL_IP, IP),
    option_rule!(SYS_setsockopt, "setsockopt", SOL_IPV6, IPV6),
    option_rule!(SYS_setsockopt, "setsockopt", SOL_TCP, TCP),
    option_rule!(SYS_setsockopt, "setsockopt", SOL_UDP, UDP),
    option_rule!(SYS_setsockopt, "setsockopt", SOL_RAW, RAW),
    option_rule!(SYS_setsockopt, "setsockopt", SOL_ICMPV6, ICMPV6),
    option_rule!(SYS_getsockopt, "getsockopt", SOL_SOCKET, GET_SOCKET),
    option_rule!(SYS_getsockopt, "getsockopt", SOL_IP, IP),
    option_rule!(SYS_getsockopt, "getsockopt", SOL_IPV6, IPV6),
    option_rule!(SYS_getsockopt, "getsockopt", SOL_TCP, TCP),
    option_rule!(SYS_getsockopt, "getsockopt", SOL_UDP, UDP),
    option_rule!(SYS_getsockopt, "getsockopt", SOL_RAW, RAW),
    option_rule!(SYS_getsockopt, "getsockopt", SOL_ICMPV6, ICMPV6),
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
    use abi::socket::SOL_PACKET;

    use super::{SOL_IP, SOL_SOCKET, SOL_TCP, may_get, may_set, so, tcp};

    const IPT_SO_SET_REPLACE: i32 = 64;
    const PACKET_ADD_MEMBERSHIP: i32 = 1;

    #[test]
    fn options_that_reach_beyond_the_socket_stay_out() {
        for (level, name) in [
            (SOL_SOCKET, so::ATTACH_FILTER),
            (SOL_SOCKET, so::ATTACH_BPF),
            (SOL_SOCKET, so::MARK),
            (SOL_SOCKET, so::ZEROCOPY),
            (SOL_TCP, tcp::REPAIR),
            (SOL_TCP, tcp::ULP),
            (SOL_TCP, tcp::ZEROCOPY_RECEIVE),
            (SOL_IP, IPT_SO_SET_REPLACE),
            (SOL_PACKET, PACKET_ADD_MEMBERSHIP),
        ] {
            assert!(!may_set(level, name), "{level} {name}");
            assert!(!may_get(level, name), "{level} {name}");
        }
        assert!(may_set(SOL_TCP, tcp::NODELAY) && may_get(SOL_TCP, tcp::NODELAY));
        assert!(may_get(SOL_SOCKET, so::ERROR) && !may_set(SOL_SOCKET, so::ERROR));
    }
}
