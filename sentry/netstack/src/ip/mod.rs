//! The network layer: routes, neighbours, IPv4, IPv6, ICMP.

mod output;
pub mod route;
