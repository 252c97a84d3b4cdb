//! Interfaces: names, addresses, state and statistics.

use super::bridge::{Bridge, Port};
use super::device::{Device, Offloads};
use super::wire::{LinkType, Wire};
use crate::base::addr::{Family, Prefix};
use crate::base::config::NicSettings;
use crate::base::counters::Counter;
use crate::base::error::{Error, Result};
use crate::base::time::Instant;
use crate::ip::output::ETHERNET;
use parking_lot::RwLock;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The broadcast address.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// Whether frames to it go to more than one station.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// The address that multicast packets for `group` go to.
    #[must_use]
    pub fn of_group(group: IpAddr) -> Self {
        match group {
            IpAddr::V4(ip) => {
                let o = ip.octets();
                Self([0x01, 0x00, 0x5e, o[1] & 0x7f, o[2], o[3]])
            }
            IpAddr::V6(ip) => {
                let o = ip.octets();
                Self([0x33, 0x33, o[12], o[13], o[14], o[15]])
            }
        }
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Kinds of interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NicKind {
    /// `lo`: what is sent is received.
    Loopback,
    /// Frames with Ethernet headers.
    #[default]
    Ethernet,
    /// Bare IP packets (tun, point to point).
    Ip,
}

/// Where an IPv6 address stands in duplicate address detection (RFC 4862).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AddrState {
    /// In use.
    #[default]
    Valid,
    /// Being checked; not yet used.
    Tentative,
    /// Another host has it.
    Duplicate,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IfAddr {
    /// The address and its network.
    pub prefix: Prefix,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// IPv4 broadcast address where it differs from the network's.
    pub broadcast: Option<Ipv4Addr>,
    /// State of duplicate address detection.
    pub state: AddrState,
    /// When it expires; `None` is never.
    pub valid_until: Option<Instant>,
    /// When it stops being preferred as a source; `None` is never.
    pub preferred_until: Option<Instant>,
    /// Made by the stack (router advertisement, link-local).
    pub is_dynamic: bool,
}

impl IfAddr {
    /// A permanent address.
    #[must_use]
    pub const fn new(prefix: Prefix) -> Self {
        Self {
            prefix,
            peer: None,
            broadcast: None,
            state: AddrState::Valid,
            valid_until: None,
            preferred_until: None,
            is_dynamic: false,
        }
    }

    /// The address itself.
    #[must_use]
    pub const fn ip(&self) -> IpAddr {
        self.prefix.addr
    }
}

/// Statistics of an interface, as in `/proc/net/dev`.
#[derive(Debug, Default)]
pub struct NicStats {
    /// Received bytes.
    pub rx_bytes: Counter,
    /// Received packets.
    pub rx_packets: Counter,
    /// Received frames that made no sense.
    pub rx_errors: Counter,
    /// Received packets dropped.
    pub rx_dropped: Counter,
    /// Received multicast packets.
    pub rx_multicast: Counter,
    /// Sent bytes.
    pub tx_bytes: Counter,
    /// Sent packets.
    pub tx_packets: Counter,
    /// Packets that the device refused.
    pub tx_dropped: Counter,
}

/// What an interface is made with.
#[derive(Clone)]
pub struct NicConfig {
    /// Name, up to 15 bytes.
    pub name: String,
    /// Kind.
    pub kind: NicKind,
    /// Ethernet address.
    pub mac: Mac,
    /// Largest packet.
    pub mtu: u32,
    /// The device; none for loopback.
    pub device: Option<Arc<dyn Device>>,
}

/// An interface's name and addresses, where no device belongs to it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Name, up to 15 bytes.
    pub(crate) name: String,
    /// Kind.
    pub(crate) kind: NicKind,
    /// Ethernet address.
    pub(crate) mac: Mac,
    /// Largest packet.
    pub(crate) mtu: u32,
}

/// An interface.
pub struct Nic {
    /// Index, from 1.
    pub index: u32,
    /// Kind.
    pub kind: NicKind,
    /// Statistics.
    pub stats: NicStats,
    pub(crate) wire: Wire,
    /// The bridge that it is a port of.
    port: RwLock<Option<Arc<Port>>>,
    name: RwLock<String>,
    mac: RwLock<Mac>,
    mtu: AtomicU32,
    is_up: AtomicBool,
    has_ipv6: AtomicBool,
    is_promiscuous: AtomicU32,
    addrs: RwLock<Vec<IfAddr>>,
    settings: RwLock<NicSettings>,
}

