//! The stations that bridges know: `RTM_*NEIGH` for `AF_BRIDGE` (`man 8 bridge`).

use abi::netlink::{
    NDA_CACHEINFO, NDA_LLADDR, NDA_MASTER, NLM_F_MULTI, RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH,
};
use abi::{Errno, Result};
use netstack::{FdbEntry, Mac, Nic};

use super::super::Context;
use super::super::message::{Body, Replies, Request};
use super::group;
use super::link::AF_BRIDGE;
use crate::bytes::word;
use crate::inet::errno;

/// `struct ndmsg`.
const HEADER: usize = 12;
const NUD_REACHABLE: u16 = 0x02;
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;

/// Answers a message about stations.
pub(super) fn answer(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    match request.kind {
        RTM_GETNEIGH => get(context, request, replies),
        RTM_NEWNEIGH => add(context, request),
        RTM_DELNEIGH => remove(context, request),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

fn get(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    if !request.is_dump() {
        return Err(Errno::EOPNOTSUPP);
    }
    // Old programs send a `struct ifinfomsg`, whose index stands in the same place.
    let index = word(request.body(), 4).unwrap_or(0);
    let attributes = request.split(HEADER).ok().map(|(_, attributes)| attributes);
    let master = attributes.and_then(|attributes| attributes.word(NDA_MASTER)).unwrap_or(0);
    let stack = context.net.stack();
    for bridge in stack.nics().iter().filter(|nic| master == 0 || nic.index == master) {
        for station in stack.stations(bridge).iter().filter(|entry| index == 0 || index == entry.port) {
            replies.message(RTM_NEWNEIGH, NLM_F_MULTI, |body| describe(bridge, station, body));
        }
    }
    replies.done();
    Ok(())
}

/// The port and the station that a message names.
fn named(context: &Context<'_>, request: &Request<'_>) -> Result<(std::sync::Arc<Nic>, Mac)> {
    let (header, attributes) = request.split(HEADER)?;
    let nic = context.net.stack().nic(word(header, 4).unwrap_or(0)).ok_or(Errno::ENODEV)?;
    let mac = attributes.get(NDA_LLADDR).ok_or(Errno::EINVAL)?;
    Ok((nic, Mac(mac.try_into().map_err(|_| Errno::EINVAL)?)))
}

fn add(context: &Context<'_>, request: &Request<'_>) -> Result<()> {
    let (nic, mac) = named(context, request)?;
    context.net.stack().set_station(&nic, mac).map_err(errno)?;
    announce(context, RTM_NEWNEIGH, &nic, mac);
    Ok(())
}

fn remove(context: &Context<'_>, request: &Request<'_>) -> Result<()> {
    let (nic, mac) = named(context, request)?;
    context.net.stack().remove_station(&nic, mac).map_err(errno)?;
    announce(context, RTM_DELNEIGH, &nic, mac);
    Ok(())
}

fn announce(context: &Context<'_>, kind: u16, nic: &Nic, mac: Mac) {
    let Some(bridge) = nic.port().and_then(|port| port.bridge()) else { return };
    let station = FdbEntry { mac, port: nic.index, idle: None, is_local: false };
    context.net.netlink().announce(group::NEIGHBOUR, |replies| {
        replies.message(kind, 0, |body| describe(&bridge, &station, body));
    });
}

fn describe(bridge: &Nic, station: &FdbEntry, body: &mut Body<'_>) {
    let state = match (station.is_local, station.idle) {
        (true, _) => NUD_PERMANENT,
        (false, None) => NUD_NOARP,
        (false, Some(_)) => NUD_REACHABLE,
    };
    body.put(&[AF_BRIDGE, 0, 0, 0]).put(&station.port.to_ne_bytes()).put(&state.to_ne_bytes()).put(&[0, 0]);
    body.attr(NDA_LLADDR, &station.mac.0).attr_word(NDA_MASTER, bridge.index);
    // When it was last used, confirmed and updated, in hundredths of a second.
    let age = station.idle.map_or(0, |idle| u32::try_from(idle.as_millis() / 10).unwrap_or(u32::MAX));
    let age = age.to_ne_bytes();
    body.attr(NDA_CACHEINFO, &[[0; 4], age, age, [0; 4]].concat());
}
