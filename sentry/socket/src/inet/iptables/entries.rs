//! A block of entries, made into chains.
//!
//! An entry is a packet's addresses, interfaces and protocol, then matches, then a target. A standard target holds a
//! verdict, or the offset of the entry to go on with; an entry whose target is called `ERROR` stands before each chain
//! of the user's own and holds its name, and one stands at the end.

use std::collections::HashMap;
use std::sync::Arc;

use abi::{Errno, Result};
use netstack::netfilter::expr::{Base, BitOp, Comparison, Count, Expr, MetaKey, Register, Verdict};
use netstack::netfilter::ruleset::{BaseChain, Chain, IPV6, Legacy, MAX_RULES, Rule, Table};
use netstack::netfilter::xt::{Match, Target};
use netstack::{Error, Family};

use super::layout::{Kind, Layout};
use super::text;
use crate::bytes::{long, word};

/// `struct xt_entry_match`, `struct xt_entry_target`: size, name, revision.
const HEADER: usize = 32;
/// `struct xt_standard_target`
const STANDARD: usize = 40;
/// `struct xt_error_target`
const ERROR: usize = 64;
/// Standard verdicts: `-NF_DROP - 1` and so on.
const DROP: i32 = -1;
const ACCEPT: i32 = -2;
const RETURN: i32 = -5;
/// `IPT_F_FRAG`, `IPT_F_GOTO`; for IPv6 `IP6T_F_GOTO`.
const FRAGMENT: u8 = 1;
const GOTO: u8 = 2;
const GOTO_V6: u8 = 4;
/// `IPT_INV_*`
const INVERTS_INPUT: u8 = 1;
const INVERTS_OUTPUT: u8 = 2;
const INVERTS_ADDRESS: [u8; 2] = [8, 16];
const INVERTS_FRAGMENT: u8 = 32;
const INVERTS_PROTOCOL: u8 = 64;

/// An entry whose parts are known to lie inside.
struct Entry<'a> {
    at: usize,
    fixed: &'a [u8],
    matches: &'a [u8],
    target: &'a [u8],
}

impl<'a> Entry<'a> {
    fn read(layout: &Layout, blob: &'a [u8], at: usize) -> Result<(Self, usize)> {
        let whole = blob.get(at..).ok_or(Errno::EINVAL)?;
        let offsets = word(whole, layout.offsets).ok_or(Errno::EINVAL)?;
        // Two 16-bit numbers in host order.
        let (target, next) = ((offsets & 0xffff) as usize, (offsets >> 16) as usize);
        let whole = whole.get(..next).ok_or(Errno::EINVAL)?;
        if target < layout.len || next < target + HEADER || next % 8 != 0 {
            return Err(Errno::EINVAL);
        }
        let (head, target) = whole.split_at(target);
        let size = usize::from(u16::from_ne_bytes([target[0], target[1]]));
        let target = target.get(..size).filter(|target| target.len() >= HEADER).ok_or(Errno::EINVAL)?;
        let (fixed, matches) = head.split_at(layout.len);
        Ok((Self { at, fixed, matches, target }, at + next))
    }

    fn target_name(&self) -> Result<&'a str> {
        text(&self.target[2..31]).ok_or(Errno::EINVAL)
    }

    /// The verdict of an entry that a hook may end with: it asks nothing of packets, and drops or accepts them.
    fn policy(&self, layout: &Layout) -> Option<i32> {
        let is_unconditional =
            self.matches.is_empty() && self.fixed[..layout.conditions].iter().all(|byte| *byte == 0);
        if !is_unconditional || self.target.len() != STANDARD || !self.target_name().ok()?.is_empty() {
            return None;
        }
        let verdict = word(self.target, HEADER)?.cast_signed();
        matches!(verdict, DROP | ACCEPT).then_some(verdict)
    }

    /// The name of the chain that it begins.
    fn chain_name(&self) -> Result<Option<&'a str>> {
        if self.target_name()? != "ERROR" {
            return Ok(None);
        }
        let name = self.target.get(HEADER..HEADER + 30).ok_or(Errno::EINVAL)?;
        text(name).map(Some).ok_or(Errno::EINVAL)
    }
}

