//! The network layer: routes, neighbours, IPv4, IPv6, ICMP.

pub(crate) mod arp;
pub(crate) mod checksum;
pub(crate) mod forward;
pub(crate) mod fragment;
pub(crate) mod icmp;
pub(crate) mod icmp_error;
pub(crate) mod igmp;
pub(crate) mod input;
pub(crate) mod ndp;
pub(crate) mod neighbour;
pub(crate) mod output;
pub(crate) mod packet;
pub(crate) mod pmtu;
pub(crate) mod route;
pub(crate) mod v4;
pub(crate) mod v6;
