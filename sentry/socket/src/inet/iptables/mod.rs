//! iptables-legacy: packet filters by socket options (linux/netfilter_ipv4/ip_tables.h and its IPv6 twin).
//!
//! A table is read and replaced as a whole: one block of entries. [`entries`] makes chains of it, which work as those
//! that come by netlink do. A table in which nobody has put a rule is not installed: it costs packets nothing.

mod entries;
mod layout;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::inet::{SOL_IP, SOL_IPV6};
use abi::{Errno, Result, UserAddr};
use host::heap::{self, Purpose};
use kernel::Task;
use netstack::netfilter::Netfilter;
use netstack::netfilter::ruleset::{IPV4, IPV6, Invalid, Legacy, Ruleset};
use netstack::netfilter::xt::{Match, Target};

use super::namespace::NetNamespace;
use crate::bytes::{long, word};
use layout::{Kind, Layout};

const SET_REPLACE: i32 = 64;
const SET_ADD_COUNTERS: i32 = 65;
const GET_INFO: i32 = 64;
const GET_ENTRIES: i32 = 65;
/// `IPT_SO_GET_REVISION_*`, and `IP6T_SO_GET_REVISION_*`.
const GET_REVISIONS: [(i32, i32); 2] = [(66, 67), (68, 69)];
/// `XT_TABLE_MAXNAMELEN`
const NAME: usize = 32;
/// `struct ipt_replace` before its entries.
const REPLACE_HEADER: usize = 96;
/// `struct xt_counters`
const COUNTER: usize = 16;

/// The string in a field of fixed length.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes.split(|byte| *byte == 0).next()?).ok()
}

fn family_of(level: i32) -> Option<u8> {
    match level {
        SOL_IP => Some(IPV4),
        SOL_IPV6 => Some(IPV6),
        _ => None,
    }
}

/// The table of a name, as it is or as it is before anybody has touched it.
fn table(rules: &Ruleset, family: u8, name: &str) -> Result<(Legacy, &'static Kind)> {
    let kind = Kind::of(name).ok_or(Errno::ENOENT)?;
    let legacy = match rules.legacy(family, name) {
        Some(legacy) => legacy.clone(),
        None => entries::untouched(Layout::of(family), kind)?,
    };
    Ok((legacy, kind))
}

/// getsockopt(2) of a packet filter's option; `None` for other options. `given` is the start of the caller's buffer.
pub(super) fn get(
    task: &Task,
    net: &NetNamespace,
    (level, name): (i32, i32),
    given: &[u8],
) -> Option<Result<Vec<u8>>> {
    let family = family_of(level)?;
    let (match_revision, target_revision) = GET_REVISIONS[usize::from(family == IPV6)];
    let rules = net.stack().netfilter().rules();
    let answer = || match name {
        GET_INFO => info(&rules, family, given),
        GET_ENTRIES => all_entries(&rules, family, given),
        _ => revision(given, name == target_revision),
    };
    let is_ours = matches!(name, GET_INFO | GET_ENTRIES) || name == match_revision || name == target_revision;
    is_ours.then(|| net.check_admin(task).and_then(|()| answer()))
}

/// `struct ipt_getinfo`
fn info(rules: &Ruleset, family: u8, given: &[u8]) -> Result<Vec<u8>> {
    let name = given.get(..NAME).ok_or(Errno::EINVAL)?;
    let (legacy, kind) = table(rules, family, text(name).ok_or(Errno::EINVAL)?)?;
    let mut answer = name.to_vec();
    answer.extend(kind.hooks().to_ne_bytes());
    answer.extend(legacy.starts.iter().chain(&legacy.policies).flat_map(|offset| offset.to_ne_bytes()));
    answer.extend((legacy.counts.len() as u32).to_ne_bytes());
    answer.extend((legacy.entries.len() as u32).to_ne_bytes());
    Ok(answer)
}

/// `struct ipt_get_entries`: the entries with their counts.
fn all_entries(rules: &Ruleset, family: u8, given: &[u8]) -> Result<Vec<u8>> {
    let name = given.get(..NAME).ok_or(Errno::EINVAL)?;
    let size = word(given, NAME).ok_or(Errno::EINVAL)?;
    let (legacy, _) = table(rules, family, text(name).ok_or(Errno::EINVAL)?)?;
    if size as usize != legacy.entries.len() {
        return Err(Errno::EAGAIN);
    }
    let mut answer = name.to_vec();
    answer.extend(u64::from(size).to_ne_bytes());
    let start = answer.len();
    answer.extend_from_slice(&legacy.entries);
    let at = Layout::of(family).counters;
    for (offset, count) in &legacy.counts {
        let place = start + offset + at;
        if let Some(place) = answer.get_mut(place..place + COUNTER) {
            place.copy_from_slice(&encode_count(count.read(false)));
        }
    }
    Ok(answer)
}

fn encode_count((packets, bytes): (u64, u64)) -> [u8; COUNTER] {
    let mut encoded = [0; COUNTER];
    encoded[..8].copy_from_slice(&packets.to_ne_bytes());
    encoded[8..].copy_from_slice(&bytes.to_ne_bytes());
    encoded
}

