//! Making, joining, moving and removing links within the sandbox (`man 8 ip-link`).
//!
//! A stack's list of interfaces says which there are: making a port, removing and moving an interface happen under its
//! lock, so that of two that want the same one wins. Only a move locks two stacks' lists, in the order of their addresses
//! in memory. The owner hears of what
//! follows elsewhere from a change ([`LinkWatcher`]): the other end of a pair, a bridge's address, ports that are free
//! again.

use super::bridge::{Bridge, FdbEntry};
use super::device::Device;
use super::nic::{Identity, Mac, Nic, NicKind};
use super::veth::{VethEnd, random_mac};
use super::wire::Wire;
use crate::base::error::{Error, Result};
use crate::core::Core;
use crate::stack::Stack;
use parking_lot::{RwLock, RwLockWriteGuard};
use std::sync::{Arc, Weak};

type NicList = RwLock<Vec<Arc<Nic>>>;
type WriteGuard<'a> = RwLockWriteGuard<'a, Vec<Arc<Nic>>>;

/// Tells a stack from others: it is one object as long as the stack lives.
#[derive(Debug, Default)]
pub struct StackId(());

/// Interfaces of one stack at most.
const MAX_NICS: usize = 4096;
/// The largest MTU of a pair's end or a bridge.
const MAX_MTU: u32 = 65_535;

/// Hears of links that change without having been asked to. Called with no lock held.
pub trait LinkWatcher: Send + Sync {
    /// An interface has another state, address, MTU or bridge.
    fn changed(&self, nic: &Arc<Nic>);

    /// An interface is gone.
    fn gone(&self, nic: &Arc<Nic>);
}

/// What a link is made with.
#[derive(Clone, Debug, Default)]
pub struct LinkConfig {
    /// Whether its frames have Ethernet headers.
    pub kind: NicKind,
    /// Name; `%d` in it stands for the first number that makes it a free one.
    pub name: String,
    /// Index, where it is to be a certain one.
    pub index: Option<u32>,
    /// Address; a random one where there is none.
    pub mac: Option<Mac>,
    /// Largest packet, where it is not to be 1500.
    pub mtu: Option<u32>,
}

/// Whether Linux takes `name` for an interface (`dev_valid_name`).
pub(crate) fn is_valid_name(name: &str) -> bool {
    let is_bad = |c: char| c == '/' || c == ':' || c.is_ascii_whitespace();
    !name.is_empty() && name.len() <= 15 && name != "." && name != ".." && !name.contains(is_bad)
}

/// The name that a pattern stands for among those that are taken.
fn free_name(pattern: &str, nics: &[Arc<Nic>]) -> Result<String> {
    let is_taken = |name: &str| nics.iter().any(|nic| nic.name() == name);
    let Some((before, after)) = pattern.split_once("%d") else {
        return match is_valid_name(pattern) {
            false => Err(Error::Invalid),
            true if is_taken(pattern) => Err(Error::Exists),
            true => Ok(pattern.to_owned()),
        };
    };
    let names = (0..=nics.len()).map(|number| format!("{before}{number}{after}"));
    let name = names.into_iter().find(|name| !is_taken(name)).ok_or(Error::Exists)?;
    if is_valid_name(&name) && !after.contains('%') { Ok(name) } else { Err(Error::Invalid) }
}

impl Core {
    /// Adds an interface on a wire within the sandbox.
    fn add_link(&self, config: &LinkConfig, wire: Wire) -> Result<Arc<Nic>> {
        let mut nics = self.nics.write();
        self.list(&mut nics, config, wire)
    }

