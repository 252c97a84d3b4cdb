//! Neighbour discovery for IPv6: solicitations, advertisements, routers, address configuration, duplicate address
//! detection (RFC 4861, RFC 4862). Messages must have come over one hop only.

use super::output::{Checksum, HEADROOM, IpHeader};
use super::packet::{Cast, Packet, get16, get32, protocol};
use super::pmtu::MIN_V6;
use super::route::Route;
use crate::base::addr::{Family, Prefix};
use crate::base::time::Instant;
use crate::core::{Core, Path, PathKind, Timer};
use crate::link::device::TxMeta;
use crate::link::nic::{AddrState, IfAddr, Mac, Nic, NicKind};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Between duplicate address probes, and router solicitations.
const RETRANS: Duration = Duration::from_secs(1);
/// Metric of routes learnt from routers.
const RA_METRIC: u32 = 1024;
/// `RTPROT_RA`
const RA_PROTOCOL: u8 = 9;
/// Addresses that routers may make an interface take.
const MAX_ADDRS: usize = 16;

/// The group that solicitations for `ip` go to.
pub(crate) fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let o = ip.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(o[13]), u16::from(o[14]) << 8 | u16::from(o[15]))
}

/// The interface identifier that a MAC address gives (RFC 2464).
fn eui64(mac: Mac) -> u64 {
    let m = mac.0;
    u64::from_be_bytes([m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]])
}

/// The link-local address that a MAC address gives.
pub(crate) fn link_local_of(mac: Mac) -> Ipv6Addr {
    Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(eui64(mac)))
}

/// Options of a message: type and body, with a bound on their number. `None` where they make no sense.
fn options(mut data: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut list = Vec::new();
    while !data.is_empty() {
        let len = usize::from(*data.get(1)?) * 8;
        if len == 0 || list.len() >= 32 {
            return None;
        }
        let option = data.get(..len)?;
        list.push((option[0], &option[2..]));
        data = &data[len..];
    }
    Some(list)
}

fn mac_option(options: &[(u8, &[u8])], kind: u8) -> Option<Mac> {
    let body = options.iter().find(|option| option.0 == kind)?.1;
    Some(Mac(body.get(..6)?.try_into().ok()?)).filter(|mac| !mac.is_group())
}

fn ip_at(message: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(message.get(at..at + 16)?).ok()?))
}

impl Core {
    pub(super) fn ndp_input(&self, packet: &Packet<'_>, message: &[u8]) {
        let counters = &self.counters.icmp6;
        let (IpAddr::V6(from), IpAddr::V6(to)) = (packet.from, packet.to) else { return };
        let kind = message[0];
        let fixed = match kind {
            133 => 8,
            134 => 16,
            135 | 136 => 24,
            _ => 40,
        };
        let parsed = message.get(fixed..).and_then(options).filter(|_| packet.ttl == 255 && message[1] == 0);
        let Some(options) = parsed else { return counters.in_errors.inc() };
        match kind {
            134 => {
                counters.in_router_advertisements.inc();
                if from.is_unicast_link_local() && self.accepts_routers(packet.nic) {
                    self.router_advertisement(packet.nic, from, message, &options);
                }
            }
            135 => {
                counters.in_neighbor_solicits.inc();
                if let Some(target) = ip_at(message, 8).filter(|ip| !ip.is_multicast()) {
                    self.neighbour_solicitation(packet, from, to, target, mac_option(&options, 1));
                }
            }
            136 => {
                counters.in_neighbor_advertisements.inc();
                if let Some(target) = ip_at(message, 8).filter(|ip| !ip.is_multicast()) {
                    let flags = message[4] >> 5;
                    self.neighbour_advertisement(packet.nic, target, flags, mac_option(&options, 2));
                }
            }
            137 => counters.in_redirects.inc(),
            _ => {}
        }
    }

    fn neighbour_solicitation(
        &self,
        packet: &Packet<'_>,
        from: Ipv6Addr,
        to: Ipv6Addr,
        target: Ipv6Addr,
        mac: Option<Mac>,
    ) {
        let nic = packet.nic;
        let state =
            nic.with_addrs(|addrs| addrs.iter().find(|a| a.ip() == IpAddr::V6(target)).map(|a| a.state));
        let Some(state) = state else { return };
        if from.is_unspecified() {
            // Somebody checks whether the address is free.
            match state {
                AddrState::Tentative if to == solicited_node(target) => self.duplicate(nic, target),
                AddrState::Valid => self.advertise(nic, target, ALL_NODES, false),
                _ => {}
            }
            return;
        }
        if state != AddrState::Valid {
            return;
        }
        if let Some(mac) = mac {
            let now = self.now();
            let max = self.config().neigh_max;
            let at = (nic.index, IpAddr::V6(from));
            let waiting = self.neighbours.lock().learn(at, mac, false, Some(max), now);
            self.send_waiting(nic, mac, waiting);
            self.schedule_neighbours(now);
        }
        self.advertise(nic, target, from, true);
    }

