//! Making links: dummies, pairs, bridges.

use std::sync::Arc;

use abi::netlink::RTM_NEWLINK;
use abi::{Errno, Result};
use netstack::{LinkConfig, Mac, Nic, NicKind};

use super::super::super::Context;
use super::super::super::message::Attributes;
use super::{
    HEADER, IFLA_ADDRESS, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU,
    Place, announce, bridge, place, set_state,
};
use crate::bytes::word;
use crate::inet::errno;

const VETH_INFO_PEER: u16 = 1;
/// Links of a name space that guests may make.
const MAX_LINKS: usize = 1024;

/// Makes the link that a message describes, in the name space that it names.
pub(super) fn link(context: &Context<'_>, header: &[u8], attributes: Attributes<'_>) -> Result<()> {
    let info = attributes.get(IFLA_LINKINFO).map(Attributes);
    let kind = info.and_then(|info| info.text(IFLA_INFO_KIND)).ok_or(Errno::EOPNOTSUPP)?;
    let data = info.and_then(|info| info.get(IFLA_INFO_DATA)).map_or(Attributes(&[]), Attributes);
    let place = place::asked(context, attributes)?.unwrap_or_else(|| Place::here(context));
    let net = place.net();
    if net.stack().nics().len() >= MAX_LINKS {
        return Err(Errno::ENOSPC);
    }
    let config = config(kind, header, attributes)?;
    let nic = match kind {
        "dummy" => net.stack().add_dummy(&config).map_err(errno)?,
        "bridge" => {
            let nic = net.stack().add_bridge(&config).map_err(errno)?;
            if let Some(Err(error)) = nic.bridge().map(|own| bridge::change(own, data)) {
                net.stack().remove_nic(&nic);
                return Err(error);
            }
            nic
        }
        "veth" => pair(context, &place, &config, data)?,
        _ => return Err(Errno::EOPNOTSUPP),
    };
    if let Some(master) = attributes.word(IFLA_MASTER).filter(|index| *index != 0) {
        let own = net.stack().nic(master).ok_or(Errno::EINVAL);
        let joined = own.and_then(|own| net.stack().set_bridge(&nic, Some(&own)).map_err(errno));
        if joined.is_err() {
            net.remove_interface(&nic);
            return joined;
        }
    }
    set_state(net, &nic, header);
    announce(net, &nic, RTM_NEWLINK);
    Ok(())
}

/// What a message says of a link to be made. One without a name gets the kind's with a number.
fn config(kind: &str, header: &[u8], attributes: Attributes<'_>) -> Result<LinkConfig> {
    let mac = attributes.get(IFLA_ADDRESS).map(|bytes| bytes.try_into().map(Mac).map_err(|_| Errno::EINVAL));
    let mac = mac.transpose()?;
    if mac.is_some_and(|mac| mac.is_group() || mac == Mac::default()) {
        return Err(Errno::EADDRNOTAVAIL);
    }
    let name = attributes.text(IFLA_IFNAME).filter(|name| !name.is_empty());
    Ok(LinkConfig {
        kind: NicKind::Ethernet,
        name: name.map_or_else(|| format!("{kind}%d"), str::to_owned),
        index: word(header, 4).filter(|index| *index != 0),
        mac,
        mtu: attributes.word(IFLA_MTU),
    })
}

/// A pair, with the other end as `VETH_INFO_PEER` says; that stays in the asking socket's name space if nothing else is
/// said.
fn pair(
    context: &Context<'_>,
    place: &Place<'_>,
    config: &LinkConfig,
    data: Attributes<'_>,
) -> Result<Arc<Nic>> {
    let (header, attributes) = match data.get(VETH_INFO_PEER) {
        Some(peer) => peer.split_at_checked(HEADER).map(|(h, a)| (h, Attributes(a))).ok_or(Errno::EINVAL)?,
        None => (&[][..], Attributes(&[])),
    };
    let peer_place = place::asked(context, attributes)?.unwrap_or_else(|| Place::here(context));
    let mut peer = self::config("veth", header, attributes)?;
    peer.mtu = peer.mtu.or(config.mtu);
    let (own, other) = (place.net().stack(), peer_place.net().stack());
    let (nic, peer_nic) = own.add_veth(config, other, &peer).map_err(errno)?;
    set_state(peer_place.net(), &peer_nic, header);
    announce(peer_place.net(), &peer_nic, RTM_NEWLINK);
    Ok(nic)
}
