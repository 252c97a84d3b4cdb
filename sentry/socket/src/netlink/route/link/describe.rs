//! What is told of a link: `struct ifinfomsg` and its attributes.

use abi::netlink::NLA_F_NESTED;

use netstack::{LinkType, Nic, NicKind, NicStats};

use super::super::super::message::Body;
use super::{
    AF_BRIDGE, IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_INFO_SLAVE_DATA,
    IFLA_INFO_SLAVE_KIND, IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU, IFLA_PROTINFO, bridge,
};
use crate::inet::{NetNamespace, hardware_type, link_flags, oper_state};
use crate::tun::{self, TunFlags, TunLink};

const IFLA_BROADCAST: u16 = 2;
const IFLA_LINK: u16 = 5;
const IFLA_QDISC: u16 = 6;
const IFLA_STATS: u16 = 7;
const IFLA_TXQLEN: u16 = 13;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_LINKMODE: u16 = 17;
const IFLA_STATS64: u16 = 23;
const IFLA_AF_SPEC: u16 = 26;
const IFLA_GROUP: u16 = 27;
const IFLA_PROMISCUITY: u16 = 30;
const IFLA_NUM_TX_QUEUES: u16 = 31;
const IFLA_NUM_RX_QUEUES: u16 = 32;
const IFLA_CARRIER: u16 = 33;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_MIN_MTU: u16 = 50;
const IFLA_MAX_MTU: u16 = 51;
const IFLA_TUN_OWNER: u16 = 1;
const IFLA_TUN_GROUP: u16 = 2;
const IFLA_TUN_TYPE: u16 = 3;
const IFLA_TUN_PI: u16 = 4;
const IFLA_TUN_VNET_HDR: u16 = 5;
const IFLA_TUN_PERSIST: u16 = 6;
const IFLA_TUN_MULTI_QUEUE: u16 = 7;
/// The kind of a link, for those that can be made.
pub(super) fn kind(nic: &Nic) -> Option<&'static str> {
    match nic.link_type() {
        LinkType::Loopback | LinkType::Device => None,
        LinkType::Program(kind) => Some(kind),
        LinkType::Dummy => Some("dummy"),
        LinkType::Veth(_) => Some("veth"),
        LinkType::Bridge => Some("bridge"),
    }
}

/// A link as it is told to listeners of `net`.
pub(super) fn link(net: &NetNamespace, nic: &Nic, body: &mut Body<'_>) {
    header(0, nic, body);
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
        .attr(IFLA_CARRIER, &[u8::from(nic.has_carrier())])
        .attr_text(IFLA_QDISC, "noqueue");
    if nic.kind != NicKind::Ip {
        let broadcast = if nic.is_loopback() { [0; 6] } else { [0xff; 6] };
        body.attr(IFLA_ADDRESS, &nic.mac().0).attr(IFLA_BROADCAST, &broadcast);
    }
    if let Some(own) = nic.port().and_then(|port| port.bridge()) {
        body.attr_word(IFLA_MASTER, own.index);
    }
    if let LinkType::Veth(Some(peer)) = nic.link_type() {
        body.attr_word(IFLA_LINK, peer.nic().index);
        if !peer.is_in(net.stack()) {
            body.attr_word(IFLA_LINK_NETNSID, net.numbers().of(peer.stack_id()));
        }
    }
    let stats = statistics(&nic.stats);
    let wide: Vec<u8> = stats.iter().flat_map(|value| value.to_ne_bytes()).collect();
    let narrow: Vec<u8> = stats.iter().flat_map(|value| (*value as u32).to_ne_bytes()).collect();
    body.attr(IFLA_STATS64, &wide).attr(IFLA_STATS, &narrow);
    info(nic, body);
    body.attr(IFLA_AF_SPEC, &[]);
}

/// A port or bridge as `bridge link` asks for it.
pub(super) fn of_bridge(nic: &Nic, body: &mut Body<'_>) {
    header(AF_BRIDGE, nic, body);
    let own = nic.port().and_then(|port| port.bridge()).map_or(nic.index, |own| own.index);
    body.attr_text(IFLA_IFNAME, &nic.name())
        .attr_word(IFLA_MASTER, own)
        .attr_word(IFLA_MTU, nic.mtu())
        .attr(IFLA_OPERSTATE, &[oper_state(nic).0])
        .attr(IFLA_ADDRESS, &nic.mac().0);
    if let Some(port) = nic.port() {
        body.nest(IFLA_PROTINFO | NLA_F_NESTED, |data| bridge::describe_port(nic, &port, data));
    }
}

fn header(family: u8, nic: &Nic, body: &mut Body<'_>) {
    body.put(&[family, 0]).put(&hardware_type(nic).to_ne_bytes()).put(&nic.index.to_ne_bytes());
    body.put(&link_flags(nic).to_ne_bytes()).put(&[0; 4]);
}

/// Its kind and what that has to tell; likewise as a port.
fn info(nic: &Nic, body: &mut Body<'_>) {
    let (kind, port) = (kind(nic), nic.port());
    if kind.is_none() && port.is_none() {
        return;
    }
    body.nest(IFLA_LINKINFO, |info| {
        if let Some(kind) = kind {
            info.attr_text(IFLA_INFO_KIND, kind);
        }
        if let Some(tun) = tun::of(nic) {
            info.nest(IFLA_INFO_DATA, |data| describe_tun(&tun, data));
        }
        if let Some(own) = nic.bridge() {
            info.nest(IFLA_INFO_DATA, |data| bridge::describe(nic, own, data));
        }
        if let Some(port) = port {
            info.attr_text(IFLA_INFO_SLAVE_KIND, "bridge");
            info.nest(IFLA_INFO_SLAVE_DATA, |data| bridge::describe_port(nic, &port, data));
        }
    });
}

/// A link that a program carries (`IFLA_TUN_*`).
fn describe_tun(tun: &TunLink, body: &mut Body<'_>) {
    let state = tun.state();
    for (kind, id) in [(IFLA_TUN_OWNER, state.owner), (IFLA_TUN_GROUP, state.group)] {
        if let Some(id) = id {
            body.attr_word(kind, id);
        }
    }
    let is_tap = state.flags.contains(TunFlags::TAP);
    body.attr(IFLA_TUN_TYPE, &[if is_tap { 2 } else { 1 }])
        .attr(IFLA_TUN_PI, &[u8::from(!state.flags.contains(TunFlags::NO_PI))])
        .attr(IFLA_TUN_VNET_HDR, &[u8::from(state.flags.contains(TunFlags::VNET_HDR))])
        .attr(IFLA_TUN_PERSIST, &[u8::from(state.is_persistent)])
        .attr(IFLA_TUN_MULTI_QUEUE, &[0]);
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