    /// `flags`: router, solicited, override.
    fn neighbour_advertisement(&self, nic: &Arc<Nic>, target: Ipv6Addr, flags: u8, mac: Option<Mac>) {
        let own =
            nic.with_addrs(|addrs| addrs.iter().find(|a| a.ip() == IpAddr::V6(target)).map(|a| a.state));
        match own {
            Some(AddrState::Tentative) => return self.duplicate(nic, target),
            Some(_) => return,
            None => {}
        }
        let Some(mac) = mac else { return };
        let now = self.now();
        let at = (nic.index, IpAddr::V6(target));
        let mut table = self.neighbours.lock();
        let waiting = table.learn(at, mac, flags & 2 != 0, None, now);
        table.set_router(at, flags & 4 != 0);
        drop(table);
        self.send_waiting(nic, mac, waiting);
        self.schedule_neighbours(now);
    }

    /// Another host has the address that we are checking.
    fn duplicate(&self, nic: &Nic, ip: Ipv6Addr) {
        nic.with_addrs_mut(|addrs| {
            for addr in addrs.iter_mut().filter(|addr| addr.ip() == IpAddr::V6(ip)) {
                addr.state = AddrState::Duplicate;
            }
        });
        self.locals.write().remove(&IpAddr::V6(ip));
    }

    fn advertise(&self, nic: &Arc<Nic>, target: Ipv6Addr, to: Ipv6Addr, solicited: bool) {
        let flags =
            0x20 | if solicited { 0x40 } else { 0 } | if self.config().ipv6_forward { 0x80 } else { 0 };
        let mut message = vec![136, 0, 0, 0, flags, 0, 0, 0];
        message.extend_from_slice(&target.octets());
        message.extend_from_slice(&[2, 1]);
        message.extend_from_slice(&nic.mac().0);
        self.counters.icmp6.out_neighbor_advertisements.inc();
        self.send_ndp(nic, target, to, &message);
    }

    /// Asks for the link address of `ip`.
    pub(crate) fn solicit(&self, nic: &Arc<Nic>, ip: Ipv6Addr, known: Option<Mac>) {
        let Some(IpAddr::V6(own)) = nic.source_for(IpAddr::V6(ip), self.now()) else { return };
        let to = if known.is_some() { ip } else { solicited_node(ip) };
        let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(&ip.octets());
        message.extend_from_slice(&[1, 1]);
        message.extend_from_slice(&nic.mac().0);
        self.counters.icmp6.out_neighbor_solicits.inc();
        self.send_ndp(nic, own, to, &message);
    }

    fn send_ndp(&self, nic: &Arc<Nic>, from: Ipv6Addr, to: Ipv6Addr, message: &[u8]) {
        let kind = if to.is_multicast() { PathKind::Multicast } else { PathKind::Unicast };
        let (source, to) = (IpAddr::V6(from), IpAddr::V6(to));
        let path = Path { nic: Arc::clone(nic), source, next_hop: to, kind, mtu: MIN_V6 };
        let mut data = vec![0; HEADROOM];
        data.extend_from_slice(message);
        let header = IpHeader {
            path: &path,
            from: source,
            to,
            protocol: protocol::ICMPV6,
            ttl: 255,
            tos: 0,
            dont_fragment: true,
            may_fragment: false,
            options: &[],
            sender: None,
        };
        self.counters.icmp6.out_msgs.inc();
        if self.ip_send(&header, data, Some(Checksum { offset: 2 }), TxMeta::default()).is_err() {
            self.counters.icmp6.out_errors.inc();
        }
    }

    /// An IPv6 interface comes up: it gets a link-local address and asks for routers.
    pub(crate) fn start_ipv6(&self, nic: &Arc<Nic>) {
        if nic.kind != NicKind::Ethernet || nic.mac() == Mac::default() || !nic.has_ipv6() {
            return;
        }
        let has_link_local = nic.with_addrs(|addrs| {
            addrs.iter().any(|a| matches!(a.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local()))
        });
        if !has_link_local {
            let addr = IpAddr::V6(link_local_of(nic.mac()));
            self.add_dynamic(nic, IfAddr { is_dynamic: true, ..IfAddr::new(Prefix { addr, len: 64 }) });
        }
        if self.accepts_routers(nic) {
            self.router_solicitation(nic, 3);
        }
    }

