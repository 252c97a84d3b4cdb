//! The list of devices of a control group (Linux's `device_cgroup`): what was allowed and denied, put together as Linux
//! does, since container managers read it back. Which devices there are is the sentry's; the list opens and closes none.

use std::collections::BTreeMap;

use abi::{Errno, Result};

/// Everything allowed.
pub(super) const ALL: &str = "a *:* rwm";

/// Read, write, make.
const READ: u8 = 1;
const WRITE: u8 = 2;
const MAKE: u8 = 4;

/// A device, or all of a kind: type, major and minor number as they are written.
type Device = (char, String, String);

/// What is to become of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    Deny,
}

/// A list.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum List {
    /// All devices but some.
    AllBut(BTreeMap<Device, u8>),
    /// Some devices.
    Only(BTreeMap<Device, u8>),
}

/// What one write(2) asks for: everything, or access to a device.
fn parse_rule(text: &str) -> Result<Option<(Device, u8)>> {
    let mut words = text.split_whitespace();
    let kind = words.next().ok_or(Errno::EINVAL)?;
    if kind == "a" {
        return Ok(None);
    }
    let kind = match kind {
        "b" => 'b',
        "c" => 'c',
        _ => return Err(Errno::EINVAL),
    };
    let (major, minor) = words.next().and_then(|numbers| numbers.split_once(':')).ok_or(Errno::EINVAL)?;
    let is_number = |text: &str| text == "*" || text.parse::<u32>().is_ok();
    let access = words.next().ok_or(Errno::EINVAL)?;
    if !is_number(major) || !is_number(minor) || access.len() > 3 || words.next().is_some() {
        return Err(Errno::EINVAL);
    }
    let bits = access.chars().try_fold(0, |bits, c| match c {
        'r' => Ok(bits | READ),
        'w' => Ok(bits | WRITE),
        'm' => Ok(bits | MAKE),
        _ => Err(Errno::EINVAL),
    })?;
    Ok(Some(((kind, major.to_owned(), minor.to_owned()), bits)))
}

fn show_rule(((kind, major, minor), bits): (&Device, &u8)) -> String {
    let access = [(READ, 'r'), (WRITE, 'w'), (MAKE, 'm')];
    let access: String = access.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, c)| c).collect();
    format!("{kind} {major}:{minor} {access}")
}

impl List {
    /// As it was written down by [`List::text`], with the exceptions of a list of all behind the first line.
    pub(super) fn parse(text: &str) -> Self {
        let rules = |text: &str| text.lines().filter_map(|line| parse_rule(line).ok().flatten()).collect();
        match text.strip_prefix(ALL) {
            Some(exceptions) => Self::AllBut(rules(exceptions)),
            None => Self::Only(rules(text)),
        }
    }

    /// All of it.
    pub(super) fn text(&self) -> String {
        let (first, rules) = match self {
            Self::AllBut(rules) => (Some(ALL.to_owned()), rules),
            Self::Only(rules) => (None, rules),
        };
        first.into_iter().chain(rules.iter().map(show_rule)).collect::<Vec<_>>().join("\n")
    }

    /// What `devices.list` says: of a list of all, not what is taken out of it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::AllBut(_) => ALL.to_owned(),
            Self::Only(_) => self.text(),
        }
    }

    /// Allows or denies what a text asks for.
    ///
    /// # Errors
    /// `EINVAL` for a text that makes no sense.
    pub(super) fn change(self, text: &str, verdict: Verdict) -> Result<Self> {
        let Some((device, bits)) = parse_rule(text)? else {
            return Ok(match verdict {
                Verdict::Allow => Self::AllBut(BTreeMap::new()),
                Verdict::Deny => Self::Only(BTreeMap::new()),
            });
        };
        let (mut rules, adds) = match self {
            Self::AllBut(ref rules) => (rules.clone(), verdict == Verdict::Deny),
            Self::Only(ref rules) => (rules.clone(), verdict == Verdict::Allow),
        };
        let before = rules.get(&device).copied().unwrap_or(0);
        match if adds { before | bits } else { before & !bits } {
            0 => rules.remove(&device),
            bits => rules.insert(device, bits),
        };
        Ok(match self {
            Self::AllBut(_) => Self::AllBut(rules),
            Self::Only(_) => Self::Only(rules),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_put_together_as_linux_does() {
        let list = List::parse(ALL).change("a", Verdict::Deny).unwrap();
        assert_eq!(list.shown(), "");
        let list =
            list.change("c 1:3 rw", Verdict::Allow).unwrap().change("c 1:3 m", Verdict::Allow).unwrap();
        let list = list.change("b *:* m", Verdict::Allow).unwrap().change("c 5:* r", Verdict::Allow).unwrap();
        let list = list.change("c 5:* rwm", Verdict::Deny).unwrap();
        assert_eq!(list.shown(), "b *:* m\nc 1:3 rwm");
        assert_eq!(List::parse(&list.text()), list);
        let list =
            list.change("a *:* rwm", Verdict::Allow).unwrap().change("c 1:3 rwm", Verdict::Deny).unwrap();
        assert_eq!((list.shown(), list.text()), (ALL.to_owned(), format!("{ALL}\nc 1:3 rwm")));
        assert_eq!(List::parse(&list.text()), list);
        for bad in ["", "x 1:3 r", "c 1 r", "c 1:3", "c 1:3 x", "c one:3 r", "c 1:3 rwmr"] {
            assert_eq!(List::parse(ALL).change(bad, Verdict::Allow), Err(Errno::EINVAL), "{bad}");
        }
    }
}
