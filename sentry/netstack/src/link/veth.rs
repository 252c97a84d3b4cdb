//! Pairs of interfaces: what one sends, the other receives (`man 4 veth`).

use super::device::TxFrame;
use super::nic::{Mac, Nic};
use super::topology::StackId;
use crate::core::Core;
use parking_lot::RwLock;
use std::borrow::Cow;
use std::sync::{Arc, OnceLock, Weak};

/// Bytes that a frame may have beyond its interface's MTU: Ethernet header and a VLAN tag.
pub(super) const LINK_OVERHEAD: usize = 14 + 4;

/// Where an end is: its stack and its interface there.
#[derive(Debug)]
struct Place {
    core: Weak<Core>,
    nic: Weak<Nic>,
}

/// One end.
#[derive(Debug, Default)]
pub(crate) struct VethEnd {
    /// A leaf lock.
    place: RwLock<Option<Place>>,
    other: OnceLock<Weak<Self>>,
}

/// The other end of a pair as seen from one.
#[derive(Clone, Debug)]
pub struct Peer {
    pub(crate) core: Arc<Core>,
    pub(crate) nic: Arc<Nic>,
}

impl Peer {
    /// Its interface.
    #[must_use]
    pub const fn nic(&self) -> &Arc<Nic> {
        &self.nic
    }

    /// Whether it is in `stack`.
    #[must_use]
    pub fn is_in(&self, stack: &crate::Stack) -> bool {
        Arc::ptr_eq(&self.core, stack.core())
    }

    /// What tells its stack from others ([`crate::Stack::id`]).
    #[must_use]
    pub fn stack_id(&self) -> &Arc<StackId> {
        &self.core.stack_id
    }
}

impl VethEnd {
    /// Both ends of a pair, which are nowhere yet.
    pub(crate) fn pair() -> [Arc<Self>; 2] {
        let ends = [Arc::<Self>::default(), Arc::default()];
        // Fresh: nothing was set before.
        let _unset = ends[0].other.set(Arc::downgrade(&ends[1]));
        let _unset = ends[1].other.set(Arc::downgrade(&ends[0]));
        ends
    }

    /// Puts this end into a stack.
    pub(crate) fn place(&self, core: &Arc<Core>, nic: &Arc<Nic>) {
        *self.place.write() = Some(Place { core: Arc::downgrade(core), nic: Arc::downgrade(nic) });
    }

    /// Takes this end out of its stack.
    pub(crate) fn displace(&self) {
        *self.place.write() = None;
    }

    /// The other end, where it is in a stack.
    pub(crate) fn peer(&self) -> Option<Peer> {
        let other = self.other.get()?.upgrade()?;
        let place = other.place.read();
        let place = place.as_ref()?;
        Some(Peer { core: place.core.upgrade()?, nic: place.nic.upgrade()? })
    }

    /// Sends a frame to the other end. False where it is lost.
    pub(crate) fn send(&self, core: &Core, frame: Cow<'_, TxFrame>) -> bool {
        let Some(peer) = self.peer() else { return false };
        let is_too_long =
            frame.meta.gso_size == 0 && frame.bytes().len() > peer.nic.mtu() as usize + LINK_OVERHEAD;
        !is_too_long && peer.nic.is_up() && core.post(&peer.core, peer.nic, frame)
    }
}

/// An address for a link that was given none: locally administered, of one station.
pub(crate) fn random_mac(core: &Core) -> Mac {
    let mut mac = [0; 6];
    mac[..4].copy_from_slice(&core.random.next_u32().to_ne_bytes());
    mac[4..].copy_from_slice(&core.random.next_u32().to_ne_bytes()[..2]);
    mac[0] = mac[0] & 0xfe | 2;
    Mac(mac)
}