impl fmt::Debug for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nic")
            .field("index", &self.index)
            .field("name", &*self.name.read())
            .finish_non_exhaustive()
    }
}

impl Nic {
    pub(crate) fn new(index: u32, config: NicConfig) -> Self {
        let NicConfig { name, kind, mac, mtu, device } = config;
        let wire = device.map_or(Wire::None, Wire::Device);
        Self::with_wire(index, Identity { name, kind, mac, mtu }, wire)
    }

    /// An interface on a wire within the sandbox.
    pub(crate) fn with_wire(index: u32, config: Identity, wire: Wire) -> Self {
        Self {
            index,
            kind: config.kind,
            stats: NicStats::default(),
            wire,
            port: RwLock::new(None),
            name: RwLock::new(config.name),
            mac: RwLock::new(config.mac),
            mtu: AtomicU32::new(config.mtu),
            is_up: AtomicBool::new(false),
            has_ipv6: AtomicBool::new(true),
            is_promiscuous: AtomicU32::new(0),
            addrs: RwLock::new(Vec::new()),
            settings: RwLock::default(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.read().clone()
    }

    pub(crate) fn rename(&self, name: String) {
        *self.name.write() = name;
    }

    /// What carries its frames, with what there is to tell of it.
    #[must_use]
    pub fn link_type(&self) -> LinkType {
        self.wire.link_type(self)
    }

    /// Whether something is at the other end of the line.
    #[must_use]
    pub fn has_carrier(&self) -> bool {
        self.is_up() && self.wire.has_carrier()
    }

    /// What the device does for senders.
    pub(crate) fn offloads(&self) -> Offloads {
        self.wire.offloads()
    }

    /// The device that carries its frames.
    #[must_use]
    pub fn device(&self) -> Option<&Arc<dyn Device>> {
        match &self.wire {
            Wire::Device(device) => Some(device),
            _ => None,
        }
    }

    /// Bytes of the link header before its packets.
    pub(crate) const fn header_len(&self) -> usize {
        match self.kind {
            NicKind::Ethernet => ETHERNET,
            NicKind::Loopback | NicKind::Ip => 0,
        }
    }

    /// The bridge that it is.
    #[must_use]
    pub fn bridge(&self) -> Option<&Arc<Bridge>> {
        match &self.wire {
            Wire::Bridge(bridge) => Some(bridge),
            _ => None,
        }
    }

    /// What it is as a port of a bridge.
    #[must_use]
    pub fn port(&self) -> Option<Arc<Port>> {
        self.port.read().clone()
    }

    pub(crate) fn set_port(&self, port: Option<Arc<Port>>) {
        *self.port.write() = port;
    }

    /// Its Ethernet address.
    #[must_use]
    pub fn mac(&self) -> Mac {
        *self.mac.read()
    }

    /// Changes the Ethernet address.
    pub fn set_mac(&self, mac: Mac) {
        *self.mac.write() = mac;
    }

    /// Largest packet.
    #[must_use]
    pub fn mtu(&self) -> u32 {
        self.mtu.load(Ordering::Relaxed)
    }

    /// Changes the MTU (68 to 65536 bytes).
    ///
    /// # Errors
    /// [`Error::Invalid`] for another.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        if !(68..=65_536).contains(&mtu) {
            return Err(Error::Invalid);
        }
        self.mtu.store(mtu, Ordering::Relaxed);
        Ok(())
    }