/// Takes a block of entries apart.
///
/// # Errors
/// `EINVAL` for what makes no sense, `ENOENT` for an extension that there is not.
pub(super) fn parse(
    layout: &Layout,
    kind: &Kind,
    blob: &[u8],
    starts: [u32; 5],
    policies: [u32; 5],
) -> Result<Legacy> {
    let mut entries = Vec::new();
    let mut at = 0;
    while at < blob.len() {
        let (entry, next) = Entry::read(layout, blob, at)?;
        entries.push(entry);
        at = next;
        if entries.len() > MAX_RULES {
            return Err(Errno::ENOSPC);
        }
    }
    let mut table = Table::new(layout.family, kind.name.to_owned());
    let chains = divide(&mut table, kind, &entries, starts)?;
    let mut counts = Vec::new();
    for (entry, chain) in entries.iter().zip(&chains.of_entry) {
        let count = count_of(layout, entry);
        counts.push((entry.at, Arc::clone(&count)));
        let Some(chain) = chain else { continue };
        let exprs = exprs_of(layout, entry, count, &chains.by_start)?;
        let handle = table.new_handle();
        let rule = Rule { handle, exprs, userdata: Box::default() };
        if let Some(chain) = table.chain_mut(*chain) {
            chain.rules.push(Arc::new(rule));
        }
    }
    for (hook, _) in kind.chains {
        let policy = policies[*hook as usize] as usize;
        let entry = entries.iter().find(|entry| entry.at == policy).ok_or(Errno::EINVAL)?;
        entry.policy(layout).ok_or(Errno::EINVAL)?;
    }
    Ok(Legacy { table: Arc::new(table), entries: blob.into(), starts, policies, counts })
}

/// Which chain each entry is of, and which chain begins where.
struct Division {
    of_entry: Vec<Option<u64>>,
    by_start: HashMap<usize, u64>,
}

