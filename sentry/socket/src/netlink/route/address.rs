//! Addresses of links: `RTM_*ADDR`.

use std::net::IpAddr;
use std::sync::Arc;

use abi::netlink::{NLM_F_MULTI, NLM_F_REPLACE, RTM_DELADDR, RTM_NEWADDR};
use abi::{Errno, Result};
use netstack::{AddrState, IfAddr, Nic, Prefix};

use super::super::Context;
use super::super::message::{Body, Replies, Request};
use super::{family, group, is_wanted, octets, parse_ip};
use crate::bytes::word;
use crate::inet::errno;

const HEADER: usize = 8;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_LABEL: u16 = 3;
const IFA_BROADCAST: u16 = 4;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_F_DADFAILED: u32 = 0x08;
const IFA_F_TENTATIVE: u32 = 0x40;
const IFA_F_PERMANENT: u32 = 0x80;

/// `RTM_GETADDR`: always a dump; a link's index in the header limits it.
pub(super) fn get(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    if !request.is_dump() {
        return Err(Errno::EOPNOTSUPP);
    }
    // Old programs send a header of one byte, the family.
    let wanted = request.body().first().copied().unwrap_or(0);
    let index = word(request.body(), 4).unwrap_or(0);
    for nic in context.net.stack().nics().iter().filter(|nic| index == 0 || nic.index == index) {
        for address in nic.addrs().iter().filter(|address| is_wanted(wanted, address.ip())) {
            replies.message(RTM_NEWADDR, NLM_F_MULTI, |body| describe(nic, address, body));
        }
    }
    replies.done();
    Ok(())
}

/// What a message says of an address.
struct Named {
    nic: Arc<Nic>,
    address: IfAddr,
}

fn parse(context: &Context<'_>, request: &Request<'_>) -> Result<Named> {
    let (header, attributes) = request.split(HEADER)?;
    let nic = context.net.stack().nic(word(header, 4).unwrap_or(0)).ok_or(Errno::ENODEV)?;
    let ip = |kind| attributes.get(kind).map(|bytes| parse_ip(header[0], bytes)).transpose();
    let (local, address) = (ip(IFA_LOCAL)?, ip(IFA_ADDRESS)?);
    let own = local.or(address).ok_or(Errno::EINVAL)?;
    let prefix = Prefix::new(own, header[1]).map_err(errno)?;
    let broadcast = match ip(IFA_BROADCAST)? {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    };
    let address = IfAddr { peer: address.filter(|peer| *peer != own), broadcast, ..IfAddr::new(prefix) };
    Ok(Named { nic, address })
}

/// `RTM_NEWADDR`.
pub(super) fn add(context: &Context<'_>, request: &Request<'_>) -> Result<()> {
    let Named { nic, address } = parse(context, request)?;
    match context.net.stack().add_addr(&nic, address) {
        Err(netstack::Error::Exists) if request.has(NLM_F_REPLACE) => return Ok(()),
        other => other.map_err(errno)?,
    }
    announce(context, &nic, &address, RTM_NEWADDR);
    Ok(())
}

/// `RTM_DELADDR`.
pub(super) fn remove(context: &Context<'_>, request: &Request<'_>) -> Result<()> {
    let Named { nic, address } = parse(context, request)?;
    context.net.stack().remove_addr(&nic, address.ip()).map_err(errno)?;
    announce(context, &nic, &address, RTM_DELADDR);
    Ok(())
}

fn announce(context: &Context<'_>, nic: &Nic, address: &IfAddr, kind: u16) {
    let group = group::of(address.ip(), group::V4_ADDRESS, group::V6_ADDRESS);
    context.net.netlink().announce(group, |replies| {
        replies.message(kind, 0, |body| describe(nic, address, body));
    });
}

/// `struct ifaddrmsg` and its attributes.
fn describe(nic: &Nic, address: &IfAddr, body: &mut Body<'_>) {
    let ip = address.ip();
    let mut flags = match address.state {
        AddrState::Valid => 0,
        AddrState::Tentative => IFA_F_TENTATIVE,
        AddrState::Duplicate => IFA_F_TENTATIVE | IFA_F_DADFAILED,
    };
    if address.valid_until.is_none() {
        flags |= IFA_F_PERMANENT;
    }
    body.put(&[family(ip), address.prefix.len, flags as u8, scope(ip)]).put(&nic.index.to_ne_bytes());
    body.attr(IFA_ADDRESS, &octets(address.peer.unwrap_or(ip)));
    if ip.is_ipv4() || address.peer.is_some() {
        body.attr(IFA_LOCAL, &octets(ip));
    }
    if let Some(broadcast) = address.broadcast {
        body.attr(IFA_BROADCAST, &broadcast.octets());
    }
    if ip.is_ipv4() {
        body.attr_text(IFA_LABEL, &nic.name());
    }
    body.attr_word(IFA_FLAGS, flags);
    // Preferred and valid for ever, or for as long as a router said: the rest is not told in seconds.
    let lifetime = u32::MAX.to_ne_bytes();
    body.attr(IFA_CACHEINFO, &[lifetime, lifetime, [0; 4], [0; 4]].concat());
}

/// `RT_SCOPE_HOST`, `_LINK`, `_UNIVERSE`.
fn scope(ip: IpAddr) -> u8 {
    match ip {
        ip if ip.is_loopback() => 254,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => 253,
        _ => 0,
    }
}
