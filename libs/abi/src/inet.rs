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
    pub const RECVOPTS: i32 = 6;
    pub const RETOPTS: i32 = 7;
    pub const PKTINFO: i32 = 8;
    pub const MTU_DISCOVER: i32 = 10;
    pub const RECVERR: i32 = 11;
    pub const RECVTTL: i32 = 12;
    pub const RECVTOS: i32 = 13;
    pub const FREEBIND: i32 = 15;
    pub const RECVORIGDSTADDR: i32 = 20;
    pub const MINTTL: i32 = 21;
    pub const BIND_ADDRESS_NO_PORT: i32 = 24;
    pub const MULTICAST_IF: i32 = 32;
    pub const MULTICAST_TTL: i32 = 33;
    pub const MULTICAST_LOOP: i32 = 34;
    pub const ADD_MEMBERSHIP: i32 = 35;
    pub const DROP_MEMBERSHIP: i32 = 36;
    pub const MULTICAST_ALL: i32 = 49;
}

/// `IPV6_*`.
pub mod ipv6 {
    pub const CHECKSUM: i32 = 7;
    pub const UNICAST_HOPS: i32 = 16;
    pub const MULTICAST_IF: i32 = 17;
    pub const MULTICAST_HOPS: i32 = 18;
    pub const MULTICAST_LOOP: i32 = 19;
    pub const JOIN_GROUP: i32 = 20;
    pub const LEAVE_GROUP: i32 = 21;
    pub const MTU_DISCOVER: i32 = 23;
    pub const RECVERR: i32 = 25;
    pub const V6ONLY: i32 = 26;
    pub const MULTICAST_ALL: i32 = 29;
    pub const RECVPKTINFO: i32 = 49;
    pub const PKTINFO: i32 = 50;
    pub const RECVHOPLIMIT: i32 = 51;
    pub const HOPLIMIT: i32 = 52;
    pub const DONTFRAG: i32 = 62;
    pub const RECVTCLASS: i32 = 66;
    pub const TCLASS: i32 = 67;
    pub const AUTOFLOWLABEL: i32 = 70;
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
    pub const FASTOPEN: i32 = 23;
    pub const NOTSENT_LOWAT: i32 = 25;
    pub const FASTOPEN_CONNECT: i32 = 30;
    pub const INQ: i32 = 36;
    /// `TCP_CM_INQ`: the same number, as a control message.
    pub const CM_INQ: i32 = INQ;
}
