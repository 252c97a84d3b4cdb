//! Bridges: an interface whose ports are other interfaces of its stack (IEEE 802.1D without the spanning tree; `man 8
//! bridge`, Linux's `net/bridge`).
//!
//! A frame that arrives at a port is learnt from, then passed to the port behind which its station is, to all others
//! where nobody knows, and to the bridge's own interface. Passing on is sending by the port; no port is a bridge, so
//! that this goes one step deep. Settings that have nothing to act on here are kept and told.
//!
//! Locks: `ports`, then `fdb`, `settings`, a port's `settings`: leaves, none held while a frame is sent.

use super::device::TxFrame;
use super::fdb::Fdb;
use super::nic::{Mac, Nic};
use super::veth::LINK_OVERHEAD;
use crate::base::hash::Key;
use crate::buf::budget::Account;
use crate::core::Core;
use crate::ip::packet::Cast;
use parking_lot::{Mutex, RwLock};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Ports of a bridge at most (Linux's `BR_MAX_PORTS`).
const MAX_PORTS: usize = 1024;
/// Frames to `01:80:c2:00:00:0x` are for the stations on the link itself: no bridge passes them on.
const RESERVED: [u8; 5] = [0x01, 0x80, 0xc2, 0x00, 0x00];

/// Settings of a bridge; times are in hundredths of a second, as Linux tells them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "Linux's names: IFLA_BR_*, /sys/class/net/*/bridge")]
pub struct BridgeSettings {
    /// How long a station is remembered that sends nothing.
    pub ageing_time: u32,
    pub forward_delay: u32,
    pub hello_time: u32,
    pub max_age: u32,
    pub stp_state: u32,
    pub priority: u16,
    pub vlan_filtering: bool,
    pub vlan_default_pvid: u16,
    pub group_fwd_mask: u16,
    pub mcast_snooping: bool,
    pub nf_call_iptables: bool,
    pub nf_call_ip6tables: bool,
    pub nf_call_arptables: bool,
}

impl Default for BridgeSettings {
    fn default() -> Self {
        Self {
            ageing_time: 30_000,
            forward_delay: 1500,
            hello_time: 200,
            max_age: 2000,
            stp_state: 0,
            priority: 0x8000,
            vlan_filtering: false,
            vlan_default_pvid: 1,
            group_fwd_mask: 0,
            mcast_snooping: true,
            nf_call_iptables: false,
            nf_call_ip6tables: false,
            nf_call_arptables: false,
        }
    }
}

/// Settings of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[allow(missing_docs, reason = "Linux's names: IFLA_BRPORT_*, /sys/class/net/*/brport")]
pub struct PortSettings {
    /// Frames may leave by the port that they came from.
    pub hairpin: bool,
    /// Stations behind it are remembered.
    pub learning: bool,
    /// Frames for unknown stations go there.
    pub unicast_flood: bool,
    pub multicast_flood: bool,
    pub broadcast_flood: bool,
    /// It hears nothing of other isolated ports.
    pub isolated: bool,
    pub guard: bool,
    pub protect: bool,
    pub fast_leave: bool,
    pub cost: u32,
    pub priority: u16,
}

impl Default for PortSettings {
    fn default() -> Self {
        Self {
            hairpin: false,
            learning: true,
            unicast_flood: true,
            multicast_flood: true,
            broadcast_flood: true,
            isolated: false,
            guard: false,
            protect: false,
            fast_leave: false,
            cost: 2,
            priority: 32,
        }
    }
}

/// An interface as a port of a bridge.
#[derive(Debug)]
pub struct Port {
    /// Its number among the bridge's ports, from 1.
    pub number: u16,
    nic: Weak<Nic>,
    bridge: Weak<Nic>,
    settings: RwLock<PortSettings>,
}

impl Port {
    /// The bridge's interface.
    #[must_use]
    pub fn bridge(&self) -> Option<Arc<Nic>> {
        self.bridge.upgrade()
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> PortSettings {
        *self.settings.read()
    }

    /// Changes its settings.
    pub fn change(&self, f: impl FnOnce(&mut PortSettings)) {
        f(&mut self.settings.write());
    }

    /// The interface, where frames can leave by it.
    fn open(&self) -> Option<Arc<Nic>> {
        self.nic.upgrade().filter(|nic| nic.has_carrier())
    }
}

/// A station that a bridge knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    /// Its address.
    pub mac: Mac,
    /// Index of the port's interface; the bridge's own for an address of its own.
    pub port: u32,
    /// How long ago it last sent; `None` where the entry stays.
    pub idle: Option<Duration>,
    /// The address is an interface's of this stack.
    pub is_local: bool,
}

/// What makes an interface a bridge.
#[derive(Debug)]
pub struct Bridge {
    ports: RwLock<Vec<Arc<Port>>>,
    fdb: Mutex<Fdb>,
    settings: RwLock<BridgeSettings>,
    /// Address and MTU were set by hand: they do not follow the ports'.
    has_own_mac: AtomicBool,
    has_own_mtu: AtomicBool,
}

impl Bridge {
    pub(super) fn new(key: Key, stations: Arc<Account>) -> Arc<Self> {
        Arc::new(Self {
            ports: RwLock::default(),
            fdb: Mutex::new(Fdb::new(key, stations)),
            settings: RwLock::default(),
            has_own_mac: AtomicBool::new(false),
            has_own_mtu: AtomicBool::new(false),
        })
    }

    /// Its settings.
    #[must_use]
    pub fn settings(&self) -> BridgeSettings {
        *self.settings.read()
    }

    /// Changes its settings.
    pub fn change(&self, f: impl FnOnce(&mut BridgeSettings)) {
        f(&mut self.settings.write());
    }

    fn ageing(&self) -> Duration {
        Duration::from_millis(u64::from(self.settings.read().ageing_time) * 10)
    }

    /// The ports' interfaces.
    #[must_use]
    pub fn ports(&self) -> Vec<Arc<Nic>> {
        self.ports.read().iter().filter_map(|port| port.nic.upgrade()).collect()
    }

    pub(super) fn has_carrier(&self) -> bool {
        self.ports.read().iter().any(|port| port.open().is_some())
    }

    /// Its address was set by hand.
    pub(super) fn keep_mac(&self) {
        self.has_own_mac.store(true, Ordering::Relaxed);
    }

    /// Its MTU was set by hand.
    pub(super) fn keep_mtu(&self) {
        self.has_own_mtu.store(true, Ordering::Relaxed);
    }

    /// Makes an interface a port. `None` where there are too many.
    pub(super) fn add_port(&self, own: &Arc<Nic>, nic: &Arc<Nic>) -> Option<Arc<Port>> {
        let mut ports = self.ports.write();
        let number = (1..=MAX_PORTS as u16).find(|n| ports.iter().all(|port| port.number != *n))?;
        let settings = RwLock::new(PortSettings::default());
        let port = Arc::new(Port { number, nic: Arc::downgrade(nic), bridge: Arc::downgrade(own), settings });
        ports.push(Arc::clone(&port));
        drop(ports);
        self.follow_ports(own);
        Some(port)
    }

    pub(super) fn remove_port(&self, own: &Nic, nic: &Nic) {
        self.ports.write().retain(|port| port.nic.upgrade().is_some_and(|other| other.index != nic.index));
        self.fdb.lock().forget_port(nic.index);
        self.follow_ports(own);
    }

    /// Address and MTU are the lowest of the ports', unless they were set by hand.
    pub(super) fn follow_ports(&self, own: &Nic) {
        let ports = self.ports();
        if let Some(mac) = ports.iter().map(|nic| nic.mac().0).min()
            && !self.has_own_mac.load(Ordering::Relaxed)
        {
            own.set_mac(Mac(mac));
        }
        if !self.has_own_mtu.load(Ordering::Relaxed) {
            // The ports' are in range.
            let _in_range = own.set_mtu(ports.iter().map(|nic| nic.mtu()).min().unwrap_or(1500));
        }
    }

    /// Forgets the stations that were learnt.
    pub fn flush(&self) {
        self.fdb.lock().flush();
    }

    /// Sets a station by hand, behind a port. False where there is no room.
    pub(super) fn set_station(&self, core: &Core, mac: Mac, port: u32) -> bool {
        self.fdb.lock().set(mac, port, core.now(), self.ageing())
    }

    /// Forgets a station behind a port; whether it was known.
    pub(super) fn remove_station(&self, mac: Mac, port: u32) -> bool {
        self.fdb.lock().remove(mac, port)
    }

    /// The stations that it knows, its own addresses first.
    pub(super) fn stations(&self, core: &Core, own: &Nic) -> Vec<FdbEntry> {
        let now = core.now();
        let local = |nic: &Nic| FdbEntry { mac: nic.mac(), port: nic.index, idle: None, is_local: true };
        let mut all: Vec<_> =
            std::iter::once(local(own)).chain(self.ports().iter().map(|n| local(n))).collect();
        let known = self.fdb.lock().all(now, self.ageing());
        all.extend(known.into_iter().map(|(mac, station)| FdbEntry {
            mac,
            port: station.port,
            idle: station.seen.map(|seen| now.since(seen)),
            is_local: false,
        }));
        all
    }

    /// Whether `mac` is the bridge's or a port's.
    fn is_own(&self, own: &Nic, mac: Mac) -> bool {
        mac == own.mac() || self.ports().iter().any(|nic| nic.mac() == mac)
    }

    /// The ports that a frame leaves by: one, or all where nobody knows. `from` is the port that it came by.
    fn ways(&self, core: &Core, to: Mac, from: Option<&Port>) -> Vec<Arc<Nic>> {
        let is_isolated = from.is_some_and(|port| port.settings().isolated);
        let may = |port: &&Arc<Port>| {
            let settings = port.settings();
            let is_back = from.is_some_and(|from| from.number == port.number);
            (!is_back || settings.hairpin) && !(is_isolated && settings.isolated)
        };
        let ports = self.ports.read();
        let known = if to.is_group() { None } else { self.fdb.lock().find(to, core.now(), self.ageing()) };
        if let Some(index) = known {
            let nic = ports.iter().filter(may).filter_map(|port| port.open()).find(|nic| nic.index == index);
            return nic.into_iter().collect();
        }
        let floods = |port: &&Arc<Port>| {
            let settings = port.settings();
            match to {
                Mac::BROADCAST => settings.broadcast_flood,
                to if to.is_group() => settings.multicast_flood,
                _ => settings.unicast_flood,
            }
        };
        ports.iter().filter(may).filter(floods).filter_map(|port| port.open()).collect()
    }
}

/// Destination and source of a frame.
fn addresses(frame: &TxFrame) -> Option<(Mac, Mac)> {
    let bytes = frame.bytes();
    let mac = |at: usize| bytes.get(at..)?.first_chunk::<6>().copied().map(Mac);
    // A header has a type as well.
    mac(0).zip(mac(6)).filter(|_| bytes.len() >= 14)
}

/// Whether a port can carry a frame.
fn fits(port: &Nic, frame: &TxFrame) -> bool {
    frame.meta.gso_size != 0 || frame.bytes().len() <= port.mtu() as usize + LINK_OVERHEAD
}

impl Core {
    /// A frame has arrived at a port. Gives it back where it is for the bridge's own interface too, with that.
    pub(crate) fn bridge_input(&self, port: &Port, frame: TxFrame) -> Option<(Arc<Nic>, Cast, TxFrame)> {
        let own = port.bridge().filter(|own| own.is_up())?;
        let bridge = own.bridge()?;
        let (to, from) = addresses(&frame)?;
        if from.is_group() || to.0[..5] == RESERVED && to.0[5] < 0x10 {
            return None;
        }
        if port.settings().learning
            && !bridge.is_own(&own, from)
            && let Some(nic) = port.nic.upgrade()
        {
            bridge.fdb.lock().learn(from, nic.index, self.now(), bridge.ageing());
        }
        let cast = match to {
            Mac::BROADCAST => Cast::Broadcast,
            to if to.is_group() => Cast::Multicast,
            _ => Cast::Unicast,
        };
        if cast == Cast::Unicast && bridge.is_own(&own, to) {
            return Some((own, cast, frame));
        }
        let ways = bridge.ways(self, to, Some(port));
        if cast != Cast::Unicast {
            self.send_copies(&ways, &frame);
            return Some((own, cast, frame));
        }
        self.send_by(&ways, frame);
        None
    }

    /// A bridge's own interface sends a frame. False where it leaves by no port.
    pub(crate) fn bridge_output(&self, bridge: &Bridge, frame: TxFrame) -> bool {
        let Some((to, _)) = addresses(&frame) else { return false };
        let ways = bridge.ways(self, to, None);
        self.send_by(&ways, frame);
        !ways.is_empty()
    }

    /// Sends a frame by some ports.
    fn send_by(&self, ways: &[Arc<Nic>], frame: TxFrame) {
        let Some((last, others)) = ways.split_last() else { return };
        self.send_copies(others, &frame);
        if fits(last, &frame) {
            self.transmit(last, frame);
        }
    }

    /// Sends copies of a frame by some ports.
    fn send_copies(&self, ways: &[Arc<Nic>], frame: &TxFrame) {
        for nic in ways.iter().filter(|nic| fits(nic, frame)) {
            self.transmit_copy(nic, frame);
        }
    }
}
