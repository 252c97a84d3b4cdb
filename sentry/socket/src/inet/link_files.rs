//! What `/sys/class/net/LINK` says (kernel `ABI/testing/sysfs-class-net`).

use netstack::{LinkType, Nic, NicKind};

use super::{NetNamespace, hardware_type, link_flags, oper_state};

/// The links' names.
pub(super) fn names(net: &NetNamespace) -> Vec<String> {
    net.stack().nics().iter().map(|nic| nic.name()).collect()
}

/// The text of a link's file, without the end of its line; `None` for what it has not.
pub(super) fn text(net: &NetNamespace, link: &str, file: &str) -> Option<String> {
    let nic = net.stack().nics().into_iter().find(|nic| nic.name() == link)?;
    if let Some(counter) = file.strip_prefix("statistics/") {
        return statistic(&nic, counter).map(|value| value.to_string());
    }
    let (loopback, has_mac) = (nic.is_loopback(), nic.kind != NicKind::Ip);
    let is_cable = matches!(nic.link_type(), LinkType::Device | LinkType::Veth(_));
    Some(match file {
        "addr_assign_type" | "dev_port" | "dormant" | "group" | "link_mode" => "0".into(),
        "addr_len" => if has_mac { "6" } else { "0" }.into(),
        "address" => {
            if has_mac {
                mac(nic.mac().0)
            } else {
                String::new()
            }
        }
        "broadcast" if !has_mac => String::new(),
        "broadcast" => mac(if loopback { [0; 6] } else { [0xff; 6] }),
        // Nothing can be said of the line of a link that is down.
        "carrier" => nic.is_up().then(|| u8::from(nic.has_carrier()).to_string())?,
        "dev_id" => "0x0".into(),
        "duplex" => is_cable.then(|| "full".into())?,
        "flags" => format!("0x{:x}", link_flags(&nic) & SHOWN_FLAGS),
        "ifalias" => String::new(),
        "ifindex" => nic.index.to_string(),
        "iflink" => match nic.link_type() {
            LinkType::Veth(Some(peer)) => peer.nic().index.to_string(),
            _ => nic.index.to_string(),
        },
        "mtu" => nic.mtu().to_string(),
        "operstate" => oper_state(&nic).1.into(),
        "speed" => is_cable.then(|| "10000".into())?,
        "tx_queue_len" => "1000".into(),
        "type" => hardware_type(&nic).to_string(),
        "uevent" => format!("INTERFACE={link}\nIFINDEX={}", nic.index),
        _ => return None,
    })
}

/// All but `IFF_RUNNING` and the flags above the lower 16 bits, which only netlink and ioctl(2) tell.
const SHOWN_FLAGS: u32 = 0xffff & !0x40;

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}

fn statistic(nic: &Nic, counter: &str) -> Option<u64> {
    let stats = &nic.stats;
    Some(match counter {
        "multicast" => stats.rx_multicast.get(),
        "rx_bytes" => stats.rx_bytes.get(),
        "rx_dropped" => stats.rx_dropped.get(),
        "rx_errors" => stats.rx_errors.get(),
        "rx_packets" => stats.rx_packets.get(),
        "tx_bytes" => stats.tx_bytes.get(),
        "tx_dropped" => stats.tx_dropped.get(),
        "tx_packets" => stats.tx_packets.get(),
        "collisions" => 0,
        _ => return None,
    })
}