    /// Whether routers are listened to on an interface: not by who is one.
    fn accepts_routers(&self, nic: &Nic) -> bool {
        self.config().accept_ra && !nic.is_loopback() && !nic.settings().forwards_v6
    }

    /// Sends a router solicitation, and more until there is an answer.
    pub(crate) fn router_solicitation(&self, nic: &Arc<Nic>, left: u8) {
        let has_router = self
            .routes
            .read()
            .all()
            .iter()
            .any(|r| r.interface == nic.index && r.protocol == RA_PROTOCOL && r.prefix.len == 0);
        if left == 0 || has_router || !nic.is_up() {
            return;
        }
        if let Some(own) = nic.link_local() {
            let mut message = vec![133, 0, 0, 0, 0, 0, 0, 0, 1, 1];
            message.extend_from_slice(&nic.mac().0);
            self.counters.icmp6.out_router_solicits.inc();
            self.send_ndp(nic, own, ALL_ROUTERS, &message);
        }
        self.arm(self.now() + RETRANS * 4, Timer::RouterSolicit(nic.index, left - 1));
    }

    /// Gives an interface an address, after checking that nobody else has it.
    pub(crate) fn add_dynamic(&self, nic: &Arc<Nic>, mut addr: IfAddr) {
        let IpAddr::V6(ip) = addr.ip() else { return };
        let probes = self.config().dad_transmits;
        addr.state = if probes > 0 { AddrState::Tentative } else { AddrState::Valid };
        let added = nic.with_addrs_mut(|addrs| {
            let fits = addrs.len() < MAX_ADDRS && !addrs.iter().any(|old| old.ip() == addr.ip());
            if fits {
                addrs.push(addr);
            }
            fits
        });
        if !added {
            return;
        }
        if probes > 0 {
            self.probe_duplicate(nic, ip, probes);
        } else {
            self.locals.write().insert(addr.ip(), nic.index);
        }
    }

    /// Asks whether somebody has an address; with no probes left it is ours.
    pub(crate) fn probe_duplicate(&self, nic: &Arc<Nic>, ip: Ipv6Addr, left: u8) {
        let state = nic.with_addrs(|addrs| addrs.iter().find(|a| a.ip() == IpAddr::V6(ip)).map(|a| a.state));
        if state != Some(AddrState::Tentative) {
            return;
        }
        if left > 0 {
            let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
            message.extend_from_slice(&ip.octets());
            self.counters.icmp6.out_neighbor_solicits.inc();
            self.send_ndp(nic, Ipv6Addr::UNSPECIFIED, solicited_node(ip), &message);
            self.arm(self.now() + RETRANS, Timer::Duplicate(nic.index, ip, left - 1));
            return;
        }
        nic.with_addrs_mut(|addrs| {
            for addr in addrs.iter_mut().filter(|addr| addr.ip() == IpAddr::V6(ip)) {
                addr.state = AddrState::Valid;
            }
        });
        self.locals.write().insert(IpAddr::V6(ip), nic.index);
    }

    fn router_advertisement(&self, nic: &Arc<Nic>, from: Ipv6Addr, message: &[u8], options: &[(u8, &[u8])]) {
        let now = self.now();
        let router = IpAddr::V6(from);
        if let Some(mac) = mac_option(options, 1) {
            let max = self.config().neigh_max;
            let mut table = self.neighbours.lock();
            let waiting = table.learn((nic.index, router), mac, false, Some(max), now);
            table.set_router((nic.index, router), true);
            drop(table);
            self.send_waiting(nic, mac, waiting);
            self.schedule_neighbours(now);
        }
        let lifetime = get16(message, 6).unwrap_or(0);
        let mut routes = self.routes.write();
        routes.remove_all(|r| {
            r.gateway == Some(router) && r.interface == nic.index && r.protocol == RA_PROTOCOL
        });
        if lifetime > 0 {
            let route = Route {
                metric: RA_METRIC,
                protocol: RA_PROTOCOL,
                ..Route::new(Prefix::all(Family::V6), Some(router), nic.index)
            };
            // A route of the same kind that the owner set takes precedence.
            let _kept_the_owners = routes.add(route);
        }
        drop(routes);
        if lifetime > 0 {
            self.arm(now + Duration::from_secs(lifetime.into()), Timer::Addresses);
            self.router_until.lock().insert((nic.index, from), now + Duration::from_secs(lifetime.into()));
        }
        for (kind, body) in options {
            if *kind == 3 {
                self.prefix_information(nic, body, now);
            }
        }
    }