    /// Puts a new interface on the list.
    fn list(&self, nics: &mut Vec<Arc<Nic>>, config: &LinkConfig, wire: Wire) -> Result<Arc<Nic>> {
        let mtu = config.mtu.unwrap_or(1500);
        if !(68..=MAX_MTU).contains(&mtu) {
            return Err(Error::Invalid);
        }
        let name = free_name(&config.name, nics)?;
        let index = match config.index {
            Some(index) if !(1..=MAX_INDEX).contains(&index) => return Err(Error::Invalid),
            Some(index) if nics.iter().any(|nic| nic.index == index) => return Err(Error::Busy),
            Some(index) => index,
            None => next_index(nics),
        };
        if nics.len() >= MAX_NICS {
            return Err(Error::NoBuffers);
        }
        let has_mac = config.kind == NicKind::Ethernet;
        let mac = config.mac.unwrap_or_else(|| if has_mac { random_mac(self) } else { Mac::default() });
        let identity = Identity { name, kind: config.kind, mac, mtu };
        let nic = Arc::new(Nic::with_wire(index, identity, wire));
        nic.change_settings(|settings| *settings = self.config().nic_default);
        nics.push(Arc::clone(&nic));
        Ok(nic)
    }

    /// Takes an interface off the list; false where it is gone already.
    fn unlist(&self, nic: &Arc<Nic>) -> bool {
        let mut nics = self.nics.write();
        let Some(at) = nics.iter().position(|other| Arc::ptr_eq(other, nic)) else { return false };
        nics.remove(at);
        leave_bridge(nic);
        true
    }

    /// Takes a bridge's ports off it; gives them back.
    fn free_ports(&self, own: &Arc<Nic>, bridge: &Bridge) -> Vec<Arc<Nic>> {
        // So that none joins another bridge meanwhile.
        let _nics = self.nics.write();
        let is_on = |nic: &Arc<Nic>| {
            nic.port().and_then(|port| port.bridge()).is_some_and(|master| Arc::ptr_eq(&master, own))
        };
        let ports: Vec<_> = bridge.ports().into_iter().filter(is_on).collect();
        ports.iter().for_each(|nic| nic.set_port(None));
        ports
    }

    /// Takes an interface away, with its addresses, its routes, its ports, and the other end of its pair. False where
    /// it is gone already.
    pub(crate) fn remove_nic(&self, nic: &Arc<Nic>) -> bool {
        let master = nic.port().and_then(|port| port.bridge());
        if !self.unlist(nic) {
            return false;
        }
        self.clear_nic(nic);
        if let Some(master) = master {
            self.announce(&master);
        }
        match &nic.wire {
            Wire::Device(device) => device.removed(),
            Wire::Bridge(bridge) => {
                self.free_ports(nic, bridge).iter().for_each(|port| self.announce(port));
            }
            Wire::Veth(end) => remove_other_end(end),
            Wire::None => {}
        }
        true
    }

    /// Switches an interface off that is on no list any more, and forgets its addresses.
    fn clear_nic(&self, nic: &Arc<Nic>) {
        self.set_up(nic, false);
        for addr in nic.addrs() {
            let _gone_already = self.remove_addr(nic, addr.ip());
        }
    }

    /// Tells the owner of an interface that changed.
    pub(crate) fn announce(&self, nic: &Arc<Nic>) {
        if let Some(watcher) = self.watcher() {
            watcher.changed(nic);
        }
    }

    /// Tells the owners of what follows from an interface's going up or down: the other end of its pair, its bridge.
    pub(crate) fn carrier_changed(&self, nic: &Arc<Nic>) {
        if let Wire::Veth(end) = &nic.wire
            && let Some(peer) = end.peer().filter(|peer| peer.nic.is_up())
        {
            peer.core.announce(&peer.nic);
        }
        if let Some(master) = nic.port().and_then(|port| port.bridge()).filter(|master| master.is_up()) {
            self.announce(&master);
        }
    }
}