/// `struct xt_get_revision`: whether an extension has a revision.
fn revision(given: &[u8], is_target: bool) -> Result<Vec<u8>> {
    let given = given.get(..30).ok_or(Errno::EINVAL)?;
    let name = text(&given[..29]).ok_or(Errno::EINVAL)?;
    let best = match (is_target, name) {
        (true, "" | "ERROR") => Some(0),
        (true, _) => Target::best_revision(name),
        (false, _) => Match::best_revision(name),
    };
    match best {
        None => Err(Errno::ENOENT),
        Some(best) if best < u32::from(given[29]) => Err(Errno::EPROTONOSUPPORT),
        Some(_) => Ok(given.to_vec()),
    }
}

/// setsockopt(2) of a packet filter's option; `None` for other options.
pub(super) fn set(
    task: &Task,
    net: &NetNamespace,
    (level, name): (i32, i32),
    value: &[u8],
) -> Option<Result<()>> {
    let family = family_of(level)?;
    let filters = net.stack().netfilter();
    let change = || match name {
        SET_REPLACE => {
            let (to, counts) = replace(filters, family, value)?;
            // The new table is in force already: Linux too says nothing where the old counts cannot be written.
            let _unwritten = task.mm().write(to, &counts);
            Ok(())
        }
        _ => add_counters(filters, family, value),
    };
    matches!(name, SET_REPLACE | SET_ADD_COUNTERS).then(|| net.check_admin(task).and_then(|()| change()))
}

/// `IPT_SO_SET_REPLACE`; returns the old table's counts for the caller, who adds them to the new entries, and where
/// they are wanted.
fn replace(filters: &Netfilter, family: u8, value: &[u8]) -> Result<(UserAddr, Vec<u8>)> {
    let header = value.get(..REPLACE_HEADER).ok_or(Errno::EINVAL)?;
    let blob = &value[REPLACE_HEADER..];
    let name = text(&header[..NAME]).ok_or(Errno::EINVAL)?;
    let kind = Kind::of(name).ok_or(Errno::ENOENT)?;
    let number = |at: usize| word(header, at).ok_or(Errno::EINVAL);
    let offsets = |at: usize| std::array::from_fn(|n| word(header, at + n * 4).unwrap_or(0));
    if number(32)? != kind.hooks() || number(40)? as usize != blob.len() {
        return Err(Errno::EINVAL);
    }
    heap::room_for(blob.len() as u64 * 4, Purpose::Lasting)?;
    let (starts, policies) = (offsets(44), offsets(64));
    let fresh = entries::parse(Layout::of(family), kind, blob, starts, policies)?;
    if fresh.counts.len() != number(36)? as usize {
        return Err(Errno::EINVAL);
    }
    let mut rules = (*filters.rules()).clone();
    let base = rules.generation();
    let (old, _) = table(&rules, family, name)?;
    if old.counts.len() != number(84)? as usize {
        return Err(Errno::EAGAIN);
    }
    install(&mut rules, kind, fresh);
    rules.validate().map_err(|invalid| match invalid {
        Invalid::TooDeep => Errno::ELOOP,
        Invalid::Misplaced | Invalid::MisplacedExtension => Errno::EINVAL,
        Invalid::TooLarge => Errno::ENOSPC,
        Invalid::TooManyHooked => Errno::E2BIG,
    })?;
    filters.commit(base, rules).map_err(|_| Errno::EAGAIN)?;
    let counts = old.counts.iter().flat_map(|(_, count)| encode_count(count.read(false))).collect();
    let to = UserAddr(long(header, 88).unwrap_or(0));
    Ok((to, counts))
}

/// Puts a table in the place of the one of its name.
fn install(rules: &mut Ruleset, kind: &Kind, fresh: Legacy) {
    let (family, name) = (fresh.table.family, fresh.table.name.clone());
    let is_same = |other: &Legacy| other.table.family == family && other.table.name == name;
    if entries::is_untouched(Layout::of(family), kind, &fresh) {
        rules.legacy.retain(|other| !is_same(other));
    } else if let Some(old) = rules.legacy.iter_mut().find(|other| is_same(other)) {
        *old = fresh;
    } else {
        rules.legacy.push(fresh);
    }
}

/// `IPT_SO_SET_ADD_COUNTERS`: `struct xt_counters_info`
fn add_counters(filters: &Netfilter, family: u8, value: &[u8]) -> Result<()> {
    const HEADER: usize = 40;
    let name = text(value.get(..NAME).ok_or(Errno::EINVAL)?).ok_or(Errno::EINVAL)?;
    let number = word(value, NAME).ok_or(Errno::EINVAL)? as usize;
    let counts = value.get(HEADER..).ok_or(Errno::EINVAL)?;
    let rules = filters.rules();
    let (legacy, _) = table(&rules, family, name)?;
    if counts.len() != number * COUNTER || number != legacy.counts.len() {
        return Err(Errno::EINVAL);
    }
    for ((_, count), added) in legacy.counts.iter().zip(counts.chunks(COUNTER)) {
        count.packets.fetch_add(long(added, 0).unwrap_or(0), Ordering::Relaxed);
        count.bytes.fetch_add(long(added, 8).unwrap_or(0), Ordering::Relaxed);
    }
    Ok(())
}

/// The names of the tables that are installed, latest first (`/proc/net/ip_tables_names`).
pub(super) fn names(net: &NetNamespace, family: u8) -> String {
    let rules: Arc<Ruleset> = net.stack().netfilter().rules();
    let own = rules.legacy.iter().rev().filter(|legacy| legacy.table.family == family);
    own.map(|legacy| format!("{}\n", legacy.table.name)).collect()
}
