//! Group membership reports: IGMPv3 (RFC 3376), and when groups of either family are joined and left.

use super::checksum;
use super::output::{HEADROOM, IpHeader};
use super::packet::{Packet, protocol, put16};
use crate::base::addr::Family;
use crate::core::{Core, Path, PathKind};
use crate::link::device::TxMeta;
use crate::link::nic::Nic;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Record types (RFC 3376 section 4.2.12).
const MODE_IS_EXCLUDE: u8 = 2;
const CHANGE_TO_INCLUDE: u8 = 3;
const CHANGE_TO_EXCLUDE: u8 = 4;

impl Core {
    pub(super) fn igmp_input(&self, packet: &Packet<'_>) {
        let message = packet.payload();
        if checksum::sum(message) == 0xffff && message.first() == Some(&0x11) && packet.ttl == 1 {
            self.report_groups(packet.nic, Family::V4);
        }
    }

    /// Reports every group that is joined on an interface.
    pub(crate) fn report_groups(&self, nic: &Arc<Nic>, family: Family) {
        let joined: Vec<IpAddr> = self
            .groups
            .lock()
            .keys()
            .filter(|(index, _)| *index == nic.index)
            .map(|(_, group)| *group)
            .collect();
        match family {
            Family::V4 => {
                let groups: Vec<_> = joined.iter().filter_map(|ip| as_v4(*ip)).collect();
                self.send_igmp(nic, MODE_IS_EXCLUDE, &groups);
            }
            Family::V6 => {
                let mut groups: Vec<_> = joined.iter().filter_map(|ip| as_v6(*ip)).collect();
                groups
                    .extend(nic.addrs().iter().filter_map(|a| as_v6(a.ip())).map(super::ndp::solicited_node));
                groups.dedup();
                self.send_mld(nic, MODE_IS_EXCLUDE, &groups);
            }
        }
    }

    /// The first socket has joined a group, or the last has left it.
    pub(crate) fn group_changed(&self, interface: u32, group: IpAddr, joined: bool) {
        let Some(nic) = self.nic(interface).filter(|nic| nic.is_up() && !nic.is_loopback()) else { return };
        let record = if joined { CHANGE_TO_EXCLUDE } else { CHANGE_TO_INCLUDE };
        match group {
            IpAddr::V4(group) if group != Ipv4Addr::new(224, 0, 0, 1) => {
                self.send_igmp(&nic, record, &[group]);
            }
            IpAddr::V6(group) if group.octets()[1] & 0xf > 1 => self.send_mld(&nic, record, &[group]),
            _ => {}
        }
    }

    fn send_igmp(&self, nic: &Arc<Nic>, record: u8, groups: &[Ipv4Addr]) {
        if nic.is_loopback() {
            return;
        }
        let to = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 22));
        let from = nic.source_for(to, self.now()).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let path = Path {
            nic: Arc::clone(nic),
            source: from,
            next_hop: to,
            kind: PathKind::Multicast,
            mtu: nic.mtu(),
        };
        for part in groups.chunks(100) {
            let mut data = vec![0; HEADROOM];
            data.extend_from_slice(&[0x22, 0, 0, 0, 0, 0, 0, part.len() as u8]);
            for group in part {
                data.extend_from_slice(&[record, 0, 0, 0]);
                data.extend_from_slice(&group.octets());
            }
            let sum = !checksum::sum(&data[HEADROOM..]);
            put16(&mut data, HEADROOM + 2, sum);
            let header = IpHeader {
                path: &path,
                from,
                to,
                protocol: protocol::IGMP,
                ttl: 1,
                tos: 0xc0,
                dont_fragment: true,
                may_fragment: false,
                // Router alert (RFC 2113).
                options: &[0x94, 4, 0, 0],
                sender: None,
            };
            let _lost_like_any_packet = self.ip_send(&header, data, None, TxMeta::default());
        }
    }
}

const fn as_v4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}

const fn as_v6(ip: IpAddr) -> Option<Ipv6Addr> {
    match ip {
        IpAddr::V6(ip) => Some(ip),
        IpAddr::V4(_) => None,
    }
}