/// The other end of a pair goes with the one that was removed.
fn remove_other_end(end: &VethEnd) {
    end.displace();
    let mut last: Option<Arc<Nic>> = None;
    while let Some(peer) = end.peer() {
        if peer.core.remove_nic(&peer.nic) {
            if let Some(watcher) = peer.core.watcher() {
                watcher.gone(&peer.nic);
            }
            return;
        }
        // It has moved meanwhile, or somebody else removes it.
        if last.is_some_and(|last| Arc::ptr_eq(&last, &peer.nic)) {
            return;
        }
        last = Some(peer.nic);
    }
}

/// Makes an interface no port any more.
fn leave_bridge(nic: &Nic) {
    let Some(master) = nic.port().and_then(|port| port.bridge()) else { return };
    nic.set_port(None);
    if let Some(bridge) = master.bridge() {
        bridge.remove_port(&master, nic);
    }
}

/// Locks two stacks' lists, which are not the same.
fn lock_both<'a>(one: &'a NicList, two: &'a NicList) -> (WriteGuard<'a>, WriteGuard<'a>) {
    if std::ptr::from_ref(one) < std::ptr::from_ref(two) {
        let first = one.write();
        (first, two.write())
    } else {
        let second = two.write();
        (one.write(), second)
    }
}

/// The highest index, as on Linux: an `int`.
const MAX_INDEX: u32 = i32::MAX.unsigned_abs();

/// The index of a new interface: above all others, or the lowest free one where there is none above.
pub(crate) fn next_index(nics: &[Arc<Nic>]) -> u32 {
    let highest = nics.iter().map(|nic| nic.index).max().unwrap_or(0);
    if highest < MAX_INDEX {
        return highest + 1;
    }
    (1..=MAX_INDEX).find(|index| nics.iter().all(|nic| nic.index != *index)).unwrap_or(MAX_INDEX)
}

impl Stack {
    /// Sets who hears of links that change without having been asked to; the first call counts.
    pub fn set_link_watcher(&self, watcher: Weak<dyn LinkWatcher>) {
        self.core().set_watcher(watcher);
    }

    /// What tells it from other stacks.
    #[must_use]
    pub fn id(&self) -> &Arc<StackId> {
        &self.core().stack_id
    }

    /// Adds an interface that leads nowhere.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name, a number or an MTU that makes no sense, [`Error::Exists`] and [`Error::Busy`] for
    /// one that is taken, [`Error::NoBuffers`] where there are too many.
    pub fn add_dummy(&self, config: &LinkConfig) -> Result<Arc<Nic>> {
        self.core().add_link(config, Wire::None)
    }

    /// Adds an interface on a device of the owner's, as guests make and remove them.
    ///
    /// # Errors
    /// As [`Stack::add_dummy`].
    pub fn add_device(&self, config: &LinkConfig, device: Arc<dyn Device>) -> Result<Arc<Nic>> {
        self.core().add_link(config, Wire::Device(device))
    }

    /// Adds a pair: one end here, the other in `other`, which may be the same stack.
    ///
    /// # Errors
    /// As [`Stack::add_dummy`], of either end; then there is neither.
    pub fn add_veth(
        &self,
        config: &LinkConfig,
        other: &Self,
        peer: &LinkConfig,
    ) -> Result<(Arc<Nic>, Arc<Nic>)> {
        let [here, there] = VethEnd::pair();
        // Linux makes the other end first.
        let peer_nic = other.core().add_link(peer, Wire::Veth(Arc::clone(&there)))?;
        let nic = match self.core().add_link(config, Wire::Veth(Arc::clone(&here))) {
            Ok(nic) => nic,
            Err(error) => {
                other.core().remove_nic(&peer_nic);
                return Err(error);
            }
        };
        there.place(other.core(), &peer_nic);
        here.place(self.core(), &nic);
        Ok((nic, peer_nic))
    }

    /// Adds a bridge.
    ///
    /// # Errors
    /// As [`Stack::add_dummy`].
    pub fn add_bridge(&self, config: &LinkConfig) -> Result<Arc<Nic>> {
        let bridge = Bridge::new(self.core().key, Arc::clone(&self.core().budget.stations));
        if config.mac.is_some() {
            bridge.keep_mac();
        }
        if config.mtu.is_some() {
            bridge.keep_mtu();
        }
        self.core().add_link(config, Wire::Bridge(bridge))
    }