/// Makes the chains that entries form.
fn divide(table: &mut Table, kind: &Kind, entries: &[Entry<'_>], starts: [u32; 5]) -> Result<Division> {
    let mut division = Division { of_entry: Vec::new(), by_start: HashMap::new() };
    let mut current = None;
    let mut begins_next = false;
    let mut bases = 0;
    for (number, entry) in entries.iter().enumerate() {
        if std::mem::take(&mut begins_next)
            && let Some(chain) = current
        {
            division.by_start.insert(entry.at, chain);
        }
        let hook = kind.chains.iter().find(|(hook, _)| starts[*hook as usize] as usize == entry.at);
        if let Some(name) = entry.chain_name()? {
            let is_last = number + 1 == entries.len();
            current = if is_last { None } else { Some(add_chain(table, name.to_owned(), None)) };
            begins_next = !is_last;
            division.of_entry.push(None);
            continue;
        }
        if let Some((hook, priority)) = hook {
            let base =
                BaseChain { hook: *hook, priority: *priority, kind: kind.kind, drops: true, count: None };
            current = Some(add_chain(table, format!("{hook:?}"), Some(base)));
            bases += 1;
        }
        division.of_entry.push(Some(current.ok_or(Errno::EINVAL)?));
    }
    if bases == kind.chains.len() { Ok(division) } else { Err(Errno::EINVAL) }
}

fn add_chain(table: &mut Table, name: String, base: Option<BaseChain>) -> u64 {
    let handle = table.new_handle();
    let chain = Chain { name, handle, base, rules: Vec::new(), userdata: Box::default() };
    table.chains.insert(handle, Arc::new(chain));
    handle
}

fn count_of(layout: &Layout, entry: &Entry<'_>) -> Arc<Count> {
    let number = |at| long(entry.fixed, at).unwrap_or(0);
    Count::new(number(layout.counters), number(layout.counters + 8))
}

/// What an entry does, step by step.
fn exprs_of(
    layout: &Layout,
    entry: &Entry<'_>,
    count: Arc<Count>,
    chains: &HashMap<usize, u64>,
) -> Result<Vec<Expr>> {
    let mut exprs = conditions(layout, entry)?;
    let mut rest = entry.matches;
    while !rest.is_empty() {
        let (name, revision, info, next) = extension(rest)?;
        exprs.push(Expr::Match(Match::parse(name, revision, info).map_err(errno)?));
        rest = next;
    }
    exprs.push(Expr::Counter(count));
    let name = entry.target_name()?;
    if name.is_empty() {
        exprs.push(Expr::Verdict(verdict(layout, entry, chains)?));
    } else {
        let (name, revision, info, _) = extension(entry.target)?;
        let family = if layout.family == IPV6 { Family::V6 } else { Family::V4 };
        exprs.push(Expr::Target(Target::parse(name, revision, family, info).map_err(errno)?));
    }
    Ok(exprs)
}

fn errno(error: Error) -> Errno {
    Errno::from_raw(error.errno())
}

/// Name, revision and structure of an extension, and what follows it.
fn extension(bytes: &[u8]) -> Result<(&str, u32, &[u8], &[u8])> {
    let header = bytes.get(..HEADER).ok_or(Errno::EINVAL)?;
    let size = usize::from(u16::from_ne_bytes([header[0], header[1]]));
    if size < HEADER || size % 8 != 0 {
        return Err(Errno::EINVAL);
    }
    let (whole, rest) = bytes.split_at_checked(size).ok_or(Errno::EINVAL)?;
    let name = text(&header[2..31]).ok_or(Errno::EINVAL)?;
    Ok((name, header[31].into(), &whole[HEADER..], rest))
}

fn verdict(layout: &Layout, entry: &Entry<'_>, chains: &HashMap<usize, u64>) -> Result<Verdict> {
    let code = word(entry.target, HEADER).ok_or(Errno::EINVAL)?.cast_signed();
    let goto = if layout.family == IPV6 { GOTO_V6 } else { GOTO };
    Ok(match code {
        DROP => Verdict::Drop,
        ACCEPT => Verdict::Accept,
        RETURN => Verdict::Return,
        _ => {
            let at = usize::try_from(code).map_err(|_| Errno::EINVAL)?;
            let chain = *chains.get(&at).ok_or(Errno::EINVAL)?;
            if entry.fixed[layout.flags] & goto != 0 { Verdict::Goto(chain) } else { Verdict::Jump(chain) }
        }
    })
}

/// What an entry asks of addresses, interfaces, protocol and fragments.
fn conditions(layout: &Layout, entry: &Entry<'_>) -> Result<Vec<Expr>> {
    let fixed = entry.fixed;
    let inverts = fixed[layout.flags + 1];
    let register = Register::from_number(1, 16).ok_or(Errno::EINVAL)?;
    let mut exprs = Vec::new();
    let mut compare = |load: Expr, value: &[u8], mask: &[u8], is_inverted: bool| {
        exprs.push(load);
        if mask.iter().any(|byte| *byte != 0xff) {
            let op = BitOp::MaskXor(mask.into(), vec![0; mask.len()].into());
            exprs.push(Expr::Bitwise { from: register, to: register, len: mask.len() as u8, op });
        }
        let how = if is_inverted { Comparison::NotEqual } else { Comparison::Equal };
        exprs.push(Expr::Compare(register, how, value.into()));
    };
    let len = layout.addr;
    for side in 0..2 {
        let (value, mask) = (&fixed[side * len..][..len], &fixed[(side + 2) * len..][..len]);
        let is_inverted = inverts & INVERTS_ADDRESS[side] != 0;
        if is_inverted || mask.iter().any(|byte| *byte != 0) {
            let offset = layout.in_packet[side];
            let load = Expr::Payload { to: register, base: Base::Network, offset, len: len as u8 };
            compare(load, value, mask, is_inverted);
        }
    }
    for (n, key, bit) in [(0, MetaKey::InName, INVERTS_INPUT), (1, MetaKey::OutName, INVERTS_OUTPUT)] {
        let (value, mask) =
            (&fixed[layout.interfaces + n * 16..][..16], &fixed[layout.interfaces + (n + 2) * 16..][..16]);
        if inverts & bit != 0 || mask.iter().any(|byte| *byte != 0) {
            let value: Vec<u8> = value.iter().zip(mask).map(|(byte, mask)| byte & mask).collect();
            compare(Expr::Meta(register, key), &value, mask, inverts & bit != 0);
        }
    }
    let protocol = fixed[layout.protocol];
    // IPv6 has a flag of its own that says whether the protocol is asked for; 0 asks for any in both.
    if protocol != 0 {
        let is_inverted = inverts & INVERTS_PROTOCOL != 0;
        compare(Expr::Meta(register, MetaKey::L4Proto), &[protocol], &[0xff], is_inverted);
    }
    if layout.family != IPV6 && fixed[layout.flags] & FRAGMENT != 0 {
        let load = Expr::Payload { to: register, base: Base::Network, offset: 6, len: 2 };
        compare(load, &[0, 0], &[0x1f, 0xff], inverts & INVERTS_FRAGMENT == 0);
    }
    Ok(exprs)
}

/// A table as it is before anybody has touched it: each hook accepts.
///
/// # Errors
/// None that a table of [`Kind`] could cause.
pub(super) fn untouched(layout: &Layout, kind: &Kind) -> Result<Legacy> {
    let mut blob = Vec::new();
    let mut starts = [0; 5];
    for (hook, _) in kind.chains {
        starts[*hook as usize] = blob.len() as u32;
        push_entry(layout, &mut blob, "", STANDARD, &ACCEPT.to_ne_bytes());
    }
    push_entry(layout, &mut blob, "ERROR", ERROR, b"ERROR");
    parse(layout, kind, &blob, starts, starts)
}

fn push_entry(layout: &Layout, blob: &mut Vec<u8>, name: &str, size: usize, data: &[u8]) {
    let start = blob.len();
    blob.resize(start + layout.len + size, 0);
    let entry = &mut blob[start..];
    let offsets = (layout.len as u32) | ((layout.len + size) as u32) << 16;
    entry[layout.offsets..layout.offsets + 4].copy_from_slice(&offsets.to_ne_bytes());
    let target = &mut entry[layout.len..];
    target[..2].copy_from_slice(&(size as u16).to_ne_bytes());
    target[2..2 + name.len()].copy_from_slice(name.as_bytes());
    target[HEADER..HEADER + data.len()].copy_from_slice(data);
}

/// Whether a table does what one does that nobody has touched: each hook has one entry, which accepts all.
pub(super) fn is_untouched(layout: &Layout, kind: &Kind, legacy: &Legacy) -> bool {
    let Ok(fresh) = untouched(layout, kind) else { return false };
    let accepts_all = |hook: usize| {
        let start = fresh.starts[hook];
        let entry = Entry::read(layout, &legacy.entries, start as usize);
        (legacy.starts[hook], legacy.policies[hook]) == (start, start)
            && entry.is_ok_and(|(entry, _)| entry.policy(layout) == Some(ACCEPT))
    };
    fresh.entries.len() == legacy.entries.len()
        && kind.chains.iter().all(|(hook, _)| accepts_all(*hook as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netstack::netfilter::ruleset::IPV4;

    fn filter() -> (&'static Layout, &'static Kind, Legacy) {
        let (layout, kind) = (Layout::of(IPV4), Kind::of("filter").unwrap());
        (layout, kind, untouched(layout, kind).unwrap())
    }

    #[test]
    fn tables_that_nobody_touched_are_taken_as_such() {
        for family in [IPV4, IPV6] {
            for name in ["filter", "nat", "mangle", "raw"] {
                let (layout, kind) = (Layout::of(family), Kind::of(name).unwrap());
                let legacy = untouched(layout, kind).unwrap();
                assert!(is_untouched(layout, kind, &legacy));
                assert_eq!(legacy.counts.len(), kind.chains.len() + 1);
                assert!(legacy.table.chains.values().all(|chain| chain.rules.len() == 1));
            }
        }
    }

    #[test]
    fn chains_jump_to_each_other() {
        let (layout, kind, _) = filter();
        let mut blob = Vec::new();
        let mut starts = [0; 5];
        // INPUT jumps to the chain behind the header that follows the hooks' three.
        let entry = (layout.len + STANDARD) as u32;
        let target = entry * 4 + (layout.len + ERROR) as u32;
        push_entry(layout, &mut blob, "", STANDARD, &target.to_ne_bytes());
        let mut policies = [0; 5];
        for (hook, _) in kind.chains {
            starts[*hook as usize] = if blob.len() == entry as usize { 0 } else { blob.len() as u32 };
            policies[*hook as usize] = blob.len() as u32;
            push_entry(layout, &mut blob, "", STANDARD, &ACCEPT.to_ne_bytes());
        }
        push_entry(layout, &mut blob, "ERROR", ERROR, b"MINE");
        push_entry(layout, &mut blob, "", STANDARD, &RETURN.to_ne_bytes());
        push_entry(layout, &mut blob, "ERROR", ERROR, b"ERROR");
        let legacy = parse(layout, kind, &blob, starts, policies).unwrap();
        let mine = legacy.table.chain("MINE").unwrap();
        let input = legacy.table.chain("Input").unwrap();
        let last = input.rules[0].exprs.last();
        assert!(matches!(last, Some(Expr::Verdict(Verdict::Jump(to))) if *to == mine.handle));
        // Nowhere else can be jumped to.
        blob[layout.len + HEADER] ^= 8;
        assert!(parse(layout, kind, &blob, starts, policies).is_err());
    }

    #[test]
    fn policies_ask_nothing_and_drop_or_accept() {
        for family in [IPV4, IPV6] {
            let (layout, kind) = (Layout::of(family), Kind::of("filter").unwrap());
            let legacy = untouched(layout, kind).unwrap();
            let with = |at: usize, byte: u8| {
                let mut blob = legacy.entries.to_vec();
                blob[at] = byte;
                parse(layout, kind, &blob, legacy.starts, legacy.policies)
            };
            let verdict = layout.len + HEADER;
            // An address, a protocol, a name of an interface's mask, an inversion: none may stand there.
            for at in [0, layout.protocol, layout.interfaces + 32, layout.flags, layout.flags + 1] {
                assert_eq!(with(at, 6).err(), Some(Errno::EINVAL));
            }
            assert_eq!(with(verdict, RETURN.to_ne_bytes()[0]).err(), Some(Errno::EINVAL));
            assert!(with(layout.len + 2, b'T').is_err());
            // Counts are no condition; another policy is one that somebody has set.
            assert!(is_untouched(layout, kind, &with(layout.counters, 9).unwrap()));
            assert!(!is_untouched(layout, kind, &with(verdict, DROP.to_ne_bytes()[0]).unwrap()));
        }
    }

    #[test]
    fn broken_blocks_are_refused() {
        let (layout, kind, legacy) = filter();
        let good = legacy.entries.to_vec();
        for at in 0..good.len() {
            for bit in [0, 3, 7] {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let _must_not_panic = parse(layout, kind, &bad, legacy.starts, legacy.policies);
            }
            // The entry at the end says nothing: without it nothing is missing.
            let is_cut = at != good.len() - layout.len - ERROR;
            assert_eq!(parse(layout, kind, &good[..at], legacy.starts, legacy.policies).is_err(), is_cut);
        }
        let mut elsewhere = legacy.starts;
        elsewhere[1] += 8;
        assert!(parse(layout, kind, &good, elsewhere, legacy.policies).is_err());
    }
}