    /// Whether it is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    pub(crate) fn set_up(&self, up: bool) {
        self.is_up.store(up, Ordering::Relaxed);
    }

    /// Whether IPv6 is spoken here (the opposite of `disable_ipv6`).
    #[must_use]
    pub fn has_ipv6(&self) -> bool {
        self.has_ipv6.load(Ordering::Relaxed)
    }

    /// Switches IPv6 on or off. To be done while the interface is down: its addresses stay as they are.
    pub fn set_ipv6(&self, wanted: bool) {
        self.has_ipv6.store(wanted, Ordering::Relaxed);
    }

    /// Whether what is sent leaves by a device of the stack's owner.
    pub(crate) const fn leads_outside(&self) -> bool {
        matches!(self.wire, Wire::Device(_))
    }

    /// Whether it is the loopback interface.
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        matches!(self.kind, NicKind::Loopback)
    }

    /// Whether frames for other stations are wanted.
    #[must_use]
    pub fn is_promiscuous(&self) -> bool {
        self.is_promiscuous.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn add_promiscuous(&self, wanted: bool) {
        if wanted {
            self.is_promiscuous.fetch_add(1, Ordering::Relaxed);
        } else {
            // Whoever takes it back has asked for it.
            self.is_promiscuous.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> NicSettings {
        *self.settings.read()
    }

    /// Changes its settings.
    pub fn change_settings(&self, f: impl FnOnce(&mut NicSettings)) {
        f(&mut self.settings.write());
    }

    /// Its addresses.
    #[must_use]
    pub fn addrs(&self) -> Vec<IfAddr> {
        self.addrs.read().clone()
    }

    pub(crate) fn with_addrs<R>(&self, f: impl FnOnce(&[IfAddr]) -> R) -> R {
        f(&self.addrs.read())
    }

    pub(crate) fn with_addrs_mut<R>(&self, f: impl FnOnce(&mut Vec<IfAddr>) -> R) -> R {
        f(&mut self.addrs.write())
    }

    /// Whether `ip` is a usable address of this interface.
    pub(crate) fn has_addr(&self, ip: IpAddr) -> bool {
        self.with_addrs(|addrs| addrs.iter().any(|a| a.ip() == ip && a.state == AddrState::Valid))
            || self.is_loopback() && ip.is_loopback()
    }

    /// Whether `ip` is the broadcast address of one of its networks.
    pub(crate) fn is_broadcast(&self, ip: Ipv4Addr) -> bool {
        ip.is_broadcast()
            || self.with_addrs(|addrs| {
                addrs.iter().any(|a| a.broadcast.or_else(|| a.prefix.broadcast()) == Some(ip))
            })
    }

    /// The best own address to speak to `to` from.
    pub(crate) fn source_for(&self, to: IpAddr, now: Instant) -> Option<IpAddr> {
        self.with_addrs(|addrs| match to {
            IpAddr::V4(_) => {
                let mut own = addrs.iter().filter(|a| Family::of(a.ip()) == Family::V4);
                let first = own.clone().next();
                own.find(|a| a.prefix.contains(to)).or(first).map(IfAddr::ip)
            }
            IpAddr::V6(to) => addrs
                .iter()
                .filter(|a| a.state == AddrState::Valid)
                .filter_map(|a| match a.ip() {
                    IpAddr::V6(ip) => Some((rank_v6(ip, to, a, now), ip)),
                    IpAddr::V4(_) => None,
                })
                .max_by_key(|(rank, _)| *rank)
                .map(|(_, ip)| IpAddr::V6(ip)),
        })
    }

    /// Its link-local IPv6 address.
    pub(crate) fn link_local(&self) -> Option<Ipv6Addr> {
        self.with_addrs(|addrs| {
            addrs.iter().filter(|a| a.state == AddrState::Valid).find_map(|a| match a.ip() {
                IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
                _ => None,
            })
        })
    }
}

/// RFC 6724 section 5, the rules that apply here: same address, scope, not deprecated, longest match.
fn rank_v6(own: Ipv6Addr, to: Ipv6Addr, addr: &IfAddr, now: Instant) -> (bool, u8, bool, u32) {
    let (own_scope, to_scope) = (scope(own), scope(to));
    // Rule 2: the smallest scope that reaches the destination's, else the largest.
    let fit = if own_scope >= to_scope { 32 - own_scope } else { own_scope };
    let preferred = addr.preferred_until.is_none_or(|until| until > now);
    let common = (own.to_bits() ^ to.to_bits()).leading_zeros().min(u32::from(addr.prefix.len));
    (own == to, fit, preferred, common)
}

const fn scope(ip: Ipv6Addr) -> u8 {
    if ip.is_multicast() {
        ip.octets()[1] & 0xf
    } else if ip.is_loopback() || ip.is_unicast_link_local() {
        2
    } else {
        14
    }
}