    /// Makes an interface a port of a bridge, or of none.
    ///
    /// # Errors
    /// `Loop` for a bridge in a bridge, `Invalid` for what has no Ethernet frames or a bridge that is none, `Busy` with
    /// too many ports, `NoDevice` where one of them is gone.
    pub fn set_bridge(&self, nic: &Arc<Nic>, bridge: Option<&Arc<Nic>>) -> Result<()> {
        let nics = self.core().nics.write();
        let is_here = |nic: &Arc<Nic>| nics.iter().any(|other| Arc::ptr_eq(other, nic));
        if !is_here(nic) || bridge.is_some_and(|bridge| !is_here(bridge)) {
            return Err(Error::NoDevice);
        }
        let before = nic.port().and_then(|port| port.bridge());
        if let Some(own) = bridge {
            own.bridge().ok_or(Error::NotSupported)?;
            if Arc::ptr_eq(own, nic) {
                return Err(Error::Invalid);
            }
            if nic.bridge().is_some() {
                return Err(Error::Loop);
            }
            if nic.kind != NicKind::Ethernet {
                return Err(Error::Invalid);
            }
        }
        leave_bridge(nic);
        if let Some((own, bridge)) = bridge.and_then(|own| own.bridge().map(|bridge| (own, bridge))) {
            nic.set_port(Some(bridge.add_port(own, nic).ok_or(Error::Busy)?));
        }
        drop(nics);
        for changed in before.iter().chain(bridge) {
            self.core().announce(changed);
        }
        Ok(())
    }

    /// Moves an interface to another stack: down, without addresses, and no longer a port of a bridge. It keeps its name
    /// (or takes `name`) and, where that is free there, its index.
    ///
    /// # Errors
    /// `Invalid` for one that cannot leave its stack, `Exists` where its name is taken, `NoDevice` where it is gone.
    pub fn move_nic(
        &self,
        nic: &Arc<Nic>,
        to: &Self,
        name: Option<&str>,
        index: Option<u32>,
    ) -> Result<Arc<Nic>> {
        let (wire, end) = match &nic.wire {
            Wire::Veth(end) => (Wire::Veth(Arc::clone(end)), Some(end)),
            Wire::None if !nic.is_loopback() => (Wire::None, None),
            // Bridges belong to their stack, as on Linux; links to the outside are received from for theirs.
            Wire::None | Wire::Device(_) | Wire::Bridge(_) => return Err(Error::Invalid),
        };
        let (here, there) = (self.core(), to.core());
        if Arc::ptr_eq(here, there) {
            return Err(Error::Invalid);
        }
        let (mut from_list, mut to_list) = lock_both(&here.nics, &there.nics);
        let at = from_list.iter().position(|other| Arc::ptr_eq(other, nic)).ok_or(Error::NoDevice)?;
        let wanted = index.or(Some(nic.index).filter(|index| to_list.iter().all(|nic| nic.index != *index)));
        let name = name.map_or_else(|| nic.name(), str::to_owned);
        let config =
            LinkConfig { kind: nic.kind, name, index: wanted, mac: Some(nic.mac()), mtu: Some(nic.mtu()) };
        let moved = there.list(&mut to_list, &config, wire)?;
        from_list.remove(at);
        let master = nic.port().and_then(|port| port.bridge());
        leave_bridge(nic);
        if let Some(end) = end {
            end.place(there, &moved);
        }
        drop((from_list, to_list));
        here.clear_nic(nic);
        if let Some(master) = master {
            self.core().announce(&master);
        }
        Ok(moved)
    }

