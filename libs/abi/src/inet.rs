//! Levels and options of internet sockets (`linux/in.h`, `linux/in6.h`, `linux/tcp.h`; `man 7 ip`, `man 7 ipv6`,
//! `man 7 tcp`, `man 7 udp`, `man 7 raw`).
#![allow(missing_docs, reason = "Linux's names, without the prefix that the module's name repeats")]

/// Level of IPv4 options.
pub const SOL_IP: i32 = 0;
/// Level of TCP options.
pub const SOL_TCP: i32 = 6;
/// Level of UDP options.
pub const SOL_UDP: i32 = 17;
/// Level of IPv6 options.
pub const SOL_IPV6: i32 = 41;
/// Level of ICMPv6 options of raw sockets.
pub const SOL_ICMPV6: i32 = 58;
/// Level of options of raw sockets.
pub const SOL_RAW: i32 = 255;
/// `ICMP_FILTER`, at `SOL_RAW`.
pub const ICMP_FILTER: i32 = 1;
/// `ICMPV6_FILTER`, at `SOL_ICMPV6`.
pub const ICMPV6_FILTER: i32 = 1;

/// `IP_*`.
pub mod ip {
    pub const TOS: i32 = 1;
    pub const TTL: i32 = 2;
    pub const HDRINCL: i32 = 3;
    pub const OPTIONS: i32 = 4;
    pub const RECVOPTS: i32 = 6;
    pub const RETOPTS: i32 = 7;
    pub const PKTINFO: i32 = 8;
    pub const MTU_DISCOVER: i32 = 10;
    pub const RECVERR: i32 = 11;
    pub const RECVTTL: i32 = 12;
    pub const RECVTOS: i32 = 13;
    pub const MTU: i32 = 14;
    pub const FREEBIND: i32 = 15;
    pub const PASSSEC: i32 = 18;
    pub const TRANSPARENT: i32 = 19;
    pub const SO_ORIGINAL_DST: i32 = 80;
    pub const RECVORIGDSTADDR: i32 = 20;
    pub const MINTTL: i32 = 21;
    pub const CHECKSUM: i32 = 23;
    pub const BIND_ADDRESS_NO_PORT: i32 = 24;
    pub const RECVFRAGSIZE: i32 = 25;
    pub const MULTICAST_IF: i32 = 32;
    pub const MULTICAST_TTL: i32 = 33;
    pub const MULTICAST_LOOP: i32 = 34;
    pub const ADD_MEMBERSHIP: i32 = 35;
    pub const DROP_MEMBERSHIP: i32 = 36;
    pub const UNBLOCK_SOURCE: i32 = 37;
    pub const BLOCK_SOURCE: i32 = 38;
    pub const ADD_SOURCE_MEMBERSHIP: i32 = 39;
    pub const DROP_SOURCE_MEMBERSHIP: i32 = 40;
    pub const MULTICAST_ALL: i32 = 49;
    pub const UNICAST_IF: i32 = 50;
    pub const LOCAL_PORT_RANGE: i32 = 51;
}

/// `MCAST_*`, the same at the levels of IPv4 and IPv6 (RFC 3678).
pub mod mcast {
    pub const JOIN_GROUP: i32 = 42;
    pub const BLOCK_SOURCE: i32 = 43;
    pub const UNBLOCK_SOURCE: i32 = 44;
    pub const LEAVE_GROUP: i32 = 45;
    pub const JOIN_SOURCE_GROUP: i32 = 46;
    pub const LEAVE_SOURCE_GROUP: i32 = 47;
}

/// `IPV6_*`.
pub mod ipv6 {
    pub const OLD_HOPOPTS: i32 = 3;
    pub const OLD_DSTOPTS: i32 = 4;
    pub const OLD_RTHDR: i32 = 5;
    pub const CHECKSUM: i32 = 7;
    pub const FLOWINFO: i32 = 11;
    pub const UNICAST_HOPS: i32 = 16;
    pub const MULTICAST_IF: i32 = 17;
    pub const MULTICAST_HOPS: i32 = 18;
    pub const MULTICAST_LOOP: i32 = 19;
    pub const JOIN_GROUP: i32 = 20;
    pub const LEAVE_GROUP: i32 = 21;
    pub const MTU_DISCOVER: i32 = 23;
    pub const MTU: i32 = 24;
    pub const RECVERR: i32 = 25;
    pub const V6ONLY: i32 = 26;
    pub const MULTICAST_ALL: i32 = 29;
    pub const ROUTER_ALERT_ISOLATE: i32 = 30;
    pub const FLOWINFO_SEND: i32 = 33;
    pub const RECVPKTINFO: i32 = 49;
    pub const PKTINFO: i32 = 50;
    pub const RECVHOPLIMIT: i32 = 51;
    pub const HOPLIMIT: i32 = 52;
    pub const RECVHOPOPTS: i32 = 53;
    pub const RECVRTHDR: i32 = 56;
    pub const RECVDSTOPTS: i32 = 58;
    pub const RECVPATHMTU: i32 = 60;
    pub const DONTFRAG: i32 = 62;
    pub const RECVTCLASS: i32 = 66;
    pub const TCLASS: i32 = 67;
    pub const AUTOFLOWLABEL: i32 = 70;
    pub const MINHOPCOUNT: i32 = 73;
    pub const RECVORIGDSTADDR: i32 = 74;
    pub const TRANSPARENT: i32 = 75;
    pub const UNICAST_IF: i32 = 76;
    pub const SO_ORIGINAL_DST: i32 = 80;
    pub const RECVFRAGSIZE: i32 = 77;
    pub const FREEBIND: i32 = 78;
}

/// `TCP_*`.
pub mod tcp {
    pub const NODELAY: i32 = 1;
    pub const MAXSEG: i32 = 2;
    pub const CORK: i32 = 3;
    pub const KEEPIDLE: i32 = 4;
    pub const KEEPINTVL: i32 = 5;
    pub const KEEPCNT: i32 = 6;
    pub const SYNCNT: i32 = 7;
    pub const LINGER2: i32 = 8;
    pub const DEFER_ACCEPT: i32 = 9;
    pub const WINDOW_CLAMP: i32 = 10;
    pub const INFO: i32 = 11;
    pub const QUICKACK: i32 = 12;
    pub const CONGESTION: i32 = 13;
    pub const THIN_LINEAR_TIMEOUTS: i32 = 16;
    pub const USER_TIMEOUT: i32 = 18;
    pub const REPAIR: i32 = 19;
    pub const FASTOPEN: i32 = 23;
    pub const NOTSENT_LOWAT: i32 = 25;
    pub const FASTOPEN_CONNECT: i32 = 30;
    pub const ULP: i32 = 31;
    pub const ZEROCOPY_RECEIVE: i32 = 35;
    pub const INQ: i32 = 36;
    pub const TX_DELAY: i32 = 37;
    /// `TCP_CM_INQ`: the same number, as a control message.
    pub const CM_INQ: i32 = INQ;
}

/// `UDP_*`.
pub mod udp {
    pub const CORK: i32 = 1;
    pub const SEGMENT: i32 = 103;
    pub const GRO: i32 = 104;
}
