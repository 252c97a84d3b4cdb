//! iptables' matches and targets (x_tables extensions): what `iptables` sends where nf_tables has no expression, and
//! all that `iptables-legacy` sends.
//!
//! Each comes as a C structure (linux/netfilter/xt_*.h). It is taken apart once, when it is added; the bytes are kept to
//! be shown again as they came.

mod matches;
mod targets;

use super::Hook;
use super::expr::Verdict;
use super::passing::Passing;
use crate::base::addr::Family;
use crate::base::error::{Error, Result};
use crate::core::Core;
use matches::Condition;
use std::net::IpAddr;
use targets::Action;

/// A match: a condition.
#[derive(Clone, Debug)]
pub struct Match {
    /// Its name.
    pub name: String,
    /// Its revision.
    pub revision: u32,
    /// The structure as it came.
    pub info: Box<[u8]>,
    condition: Condition,
}

/// A target: what is done.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// Its revision.
    pub revision: u32,
    /// The structure as it came.
    pub info: Box<[u8]>,
    action: Action,
}

impl Match {
    /// Takes a match apart.
    ///
    /// # Errors
    /// `NoEntry` for one that there is not, `Invalid` for another size or values that make no sense.
    pub fn parse(name: &str, revision: u32, info: &[u8]) -> Result<Self> {
        let condition = matches::parse(name, revision, info)?;
        Ok(Self { name: name.to_owned(), revision, info: info.into(), condition })
    }

    /// The highest revision of the match of a name.
    #[must_use]
    pub fn best_revision(name: &str) -> Option<u32> {
        matches::KNOWN.iter().filter(|(known, ..)| *known == name).map(|(_, revision, _)| *revision).max()
    }

    /// Bytes of its structure.
    #[must_use]
    pub fn size(name: &str, revision: u32) -> Option<usize> {
        size_in(matches::KNOWN, name, revision)
    }

    pub(super) fn holds(&self, core: &Core, packet: &Passing<'_>) -> bool {
        self.condition.holds(core, packet)
    }

    pub(super) const fn needs_conntrack(&self) -> bool {
        matches!(self.condition, Condition::Conntrack(_) | Condition::State(_) | Condition::ConnMark(_))
    }
}

impl Match {
    /// Whose socket a packet comes from is known of what this host sends.
    pub(super) const fn restriction(&self) -> Option<(u32, bool)> {
        match self.condition {
            Condition::Owner(_) => Some((Hook::Output.bit() | Hook::Postrouting.bit(), false)),
            _ => None,
        }
    }
}

impl Target {
    /// Takes a target apart, for packets of one family.
    ///
    /// # Errors
    /// `NoEntry` for one that there is not, `Invalid` for another size or values that make no sense.
    pub fn parse(name: &str, revision: u32, family: Family, info: &[u8]) -> Result<Self> {
        let action = targets::parse(name, revision, family, info)?;
        Ok(Self { name: name.to_owned(), revision, info: info.into(), action })
    }

    /// The highest revision of the target of a name.
    #[must_use]
    pub fn best_revision(name: &str) -> Option<u32> {
        targets::KNOWN.iter().filter(|(known, ..)| *known == name).map(|(_, revision, _)| *revision).max()
    }

    pub(super) fn apply(&self, core: &Core, packet: &mut Passing<'_>) -> Verdict {
        self.action.apply(core, packet)
    }

    pub(super) const fn needs_conntrack(&self) -> bool {
        matches!(self.action, Action::ConnMark(_))
    }

    pub(super) const fn restriction(&self) -> Option<(u32, bool)> {
        let destinations = Hook::Prerouting.bit() | Hook::Output.bit();
        match self.action {
            Action::Reject(_) => Some((Hook::Input.bit() | Hook::Forward.bit() | Hook::Output.bit(), false)),
            Action::Masquerade(..) => Some((Hook::Postrouting.bit(), true)),
            Action::Redirect(..) => Some((destinations, true)),
            Action::Nat(range) => match range.side {
                super::expr::Side::Source => Some((Hook::Postrouting.bit() | Hook::Input.bit(), true)),
                super::expr::Side::Destination => Some((destinations, true)),
            },
            _ => None,
        }
    }
}

fn size_in(known: &[(&str, u32, usize)], name: &str, revision: u32) -> Option<usize> {
    let found = known.iter().find(|(known, of, _)| (*known, *of) == (name, revision));
    found.map(|(.., size)| size.next_multiple_of(8))
}

/// Checks that an extension is known and has its size.
fn check(known: &[(&str, u32, usize)], name: &str, revision: u32, info: &[u8]) -> Result<()> {
    let size = size_in(known, name, revision).ok_or(Error::NoEntry)?;
    if info.len().next_multiple_of(8) == size { Ok(()) } else { Err(Error::Invalid) }
}

/// A C structure of fields in host order.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn byte(self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    fn half(self, at: usize) -> u16 {
        u16::from_ne_bytes([self.byte(at), self.byte(at + 1)])
    }

    /// A 16-bit number in network order.
    fn net_half(self, at: usize) -> u16 {
        u16::from_be_bytes([self.byte(at), self.byte(at + 1)])
    }

    fn word(self, at: usize) -> u32 {
        u32::from_ne_bytes([self.byte(at), self.byte(at + 1), self.byte(at + 2), self.byte(at + 3)])
    }

    /// `union nf_inet_addr`.
    fn address(self, at: usize) -> [u8; 16] {
        std::array::from_fn(|n| self.byte(at + n))
    }

    fn ip(self, at: usize, family: Family) -> IpAddr {
        let bytes = self.address(at);
        match family {
            Family::V4 => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
            Family::V6 => IpAddr::from(bytes),
        }
    }
}
