//! Links: `RTM_*LINK` (`man 7 rtnetlink`, `man 8 ip-link`).

mod bridge;
mod describe;
mod make;
mod place;

use std::sync::Arc;

use abi::netlink::{
    NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, NLM_F_REPLACE, RTM_DELLINK, RTM_NEWLINK, RTM_SETLINK,
};
use abi::{Errno, Result};
use netstack::{LinkType, Mac, Nic};

use super::super::Context;
use super::super::message::{Attributes, Replies, Request};
use super::group;
use crate::bytes::word;
use crate::inet::{NetNamespace, errno};
use place::Place;
pub(super) use place::{by_fd, by_pid, content};

/// `struct ifinfomsg`.
const HEADER: usize = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_PROTINFO: u16 = 12;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_NEW_IFINDEX: u16 = 49;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_INFO_SLAVE_KIND: u16 = 4;
const IFLA_INFO_SLAVE_DATA: u16 = 5;
const IFF_UP: u32 = 1;
/// `AF_BRIDGE`
pub(super) const AF_BRIDGE: u8 = 7;

/// `RTM_GETLINK`: all links, those of bridges, or one by index or name.
pub(super) fn get(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    let net = context.net;
    if !request.is_dump() {
        let nic = find(context, request)?;
        replies.message(RTM_NEWLINK, 0, |body| describe::link(net, &nic, body));
        return Ok(());
    }
    if request.body().first() == Some(&AF_BRIDGE) {
        for nic in net.stack().nics() {
            if nic.port().is_some() {
                replies.message(RTM_NEWLINK, NLM_F_MULTI, |body| describe::of_bridge(&nic, body));
            }
        }
    } else {
        let attributes = request.split(HEADER).map_or(Attributes(&[]), |(_, attributes)| attributes);
        let master = attributes.word(IFLA_MASTER).filter(|index| *index != 0);
        let kind = attributes.get(IFLA_LINKINFO).and_then(|info| Attributes(info).text(IFLA_INFO_KIND));
        for nic in net.stack().nics() {
            let is_port =
                |index| nic.port().and_then(|port| port.bridge()).is_some_and(|own| own.index == index);
            if master.is_none_or(is_port) && kind.is_none_or(|kind| describe::kind(&nic) == Some(kind)) {
                replies.message(RTM_NEWLINK, NLM_F_MULTI, |body| describe::link(net, &nic, body));
            }
        }
    }
    replies.done();
    Ok(())
}

/// The link that a message names, by index or else by name.
fn find(context: &Context<'_>, request: &Request<'_>) -> Result<Arc<Nic>> {
    let (header, attributes) = request.split(HEADER)?;
    match (word(header, 4), attributes.text(IFLA_IFNAME)) {
        (Some(0) | None, Some(name)) => context.net.stack().nic_by_name(name),
        (Some(index), _) if index != 0 => context.net.stack().nic(index),
        // iproute2 asks whether links can be made by naming none.
        _ if request.kind == RTM_NEWLINK => None,
        _ => return Err(Errno::EINVAL),
    }
    .ok_or(Errno::ENODEV)
}

/// `RTM_NEWLINK` and `RTM_SETLINK`: makes a link, or changes one.
pub(super) fn change(context: &Context<'_>, request: &Request<'_>) -> Result<()> {
    let (header, attributes) = request.split(HEADER)?;
    let nic = match find(context, request) {
        Ok(_) if request.kind == RTM_NEWLINK && request.has(NLM_F_EXCL) => return Err(Errno::EEXIST),
        Ok(_) if request.kind == RTM_NEWLINK && request.has(NLM_F_REPLACE) => {
            return Err(Errno::EOPNOTSUPP);
        }
        Err(Errno::ENODEV) if request.kind == RTM_NEWLINK && request.has(NLM_F_CREATE) => {
            return make::link(context, header, attributes);
        }
        other => other?,
    };
    if request.kind == RTM_SETLINK && header.first() == Some(&AF_BRIDGE) {
        return change_port(context, &nic, attributes);
    }
    let place = Place::here(context);
    let (place, nic) = match place::asked(context, attributes)? {
        Some(target) if !target.is(context.net) => {
            let name = attributes.text(IFLA_IFNAME);
            let index = attributes.word(IFLA_NEW_IFINDEX).filter(|index| *index != 0);
            let moved = move_to(context, &nic, &target, name, index)?;
            (target, moved)
        }
        _ => (place, nic),
    };
    change_data(&nic, attributes)?;
    configure(place.net(), &nic, header, attributes)?;
    announce(place.net(), &nic, RTM_NEWLINK);
    Ok(())
}

