//! Neighbours: `RTM_*NEIGH`.

use std::net::IpAddr;

use abi::netlink::{NDA_DST, NDA_LLADDR, NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, RTM_DELNEIGH, RTM_NEWNEIGH};
use abi::{Errno, Result};
use netstack::{Mac, Neighbour, NeighbourState};

use super::super::Context;
use super::super::message::{Body, Replies, Request};
use super::{family, group, is_wanted, octets, parse_ip};
use crate::bytes::{half, word};
use crate::inet::errno;

const HEADER: usize = 12;
const NTF_ROUTER: u8 = 0x80;

/// `RTM_GETNEIGH`: all, or one by address.
pub(super) fn get(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    let all = context.net.stack().neighbours();
    if request.is_dump() {
        let wanted = request.body().first().copied().unwrap_or(0);
        let index = word(request.body(), 4).unwrap_or(0);
        for neighbour in
            all.iter().filter(|n| is_wanted(wanted, n.ip) && (index == 0 || index == n.interface))
        {
            replies.message(RTM_NEWNEIGH, NLM_F_MULTI, |body| describe(neighbour, body));
        }
        replies.done();
        return Ok(());
    }
    let (index, ip) = name(request)?;
    let found = all.iter().find(|neighbour| (neighbour.interface, neighbour.ip) == (index, ip));
    let found = found.ok_or(Errno::ENOENT)?;
    replies.message(RTM_NEWNEIGH, 0, |body| describe(found, body));
    Ok(())
}

/// The link and address that a message names.
fn name(request: &Request<'_>) -> Result<(u32, IpAddr)> {
    let (header, attributes) = request.split(HEADER)?;
    let ip = parse_ip(header[0], attributes.get(NDA_DST).ok_or(Errno::EINVAL)?)?;
    Ok((word(header, 4).unwrap_or(0), ip))
}

/// `RTM_NEWNEIGH`.
pub(super) fn add(context: &Context<'_>, request: &Request<'_>) -> Result<()> {
    let (header, attributes) = request.split(HEADER)?;
    let (index, ip) = name(request)?;
    let stack = context.net.stack();
    let exists =
        stack.neighbours().iter().any(|neighbour| (neighbour.interface, neighbour.ip) == (index, ip));
    match (exists, request.has(NLM_F_CREATE), request.has(NLM_F_EXCL)) {
        (true, _, true) => return Err(Errno::EEXIST),
        (false, false, _) => return Err(Errno::ENOENT),
        _ => {}
    }
    let mac = attributes.get(NDA_LLADDR).ok_or(Errno::EINVAL)?;
    let mac = Mac(mac.try_into().map_err(|_| Errno::EINVAL)?);
    let state = match half(header, 8) {
        Some(0x80 | 0x40) => NeighbourState::Permanent,
        Some(0x02) => NeighbourState::Reachable,
        _ => NeighbourState::Stale,
    };
    stack.set_neighbour(index, ip, mac, state).map_err(errno)?;
    announce(
        context,
        RTM_NEWNEIGH,
        &Neighbour { interface: index, ip, mac: Some(mac), state, is_router: false },
    );
    Ok(())
}

/// `RTM_DELNEIGH`.
pub(super) fn remove(context: &Context<'_>, request: &Request<'_>) -> Result<()> {
    let (interface, ip) = name(request)?;
    context.net.stack().remove_neighbour(interface, ip).map_err(errno)?;
    let gone = Neighbour { interface, ip, mac: None, state: NeighbourState::Failed, is_router: false };
    announce(context, RTM_DELNEIGH, &gone);
    Ok(())
}

fn announce(context: &Context<'_>, kind: u16, neighbour: &Neighbour) {
    context.net.netlink().announce(group::NEIGHBOUR, |replies| {
        replies.message(kind, 0, |body| describe(neighbour, body));
    });
}

/// `struct ndmsg` and its attributes.
fn describe(neighbour: &Neighbour, body: &mut Body<'_>) {
    let flags = if neighbour.is_router { NTF_ROUTER } else { 0 };
    body.put(&[family(neighbour.ip), 0, 0, 0]).put(&neighbour.interface.to_ne_bytes());
    // RTN_UNICAST.
    body.put(&(neighbour.state as u16).to_ne_bytes()).put(&[flags, 1]);
    body.attr(NDA_DST, &octets(neighbour.ip));
    if let Some(mac) = neighbour.mac {
        body.attr(NDA_LLADDR, &mac.0);
    }
}
