//! Packet filtering and address translation: what `nft` and `iptables` set up (`man 8 nft`, Linux's nf_tables).
//!
//! Rules are lists of expressions in chains in tables ([`Ruleset`]); one machine evaluates them. A change is made on a
//! copy of the rule set and takes effect as a whole ([`Netfilter::commit`]), so packets never see half of it. While
//! no chain hooks into a family's packets, a packet costs one load ([`Netfilter::sees`]), and connections within the
//! stack build no packets; see [`hooks`] for where chains are asked.
//!
//! Locks: `rules` (held for the copy of a pointer) and `conntrack`, both leaves.

pub mod conntrack;
pub mod expr;
mod fields;
mod hooks;
mod machine;
mod nat;
mod passing;
mod reject;
pub mod ruleset;
pub mod set;
mod validate;
pub mod xt;

use crate::base::addr::{Endpoint, Family};
use crate::base::error::{Error, Result};
use crate::base::hash::Key;
pub(crate) use hooks::{Rerouted, Shape};

use conntrack::{Conntrack, Tuple};
use parking_lot::{Mutex, RwLock};
use ruleset::{Compiled, Ruleset};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Places on a packet's way where chains are asked, with the numbers of `NF_INET_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Hook {
    /// It has arrived.
    Prerouting = 0,
    /// It is for this stack.
    Input = 1,
    /// It is to be passed on. This stack passes nothing on, so that chains here see no packet.
    Forward = 2,
    /// A socket of this stack sends it.
    Output = 3,
    /// It is about to leave.
    Postrouting = 4,
}

impl Hook {
    /// All hooks, by number.
    pub const ALL: [Self; 5] =
        [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting];

    /// The hook with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// Its bit in a set of hooks.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// The rules of a stack and the connections that they make it follow.
#[derive(Debug)]
pub struct Netfilter {
    /// Bit 0: there is something to ask about IPv4 packets; bit 1: about IPv6 packets.
    active: AtomicU32,
    rules: RwLock<Arc<Compiled>>,
    pub(crate) conntrack: Mutex<Conntrack>,
}

impl Netfilter {
    pub(crate) fn new(key: Key) -> Self {
        Self {
            active: AtomicU32::new(0),
            rules: RwLock::new(Arc::default()),
            conntrack: Mutex::new(Conntrack::new(key)),
        }
    }

    /// Whether packets of a family have to be shown to chains.
    pub(crate) fn sees(&self, family: Family) -> bool {
        self.active.load(Ordering::Relaxed) & family_bit(family) != 0
    }

    fn compiled(&self) -> Arc<Compiled> {
        Arc::clone(&self.rules.read())
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> Arc<Ruleset> {
        Arc::clone(&self.rules.read().rules)
    }

    /// Where a connection was going before its destination was translated, as one of its ends knows it
    /// (`SO_ORIGINAL_DST`). `None` where it is not followed.
    #[must_use]
    pub fn original_destination(&self, protocol: u8, local: Endpoint, peer: Endpoint) -> Option<Endpoint> {
        let table = self.conntrack.lock();
        let (id, _) = table.find(&Tuple { from: local, to: peer, protocol, kind: 0 })?;
        table.flow(id).map(|flow| flow.original.to)
    }

    /// Puts `rules` in force in place of those of generation `base`.
    ///
    /// # Errors
    /// [`Error::Again`] where others were put in force since (`ERESTART` inside Linux: the caller begins again).
    pub fn commit(&self, base: u32, mut rules: Ruleset) -> Result<()> {
        let mut current = self.rules.write();
        if current.rules.generation() != base {
            return Err(Error::Again);
        }
        rules.set_generation(base.wrapping_add(1).max(1));
        let compiled = Compiled::new(Arc::new(rules));
        let bits = [Family::V4, Family::V6].into_iter().filter(|family| compiled.has_hooks(*family));
        self.active.store(bits.fold(0, |all, family| all | family_bit(family)), Ordering::Relaxed);
        *current = Arc::new(compiled);
        Ok(())
    }
}

const fn family_bit(family: Family) -> u32 {
    match family {
        Family::V4 => 1,
        Family::V6 => 2,
    }
}