    /// Gives an interface an Ethernet address.
    ///
    /// # Errors
    /// [`Error::AddrNotAvailable`] for an address that no station has.
    pub fn set_mac(&self, nic: &Arc<Nic>, mac: Mac) -> Result<()> {
        if mac.is_group() || mac == Mac::default() {
            return Err(Error::AddrNotAvailable);
        }
        nic.set_mac(mac);
        if let Some(bridge) = nic.bridge() {
            bridge.keep_mac();
        }
        self.follow_port(nic);
        Ok(())
    }

    /// Sets an interface's largest packet.
    ///
    /// # Errors
    /// As [`Nic::set_mtu`].
    pub fn set_mtu(&self, nic: &Arc<Nic>, mtu: u32) -> Result<()> {
        nic.set_mtu(mtu)?;
        if let Some(bridge) = nic.bridge() {
            bridge.keep_mtu();
        }
        self.follow_port(nic);
        Ok(())
    }

    /// A bridge follows what its port is now.
    fn follow_port(&self, nic: &Nic) {
        if let Some(master) = nic.port().and_then(|port| port.bridge())
            && let Some(bridge) = master.bridge()
        {
            bridge.follow_ports(&master);
            self.core().announce(&master);
        }
    }

    /// The stations that a bridge knows.
    #[must_use]
    pub fn stations(&self, nic: &Nic) -> Vec<FdbEntry> {
        nic.bridge().map(|bridge| bridge.stations(self.core(), nic)).unwrap_or_default()
    }

    /// Sets the port of a bridge behind which a station is.
    ///
    /// # Errors
    /// [`Error::NotSupported`] where `port` is none of a bridge, [`Error::NoBuffers`] where the bridge knows too many
    /// stations.
    pub fn set_station(&self, port: &Nic, mac: Mac) -> Result<()> {
        let master = port.port().and_then(|port| port.bridge()).ok_or(Error::NotSupported)?;
        let bridge = master.bridge().ok_or(Error::NotSupported)?;
        if bridge.set_station(self.core(), mac, port.index) { Ok(()) } else { Err(Error::NoBuffers) }
    }

    /// Forgets a station behind a port.
    ///
    /// # Errors
    /// [`Error::NotSupported`] where `port` is none of a bridge, [`Error::NoEntry`] where no such station is behind it.
    pub fn remove_station(&self, port: &Nic, mac: Mac) -> Result<()> {
        let master = port.port().and_then(|port| port.bridge()).ok_or(Error::NotSupported)?;
        let bridge = master.bridge().ok_or(Error::NotSupported)?;
        if bridge.remove_station(mac, port.index) { Ok(()) } else { Err(Error::NoEntry) }
    }

    /// Takes the links away with the stack: the other ends of its pairs go too.
    pub(crate) fn remove_links(&self) {
        for nic in self.nics() {
            if !nic.is_loopback() {
                self.core().remove_nic(&nic);
            }
        }
        self.core().inbox.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_linux_takes() {
        for bad in ["", ".", "..", "a/b", "a b", "a:1", "sixteen-bytes-16"] {
            assert!(!is_valid_name(bad), "{bad}");
        }
        assert!(is_valid_name("veth12345-abcde"));
        let nic = |index, name: &str| {
            let identity =
                Identity { name: name.into(), kind: NicKind::Ethernet, mac: Mac::default(), mtu: 1500 };
            Arc::new(Nic::with_wire(index, identity, Wire::None))
        };
        let nics = [nic(1, "veth0"), nic(2, "veth2")];
        assert_eq!(free_name("veth%d", &nics).as_deref(), Ok("veth1"));
        assert_eq!(free_name("veth0", &nics), Err(Error::Exists));
        assert_eq!(free_name("%d%d", &nics), Err(Error::Invalid));
        assert_eq!(free_name("veth-veth-vet%d", &nics), Ok("veth-veth-vet0".to_owned()));
        assert_eq!(free_name("veth-veth-vethx%d", &nics), Err(Error::Invalid));
    }
}
