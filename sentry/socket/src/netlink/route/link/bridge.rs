//! Bridges and their ports in messages: `IFLA_BR_*`, `IFLA_BRPORT_*` (linux/if_link.h).

use abi::{Errno, Result};
use netstack::{Bridge, BridgeSettings, Nic, Port, PortSettings};

use super::super::super::message::{Attributes, Body};
use crate::bytes::half;

const FORWARD_DELAY: u16 = 1;
const HELLO_TIME: u16 = 2;
const MAX_AGE: u16 = 3;
const AGEING_TIME: u16 = 4;
const STP_STATE: u16 = 5;
const PRIORITY: u16 = 6;
const VLAN_FILTERING: u16 = 7;
const VLAN_PROTOCOL: u16 = 8;
const GROUP_FWD_MASK: u16 = 9;
const ROOT_ID: u16 = 10;
const BRIDGE_ID: u16 = 11;
const ROOT_PORT: u16 = 12;
const ROOT_PATH_COST: u16 = 13;
const GROUP_ADDR: u16 = 20;
const FDB_FLUSH: u16 = 21;
const MCAST_SNOOPING: u16 = 23;
const NF_CALL_IPTABLES: u16 = 36;
const NF_CALL_IP6TABLES: u16 = 37;
const NF_CALL_ARPTABLES: u16 = 38;
const VLAN_DEFAULT_PVID: u16 = 39;

const PORT_STATE: u16 = 1;
const PORT_PRIORITY: u16 = 2;
const PORT_COST: u16 = 3;
const PORT_MODE: u16 = 4;
const PORT_GUARD: u16 = 5;
const PORT_PROTECT: u16 = 6;
const PORT_FAST_LEAVE: u16 = 7;
const PORT_LEARNING: u16 = 8;
const PORT_UNICAST_FLOOD: u16 = 9;
const PORT_ID: u16 = 17;
const PORT_NO: u16 = 18;
const PORT_MCAST_FLOOD: u16 = 27;
const PORT_BCAST_FLOOD: u16 = 30;
const PORT_ISOLATED: u16 = 33;

/// A port's state, as far as there is no spanning tree.
const DISABLED: u8 = 0;
const FORWARDING: u8 = 3;

fn byte(attributes: Attributes<'_>, kind: u16) -> Option<u8> {
    attributes.get(kind)?.first().copied()
}

/// Changes a bridge's settings. Nothing is changed where one of them is out of range.
///
/// # Errors
/// `ERANGE`; `EOPNOTSUPP` for a spanning tree and for VLANs, which there are not.
pub(super) fn change(bridge: &Bridge, data: Attributes<'_>) -> Result<()> {
    let word = |kind| data.word(kind);
    let short = |kind| half(data.get(kind)?, 0);
    let switch = |kind| byte(data, kind).map(|value| value != 0);
    let old = bridge.settings();
    let new = BridgeSettings {
        ageing_time: word(AGEING_TIME).unwrap_or(old.ageing_time),
        forward_delay: word(FORWARD_DELAY).unwrap_or(old.forward_delay),
        hello_time: word(HELLO_TIME).unwrap_or(old.hello_time),
        max_age: word(MAX_AGE).unwrap_or(old.max_age),
        stp_state: word(STP_STATE).unwrap_or(old.stp_state),
        priority: short(PRIORITY).unwrap_or(old.priority),
        vlan_filtering: switch(VLAN_FILTERING).unwrap_or(old.vlan_filtering),
        vlan_default_pvid: short(VLAN_DEFAULT_PVID).unwrap_or(old.vlan_default_pvid),
        group_fwd_mask: short(GROUP_FWD_MASK).unwrap_or(old.group_fwd_mask),
        mcast_snooping: switch(MCAST_SNOOPING).unwrap_or(old.mcast_snooping),
        nf_call_iptables: switch(NF_CALL_IPTABLES).unwrap_or(old.nf_call_iptables),
        nf_call_ip6tables: switch(NF_CALL_IP6TABLES).unwrap_or(old.nf_call_ip6tables),
        nf_call_arptables: switch(NF_CALL_ARPTABLES).unwrap_or(old.nf_call_arptables),
    };
    check(&new)?;
    bridge.change(|settings| *settings = new);
    if data.get(FDB_FLUSH).is_some() {
        bridge.flush();
    }
    Ok(())
}

/// Whether settings are what a bridge can be set to.
///
/// # Errors
/// As [`change`].
pub(crate) fn check(settings: &BridgeSettings) -> Result<()> {
    if settings.stp_state != 0 || settings.vlan_filtering {
        return Err(Errno::EOPNOTSUPP);
    }
    // Of no effect without a spanning tree, but Linux refuses what no tree could use only where there is one.
    let is_in_range = (100..=1000).contains(&settings.hello_time) && settings.vlan_default_pvid < 4095;
    // The groups of the spanning tree, of pause frames and of LACP are never passed on.
    if is_in_range && settings.group_fwd_mask & 7 == 0 { Ok(()) } else { Err(Errno::ERANGE) }
}

