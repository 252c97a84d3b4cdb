//! `NETLINK_ROUTE`: links, addresses, routes, neighbours (`man 7 rtnetlink`).

mod address;
mod fdb;
mod link;
mod neighbour;
mod nsid;
mod queueing;
mod routes;
mod rule;

use std::net::IpAddr;

use abi::netlink::{
    RTM_DELADDR, RTM_DELLINK, RTM_DELNEIGH, RTM_DELROUTE, RTM_GETADDR, RTM_GETLINK, RTM_GETNEIGH,
    RTM_GETNSID, RTM_GETQDISC, RTM_GETROUTE, RTM_GETRULE, RTM_NEWADDR, RTM_NEWLINK, RTM_NEWNEIGH,
    RTM_NEWNSID, RTM_NEWROUTE, RTM_SETLINK,
};
use abi::socket::{AF_INET, AF_INET6};
use abi::{Errno, Result};

pub(crate) use link::announce as announce_link;
pub(crate) use nsid::Numbers;
pub(crate) use routes::main_table;

use super::Context;
use super::message::{Replies, Request};

/// Types come in fours: new, delete, get, set. Only the third changes nothing.
const GET: u16 = 2;

/// `RTNLGRP_LINK` and its kin.
mod group {
    pub(super) const LINK: u32 = 1;
    pub(super) const NEIGHBOUR: u32 = 3;
    pub(super) const V4_ADDRESS: u32 = 5;
    pub(super) const V4_ROUTE: u32 = 7;
    pub(super) const V6_ADDRESS: u32 = 9;
    pub(super) const V6_ROUTE: u32 = 11;

    /// The group of one of the families.
    pub(super) fn of(ip: std::net::IpAddr, v4: u32, v6: u32) -> u32 {
        if ip.is_ipv4() { v4 } else { v6 }
    }
}

/// Answers a request.
///
/// # Errors
/// `EOPNOTSUPP` for a type that is not known, `EPERM`, `EINVAL`, and what the object says.
pub(super) fn answer(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    if request.kind & 3 != GET {
        context.check_admin()?;
    }
    match request.kind {
        RTM_GETLINK => link::get(context, request, replies),
        RTM_NEWLINK | RTM_SETLINK => link::change(context, request),
        RTM_DELLINK => link::remove(context, request),
        RTM_GETADDR => address::get(context, request, replies),
        RTM_NEWADDR => address::add(context, request),
        RTM_DELADDR => address::remove(context, request),
        RTM_GETROUTE => routes::get(context, request, replies),
        RTM_NEWROUTE => routes::add(context, request),
        RTM_DELROUTE => routes::remove(context, request),
        RTM_GETNEIGH | RTM_NEWNEIGH | RTM_DELNEIGH if is_bridge(request) => {
            fdb::answer(context, request, replies)
        }
        RTM_GETNEIGH => neighbour::get(context, request, replies),
        RTM_NEWNEIGH => neighbour::add(context, request),
        RTM_DELNEIGH => neighbour::remove(context, request),
        RTM_GETRULE => rule::get(request, replies),
        RTM_GETQDISC => queueing::get(context, request, replies),
        RTM_NEWNSID => nsid::set(context, request),
        RTM_GETNSID => nsid::get(context, request, replies),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// Whether a message is about the stations of a bridge.
fn is_bridge(request: &Request<'_>) -> bool {
    request.body().first() == Some(&link::AF_BRIDGE)
}

/// The family of an address.
fn family(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { AF_INET as u8 } else { AF_INET6 as u8 }
}

/// Whether objects of `ip`'s family are wanted: 0 asks for all.
fn is_wanted(wanted: u8, ip: IpAddr) -> bool {
    wanted == 0 || wanted == family(ip)
}

/// The bytes of an address.
fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

/// The address in an attribute of a message for `family`.
///
/// # Errors
/// `EINVAL` for another length, `EAFNOSUPPORT` for another family.
fn parse_ip(family: u8, bytes: &[u8]) -> Result<IpAddr> {
    match u16::from(family) {
        AF_INET => bytes.first_chunk::<4>().map(|octets| IpAddr::from(*octets)).ok_or(Errno::EINVAL),
        AF_INET6 => bytes.first_chunk::<16>().map(|octets| IpAddr::from(*octets)).ok_or(Errno::EINVAL),
        _ => Err(Errno::EAFNOSUPPORT),
    }
}