    fn prefix_information(&self, nic: &Arc<Nic>, body: &[u8], now: Instant) {
        let (Some(len), Some(flags)) = (body.first().copied(), body.get(1).copied()) else { return };
        let (Some(valid), Some(preferred), Some(prefix)) = (get32(body, 2), get32(body, 6), ip_at(body, 14))
        else {
            return;
        };
        let is_autonomous = flags & 0x40 != 0;
        if !is_autonomous
            || len != 64
            || preferred > valid
            || prefix.is_multicast()
            || prefix.is_unicast_link_local()
        {
            return;
        }
        let until = |seconds: u32| (seconds != u32::MAX).then(|| now + Duration::from_secs(seconds.into()));
        let ip = Ipv6Addr::from_bits(prefix.to_bits() >> 64 << 64 | u128::from(eui64(nic.mac())));
        let known = nic.with_addrs_mut(|addrs| {
            let found = addrs.iter_mut().find(|addr| addr.ip() == IpAddr::V6(ip) && addr.is_dynamic)?;
            // RFC 4862 5.5.3 e: nobody can make it expire within two hours.
            let floor = now + Duration::from_secs(7200);
            let current = found.valid_until;
            found.valid_until = match until(valid) {
                Some(at) if at < floor => Some(current.map_or(floor, |current| current.min(floor).max(at))),
                other => other,
            };
            found.preferred_until = until(preferred);
            Some(())
        });
        if known.is_none() && valid > 0 {
            let addr = IfAddr {
                valid_until: until(valid),
                preferred_until: until(preferred),
                is_dynamic: true,
                ..IfAddr::new(Prefix { addr: IpAddr::V6(ip), len: 64 })
            };
            self.add_dynamic(nic, addr);
        }
        if let Some(at) = until(valid) {
            self.arm(at, Timer::Addresses);
        }
    }

    /// Drops addresses and routers whose time is over.
    pub(crate) fn expire_addresses(&self) {
        let now = self.now();
        for nic in self.nics.read().iter() {
            let gone = nic.with_addrs_mut(|addrs| {
                let old = |addr: &IfAddr| addr.valid_until.is_some_and(|until| until <= now);
                let gone: Vec<_> = addrs.iter().filter(|addr| old(addr)).map(IfAddr::ip).collect();
                addrs.retain(|addr| !old(addr));
                gone
            });
            let mut locals = self.locals.write();
            for ip in gone {
                locals.remove(&ip);
            }
        }
        let mut routers = self.router_until.lock();
        let old: Vec<_> = routers.iter().filter(|(_, until)| **until <= now).map(|(at, _)| *at).collect();
        for (index, ip) in old {
            routers.remove(&(index, ip));
            self.routes.write().remove_all(|route| {
                route.protocol == RA_PROTOCOL
                    && route.interface == index
                    && route.gateway == Some(IpAddr::V6(ip))
            });
        }
    }

    /// Multicast listener queries (RFC 3810): every joined group is reported.
    pub(super) fn mld_input(&self, packet: &Packet<'_>, message: &[u8]) {
        if message[0] == 130 && packet.cast == Cast::Multicast && packet.ttl == 1 {
            self.counters.icmp6.in_group_memb_queries.inc();
            self.report_groups(packet.nic, Family::V6);
        }
    }

    /// Sends an MLDv2 report with one record for each group.
    pub(crate) fn send_mld(&self, nic: &Arc<Nic>, record: u8, groups: &[Ipv6Addr]) {
        if groups.is_empty() || nic.is_loopback() {
            return;
        }
        let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
        let from = IpAddr::V6(nic.link_local().unwrap_or(Ipv6Addr::UNSPECIFIED));
        let path = Path {
            nic: Arc::clone(nic),
            source: from,
            next_hop: IpAddr::V6(to),
            kind: PathKind::Multicast,
            mtu: nic.mtu(),
        };
        for part in groups.chunks(50) {
            let mut data = vec![0; HEADROOM];
            data.extend_from_slice(&[143, 0, 0, 0, 0, 0, 0, part.len() as u8]);
            for group in part {
                data.extend_from_slice(&[record, 0, 0, 0]);
                data.extend_from_slice(&group.octets());
            }
            let header = IpHeader {
                path: &path,
                from,
                to: IpAddr::V6(to),
                protocol: protocol::ICMPV6,
                ttl: 1,
                tos: 0,
                dont_fragment: true,
                may_fragment: false,
                // Hop-by-hop header with a router alert (RFC 2711) and padding.
                options: &[protocol::ICMPV6, 0, 5, 2, 0, 0, 1, 0],
                sender: None,
            };
            self.counters.icmp6.out_mldv2_reports.inc();
            let _lost_like_any_packet =
                self.ip_send(&header, data, Some(Checksum { offset: 2 }), TxMeta::default());
        }
    }
}