/// `priority.address`, by which bridges know each other.
fn id(nic: &Nic, settings: &BridgeSettings) -> [u8; 8] {
    let [a, b] = settings.priority.to_be_bytes();
    let [c, d, e, f, g, h] = nic.mac().0;
    [a, b, c, d, e, f, g, h]
}

/// A bridge's settings.
pub(super) fn describe(nic: &Nic, bridge: &Bridge, body: &mut Body<'_>) {
    let settings = bridge.settings();
    let id = id(nic, &settings);
    body.attr_word(FORWARD_DELAY, settings.forward_delay)
        .attr_word(HELLO_TIME, settings.hello_time)
        .attr_word(MAX_AGE, settings.max_age)
        .attr_word(AGEING_TIME, settings.ageing_time)
        .attr_word(STP_STATE, settings.stp_state)
        .attr(PRIORITY, &settings.priority.to_ne_bytes())
        .attr(VLAN_FILTERING, &[u8::from(settings.vlan_filtering)])
        .attr(GROUP_FWD_MASK, &settings.group_fwd_mask.to_ne_bytes())
        .attr(BRIDGE_ID, &id)
        .attr(ROOT_ID, &id)
        .attr(ROOT_PORT, &[0; 2])
        .attr_word(ROOT_PATH_COST, 0)
        .attr(GROUP_ADDR, &[0x01, 0x80, 0xc2, 0, 0, 0])
        .attr(VLAN_PROTOCOL, &[0x81, 0x00])
        .attr(VLAN_DEFAULT_PVID, &settings.vlan_default_pvid.to_ne_bytes())
        .attr(MCAST_SNOOPING, &[u8::from(settings.mcast_snooping)])
        .attr(NF_CALL_IPTABLES, &[u8::from(settings.nf_call_iptables)])
        .attr(NF_CALL_IP6TABLES, &[u8::from(settings.nf_call_ip6tables)])
        .attr(NF_CALL_ARPTABLES, &[u8::from(settings.nf_call_arptables)]);
}

/// Changes a port's settings.
pub(super) fn change_port(port: &Port, data: Attributes<'_>) {
    let switch = |kind, place: &mut bool| {
        if let Some(value) = byte(data, kind) {
            *place = value != 0;
        }
    };
    port.change(|settings| {
        switch(PORT_MODE, &mut settings.hairpin);
        switch(PORT_GUARD, &mut settings.guard);
        switch(PORT_PROTECT, &mut settings.protect);
        switch(PORT_FAST_LEAVE, &mut settings.fast_leave);
        switch(PORT_LEARNING, &mut settings.learning);
        switch(PORT_UNICAST_FLOOD, &mut settings.unicast_flood);
        switch(PORT_MCAST_FLOOD, &mut settings.multicast_flood);
        switch(PORT_BCAST_FLOOD, &mut settings.broadcast_flood);
        switch(PORT_ISOLATED, &mut settings.isolated);
        settings.cost = data.word(PORT_COST).unwrap_or(settings.cost);
        settings.priority =
            data.get(PORT_PRIORITY).and_then(|bytes| half(bytes, 0)).unwrap_or(settings.priority);
    });
}

/// A port's settings.
pub(super) fn describe_port(nic: &Nic, port: &Port, body: &mut Body<'_>) {
    let PortSettings { cost, priority, .. } = port.settings();
    let settings = port.settings();
    let state = if nic.has_carrier() { FORWARDING } else { DISABLED };
    let mut switch = |kind, value: bool| {
        body.attr(kind, &[u8::from(value)]);
    };
    switch(PORT_MODE, settings.hairpin);
    switch(PORT_GUARD, settings.guard);
    switch(PORT_PROTECT, settings.protect);
    switch(PORT_FAST_LEAVE, settings.fast_leave);
    switch(PORT_LEARNING, settings.learning);
    switch(PORT_UNICAST_FLOOD, settings.unicast_flood);
    switch(PORT_MCAST_FLOOD, settings.multicast_flood);
    switch(PORT_BCAST_FLOOD, settings.broadcast_flood);
    switch(PORT_ISOLATED, settings.isolated);
    body.attr(PORT_STATE, &[state])
        .attr(PORT_PRIORITY, &priority.to_ne_bytes())
        .attr_word(PORT_COST, cost)
        .attr(PORT_ID, &(priority << 10 | port.number).to_ne_bytes())
        .attr(PORT_NO, &port.number.to_ne_bytes());
}