/// Moves a link to another name space.
fn move_to(
    context: &Context<'_>,
    nic: &Arc<Nic>,
    target: &Place<'_>,
    name: Option<&str>,
    index: Option<u32>,
) -> Result<Arc<Nic>> {
    let old = nic.name();
    let moved = context.net.stack().move_nic(nic, target.net().stack(), name, index).map_err(errno)?;
    context.net.forget_interface(&old);
    announce(context.net, nic, RTM_DELLINK);
    Ok(moved)
}

/// Name, MTU, address, bridge and state, as far as a message says something of them.
fn configure(net: &NetNamespace, nic: &Arc<Nic>, header: &[u8], attributes: Attributes<'_>) -> Result<()> {
    let stack = net.stack();
    if let (Some(name), Some(1..)) = (attributes.text(IFLA_IFNAME), word(header, 4))
        && name != nic.name()
    {
        net.rename_interface(nic, name)?;
    }
    if let Some(mtu) = attributes.word(IFLA_MTU) {
        stack.set_mtu(nic, mtu).map_err(errno)?;
    }
    if let Some(address) = attributes.get(IFLA_ADDRESS) {
        if nic.is_loopback() {
            return Err(Errno::EOPNOTSUPP);
        }
        stack.set_mac(nic, Mac(address.try_into().map_err(|_| Errno::EINVAL)?)).map_err(errno)?;
    }
    if let Some(master) = attributes.word(IFLA_MASTER) {
        let bridge = (master != 0).then(|| stack.nic(master).ok_or(Errno::EINVAL)).transpose()?;
        stack.set_bridge(nic, bridge.as_ref()).map_err(errno)?;
    }
    set_state(net, nic, header);
    Ok(())
}

/// Up or down.
fn set_state(net: &NetNamespace, nic: &Arc<Nic>, header: &[u8]) {
    let (flags, mask) = (word(header, 8).unwrap_or(0), word(header, 12).unwrap_or(0));
    // Old programs set the flags without a mask.
    if mask & IFF_UP != 0 || mask == 0 && flags != 0 {
        net.stack().set_up(nic, flags & IFF_UP != 0);
    }
}

/// What a message says of a bridge, or of a port as such.
fn change_data(nic: &Nic, attributes: Attributes<'_>) -> Result<()> {
    let Some(info) = attributes.get(IFLA_LINKINFO).map(Attributes) else { return Ok(()) };
    if let Some(data) = info.get(IFLA_INFO_DATA) {
        if info.text(IFLA_INFO_KIND) != describe::kind(nic) {
            return Err(Errno::EOPNOTSUPP);
        }
        let bridge = nic.bridge().ok_or(Errno::EOPNOTSUPP)?;
        bridge::change(bridge, Attributes(data))?;
    }
    if let Some(data) = info.get(IFLA_INFO_SLAVE_DATA) {
        let port = nic.port().filter(|_| info.text(IFLA_INFO_SLAVE_KIND) == Some("bridge"));
        bridge::change_port(&*port.ok_or(Errno::EINVAL)?, Attributes(data));
    }
    Ok(())
}

/// `RTM_SETLINK` for `AF_BRIDGE`: what `bridge link set` sends.
fn change_port(context: &Context<'_>, nic: &Arc<Nic>, attributes: Attributes<'_>) -> Result<()> {
    if let Some(data) = attributes.get(IFLA_PROTINFO) {
        bridge::change_port(&*nic.port().ok_or(Errno::EOPNOTSUPP)?, Attributes(data));
        announce(context.net, nic, RTM_NEWLINK);
    }
    Ok(())
}

/// `RTM_DELLINK`. The loopback and the links to the host stay.
pub(super) fn remove(context: &Context<'_>, request: &Request<'_>) -> Result<()> {
    let nic = find(context, request)?;
    if matches!(nic.link_type(), LinkType::Loopback | LinkType::Device) {
        return Err(Errno::EOPNOTSUPP);
    }
    context.net.remove_announced(&nic);
    Ok(())
}

/// Tells the listeners of a name space of a link.
pub(crate) fn announce(net: &NetNamespace, nic: &Nic, kind: u16) {
    net.netlink().announce(group::LINK, |replies| {
        replies.message(kind, 0, |body| describe::link(net, nic, body));
    });
}
