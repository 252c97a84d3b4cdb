//! Packet filtering and address translation: what `nft` and `iptables` set up (`man 8 nft`, Linux's nf_tables).
//!
//! Rules are lists of expressions in chains in tables ([`Ruleset`]); one machine evaluates them. A change is made on a
//! copy of the rule set and takes effect as a whole ([`Netfilter::commit`]), so packets never see half of it. While
//! nothing is to be asked about a family's packets on their way in or out, a packet costs one load ([`Netfilter::sees`]);
//! while neither is, connections within the stack build no packets. See [`hooks`] for where chains are asked.
//!
//! Locks: `rules` (held for the copy or the exchange of a pointer) and `conntrack`, both leaves.

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
pub(crate) use passing::{Followed, read_address};

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
    /// It is to be passed on.
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

    /// Those that a packet of a socket comes to.
    pub(crate) const SENT: u32 = Self::Output.bit() | Self::Postrouting.bit();
    /// Those that a packet that arrives comes to.
    pub(crate) const ARRIVING: u32 = Self::Prerouting.bit() | Self::Input.bit();
    /// Those that a packet for another comes to.
    pub(crate) const PASSING: u32 = Self::Prerouting.bit() | Self::Forward.bit() | Self::Postrouting.bit();

    /// Its bit in a set of hooks.
    #[must_use]
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }
}

/// The rules of a stack and the connections that they make it follow.
#[derive(Debug)]
pub struct Netfilter {
    /// The hooks where there is something to ask about IPv4 packets; eight bits further, about IPv6 packets.
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

    /// Whether packets of a family have to be shown to something at one of `hooks`.
    pub(crate) fn sees(&self, family: Family, hooks: u32) -> bool {
        self.active.load(Ordering::Relaxed) & in_family(family, hooks) != 0
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
        let check = |current: &Compiled| match current.rules.generation() == base {
            true => Ok(()),
            false => Err(Error::Again),
        };
        check(&self.compiled())?;
        rules.set_generation(base.wrapping_add(1).max(1));
        let fresh = Arc::new(Compiled::new(Arc::new(rules)));
        let hooks = [Family::V4, Family::V6].map(|family| in_family(family, fresh.hooks(family)));
        let mut current = self.rules.write();
        check(&current)?;
        self.active.store(hooks[0] | hooks[1], Ordering::Relaxed);
        let old = std::mem::replace(&mut *current, fresh);
        // Freeing the old rules may take long: packets need not wait for it.
        drop(current);
        drop(old);
        Ok(())
    }
}

/// Where the bits of hooks stand for a family.
const fn in_family(family: Family, hooks: u32) -> u32 {
    match family {
        Family::V4 => hooks,
        Family::V6 => hooks << 8,
    }
}

#[cfg(test)]
mod tests {
    use super::expr::{CtKey, Expr, Register};
    use super::ruleset::{BaseChain, Chain, ChainKind, IPV4, Rule};
    use super::*;

    fn with_chain(hook: Hook, exprs: Vec<Expr>) -> Ruleset {
        let mut rules = Ruleset::default();
        rules.add_table(IPV4, "t".into(), 0, Box::default());
        let base = BaseChain { hook, priority: 0, kind: ChainKind::Filter, drops: false, count: None };
        let rule = Arc::new(Rule { handle: 2, exprs, userdata: Box::default() });
        let (name, userdata) = ("c".into(), Box::default());
        let chain = Chain { name, handle: 1, base: Some(base), rules: vec![rule], userdata };
        rules.table_mut(IPV4, "t").unwrap().chains.insert(1, Arc::new(chain));
        rules
    }

    #[test]
    fn only_where_something_stands_are_packets_shown() {
        let filter = Netfilter::new(Key(1, 2));
        let seen = || {
            let both = |hooks| [Family::V4, Family::V6].map(|family| filter.sees(family, hooks));
            (both(Hook::SENT), both(Hook::ARRIVING))
        };
        assert_eq!(seen(), ([false; 2], [false; 2]));
        filter.commit(0, with_chain(Hook::Output, vec![])).unwrap();
        assert_eq!(seen(), ([true, false], [false; 2]));
        assert_eq!(filter.commit(0, Ruleset::default()), Err(Error::Again));
        filter.commit(1, with_chain(Hook::Input, vec![])).unwrap();
        assert_eq!(seen(), ([false; 2], [true, false]));
        let to = Register::from_number(8, 4).unwrap();
        let state = Expr::Ct { to, key: CtKey::State, is_reply: None };
        filter.commit(2, with_chain(Hook::Output, vec![state])).unwrap();
        assert_eq!(seen(), ([true, false], [true, false]), "connections are followed both ways");
        filter.commit(3, Ruleset::default()).unwrap();
        assert_eq!(seen(), ([false; 2], [false; 2]));
    }
}
