//! Links: `RTM_*LINK`.

use std::sync::Arc;

use abi::{Errno, Result};
use netstack::{Mac, Nic, NicConfig, NicKind, NicStats};

use super::super::Context;
use super::super::message::{Attributes, Body, NLM_F_CREATE, NLM_F_EXCL, NLM_F_MULTI, Replies, Request};
use super::{RTM_DELLINK, RTM_NEWLINK, group};
use crate::bytes::word;
use crate::inet::{errno, link_flags, oper_state};

const HEADER: usize = 16;
const IFLA_ADDRESS: u16 = 1;
const IFLA_BROADCAST: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_QDISC: u16 = 6;
const IFLA_STATS: u16 = 7;
const IFLA_TXQLEN: u16 = 13;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKMODE: u16 = 17;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_CARRIER: u16 = 33;
const IFLA_MIN_MTU: u16 = 50;
const IFLA_MAX_MTU: u16 = 51;
const IFLA_INFO_KIND: u16 = 1;
const IFF_UP: u32 = 1;
/// Links of a name space.
const MAX_LINKS: usize = 256;

/// `RTM_GETLINK`: all links, or one by index or name.
pub(super) fn get(context: &Context<'_>, request: &Request<'_>, replies: &mut Replies) -> Result<()> {
    if request.is_dump() {
        for nic in context.net.stack().nics() {
            replies.message(RTM_NEWLINK, NLM_F_MULTI, |body| describe(&nic, body));
        }
        replies.done();
        return Ok(());
    }
    let nic = find(context, request)?;
    replies.message(RTM_NEWLINK, 0, |body| describe(&nic, body));
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

/// `RTM_NEWLINK` and `RTM_SETLINK`: makes a dummy link, or changes state, name, MTU and address of one.
pub(super) fn change(context: &Context<'_>, request: &Request<'_>) -> Result<()> {
    let (header, attributes) = request.split(HEADER)?;
    let nic = match find(context, request) {
        Ok(_) if request.has(NLM_F_CREATE) && request.has(NLM_F_EXCL) => return Err(Errno::EEXIST),
        Err(Errno::ENODEV) if request.kind == RTM_NEWLINK && request.has(NLM_F_CREATE) => {
            make(context, attributes)?
        }
        other => other?,
    };
    let stack = context.net.stack();
    if let (Some(name), Some(1..)) = (attributes.text(IFLA_IFNAME), word(header, 4)) {
        context.net.rename_interface(&nic, name)?;
    }
    if let Some(mtu) = attributes.word(IFLA_MTU) {
        nic.set_mtu(mtu).map_err(errno)?;
    }
    if let Some(address) = attributes.get(IFLA_ADDRESS) {
        if nic.is_loopback() {
            return Err(Errno::EOPNOTSUPP);
        }
        nic.set_mac(Mac(address.try_into().map_err(|_| Errno::EINVAL)?));
    }
    let (flags, mask) = (word(header, 8).unwrap_or(0), word(header, 12).unwrap_or(0));
    // Old programs set the flags without a mask.
    if mask & IFF_UP != 0 || mask == 0 && flags != 0 {
        stack.set_up(&nic, flags & IFF_UP != 0);
    }
    announce(context, &nic, RTM_NEWLINK);
    Ok(())
}

fn make(context: &Context<'_>, attributes: Attributes<'_>) -> Result<Arc<Nic>> {
    let kind = attributes.get(IFLA_LINKINFO).and_then(|info| Attributes(info).text(IFLA_INFO_KIND));
    if kind.ok_or(Errno::EINVAL)? != "dummy" || context.net.stack().nics().len() >= MAX_LINKS {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut mac = [0; 6];
    host::random::fill(&mut mac);
    // Locally administered, not a group.
    mac[0] = mac[0] & 0xfe | 2;
    let config = NicConfig {
        name: attributes.text(IFLA_IFNAME).unwrap_or("dummy0").to_owned(),
        kind: NicKind::Ethernet,
        mac: Mac(mac),
        mtu: 1500,
        device: None,
    };
    context.net.stack().add_nic(config).map_err(errno)
}

/// `RTM_DELLINK`. The loopback and the links to the host stay.
pub(super) fn remove(context: &Context<'_>, request: &Request<'_>) -> Result<()> {
    let nic = find(context, request)?;
    if nic.is_loopback() || nic.has_device() {
        return Err(Errno::EOPNOTSUPP);
    }
    context.net.remove_interface(&nic);
    announce(context, &nic, RTM_DELLINK);
    Ok(())
}

fn announce(context: &Context<'_>, nic: &Nic, kind: u16) {
    context.net.netlink().announce(group::LINK, |replies| {
        replies.message(kind, 0, |body| describe(nic, body));
    });
}

/// `struct ifinfomsg` and its attributes.
fn describe(nic: &Nic, body: &mut Body<'_>) {
    let kind: u16 = if nic.is_loopback() { 772 } else { 1 };
    let mac = nic.mac().0;
    let broadcast = if nic.is_loopback() { [0; 6] } else { [0xff; 6] };
    body.put(&[0, 0]).put(&kind.to_ne_bytes()).put(&nic.index.to_ne_bytes());
    body.put(&link_flags(nic).to_ne_bytes()).put(&[0; 4]);
    body.attr_text(IFLA_IFNAME, &nic.name())
        .attr_word(IFLA_TXQLEN, 1000)
        .attr(IFLA_OPERSTATE, &[oper_state(nic).0])
        .attr(IFLA_LINKMODE, &[0])
        .attr_word(IFLA_MTU, nic.mtu())
        .attr_word(IFLA_MIN_MTU, 68)
        .attr_word(IFLA_MAX_MTU, 65_536)
        .attr_word(IFLA_GROUP, 0)
        .attr_word(IFLA_PROMISCUITY, u32::from(nic.is_promiscuous()))
        .attr_word(IFLA_NUM_TX_QUEUES, 1)
        .attr_word(IFLA_NUM_RX_QUEUES, 1)
        .attr(IFLA_CARRIER, &[u8::from(nic.is_up())])
        .attr_text(IFLA_QDISC, "noqueue")
        .attr(IFLA_ADDRESS, &mac)
        .attr(IFLA_BROADCAST, &broadcast);
    let stats = statistics(&nic.stats);
    let wide: Vec<u8> = stats.iter().flat_map(|value| value.to_ne_bytes()).collect();
    let narrow: Vec<u8> = stats.iter().flat_map(|value| (*value as u32).to_ne_bytes()).collect();
    body.attr(IFLA_STATS64, &wide).attr(IFLA_STATS, &narrow);
    if !nic.is_loopback() && !nic.has_device() {
        body.nest(IFLA_LINKINFO, |info| {
            info.attr_text(IFLA_INFO_KIND, "dummy");
        });
    }
    body.attr(IFLA_AF_SPEC, &[]);
}

/// `struct rtnl_link_stats64`.
fn statistics(stats: &NicStats) -> [u64; 24] {
    let mut values = [0; 24];
    let known = [&stats.rx_packets, &stats.tx_packets, &stats.rx_bytes, &stats.tx_bytes, &stats.rx_errors];
    for (slot, counter) in values.iter_mut().zip(known) {
        *slot = counter.get();
    }
    (values[6], values[7], values[8]) =
        (stats.rx_dropped.get(), stats.tx_dropped.get(), stats.rx_multicast.get());
    values
}
